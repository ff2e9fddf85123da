"""What a stream goes by. Each stream takes a snapshot when it starts."""

from __future__ import annotations

from dataclasses import dataclass, field

from .decode import AudioContext
from .gates import Gates
from .voice import VoiceOptions


@dataclass(frozen=True, slots=True)
class Options:
    """The settings of one stream; see `STT` for their meaning."""

    language: str | None = "en"
    prompt: str = ""
    use_context: bool = True
    """Put the text before a cut in front of what follows."""
    keyterms: tuple[str, ...] = ()
    beam_size: int | None = None
    audio_ctx: AudioContext | None = None
    interim_results: bool = True
    interim_interval_s: float = 0.25
    speculative_silence_s: float = 0.18
    max_segment_s: float = 12.0
    voice: VoiceOptions = field(default_factory=VoiceOptions)
    gates: Gates = field(default_factory=Gates)

    @property
    def pause_cut_s(self) -> float:
        """Speech that has lasted this long is cut in its next pause, where no word can be lost."""
        return 0.5 * self.max_segment_s

    @property
    def hard_limit_s(self) -> float:
        """Speech without a pause or a trusted word is cut here, before Whisper's 30 s."""
        return min(28.0, self.max_segment_s + 8.0)
