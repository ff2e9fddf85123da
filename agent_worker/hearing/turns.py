"""When has the caller finished? How long to wait after the end of speech."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from agent_worker.steady_time import steady_time

from .completeness import Completeness, asks_for_dictation, judge, split_words

_REMEMBERED_PAUSES = 12
_MIN_PAUSE_S = 0.2
"""Seconds; a shorter gap between two words is no pause."""
_CUT_OFF_WITHIN_S = 1.0
"""Seconds after a commit in which new speech means that the caller had not finished."""
_FORGIVEN = 0.7
"""What is left of the caution after a cut-off with each turn that was not cut off."""
_RHYTHM = 2
"""Pauses in a turn from which it is known how long the caller takes between groups of digits."""
_PAUSED_BEFORE_S = 0.05
"""Seconds more behind a statement of a turn in which the caller has already paused."""
_SHORT_ANSWER = 4
"""Words up to which an utterance answers what the agent has just asked."""
_UNMARKED = 2
"""Words of an utterance up to which a missing full stop tells nothing: of 135 utterances of people
of one or two words Whisper base left it out behind 108, of 76 of eight or more behind two."""
_DOUBTED_MARK = 0.7
_SURE_MARK = 0.98
"""Probabilities of a closing mark up to which it says nothing, and from which it is believed. On
120 prompts of people in five languages, each halted between two words, Whisper base gave its full
stop 0.64 in the median where they halted and 0.93 at their end."""
_TYPICAL = 0.5
_MOST = 0.8
"""Shares of a caller's pauses that a wait covers."""
_LONGEST_HABIT_S = 0.7
"""Seconds up to which a caller's own pauses lengthen the wait behind a statement."""
_SETTLE_S = 0.1
"""Seconds for which a partial must not change before its end is believed."""


@dataclass(frozen=True)
class Waits:
    """Seconds from the end of speech to the end of the turn."""

    agreed_s: float = 0.15
    """When the words and the sound agree that it is over."""
    plain_s: float = 0.35
    """When nothing speaks against it."""
    stated_s: float = 0.4
    """When a full stop is all that speaks for it."""
    doubt_s: float = 1.2
    """When more is likely to come."""
    dictating_s: float = 2.0
    """While digits, a spelled name or an address are under way."""


class EndOfTurnPolicy:
    """Says how long to wait after a caller fell silent before the turn is taken as finished.

    It is told what happens and does no I/O; `wait_s` may be asked at any time and changes as more
    becomes known. What it knows: the words (do they end like a sentence, a question, a number being
    dictated, "and"?), how sure the recogniser is of its full stop, whether they still change,
    the probability of an audio end-of-turn model if there is one, and how this caller has paused
    so far in the call.
    """

    def __init__(
        self, waits: Waits | None = None, *, clock: Callable[[], float] = steady_time
    ) -> None:
        """
        Args:
            waits: The waits between which the policy chooses.
            clock: Returns seconds; the times given to the methods are on the same clock.
        """
        self._waits = waits or Waits()
        self._clock = clock
        self._pauses: deque[float] = deque(maxlen=_REMEMBERED_PAUSES)
        self._cut_offs = 0.0
        self._habits_before: tuple[float, tuple[float, ...]] = (0.0, ())
        self._punctuates = False
        self._expects_dictation = False
        self._asked = False
        self._language: str | None = None
        self._committed_at: float | None = None
        self._last_end: float | None = None
        self._had_pauses = False
        self._clear_turn()

    def _clear_turn(self) -> None:
        self._ended_at: float | None = None
        self._finals = ""
        self._last_final = ""
        self._partial = ""
        self._changed_at: float | None = None
        self._probability: float | None = None
        self._closing_probability: float | None = None
        self._pauses_here: list[float] = []
        self._words_before_halt: int | None = None

    @property
    def text(self) -> str:
        """What was heard of this turn so far."""
        return f"{self._finals} {self._partial}".strip()

    def speech_started(self, at: float | None = None) -> None:
        """The caller speaks."""
        now = self._clock() if at is None else at
        self._habits_before = (self._cut_offs, tuple(self._pauses))
        if self._committed_at is not None and self._last_end is not None:
            if now - self._committed_at <= _CUT_OFF_WITHIN_S:
                self._cut_offs = min(self._cut_offs + 1.0, 3.0)
                self._paused(now - self._last_end)
            else:
                self._turn_was_whole()
            self._committed_at = None
        elif self._ended_at is not None and now - self._ended_at >= _MIN_PAUSE_S:
            self._paused(now - self._ended_at)
        self._ended_at = None
        self._probability = None

    def speech_ended(self, at: float | None = None) -> None:
        """The caller fell silent.

        Args:
            at: When the last voiced sound ended, not when the silence was noticed.
        """
        self._ended_at = self._last_end = self._clock() if at is None else at

    def heard(
        self,
        text: str,
        *,
        is_final: bool = False,
        language: str | None = None,
        closing_probability: float | None = None,
    ) -> None:
        """A partial or final transcript of the speech since the last final one.

        Args:
            text: Its words.
            is_final: Whether it will not change any more.
            language: BCP 47 tag of the recogniser, if it tells one.
            closing_probability: How sure the recogniser is of the mark at the end, 0 to 1; None
                where it does not tell, and where there is none.
        """
        if language:
            self._language = language
        if text.strip():
            self._closing_probability = closing_probability
        if text[:1].isupper() or text.rstrip().endswith((".", "?", "!", "。", "？", "！")):
            self._punctuates = True
        if is_final:
            self._finals = f"{self._finals} {text}".strip()
            self._last_final = text.strip() or self._last_final
            self._partial = ""
            self._changed_at = None
        elif split_words(text) != split_words(self._partial):
            self._changed_at = self._clock()
            self._partial = text
        else:
            self._partial = text

    def model_says(self, probability: float) -> None:
        """What an audio model says of the silence under way.

        Args:
            probability: That the turn is over; under 0.5 the model thinks it is not.
        """
        self._probability = min(max(probability, 0.0), 1.0)

    def agent_said(self, text: str) -> None:
        """What the agent said last: it may have asked, perhaps for a number or an address."""
        self._asked = text.rstrip().rstrip("\"'”’»」）)").endswith(("?", "？", "؟"))
        self._expects_dictation = asks_for_dictation(text)

    def committed(self) -> None:
        """The turn was taken as finished."""
        self._committed_at = self._clock()
        self._had_pauses = bool(self._pauses_here)
        self._clear_turn()

    def dropped(self) -> None:
        """What was heard was no turn: a backchannel, an echo. It says nothing of the caller."""
        self._cut_offs, pauses = self._habits_before
        self._pauses = deque(pauses, maxlen=_REMEMBERED_PAUSES)
        self._clear_turn()

    def agent_finished(self) -> None:
        """The answer was heard to its end, so whoever speaks now was not cut off."""
        if self._committed_at is not None:
            self._turn_was_whole()
        self._committed_at = None

    def _paused(self, length_s: float) -> None:
        self._pauses.append(length_s)
        self._pauses_here.append(length_s)
        is_halt = judge(self.text, language=self._language) is Completeness.UNFINISHED
        self._words_before_halt = len(split_words(self.text)) if is_halt and self.text else None

    def _turn_was_whole(self) -> None:
        """The turn taken last was not cut off."""
        self._cut_offs *= _FORGIVEN
        if not self._had_pauses:
            # Whoever speaks without pauses now is no longer waited for as when they paused.
            self._pauses.append(0.0)

    @property
    def deadline(self) -> float | None:
        """When the turn ends unless something new is heard; None while the caller speaks."""
        return None if self._ended_at is None else self._ended_at + self.wait_s()

    def wait_s(self) -> float:
        """Seconds from the end of speech to the end of the turn, as far as is known now."""
        waits = self._waits
        kind = judge(self.text, language=self._language, expects_dictation=self._expects_dictation)
        match kind:
            case Completeness.DICTATING:
                return self._dictating_wait_s()
            case Completeness.UNFINISHED:
                wait_s = waits.doubt_s
                if self._probability is not None and self._probability > 0.9 and self.text:
                    wait_s = self._half_in_doubt_s
            case Completeness.PLAIN:
                wait_s = self._plain_wait_s()
            case Completeness.STATED:
                wait_s = self._stated_wait_s()
            case Completeness.FINISHED:
                wait_s = self._agreed_wait_s()
        return max(wait_s, self._settling_s())

    @property
    def _half_in_doubt_s(self) -> float:
        return (self._waits.plain_s + self._waits.doubt_s) / 2

    def _plain_wait_s(self) -> float:
        waits = self._waits
        wait_s = waits.plain_s
        habit_s = self._habit_s(_MOST, at_least=2)
        if self._is_what_was_looked_for():
            wait_s = waits.stated_s
            habit_s = min(habit_s, _LONGEST_HABIT_S)
        elif self._is_unmarked():
            # A recogniser that ends its sentences did not end this one.
            wait_s = waits.doubt_s
        elif not self._is_short_answer() and (self._punctuates or len(split_words(self.text)) < 3):
            # The final text may end it yet; two words are often only a beginning.
            wait_s = self._half_in_doubt_s
        return min(max(self._by_sound(wait_s), habit_s), waits.doubt_s)

    def _is_unmarked(self) -> bool:
        """Whether a full stop is missing that should be there if the turn were over."""
        if self._partial or not self._punctuates:
            return False
        return not self._is_a_word_or_two()

    def _is_a_word_or_two(self) -> bool:
        """Whether a recogniser's marks tell nothing, for want of a sentence."""
        return len(split_words(self._partial or self._last_final)) <= _UNMARKED

    def _is_what_was_looked_for(self) -> bool:
        """ "My name is …" "Alice": the end of a sentence that paused for it. A list pauses more."""
        before = self._words_before_halt
        if before is None or len(self._pauses_here) != 1 or self._partial:
            return False
        return 1 <= len(split_words(self.text)) - before <= _UNMARKED

    def _is_short_answer(self) -> bool:
        """Whether a few words in one go follow a question of the agent."""
        if not self._asked or self._pauses_here:
            return False
        return len(split_words(self.text)) <= _SHORT_ANSWER

    def _by_sound(self, wait_s: float) -> float:
        """From a wait, where the audio model has no opinion, towards what it thinks."""
        if self._probability is None:
            return wait_s
        sure = abs(2 * self._probability - 1)
        # Not even a full stop there: it can be as good as one.
        sure_s = self._waits.stated_s if self._punctuates else self._waits.agreed_s
        # A word alone has little of a melody.
        is_word = self._is_what_was_looked_for()
        unsure_s = self._half_in_doubt_s if is_word else self._waits.doubt_s
        towards_s = sure_s if self._probability > 0.5 else unsure_s
        return wait_s + sure * (towards_s - wait_s)

    def _stated_wait_s(self) -> float:
        waits = self._waits
        if self._is_short_answer():
            return self._agreed_wait_s()
        wait_s = self._wait_by_mark_s()
        if self._pauses_here:
            # Whoever paused and went on is likelier to do it again.
            wait_s += _PAUSED_BEFORE_S
        if self._probability is not None and self._probability < 0.5:
            # A full stop alone is no reason to be quicker when it sounds like an end too.
            wait_s = self._by_sound(wait_s)
        # Between two sentences no word tells that another one comes: only the caller's habit does.
        habit_s = min(self._habit_s(_TYPICAL, at_least=1), _LONGEST_HABIT_S)
        return min(max(wait_s, habit_s, self._agreed_wait_s()), waits.doubt_s)

    def _wait_by_mark_s(self) -> float:
        """By how sure the recogniser is of the full stop; not all of them tell."""
        waits = self._waits
        if self._closing_probability is None:
            return waits.stated_s
        sure = (self._closing_probability - _DOUBTED_MARK) / (_SURE_MARK - _DOUBTED_MARK)
        wait_s = waits.doubt_s + min(max(sure, 0.0), 1.0) * (waits.plain_s - waits.doubt_s)
        # An unsure mark is as little a sign there as a missing one.
        if self._is_what_was_looked_for():
            wait_s = min(wait_s, waits.stated_s)
        elif self._is_a_word_or_two():
            wait_s = min(wait_s, self._half_in_doubt_s)
        return wait_s

    def _agreed_wait_s(self) -> float:
        waits = self._waits
        wait_s = waits.agreed_s
        if self._probability is not None and self._probability < 0.3:
            wait_s = waits.plain_s
        # Whoever was cut off at the end of a sentence pauses there.
        return wait_s + min(self._cut_offs, 3.0) / 3.0 * waits.plain_s

    def _dictating_wait_s(self) -> float:
        """Twice the longest pause between the groups, once their rhythm is known."""
        waits = self._waits
        if len(self._pauses_here) < _RHYTHM:
            return waits.dictating_s
        return min(max(2 * max(self._pauses_here), waits.doubt_s), waits.dictating_s)

    def _habit_s(self, share: float, *, at_least: int) -> float:
        """The pause that covers a share of this caller's, once so many are known."""
        if len(self._pauses) < at_least:
            return 0.0
        ordered = sorted(self._pauses)
        return 1.1 * ordered[int(share * (len(ordered) - 1))]

    def _settling_s(self) -> float:
        """The wait which a partial that still changes asks for."""
        if self._changed_at is None or self._ended_at is None:
            return 0.0
        return min(self._changed_at + _SETTLE_S - self._ended_at, self._waits.doubt_s)
