"""The caller speaks while the agent does: is it a "mhm", a cough, an echo, or an interruption?"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass

from agent_worker.language_tags import primary
from agent_worker.steady_time import steady_time
from agent_worker.toml_beside import toml_beside

from .completeness import split_words
from .echo import EchoGuard

_HUM = re.compile(r"(?=.*[mhu])(?:m+|h+|u+h+|a+h+|o+h+|-)+")


class Overlap(enum.Enum):
    """What to do about speech over the agent's."""

    IGNORE = "ignore"
    """A backchannel, a noise or an echo: go on, and take nothing of it into the conversation."""
    WAIT = "wait"
    """Not known yet: go on speaking."""
    PAUSE = "pause"
    """Not known yet, but too long to talk over: hold the voice, to go on or to stop later."""
    STOP = "stop"
    """The caller takes the floor."""


@dataclass(frozen=True)
class _Words:
    hums: frozenset[str]
    agreements: frozenset[str]
    stops: frozenset[str]


@functools.cache
def _words(language: str | None) -> _Words:
    """The lists of one language, or of all of them where it is not known.

    A word that stops in one language and agrees in another ("no" in Polish) stops.
    """
    tables = toml_beside(__file__, "backchannels.toml")
    chosen = [tables["any"], tables[language]] if language in tables else list(tables.values())

    def collect(name: str) -> frozenset[str]:
        return frozenset(word for table in chosen for word in table.get(name, []))

    return _Words(collect("hums"), collect("agreements"), collect("stops"))


class Kind(enum.Enum):
    """What a short utterance is by its words."""

    HUM = "hum"
    AGREEMENT = "agreement"
    STOP = "stop"
    OTHER = "other"
    BEGINNING = "beginning"
    """A partial that may still become any of these."""


def classify(text: str, *, language: str | None = None, is_final: bool = True) -> Kind:
    """Sorts what was said over the agent's speech.

    Args:
        text: Partial or final transcript.
        language: BCP 47 tag; None: the lists of all languages are used.
        is_final: A partial's last word may be cut off, and is then taken as a beginning.
    """
    words = split_words(text)
    if not words:
        return Kind.HUM if is_final else Kind.BEGINNING
    lists = _lists_for(language)
    kinds = _segment(words, lists)
    if kinds is not None:
        if Kind.STOP in kinds:
            return Kind.STOP
        return Kind.AGREEMENT if Kind.AGREEMENT in kinds else Kind.HUM
    if not is_final and len(words) == 1 and _is_beginning(words[0], lists):
        return Kind.BEGINNING
    joined = f" {' '.join(words)} "
    if any(f" {stop} " in joined for stop in lists.stops):
        return Kind.STOP
    return Kind.OTHER


def _lists_for(language: str | None) -> _Words:
    unknown = not language or language in ("auto", "multi")
    return _words(None if unknown else primary(str(language)))


def _segment(words: list[str], lists: _Words) -> set[Kind] | None:
    """The kinds of the listed expressions that make up all of the words; None if some are not."""
    kinds: set[Kind] = set()
    at = 0
    while at < len(words):
        for length in range(min(8, len(words) - at), 0, -1):
            part = words[at : at + length]
            forms = {" ".join(part), "".join(part)} if not part[0].isascii() else {" ".join(part)}
            if forms & lists.stops:
                kinds.add(Kind.STOP)
            elif forms & lists.agreements:
                kinds.add(Kind.AGREEMENT)
            elif forms & lists.hums or (length == 1 and _is_hum(part[0])):
                kinds.add(Kind.HUM)
            else:
                continue
            at += length
            break
        else:
            return None
    return kinds


def _is_hum(word: str) -> bool:
    """Spellings that no list can hold: "mmmhmm", "uhhh", "aaah"."""
    return word not in ("ham", "mum") and bool(_HUM.fullmatch(word))


def _is_beginning(word: str, lists: _Words) -> bool:
    known = lists.hums | lists.agreements | lists.stops
    return any(other.startswith(word) for other in known)


class BargeInPolicy:
    """Decides about speech over the agent's, from its length and its words. No I/O.

    Tell it what happens, and ask `decide` whenever something did or `deadline` has come.
    """

    def __init__(
        self,
        *,
        pause_after_s: float = 0.3,
        stop_after_s: float = 1.5,
        faint_db: float = 10.0,
        verdict_s: float = 0.6,
        language: str | None = None,
        clock: Callable[[], float] = steady_time,
    ) -> None:
        """
        Args:
            pause_after_s: Seconds of voice without a known word that hold the agent's voice.
            stop_after_s: Seconds of voice without a word that stop it for good.
            faint_db: Decibels below the caller's own voice from which a sound is more likely the
                agent's echo, or somebody else: it holds nothing, and only a plain "stop" stops.
            verdict_s: Seconds after a wordless sound's end after which it was noise.
            language: BCP 47 tag of the caller's language; None: all languages' lists.
            clock: Returns seconds; the times given to the methods are on the same clock.
        """
        self._pause_after_s = pause_after_s
        self._stop_after_s = stop_after_s
        self._faint_db = faint_db
        self._verdict_s = verdict_s
        self._language = language
        self._clock = clock
        self._echo = EchoGuard()
        self._asked = False
        self._clear()

    def _clear(self) -> None:
        self._started_at: float | None = None
        self._ended_at: float | None = None
        self._text = ""
        self._is_echo = False
        self._is_final = False
        self._is_faint = False
        self._before_agent = False
        self._stopped = False

    @property
    def active(self) -> bool:
        """Whether there is speech over the agent's that is not settled yet."""
        return self._started_at is not None

    @property
    def only_stops(self) -> bool:
        """Whether the words over the agent's say "stop", and nothing else."""
        kinds = _segment(split_words(self._text), _lists_for(self._language))
        return kinds is not None and Kind.STOP in kinds

    def agent_says(self, text: str) -> None:
        """The agent speaks these words now or soon; a reply may come in several pieces."""
        self._echo.agent_says(text)
        ending = text.rstrip().rstrip("\"'”’»」）)")
        if ending:
            self._asked = ending.endswith(("?", "？", "؟"))

    def without_echo(self, text: str) -> str:
        """A transcript without the agent's own words at its beginning."""
        return self._echo.without_echo(text)

    def speech_started(self, at: float | None = None, *, before_agent: bool = False) -> None:
        """The caller begins to speak over the agent; or the agent over them, `before_agent`."""
        if self._started_at is not None and self._stopped:
            return
        self._clear()
        self._before_agent = before_agent
        self._started_at = self._clock() if at is None else at

    def speech_ended(self, at: float | None = None) -> None:
        """The caller fell silent; the transcript may still come."""
        if self._started_at is not None:
            self._ended_at = self._clock() if at is None else at

    def heard(self, text: str, *, is_final: bool = False, language: str | None = None) -> None:
        """A partial or final transcript of the speech over the agent's."""
        if language:
            self._language = language
        self._text = self._echo.without_echo(text)
        self._is_echo = bool(text.strip()) and not self._text
        self._is_final = is_final

    def loudness(self, below_usual_db: float) -> None:
        """How far the speech over the agent's lies below the caller's own voice, as it is known."""
        self._is_faint = below_usual_db >= self._faint_db and not self._before_agent

    def settled(self) -> None:
        """The speech over the agent's was dealt with."""
        self._clear()

    def decide(self) -> Overlap:
        """What to do now."""
        if self._started_at is None:
            return Overlap.IGNORE
        if self._stopped:
            return Overlap.STOP
        decision = self._by_words()
        if decision is None:
            decision = self._by_sound(self._started_at)
        self._stopped = decision is Overlap.STOP
        return decision

    @property
    def deadline(self) -> float | None:
        """When `decide` may change by time alone; None: never."""
        if self._started_at is None or self._by_words() not in (None, Overlap.WAIT):
            return None
        now = self._clock()
        marks = [self._started_at + self._pause_after_s, self._started_at + self._stop_after_s]
        if self._ended_at is not None:
            marks = [self._ended_at + self._verdict_s]
        return min((mark for mark in marks if mark > now), default=None)

    def _by_words(self) -> Overlap | None:
        if self._is_echo or (self._is_final and not self._text.strip()):
            return Overlap.IGNORE
        if not self._text:
            return None
        if self._is_faint:
            return self._by_faint_words()
        kind = classify(self._text, language=self._language, is_final=self._is_final)
        if kind is Kind.OTHER and not self._is_final and self._echo.may_be_echo(self._text):
            return None
        match kind:
            case Kind.STOP | Kind.OTHER:
                return Overlap.STOP
            case Kind.HUM:
                return Overlap.IGNORE
            case Kind.AGREEMENT:
                if not self._asked:
                    return Overlap.IGNORE
                # "Shall I book it?" "Yes": no reason to cut the question short, but an answer.
                return Overlap.STOP if self._is_final else Overlap.WAIT
            case Kind.BEGINNING:
                return None

    def _by_faint_words(self) -> Overlap | None:
        words = split_words(self._text)
        if _segment(words, _lists_for(self._language)) == {Kind.STOP}:
            return Overlap.STOP
        return Overlap.IGNORE if self._is_final else None

    def _by_sound(self, started_at: float) -> Overlap:
        now = self._clock()
        if self._ended_at is not None:
            if now >= self._ended_at + self._verdict_s:
                return Overlap.IGNORE
            was_short = self._ended_at < started_at + self._pause_after_s
            return Overlap.WAIT if was_short else Overlap.PAUSE
        if (self._echo.was_heard and not self._before_agent) or self._is_faint:
            # The sound may be the agent itself; only words can tell.
            return Overlap.WAIT
        if now >= started_at + self._stop_after_s:
            return Overlap.STOP
        return Overlap.PAUSE if now >= started_at + self._pause_after_s else Overlap.WAIT
