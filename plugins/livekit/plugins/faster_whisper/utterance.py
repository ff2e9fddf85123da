"""One stretch of speech: what has been found out about it, and what is to be done next. No I/O.

Its listener tells it what is heard (`hear`, `begin_with`, `close`, `ask_for_an_answer`); its stream
asks for the next step and tells it what came of it. Nobody else writes here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from .job import SAMPLE_RATE
from .kept_sound import KeptSound
from .options import Options
from .partials import PartialTranscript
from .second_look import Look
from .voice import WINDOW, WINDOW_S
from .words import Word

_PAUSE_BEGINS_S = 0.03


class NextStep(Enum):
    """What a stream does next for its oldest utterance."""

    FINAL = auto()
    """It is over: send what was said."""
    SPECULATE = auto()
    """It may be over: make a final ahead of time."""
    PARTIAL = auto()
    """There is enough new speech to show."""
    WAIT = auto()
    """Nothing is to be done before more is heard."""


@dataclass(frozen=True, slots=True)
class Speculation:
    """A final made before it was known that the speech had ended."""

    words: tuple[Word, ...]
    sounded_windows: int
    """Sound heard when it was made; more since then makes it void."""
    look: Look
    """What it was made of."""


class Utterance:
    """Audio from one start of speech, or from a cut, to the next end or cut."""

    def __init__(
        self,
        *,
        request_id: str,
        start_sample: int,
        starts_speech: bool,
        partials: PartialTranscript,
        heard_at: float,
    ) -> None:
        """Starts without audio.

        Args:
            request_id: Names it in events.
            start_sample: Where its first sample lies in the stream.
            starts_speech: Whether it begins with speech, not with a cut in running speech.
            partials: Grows its live transcript.
            heard_at: Wall clock when its speech began, seconds since the epoch.
        """
        self.request_id = request_id
        self.starts_speech = starts_speech
        self.partials = partials
        self.sound = KeptSound(start_sample)
        self.heard_at = heard_at
        self.last_heard_at = heard_at
        """Wall clock of the last voice."""
        self.onset_s = start_sample / SAMPLE_RATE
        """Where in the stream the voice begins."""
        self.closed = False
        self.ends_speech = True
        """Whether it ends with speech, not with a cut; known once it is closed."""
        self.flushed = False
        """Whether somebody waits for its final, empty or not."""
        self.voiced_windows = 0
        """In which the detector heard a voice."""
        self.sounded_windows = 0
        """In which there was sound as loud as the speaker's."""
        self.silence_s = 0.0
        """Since the last voice."""
        self.pause_s = 0.0
        """Since the last sound of the speaker."""
        self.announced = False
        self.interim_shown = False
        self.speculation: Speculation | None = None
        self._speculated_windows = 0
        self._decoded_sounded_windows = 0
        self._decoded_at_sample = start_sample

    def begin_with(self, pcm: bytes, voiced_windows: int) -> None:
        """Takes the sound that led up to the speech, of which the last windows are voiced."""
        self.sound.extend(pcm)
        self.sound.note_voice(WINDOW * voiced_windows)
        self.voiced_windows = self.sounded_windows = voiced_windows
        self.onset_s = self.sound.end_s - voiced_windows * WINDOW_S

    def hear(
        self,
        window: bytes,
        *,
        voiced: bool,
        sounding: bool,
        silence_s: float,
        pause_s: float,
        at: float,
    ) -> None:
        """Takes one more window of the voice detector, and what was found in it.

        Args:
            window: 16-bit mono audio.
            voiced: Whether the detector heard a voice in it.
            sounding: Whether it is as loud as the speaker.
            silence_s: Seconds since the last voice.
            pause_s: Seconds since the last sound of the speaker.
            at: Wall clock, seconds since the epoch.
        """
        self.sound.extend(window)
        self.silence_s = silence_s
        self.pause_s = pause_s
        self.sounded_windows += sounding
        if voiced:
            self.voiced_windows += 1
            self.sound.note_voice(WINDOW)
            self.last_heard_at = at

    def close(self, *, ends_speech: bool = True) -> None:
        """Ends it: nothing more will be heard."""
        self.closed = True
        self.ends_speech = ends_speech

    def cut_at(self, at_sample: int, after: Utterance) -> None:
        """Ends it in running speech, and hands what it heard since to the next one."""
        voiced = self.sound.hand_over(after.sound, at_sample) // WINDOW
        after.voiced_windows = after.sounded_windows = voiced
        after.partials = self.partials.split_off(at_sample / SAMPLE_RATE)
        self.voiced_windows = max(0, self.voiced_windows - voiced)
        if voiced:
            # What was prepared holds for all of it.
            self.speculation = None
        self.close(ends_speech=False)

    def ask_for_an_answer(self) -> None:
        """Has a final sent even where nothing was said."""
        self.flushed = True

    def next_step(self, options: Options) -> NextStep:
        """Returns what to do next."""
        if self.closed:
            return NextStep.FINAL
        if self.may_be_over(options):
            return NextStep.SPECULATE
        return NextStep.PARTIAL if self._has_news(options) else NextStep.WAIT

    def may_be_over(self, options: Options) -> bool:
        """Tells whether a pause is long enough for a final ahead of time that is not made yet."""
        return (
            self.pause_s >= options.speculative_silence_s
            and self.sounded_windows > self._speculated_windows
        )

    @property
    def prepared(self) -> Speculation | None:
        """A final that was made ahead of time and still holds."""
        made = self.speculation
        if made is None or made.sounded_windows != self.sounded_windows:
            return None
        return made

    def partial_begins(self) -> None:
        """Notes that what was heard up to now is being decoded."""
        self._decoded_at_sample = self.sound.end_sample
        self._decoded_sounded_windows = self.sounded_windows

    def speculation_begins(self) -> int:
        """Notes that a final is being made, and returns the windows of sound that it covers."""
        # A partial of the same speech afterwards would make the preflight look outdated.
        self.partial_begins()
        self._speculated_windows = self.sounded_windows
        return self.sounded_windows

    def prepare(self, made: Speculation) -> bool:
        """Keeps a final that was made ahead of time; tells whether it says something new."""
        earlier, self.speculation = self.speculation, made
        if earlier is None or earlier.sounded_windows != made.sounded_windows:
            return True
        return [word.text for word in earlier.words] != [word.text for word in made.words]

    def _has_news(self, options: Options) -> bool:
        if not options.interim_results:
            return False
        if self.pause_s > _PAUSE_BEGINS_S:
            # A run can't be stopped; one that starts now would hold the speculative final up.
            return False
        new = (self.sound.end_sample - self._decoded_at_sample) / SAMPLE_RATE
        # The pre-roll is not news, but saves no time either.
        if self._decoded_sounded_windows == 0:
            new = self.sounded_windows * WINDOW_S
        has_new_sound = self.sounded_windows > self._decoded_sounded_windows
        return has_new_sound and new >= options.interim_interval_s
