"""Reads a WAV file while it is still being sent.

Speech servers write the header before they know how long the audio will be, so the sizes in it
are zero, all ones, or the length of the first chunk alone; some send a whole WAV file for each
chunk. Only the format in the header is trusted, its lengths are hints.

Source: Multimedia Programming Interface and Data Specifications 1.0 (RIFF, WAVE); EBU Tech 3306
(RF64).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_MAGIC = (b"RIFF", b"RF64")

_PCM = 1
_FLOAT = 3
_EXTENSIBLE = 0xFFFE

_UNKNOWN_SIZES = {0, 0x7FFFFFFF, 0xFFFFFFFF}
# A streaming encoder that subtracts its own header from "unknown" lands a little below it.
_UNKNOWN_FROM = 0x7FFFF000

# What may stand after the samples. Anything else there is audio whose length the header got wrong.
_TRAILING_CHUNKS = {b"LIST", b"fact", b"id3 ", b"ID3 ", b"bext", b"cue ", b"smpl", b"JUNK", b"PEAK"}

# The longest format description that the standard knows has 40 bytes.
_MAX_FORMAT_BYTES = 4096


class WavError(ValueError):
    """The bytes are not a WAV file with uncompressed samples."""


@dataclass(frozen=True)
class WavFormat:
    """How the samples of a WAV file are to be read."""

    sample_rate: int
    """Hertz."""
    num_channels: int
    bits: int
    """Of one sample of one channel: 8, 16, 24, 32 or 64."""
    is_float: bool

    @property
    def block_bytes(self) -> int:
        """Bytes of one sample in all channels."""
        return self.num_channels * self.bits // 8


class WavReader:
    """Turns the bytes of a WAV file, cut anywhere, into the bytes of its samples."""

    def __init__(self) -> None:
        self.format: WavFormat | None = None
        """Known once the header was read."""
        self._buffer = bytearray()
        self._started = False
        self._in_data = False
        self._after_data = False
        self._left: int | None = 0
        """Bytes of the data chunk that are still to come; None when the header did not know."""
        self._skip = 0

    def feed(self, data: bytes) -> bytes:
        """Takes the next bytes of the file.

        Returns:
            The sample bytes among them, in the layout of `format`; empty while the header lasts.

        Raises:
            WavError: It is not a WAV file, or its samples are compressed.
        """
        self._buffer += data
        samples = bytearray()
        while self._step(samples):
            pass
        return bytes(samples)

    def _step(self, samples: bytearray) -> bool:
        """Does one step; false when it needs more bytes."""
        buffer = self._buffer
        if self._skip:
            cut = min(self._skip, len(buffer))
            del buffer[:cut]
            self._skip -= cut
            return self._skip == 0
        if self._in_data:
            return self._read_samples(samples)
        if not self._started or buffer[:4] in _MAGIC:
            return self._read_file_header()
        return self._read_chunk_header()

    def _read_file_header(self) -> bool:
        buffer = self._buffer
        if not any(magic.startswith(bytes(buffer[:4])) for magic in _MAGIC):
            raise WavError("not a WAV file")
        if len(buffer) < 12:
            return False
        if buffer[8:12] != b"WAVE":
            raise WavError("not a WAV file")
        del buffer[:12]
        self._started, self._after_data = True, False
        return True

    def _read_chunk_header(self) -> bool:
        buffer = self._buffer
        if len(buffer) < 8:
            return False
        name, size = bytes(buffer[:4]), struct.unpack_from("<I", buffer, 4)[0]
        if name == b"data" and not self._after_data:
            if self.format is None:
                raise WavError("WAV samples before their format")
            del buffer[:8]
            self._in_data = True
            unknown = size in _UNKNOWN_SIZES or size >= _UNKNOWN_FROM
            self._left = None if unknown else size
            return True
        if name == b"fmt " and not self._after_data:
            if size > _MAX_FORMAT_BYTES:
                raise WavError("the WAV header is broken")
            if len(buffer) < 8 + size:
                return False
            self.format = _parse_format(bytes(buffer[8 : 8 + size]))
            del buffer[: 8 + size + size % 2]
            return True
        if self._after_data and name not in _TRAILING_CHUNKS:
            # The header lied about the length: what follows is more of the same audio.
            self._in_data, self._after_data, self._left = True, False, None
            return True
        del buffer[:8]
        self._skip = size + size % 2
        return True

    def _read_samples(self, samples: bytearray) -> bool:
        buffer = self._buffer
        if not buffer:
            return False
        take = len(buffer) if self._left is None else min(self._left, len(buffer))
        samples += buffer[:take]
        del buffer[:take]
        if self._left is None:
            return False
        self._left -= take
        if self._left == 0:
            self._in_data, self._after_data = False, True
            return True
        return False


def looks_like_wav(data: bytes) -> bool:
    """Whether these are the first bytes of a WAV file."""
    return len(data) >= 12 and data[:4] in _MAGIC and data[8:12] == b"WAVE"


def _parse_format(chunk: bytes) -> WavFormat:
    if len(chunk) < 16:
        raise WavError("the WAV header is cut short")
    tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == _EXTENSIBLE and len(chunk) >= 26:
        tag = struct.unpack_from("<H", chunk, 24)[0]
    supported = (tag == _PCM and bits in (8, 16, 24, 32)) or (tag == _FLOAT and bits in (32, 64))
    if not supported:
        raise WavError(f"WAV samples of format {tag} with {bits} bits cannot be played")
    if not 1 <= channels <= 8 or not 4000 <= rate <= 384_000:
        raise WavError(f"a WAV of {channels} channels at {rate} Hz cannot be played")
    return WavFormat(rate, channels, bits, tag == _FLOAT)
