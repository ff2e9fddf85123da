"""Rules for English utterances, as a recogniser writes them: any case, with or without marks."""

import re
from collections.abc import Callable, Sequence

from flows.tools.arithmetic import decimal_text

from .numbers import NUMBER_WORDS, parse_english, say_english
from .plan import Plan, Say, Use
from .texts import JOKES, LONG_TEXTS, STORY

NOT_UNDERSTOOD = (
    "I did not understand that. I can tell the time and the date, do sums, keep timers, "
    "and remember your name."
)
CAPABILITIES = (
    "I can tell the time and the date, do sums, keep timers, remember your name, count, "
    "and tell a joke or a story."
)
_NUMBER = r"(?:" + "|".join(sorted(NUMBER_WORDS, key=len, reverse=True)) + r"|\d+(?:\.\d+)?)"
_NUMBERS = rf"({_NUMBER}(?:[ -]{_NUMBER})*)"
_SIGNS = {
    "plus": "+", "and": "+", "minus": "-", "less": "-", "times": "*", "multiplied by": "*",
    "divided by": "/", "over": "/", "to the power of": "**", "modulo": "%", "mod": "%",
    "+": "+", "-": "-", "*": "*", "x": "*", "/": "/",
}  # fmt: skip
_SECONDS = {"second": 1, "minute": 60, "hour": 3600}
_NO_SERVICE = (
    (r"\bbook\b|\breserv", "booking"),
    (r"\border\b", "order"),
    (r"\blights?\b", "lighting"),
    (r"\bvolume\b", "volume"),
    (r"\bmusic\b|\bsong\b", "music"),
    (r"\balarm\b", "alarm"),
)
_STOP_WORDS = r"(?:actually |no |please |okay |ok )*(?:stop|wait|pause|hold on|be quiet|shut up)"
_AFTER_I_AM = (
    "a an the not in on at from your my going here fine good well okay ok sorry looking trying "
    "happy sad tired hungry ready done back sure very so just still calling"
)
_NOT_NAMES = frozenset(_AFTER_I_AM.split())


def normalise(text: str) -> str:
    """Lower case, one space between words, no marks but those of numbers and sums."""
    plain = text.lower().replace("’", "'").replace("×", "*").replace("÷", "/")
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", plain)
    plain = re.sub(r"\bwhat's\b", "what is", plain)
    plain = re.sub(r"\bi'm\b", "i am", plain)
    plain = re.sub(r"(?<!\d)\.|\.(?!\d)", " ", plain)
    plain = re.sub(r"[^\w\s.+*/%^'()-]", " ", plain)
    plain = re.sub(r"\s+", " ", plain).strip()
    return re.sub(r"^(?:(?:um|uh|er|well|so|and|but|hey) )+", "", plain)


def name_in(text: str) -> str | None:
    """The name that the caller gives in `text`, else None."""
    plain = normalise(text)
    found = re.search(r"\b(?:my name is|my name's|call me|i am called) ([a-z][\w'-]*)", plain)
    if found is None:
        found = re.fullmatch(r"(?:hello |hi )?i am ([a-z][\w'-]*)", plain)
    if found is None or found[1] in _NOT_NAMES or found[1] == "what":
        return None
    return found[1].title()


def expression_in(text: str) -> str | None:
    """The sum that `text` asks for, in digits and signs, else None."""
    plain = re.sub(r"^.*?\b(?:what is|how much is|calculate|compute|work out)\b ?", "", text)
    plain = re.sub(r"^the sum of ", "", plain)
    negative = plain.startswith("minus ")
    plain = plain.removeprefix("minus ")
    parts = re.split(
        r"\s*(?<!\w)(plus|minus|less|times|multiplied by|divided by|over|to the power of|"
        r"modulo|mod|x)(?!\w)\s*|\s*([+*/^]|(?<=[\d\s])-(?=[\d\s]))\s*",
        plain,
    )
    pieces = [part for part in parts if part]
    if len(pieces) < 3 or len(pieces) % 2 == 0:
        return None
    terms: list[str] = []
    for place, piece in enumerate(pieces):
        if place % 2:
            terms.append(_SIGNS.get(piece, piece))
            continue
        value = parse_english(re.sub(r"\b(?:equals|equal|please|is)\b.*$", "", piece).strip())
        if value is None:
            return None
        terms.append(decimal_text(value, places=9))
    return ("-" if negative else "") + " ".join(terms)


def _duration_s(text: str) -> int | None:
    halves = re.findall(r"\bhalf an? (hour|minute)\b", text)
    text = re.sub(r"\bhalf an? (?:hour|minute)\b", "", text)
    total = sum(_SECONDS[unit] / 2 for unit in halves)
    parts = re.findall(rf"\b{_NUMBERS} ?-?(second|minute|hour)s?\b( and a half)?", text)
    for amount, unit, half in parts:
        # "and five minutes", "a ten minute timer"
        value = parse_english(re.sub(r"^(?:(?:and|an?) )+", "", amount))
        if value is None:
            return None
        total += (float(value) + (0.5 if half else 0)) * _SECONDS[unit]
    return round(total) or None


def _arithmetic(text: str) -> Plan | None:
    expression = expression_in(text)
    return Use("calculate", {"expression": expression}) if expression else None


def _timer(text: str) -> Plan | None:
    if "timer" not in text and not re.search(r"\bremind me in\b", text):
        return None
    if re.search(r"\b(cancel|stop|delete|forget|clear)\b", text):
        return Use("cancel_timers")
    seconds = _duration_s(text)
    if seconds is not None:
        return Use("set_timer", {"seconds": seconds})
    if re.search(r"\b(how|left|long|list|which|my)\b", text):
        return Use("list_timers")
    return Say("For how long shall I set the timer?")


def _forget(text: str) -> Plan | None:
    if not re.search(r"\b(?:forget|delete|erase)\b", text):
        return None
    # "don't forget my name", "did you forget my name"
    if re.search(r"\b(?:don't|do not|never|won't|did you|i) (?:\w+ )?(?:forget|delete)\b", text):
        return None
    if re.search(r"\bmy name\b", text):
        return Use("forget", {"fact": "name"})
    if re.search(
        r"\b(?:everything|all)\b.*\b(?:me|i|my|know|remember)\b|\b(?:forget|delete|erase) me\b"
        r"|\bwhat (?:you (?:know|remember)|i (?:told|asked))\b|\bmy (?:data|details)\b",
        text,
    ):
        return Use("forget")
    return Use("forget", {"fact": "note"}) if re.search(r"\bmy note\b", text) else None


def _name(text: str) -> Plan | None:
    if re.search(r"\bwhat is my name\b|\bwho am i\b|\bdo you (?:know|remember) my name\b", text):
        return Use("recall", {"fact": "name"})
    name = name_in(text)
    if name is not None:
        return Use("remember", {"fact": "name", "value": name})
    return None


def _note(text: str) -> Plan | None:
    if re.search(r"\bwhat did i (?:tell|ask) you to remember\b|\bwhat do you remember\b", text):
        return Use("recall", {"fact": "note"})
    found = re.match(r"(?:please )?remember (?:that )?(.+)", text)
    if found is None:
        return None
    return Use("remember", {"fact": "note", "value": _as_told_back(found[1])})


def _as_told_back(text: str) -> str:
    """What the caller said of themselves, as it is said to them."""
    swaps = {"i": "you", "me": "you", "my": "your", "mine": "yours", "am": "are"}
    return " ".join(swaps.get(word, word) for word in text.split())


def _correction(text: str) -> Plan | None:
    if re.match(r"(?:no |actually )+(?:make it|i said|i meant) ", text):
        return Say("There is nothing that I can change to that.")
    return None


def _time(text: str) -> Plan | None:
    if re.search(r"\b(?:what|the|tell me) time\b|\bwhat is the time\b|\btime is it\b", text):
        return Use("current_time")
    if re.search(r"\b(?:what|which) (?:day|date)\b|\bdate\b|\bwhat day is\b", text):
        return Use("current_date")
    return None


def _lookup(text: str) -> Plan | None:
    if re.search(r"\b(?:weather|temperature|rain|forecast)\b", text):
        place = re.search(r"\bin (\w+)", text)
        day = " tomorrow" if "tomorrow" in text else ""
        return Use("get_weather", {"place": (place[1].title() if place else "here") + day})
    if re.search(r"\b(?:stock|share price|shares?)\b", text):
        of = re.search(r"\b(?:of|for) ([\w ]+)$", text)
        return Use("get_stock_quote", {"symbol": of[1] if of else text})
    about = re.match(r"(?:please )?(?:tell me about|search(?: the web)? for|look up) (.+)", text)
    return Use("search_web", {"query": about[1]}) if about else None


def _count(text: str) -> Plan | None:
    found = re.search(rf"\bcount (?:up )?to {_NUMBERS}", text)
    value = parse_english(found[1]) if found else None
    if value is None:
        return None
    last = min(int(value), 100)
    if last < 1:
        return Say("I count from one upwards.")
    return Say(", ".join(say_english(str(n)) for n in range(1, last + 1)).capitalize() + ".")


def _no_service(text: str) -> Plan | None:
    if re.search(r"\b(?:human|operator|real person|someone)\b", text):
        return Say("I can't put you through to a person, no such service is configured.")
    if re.search(r"^(?:please )?call \w+$", text):
        return Say("I can't place calls, no such service is configured.")
    for pattern, service in _NO_SERVICE:
        if re.search(pattern, text):
            article = "an" if service[0] in "aeiou" else "a"
            return Say(f"I don't have {article} {service} service configured.")
    return None


def _about_itself(text: str) -> Plan | None:
    if re.search(r"\bwho are you\b|\byour name\b|\bwhat are you\b", text):
        return Say("I am a voice assistant that runs on this machine, without a language model.")
    if re.search(r"\bwhat can you\b|\bhelp\b|\bhow can you\b", text):
        return Say(CAPABILITIES)
    if re.search(r"\bhow are you\b", text):
        return Say("I am well, thank you. What can I do for you?")
    return None


_SMALL_TALK: tuple[tuple[str, str], ...] = (
    (r"\b(?:goodbye|good bye|bye|see you|good night)\b", "Goodbye. It was nice to talk to you."),
    (r"\bno,? thank(?:s| you)\b", "All right."),
    (r"\bthank(?:s| you)\b", "You are welcome."),
    (r"\bgood morning\b", "Good morning. What can I do for you?"),
    (r"\bgood afternoon\b", "Good afternoon. What can I do for you?"),
    (r"\bgood evening\b", "Good evening. What can I do for you?"),
    (r"^(?:hello|hi|hey)\b", "Hello. What can I do for you?"),
    (r"^(?:yes|yes please|yeah|sure|okay|ok|right|go on|mhm|mm|uh huh|no)$",
     "All right. What would you like to do?"),
)  # fmt: skip


def _small_talk(text: str) -> Plan | None:
    for pattern, answer in _SMALL_TALK:
        if re.search(pattern, text):
            return Say(answer)
    return None


def _digits(text: str) -> Plan | None:
    words = text.split()
    if words and all(parse_english(word) is not None for word in words):
        heard = " ".join(say_english(w) if w.isdecimal() else w for w in words)
        return Say(f"I heard {heard}. What shall I do with it?")
    return None


_RULES: tuple[Callable[[str], Plan | None], ...] = (
    _arithmetic, _timer, _forget, _name, _note, _time, _count, _lookup, _about_itself, _no_service,
    _correction, _small_talk, _digits,
)  # fmt: skip


def plan(text: str, answers: Sequence[str]) -> Plan:
    """Decide what to do about an English utterance.

    Args:
        text: What was heard.
        answers: What the assistant said before, as heard by the caller, oldest first.
    """
    plain = normalise(text)
    if re.fullmatch(rf"{_STOP_WORDS}(?: (?:please|now|it|a moment|a minute|a second))?", plain):
        return Say("Okay.")
    if re.search(r"\b(?:repeat that|say (?:that|it) again|pardon)\b", plain):
        return Say(answers[-1] if answers else "I have not said anything yet.")
    if re.fullmatch(r"(?:please )?(?:continue|go on|carry on)(?: please)?", plain):
        return Say(rest_of_long_text(answers) or "There is nothing to go on with.")
    if "joke" in plain:
        return Say(JOKES[sum(answer in JOKES for answer in answers) % len(JOKES)])
    if "story" in plain:
        return Say(STORY)
    for rule in _RULES:
        decided = rule(plain)
        if decided is not None:
            return decided
    return Say(NOT_UNDERSTOOD)


def rest_of_long_text(answers: Sequence[str]) -> str | None:
    """What is left of a story that was cut off, from the first word not heard in full."""
    for answer in reversed(answers):
        heard = answer.strip().rstrip(".…- ")
        for text in LONG_TEXTS:
            if len(heard) > 20 and text.startswith(heard) and len(text) - len(heard) > 2:
                rest = text[text.rfind(" ", 0, len(heard) + 1) + 1 :] if " " in text else ""
                return rest or text[len(heard) :]
    return None
