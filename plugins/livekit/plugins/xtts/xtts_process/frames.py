"""Frames: four bytes with the length of a JSON object, four with that of what follows it, both.

The lengths are big-endian. Of the standard library alone.
"""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

_PREFIX = struct.Struct(">II")

MAX_HEADER_BYTES = 1 << 20
MAX_PAYLOAD_BYTES = 1 << 24

Header = dict[str, Any]


class FrameError(Exception):
    """The other side does not speak in frames, or stopped in the middle of one."""


def pack(header: Header, payload: bytes = b"") -> bytes:
    """One frame.

    Raises:
        FrameError: It is larger than the other side would take.
    """
    encoded = json.dumps(header).encode()
    if len(encoded) > MAX_HEADER_BYTES or len(payload) > MAX_PAYLOAD_BYTES:
        raise FrameError("the message is too long for a frame")
    return _PREFIX.pack(len(encoded), len(payload)) + encoded + payload


def read(stream: BinaryIO) -> tuple[Header, bytes] | None:
    """Waits for the next frame.

    Returns:
        Its header and payload, or None where the stream ended between two frames.

    Raises:
        FrameError: What came is no frame.
    """
    prefix = _read_all(stream, _PREFIX.size)
    if not prefix:
        return None
    header_bytes, payload_bytes = _PREFIX.unpack(prefix)
    if header_bytes > MAX_HEADER_BYTES or payload_bytes > MAX_PAYLOAD_BYTES:
        raise FrameError("what came is not a frame")
    encoded = _read_all(stream, header_bytes)
    payload = _read_all(stream, payload_bytes)
    if len(encoded) < header_bytes or len(payload) < payload_bytes:
        raise FrameError("the stream ended within a frame")
    try:
        header = json.loads(encoded)
    except ValueError as e:
        raise FrameError("the header of a frame is not JSON") from e
    if not isinstance(header, dict):
        raise FrameError("the header of a frame is not an object")
    return header, payload


def _read_all(stream: BinaryIO, size: int) -> bytes:
    """So many bytes, or those that came before the stream ended within the first frame part."""
    data = bytearray()
    while len(data) < size:
        more = stream.read(size - len(data))
        if not more:
            break
        data += more
    if 0 < len(data) < size and size == _PREFIX.size:
        raise FrameError("the stream ended within a frame")
    return bytes(data)
