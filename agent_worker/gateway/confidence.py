"""How sure the recogniser is of what it wrote, which the session's events don't tell."""

from __future__ import annotations

from livekit.agents import stt

_TRANSCRIPTS = (
    stt.SpeechEventType.INTERIM_TRANSCRIPT,
    stt.SpeechEventType.PREFLIGHT_TRANSCRIPT,
    stt.SpeechEventType.FINAL_TRANSCRIPT,
)


class Confidence:
    """Of the transcript that was heard last; told of each event before the session is."""

    def __init__(self) -> None:
        self._last: tuple[str, float] = ("", 0.0)

    def of(self, transcript: str) -> float | None:
        """The confidence of a transcript, 0 to 1; None where the recogniser gave none."""
        text, confidence = self._last
        # Recognisers that know none leave LiveKit's default, 0.
        return confidence if text == transcript and 0 < confidence <= 1 else None

    def heard(self, event: stt.SpeechEvent) -> None:
        """The recogniser has written something."""
        if event.type in _TRANSCRIPTS and event.alternatives:
            best = event.alternatives[0]
            self._last = (best.text, best.confidence)
