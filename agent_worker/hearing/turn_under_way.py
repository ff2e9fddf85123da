"""What is known of the turn under way, and what is due when. Decisions, without I/O."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from agent_worker.steady_time import steady_time

from .backchannel import BargeInPolicy, Overlap
from .loudness import CallerLoudness, Frame
from .resumed_turn import ResumedTurn
from .turns import EndOfTurnPolicy

_WORDLESS_ASK_S = 0.25
"""Seconds of silence after which a recogniser that has shown no word yet is asked for one."""
_ASKED_AGAIN_WITHIN_S = 1.0
"""Seconds from a final transcript within which the session has surely seen it."""
_REPLY_KEPT = 400
"""Characters of the agent's answer, its end: what it asked last."""


@dataclass(frozen=True)
class Heard:
    """What comes of a transcript."""

    kept: str | None
    """The part of it that is meant for the agent; None: nothing of it."""
    voice: Overlap = Overlap.WAIT
    """What to do with the agent's voice."""


class TurnUnderWay:
    """Holds the policies together: tells each what happens, and says what follows for the turn.

    It is told who begins and ends to speak, what was heard, and what the agent says. Whoever
    carries out does what the methods return (an `Overlap` says what to do with the agent's voice),
    and asks again when `due` has come. Times are seconds on one clock; those of a voice are when
    it sounded, not when it was noticed.
    """

    def __init__(
        self,
        *,
        end_of_turn: EndOfTurnPolicy | None = None,
        barge_in: BargeInPolicy | None = None,
        final_timeout_s: float = 1.5,
        clock: Callable[[], float] = steady_time,
    ) -> None:
        """
        Args:
            end_of_turn: When the caller has finished.
            barge_in: What speech over the agent means.
            final_timeout_s: Seconds of silence after which a turn is over though the recogniser
                still owes the end of it.
            clock: The one that the policies go by too.
        """
        self._end_of_turn = end_of_turn or EndOfTurnPolicy(clock=clock)
        self._barge_in = barge_in or BargeInPolicy(clock=clock)
        self._final_timeout_s = final_timeout_s
        self._clock = clock
        self._loudness = CallerLoudness()
        self._resumed = ResumedTurn()
        self._caller_speaks = False
        self._agent_speaks = False
        self._began_at = 0.0
        self._ended_at: float | None = None
        self._taken_at = math.inf
        self._reply = ""
        self._has_words = False
        self._final_pending = False
        self._asked_for_final = False
        self._final_at = 0.0
        self.finals = 0
        """Final transcripts with words so far in this call."""

    @property
    def text(self) -> str:
        """What was heard of it so far."""
        return self._end_of_turn.text

    @property
    def resumes(self) -> bool:
        """Whether it, or the one taken last, goes on with one that the agent broke into."""
        return self._resumed.resumes

    @property
    def overlaps(self) -> bool:
        """Whether there is speech over the agent's that is not settled yet."""
        return self._barge_in.active

    # -- what happens --------------------------------------------------------------------------

    def sounds(self, frame: Frame) -> None:
        """The microphone gives its next sound."""
        self._loudness.hear(frame)

    def caller_spoke(self, at: float) -> Overlap:
        """The caller begins to speak."""
        self._caller_speaks = True
        self._began_at = at
        self._ended_at = None
        self._resumed.caller_spoke(at)
        self._asked_for_final = False
        self._final_pending = True
        self._has_words = False
        self._end_of_turn.speech_started(at)
        self._loudness.speech_started()
        if self._agent_speaks:
            self._barge_in.speech_started(at)
            return Overlap.WAIT
        # Whatever was prepared for this turn answers another text.
        self._reply = ""
        self._barge_in.settled()
        return Overlap.IGNORE

    def caller_fell_silent(self, at: float) -> None:
        """The caller's voice ends; the transcript may still come."""
        self._caller_speaks = False
        self._ended_at = at
        self._resumed.caller_fell_silent(at)
        self._end_of_turn.speech_ended(at)
        self._barge_in.speech_ended(at)

    def heard(
        self,
        text: str,
        *,
        is_final: bool,
        language: str | None = None,
        closing_probability: float | None = None,
    ) -> Heard:
        """A partial or final transcript of the speech since the last final one.

        Args:
            text: Its words.
            is_final: Whether it will not change any more.
            language: BCP 47 tag of the recogniser, if it tells one.
            closing_probability: How sure it is of the mark at the end, if it tells that.
        """
        heard = Heard(text)
        if self._barge_in.active:
            self._barge_in.heard(text, is_final=is_final, language=language)
            heard = self._over_the_agent(text, is_final)
        if is_final:
            self._final_pending = False
            if heard.kept:
                self.finals += 1
                self._final_at = self._clock()
        if heard.kept:
            self._has_words = True
            self._end_of_turn.heard(
                heard.kept,
                is_final=is_final,
                language=language,
                closing_probability=closing_probability,
            )
        return heard

    def typed(self, text: str | None) -> None:
        """The session has a text of the caller that came by another way than `heard`."""
        if text is not None:
            self._end_of_turn.heard(text, is_final=True)
        self._final_pending = False

    def model_says(self, probability: float) -> None:
        """An audio model's opinion on the silence under way; see `EndOfTurnPolicy`."""
        self._end_of_turn.model_says(probability)

    def agent_says(self, text: str) -> None:
        """The words that the agent speaks now or soon, phrase by phrase."""
        self._reply = f"{self._reply} {text}"[-_REPLY_KEPT:]
        self._barge_in.agent_says(text)
        if self._agent_speaks:
            self._end_of_turn.agent_said(self._reply)

    def agent_spoke(self) -> None:
        """The agent's voice begins to be heard."""
        self._agent_speaks = True
        # Only now: a speculative answer may never be heard.
        self._end_of_turn.agent_said(self._reply)
        self._resumed.agent_spoke(self._clock())
        if self._final_pending and self._began_at > self._taken_at:
            # They went on before a sound of the answer: what is heard is not the agent.
            self._barge_in.speech_started(self._began_at, before_agent=True)
            if self._ended_at is not None:
                self._barge_in.speech_ended(self._ended_at)
        elif self._caller_speaks:
            self._barge_in.speech_started(self._clock())

    def agent_fell_silent(self) -> None:
        """The agent's voice ends."""
        self._agent_speaks = False
        if not self._barge_in.active:
            self._end_of_turn.agent_finished()

    def agent_was_stopped(self) -> None:
        """What the agent was saying, and had not said yet, is dropped."""
        self._reply = ""

    def taken(self) -> None:
        """The turn is over, and is being answered."""
        self._end_of_turn.committed()
        self._resumed.taken()
        self._taken_at = self._clock()

    def was_the_callers(self) -> None:
        """What sounded since the last turn was the caller's own voice."""
        self._loudness.turn_taken()

    def forgotten(self) -> None:
        """What was said and is not answered yet: its speaker left, or takes it back."""
        self._final_pending = False
        self._end_of_turn.dropped()
        self._resumed.forgotten()
        self._barge_in.settled()

    # -- what follows --------------------------------------------------------------------------

    def overlap(self) -> Overlap:
        """What to do with the agent's voice, by all that is known of the speech over it."""
        self._barge_in.loudness(self._loudness.below_usual_db)
        return self._barge_in.decide()

    def wants_final(self) -> bool:
        """Whether to ask the recogniser for the end of the turn now; says so once."""
        at = self._ask_at()
        if at is None or self._clock() < at:
            return False
        self._asked_for_final = True
        return True

    def due(self, *, asks_for_finals: bool = True) -> float | None:
        """When `overlap` or `wants_final` may say something else by time alone; None: never.

        Args:
            asks_for_finals: Whether there is a recogniser that can be asked.
        """
        marks = (self._ask_at() if asks_for_finals else None, self._barge_in.deadline)
        return min((at for at in marks if at is not None), default=None)

    def over_in_s(self, finals: int) -> float:
        """Seconds until the turn is over, unless something new is heard; 0 or less: it is.

        Infinite while that can't be told by time.

        Args:
            finals: How many `finals` there were when whoever asks got to know the turn.
        """
        now = self._clock()
        if self.finals != finals:
            # The session does not have the newest final yet. It asks again when it does.
            return self._final_at + _ASKED_AGAIN_WITHIN_S - now
        due = self._end_of_turn.deadline
        if due is None:
            # A final without a voice that the detector of voice has noticed.
            return 0.0 if self._ended_at is not None or not self._caller_speaks else math.inf
        if self._final_pending and self._ended_at is not None:
            due = max(due, self._ended_at + self._final_timeout_s)
        return due - now

    def _over_the_agent(self, text: str, is_final: bool) -> Heard:
        """What to keep of words said over the agent, and what they mean for its voice."""
        decision = self.overlap()
        kept = self._barge_in.without_echo(text) if decision is Overlap.STOP else None
        if kept and self._barge_in.only_stops:
            self._resumed.dropped()
        if not is_final:
            return Heard(kept, decision)
        if kept is None:
            self._end_of_turn.dropped()
            self._resumed.dropped()
        self._barge_in.settled()
        if kept is None and self._ended_at is None and self._agent_speaks:
            # A long speech comes in several finals, and the rest of it is over the agent too.
            self._barge_in.speech_started(self._clock())
        return Heard(kept, decision if decision is Overlap.STOP else Overlap.IGNORE)

    def _ask_at(self) -> float | None:
        """When to ask the recogniser for the end of the turn."""
        if self._ended_at is None or not self._final_pending or self._asked_for_final:
            return None
        if not self._has_words:
            return self._ended_at + _WORDLESS_ASK_S
        return self._end_of_turn.deadline
