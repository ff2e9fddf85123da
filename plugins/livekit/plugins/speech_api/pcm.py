"""From whatever samples a server sends to the one form that LiveKit is given."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from livekit import rtc

from .wav import WavFormat, WavReader, looks_like_wav

CHUNK_BYTES = 4096


class PcmReader:
    """Makes 16-bit mono at one rate out of a stream of bytes, cut anywhere.

    A WAV header wins over what was asked for, also where raw samples were expected: a server that
    ignores the format it was asked for would otherwise play its header as a click, and the rest
    at the wrong speed.

    Args:
        sample_rate: Hertz, of what comes out.
        source_rate: Hertz, of raw samples.
        source_channels: Of raw samples.
        expect_wav: Nothing but a WAV file will do.
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        source_rate: int,
        source_channels: int = 1,
        expect_wav: bool = False,
    ) -> None:
        self._sample_rate = sample_rate
        self._format = WavFormat(source_rate, source_channels, 16, False)
        self._wav: WavReader | None = WavReader() if expect_wav else None
        self._start: bytearray | None = None if expect_wav else bytearray()
        self._rest = b""
        self._resampler: rtc.AudioResampler | None = None

    def feed(self, data: bytes, *, whole: bool = False) -> bytes:
        """Takes the next bytes, in pieces of any size.

        Args:
            data: From the server.
            whole: A message of its own, which may be a WAV file with a header of its own.

        Returns:
            Samples that are ready, in whole samples; may be empty.

        Raises:
            WavError: A WAV file was expected or began, and is broken.
        """
        if whole and looks_like_wav(data):
            self._wav, self._start, self._rest = WavReader(), None, b""
        if self._start is not None:
            self._start += data
            if len(self._start) < 12 and b"RIFF".startswith(bytes(self._start[:4])):
                return b""
            data, self._start = bytes(self._start), None
            if looks_like_wav(data):
                self._wav = WavReader()
        if self._wav is None:
            return self._convert(data)
        samples = self._wav.feed(data)
        if self._wav.format is not None:
            self._use(self._wav.format)
        return self._convert(samples)

    def finish(self) -> bytes:
        """The last samples: what the resampler still held. Half a sample at the end is dropped."""
        last = b""
        if self._start is not None and self._start:
            data, self._start = bytes(self._start), None
            last = self._convert(data)
        if self._resampler is not None:
            last += b"".join(bytes(frame.data) for frame in self._resampler.flush())
            self._resampler = None
        return last

    def _use(self, new: WavFormat) -> None:
        if new != self._format:
            self._format, self._resampler, self._rest = new, None, b""

    def _convert(self, data: bytes) -> bytes:
        data = self._rest + data
        whole = len(data) - len(data) % self._format.block_bytes
        data, self._rest = data[:whole], data[whole:]
        if not data:
            return b""
        mono = _to_mono16(data, self._format)
        if self._format.sample_rate == self._sample_rate:
            return mono
        if self._resampler is None:
            self._resampler = rtc.AudioResampler(
                self._format.sample_rate,
                self._sample_rate,
                quality=rtc.AudioResamplerQuality.HIGH,
            )
        return b"".join(bytes(frame.data) for frame in self._resampler.push(bytearray(mono)))


def _to_mono16(data: bytes, layout: WavFormat) -> bytes:
    if layout.bits == 16 and layout.num_channels == 1:
        return data
    samples = _as_float(data, layout).reshape(-1, layout.num_channels).mean(axis=1)
    mono: bytes = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype("<i2").tobytes()
    return mono


def _as_float(data: bytes, layout: WavFormat) -> npt.NDArray[np.float64]:
    """Samples between -1 and 1, channels interleaved."""
    raw: npt.NDArray[np.float64]
    if layout.is_float:
        raw = np.frombuffer(data, "<f4" if layout.bits == 32 else "<f8").astype(np.float64)
        return np.nan_to_num(raw, posinf=1.0, neginf=-1.0)
    if layout.bits == 8:
        raw = np.frombuffer(data, np.uint8).astype(np.float64)
        return (raw - 128.0) / 128.0
    if layout.bits == 24:
        # Three bytes a sample: put under the top byte of a 32-bit word, its sign comes for free.
        words = np.zeros((len(data) // 3, 4), np.uint8)
        words[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        raw = words.reshape(-1).view("<i4").astype(np.float64)
        return raw / 2147483648.0
    kind, full = ("<i2", 32768.0) if layout.bits == 16 else ("<i4", 2147483648.0)
    return np.frombuffer(data, kind).astype(np.float64) / full
