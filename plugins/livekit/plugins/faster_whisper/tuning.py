"""How a model is run: the window that it is given, the search, and when its text is doubted."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .job import FULL_FRAMES, AudioContext
from .models import Hardware, ModelSpec
from .soundness import Trust


@dataclass(frozen=True, slots=True)
class Pass:
    """How the model is run for one kind of text."""

    slack_frames: int
    """Silence that a short window keeps behind the speech."""
    timestamps: bool
    """Let the model write when each sentence begins and ends."""
    beam_size: int = 1
    """Hypotheses kept in the search; 1 = greedy."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """What suits one family of weights; a window is in mel frames of 10 ms."""

    final: Pass
    partial: Pass
    wide_slack_frames: int
    """The slack for a text that is decoded again."""
    buckets: tuple[int, ...]
    """The windows there are: few, so that requests of several streams fit one batch."""
    pads_with_silence: bool = True
    """Fill the window up with what silence is to Whisper, not with zeros, which are a hiss."""
    temperatures: tuple[float, ...] = ()
    """Tried in turn on a whole window whose text is weak."""
    trust: Trust | None = field(default_factory=Trust)
    """When a text is decoded again over a wider window; None: only where the decoder looped."""

    def made(self, *, is_final: bool) -> Pass:
        """Returns how a final or a partial is made."""
        return self.final if is_final else self.partial

    def window(
        self, needed_frames: int, audio_ctx: AudioContext = "auto", *, is_final: bool = True
    ) -> int:
        """Returns the frames to encode for that many frames of sound."""
        if audio_ctx == "full":
            return FULL_FRAMES
        slack = self.made(is_final=is_final).slack_frames
        wanted = needed_frames + (self.wide_slack_frames if audio_ctx == "wide" else slack)
        return next((bucket for bucket in self.buckets if bucket >= wanted), FULL_FRAMES)

    def is_wide(self, audio_ctx: AudioContext) -> bool:
        """Returns whether a final's window has as much slack as that of a second look."""
        return audio_ctx != "auto" or self.final.slack_frames >= self.wide_slack_frames


# Measured with Whisper base on people's recordings in five languages (`bench.hearing`'s), padded
# with silence: with zeros, as faster-whisper pads, 230 of them had 175 words wrong instead of 157.
# 594 others in two halves, words wrong in the first look and with a second one over 12 s of slack:
#     final, slack 256, time tokens   239, 235   220, 219, a second look at a weak word below 0.4
#     final, slack 400, no tokens     225, 225   217, 219, below 0.15: 6 instead of 23 of a hundred
#     final, slack 500, no tokens     221, 230   216, 227
#     final, slack 1200, no tokens    212, 228   nothing doubled, at 2.4 times the work
#     partial, slack 256, time tokens      254; without them 326 and every twelfth doubled
# 30 s of window, with time tokens or without, 216 in the first half: no better, at six times the
# work. Less slack is unsound either way (160 frames with tokens: every sixteenth doubled). The
# second line is quicker, but live on 192 English recordings it had 70 words wrong, plain Whisper
# 56; with the first line English is no worse than plain.
STOCK = Tuning(
    final=Pass(256, timestamps=True, beam_size=5),
    partial=Pass(256, timestamps=True),
    wide_slack_frames=1200,
    buckets=(400, 500, 600, 800, 1000, 1500, 2000, FULL_FRAMES),
    temperatures=(0.2, 0.4, 0.6, 0.8, 1.0),
)
# On a GPU CTranslate2 weighs time tokens row by row and step by step: 32 partials take an H100
# 745 ms, and 23 without them (large-v3-turbo, 5 s each). A wider window costs it little,
# so that of the first look is as wide as a second one's.
ON_GPU = replace(
    STOCK,
    final=replace(STOCK.final, slack_frames=STOCK.wide_slack_frames, timestamps=False),
    partial=Pass(500, timestamps=False),
)
# The bundled model learnt on short windows padded with zeros, and knows no time tokens.
BUNDLED = Tuning(
    final=Pass(32, timestamps=False),
    partial=Pass(32, timestamps=False),
    wide_slack_frames=FULL_FRAMES,
    buckets=(200, 300, 400, 600, 800, 1000, 1500, 2000, FULL_FRAMES),
    pads_with_silence=False,
    trust=None,
)


def tuning_for(spec: ModelSpec, hardware: Hardware) -> Tuning:
    """Returns how a model is run where it runs."""
    if spec.is_bundled:
        return BUNDLED
    return STOCK if hardware.device == "cpu" else ON_GPU
