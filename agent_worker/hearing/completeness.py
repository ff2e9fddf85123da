"""Does a transcript end like something that was said to the end?"""

from __future__ import annotations

import enum
import re
import unicodedata
from collections.abc import Iterable

from agent_worker.language_tags import primary

from .chinese import simplified
from .dictation import is_dictation
from .lexicon import Lexicon, asks_dictation, lexicon


class Completeness(enum.Enum):
    """What the words alone say about the end of a turn."""

    FINISHED = "finished"
    """A question, a whole command, or an answer that is a turn by itself."""
    STATED = "stated"
    """A statement, whole only by its full stop, which recognisers also set behind half of one."""
    PLAIN = "plain"
    """Nothing speaks for more to come, and nothing against it."""
    UNFINISHED = "unfinished"
    """It ends with "and", "um", a comma, an article …"""
    DICTATING = "dictating"
    """Digits, a spelled name or an e-mail address are under way."""


_SENTENCE_END = re.compile(r"[.!?。！？؟।]['\"”’»」）)]*$")
_QUESTION_END = re.compile(r"[?？؟]['\"”’»」）)]*$")
_OPEN_END = re.compile(r"(\.\.\.|…|[,،，、:：;；—–-])$")
_LOOSE_MARKS = re.compile(r"(?<!\S)['-]+|['-]+(?!\S)")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
_SHORT_TURN = 2
"""Words; so few are often only the beginning."""
_UNSPACED = ("zh", "ja")
"""Languages without spaces between words, where the lists are compared with characters."""


def split_words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation; CJK text one by one character.

    Chinese comes in simplified characters, as the lists have it.
    """
    text = simplified(text.lower().replace("’", "'"))
    kept = "".join(char if _in_word(char) else " " for char in text)
    words: list[str] = []
    for word in _LOOSE_MARKS.sub(" ", kept).split():
        if _CJK.search(word):
            words += re.findall(
                r"[\u3040-\u30ff\u3400-\u9fff]|[^\u3040-\u30ff\u3400-\u9fff]+", word
            )
        else:
            words.append(word)
    return words


def _in_word(char: str) -> bool:
    # Vowel signs of Indic and Arabic scripts are marks, not letters.
    return char.isalnum() or char in "'@&+-_" or unicodedata.category(char).startswith("M")


def language_of(text: str, language: str | None = None) -> str:
    """The primary language tag to judge a text by.

    Args:
        text: Any text.
        language: What the recogniser says, as a BCP 47 tag, if it says anything.
    """
    if language and language not in ("auto", "multi"):
        return primary(language)
    if re.search(r"[\u3040-\u30ff]", text):
        return "ja"
    return "zh" if _CJK.search(text) else "en"


def asks_for_dictation(text: str) -> bool:
    """Whether an agent's words ask for digits, a spelled name or an address."""
    lower = simplified(text.lower())
    return any(word in lower for word in asks_dictation())


def judge(
    text: str, *, language: str | None = None, expects_dictation: bool = False
) -> Completeness:
    """Judges the end of a transcript.

    Args:
        text: What was heard of this turn so far.
        language: BCP 47 tag; None: judged by the script, English for Latin letters.
        expects_dictation: The agent has just asked for digits, a spelled name or an address, so
            the first few of them don't make a turn.
    """
    stripped = text.strip()
    words = split_words(stripped)
    if not words:
        return Completeness.UNFINISHED
    tag = language_of(stripped, language)
    known = lexicon(tag)
    if is_dictation(stripped, words, known, expected=expects_dictation):
        return Completeness.DICTATING
    if _OPEN_END.search(stripped):
        return Completeness.UNFINISHED
    marked = bool(_QUESTION_END.search(stripped))
    kind = (
        _judge_unspaced("".join(words), known, marked)
        if tag in _UNSPACED
        else _judge_spaced(words, known, marked)
    )
    if kind is Completeness.PLAIN and _SENTENCE_END.search(stripped):
        return Completeness.STATED
    return kind


def _judge_spaced(words: list[str], known: Lexicon, marked: bool) -> Completeness:
    core = _core(words, known)
    if _only_answers(words, known) or (
        _only_answers(core, known) and core[-1] not in known.open_words
    ):
        return Completeness.FINISHED
    asks = marked or _asks(core, known)
    # Recognisers end partials with a full stop whatever the last word is, so words go first.
    if _is_open(words, core, known, asks):
        return Completeness.UNFINISHED
    if asks or _is_whole_command(core, words, known):
        return Completeness.FINISHED
    return Completeness.PLAIN


def _only_answers(words: list[str], known: Lexicon) -> bool:
    """Whether nothing else was said: "yes", "okay thank you bye"."""
    whole = {0}
    for end in range(1, len(words) + 1):
        if any(
            start in whole and " ".join(words[start:end]) in known.answers for start in range(end)
        ):
            whole.add(end)
    return len(words) in whole


def _core(words: list[str], known: Lexicon) -> list[str]:
    """Without "um", "okay", "please" … before the sentence."""
    first = 0
    while first < len(words) - 1 and words[first] in known.openers:
        first += 1
    return words[first:]


def _asks(core: list[str], known: Lexicon) -> bool:
    if len(core) > _SHORT_TURN + 1 and core[0] in known.question_leads:
        core = core[1:]
    if len(core) <= _SHORT_TURN or core[0] not in known.question_words:
        return False
    # "when i get home" is a clause, "when do you open" a question
    return not (core[0] in known.clause_words and core[1] in known.subjects)


def _is_open(words: list[str], core: list[str], known: Lexicon, asks: bool) -> bool:
    last = words[-1]
    spaced = f" {' '.join(words)}"
    if spaced.endswith(tuple(f" {filler}" for filler in known.fillers)):
        return True
    if spaced.endswith(tuple(f" {end}" for end in known.closed_ends)):
        return False
    ends = [known.particles[word] for word in core if word in known.particles]
    if ends:
        # "turn the lights on" is whole, "turn on" wants its object
        if any(last in particles for particles in ends) and words[-2] not in known.particles:
            return False
        if core[0] in known.needs_particle:
            return True
    if _only_begins(core, known):
        return True
    wants_verb = len(words) > 1 and words[-2] in known.auxiliaries
    if asks and last in known.question_ends:
        # "where is he from" is whole, "how much does it" is not
        return wants_verb
    if last not in known.open_words:
        return False
    # "tell me what time it is": a verb at the end of a clause ends it
    first = 2 if asks else 1
    clause = next(
        (at for at, word in enumerate(core) if at >= first and word in known.clause_words), None
    )
    return not (last in known.final_verbs and clause is not None and clause < len(core) - 2)


def _only_begins(core: list[str], known: Lexicon) -> bool:
    """A verb without its object: "play", "tell me", "can you", "turn off"."""
    verb = core[0]
    if verb in known.starts and [word for word in core if word not in known.closers] == [verb]:
        return True
    wants_more = known.starts.get(verb, 0) > len(core) or verb in known.question_words
    after = known.subjects | known.objects | known.particles.get(verb, frozenset())
    return len(core) == _SHORT_TURN and wants_more and core[1] in after


def _is_whole_command(core: list[str], words: list[str], known: Lexicon) -> bool:
    if core[-1] in known.closers and len(core) > _SHORT_TURN:
        rest = [word for word in core if word not in known.closers]
        return len(rest) > _SHORT_TURN or (len(rest) > 1 and rest[0] in known.starts)
    said = [word for word in core if word not in known.closers]
    if said and said[-1] in known.particles.get(said[0], ()):
        return True
    if not said or said[0] not in known.starts or len(said) < known.starts[said[0]]:
        return False
    # digits may go on or a unit may follow; "remind me to call" needs an object
    last = said[-1]
    return not (last in known.numbers or last in known.quantities or last in known.starts)


def _judge_unspaced(joined: str, known: Lexicon, marked: bool) -> Completeness:
    rest = joined
    while rest and (answer := _longest(rest, known.answers)):
        rest = rest[len(answer) :]
    if not rest:
        return Completeness.FINISHED
    core = joined
    while opener := _longest(core[:-1], known.openers):
        core = core[len(opener) :]
    for phrase in known.not_questions:
        core = core.replace(phrase, "")
    if marked or joined.endswith(tuple(known.question_ends | known.question_particles)):
        return Completeness.FINISHED
    open_end = _longest_end(joined, known.open_words | known.fillers)
    if core in known.starts or len(open_end) > len(_longest_end(joined, known.closed_ends)):
        inner = any(0 <= joined.find(word) < len(joined) - 2 for word in known.clause_words)
        if not (inner and open_end in known.final_verbs):
            return Completeness.UNFINISHED
    if any(word in core for word in known.question_words):
        return Completeness.FINISHED
    if joined.endswith(tuple(known.closers)):
        return Completeness.FINISHED
    start = _longest(core, known.starts)
    if start and len(core) >= known.starts[start]:
        return Completeness.FINISHED
    return Completeness.PLAIN


def _longest_end(text: str, words: Iterable[str]) -> str:
    """The longest of the words that the text ends with, or nothing."""
    return max((word for word in words if text.endswith(word)), key=len, default="")


def _longest(text: str, words: Iterable[str]) -> str:
    """The longest of the words that the text begins with, or nothing."""
    return max((word for word in words if text.startswith(word)), key=len, default="")
