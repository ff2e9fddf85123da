"""What was written in a call's room: who said what, and since when."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass
class Transcript:
    """One transcription stream of a room, as it stands."""

    segment_id: str
    text: str
    final: bool
    at: float
    """When it began, in Unix seconds."""


class Transcripts:
    """All streams of a call, by the identity of who spoke."""

    def __init__(self) -> None:
        self._texts: dict[str, list[Transcript]] = {}

    def begin(self, identity: str, segment_id: str, at: float) -> Transcript:
        """A new stream, to be filled by whoever reads it."""
        text = Transcript(segment_id, "", False, at)
        self._texts.setdefault(identity, []).append(text)
        return text

    def of(self, identity: str, since: float, until: float, *, only_final: bool = False) -> str:
        """What one of them said in a time; of a segment its newest text."""
        segments: dict[str, str] = {}
        for text in self._texts.get(identity, []):
            if since <= text.at < until and (text.final or not only_final):
                segments[text.segment_id] = text.text
        return " ".join(text.strip() for text in segments.values() if text.strip())

    def first_at(self, identity: str, since: float) -> float | None:
        """When one of them was first written down, in Unix seconds; None: not yet."""
        return min((t.at for t in self._texts.get(identity, []) if t.at >= since), default=None)

    def of_others(self, identity: str, since: float, until: float) -> str:
        """What all but one said in a time."""
        parts = [self.of(who, since, until) for who in self._texts if who != identity]
        return " ".join(part for part in parts if part)

    def others_ended(self, identity: str, since: float) -> bool:
        """Whether all but one have said something since, and to its end."""
        texts = [
            text
            for who, texts in self._texts.items()
            if who != identity
            for text in texts
            if text.at >= since
        ]
        return bool(texts) and all(text.final for text in texts)
