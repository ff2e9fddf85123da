"""A recording of the voice to be cloned, in the form that goes into a request."""

from __future__ import annotations

import base64
from pathlib import Path

_TYPES = {".wav": "wav", ".mp3": "mpeg", ".flac": "flac", ".ogg": "ogg", ".m4a": "mp4"}

MAX_REFERENCE_BYTES = 32 << 20


def read_recording(source: Path | bytes) -> bytes:
    """The bytes of a recording.

    Raises:
        ValueError: There is no such file, it is empty, or it is too large to send each time.
    """
    try:
        recording = source.read_bytes() if isinstance(source, Path) else source
    except OSError as e:
        raise ValueError(f"reference audio {e.filename}: {e.strerror}") from e
    if not 0 < len(recording) <= MAX_REFERENCE_BYTES:
        raise ValueError(f"reference audio of {len(recording)} bytes; a few seconds of WAV will do")
    return recording


def reference_field(source: str | Path | bytes) -> str:
    """What a cloning field holds.

    Args:
        source: A path or bytes are sent as a data URL; a string goes as it is, because servers
            take URLs, paths of their own, and names of stored voices.

    Raises:
        ValueError: The recording cannot be read.
    """
    if isinstance(source, str):
        return source
    kind = _TYPES.get(source.suffix.lower(), "wav") if isinstance(source, Path) else "wav"
    return f"data:audio/{kind};base64,{base64.b64encode(read_recording(source)).decode()}"
