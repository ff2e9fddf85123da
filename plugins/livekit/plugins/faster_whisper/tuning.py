"""How a model is run: the window that it is given, the search, and when its text is doubted."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .job import FULL_FRAMES, AudioContext
from .models import Hardware, ModelSpec
from .soundness import Trust


@dataclass(frozen=True, slots=True)
class Tuning:
    """What suits one family of weights; a window is in mel frames of 10 ms."""

    slack_frames: int
    """Silence that a final's short window keeps behind the speech."""
    wide_slack_frames: int
    """The same for a text that is decoded again."""
    buckets: tuple[int, ...]
    """The windows there are: few, so that requests of several streams fit one batch."""
    final_beam: int
    """Hypotheses kept while a final is searched; partials are greedy."""
    timestamps: bool
    """Let the model write when each sentence begins and ends."""
    partial_slack_frames: int | None = None
    """The same as `slack_frames` for partials; None: no other one."""
    pads_with_silence: bool = True
    """Fill the window up with what silence is to Whisper, not with zeros, which are a hiss."""
    temperatures: tuple[float, ...] = ()
    """Tried in turn on a whole window whose text is weak."""
    trust: Trust | None = field(default_factory=Trust)
    """When a text is decoded again over a wider window; None: only where the decoder looped."""

    def window(
        self, needed_frames: int, audio_ctx: AudioContext = "auto", *, is_final: bool = True
    ) -> int:
        """Returns the frames to encode for that many frames of sound."""
        if audio_ctx == "full":
            return FULL_FRAMES
        slack = self.slack_frames
        if audio_ctx == "wide":
            slack = self.wide_slack_frames
        elif not is_final and self.partial_slack_frames is not None:
            slack = self.partial_slack_frames
        wanted = needed_frames + slack
        return next((bucket for bucket in self.buckets if bucket >= wanted), FULL_FRAMES)

    def is_wide(self, audio_ctx: AudioContext) -> bool:
        """Returns whether a final's window has as much slack as that of a second look."""
        return audio_ctx != "auto" or self.slack_frames >= self.wide_slack_frames


# Measured with Whisper base on people's recordings in five languages (`bench.hearing`'s). Padded
# with silence, 178 of them have 105 words wrong, as many as with plain Whisper; with slack of 160
# frames 138, with 96 156 and every sixteenth doubled. Without time tokens 119, greedy 111, greedy
# without them 136: a text that ends with its time has ended. Padded with zeros, as faster-whisper
# does, 230 others had 175 wrong instead of 157, and four doubled instead of one. A second look with
# 12 s of slack mends as much as one over the whole 30 s in a third of the time.
STOCK = Tuning(
    slack_frames=256,
    wide_slack_frames=1200,
    buckets=(400, 500, 600, 800, 1000, 1500, 2000, FULL_FRAMES),
    final_beam=5,
    timestamps=True,
    temperatures=(0.2, 0.4, 0.6, 0.8, 1.0),
)
# On a GPU CTranslate2 weighs the time tokens row by row and step by step: 8 texts take 812 ms with
# beam 5 on an H100, and 33 without them (large-v3-turbo, 5 s each). So there are none there, and a
# wider window instead, which costs a GPU little. Without them 297 recordings had 269 words wrong in
# the first look with slack of 256 frames and every twelfth doubled, 221 with 500 and one doubled,
# 212 with 1200 and none; 216 over the whole window, with them or without.
ON_GPU = replace(STOCK, slack_frames=1200, partial_slack_frames=500, timestamps=False)
# The bundled model learnt on short windows padded with zeros, and knows no time tokens.
BUNDLED = Tuning(
    slack_frames=32,
    wide_slack_frames=FULL_FRAMES,
    buckets=(200, 300, 400, 600, 800, 1000, 1500, 2000, FULL_FRAMES),
    final_beam=1,
    timestamps=False,
    pads_with_silence=False,
    trust=None,
)


def tuning_for(spec: ModelSpec, hardware: Hardware) -> Tuning:
    """Returns how a model is run where it runs."""
    if spec.is_bundled:
        return BUNDLED
    return STOCK if hardware.device == "cpu" else ON_GPU
