"""Opus packets to and from PCM16, through the libopus that comes with PyAV."""

from __future__ import annotations

from typing import Any

import av
import numpy as np

from livekit import rtc

from .protocol import SAMPLE_RATE

_DECODED_RATE = 48_000
"""Hertz; libopus decodes to it whatever was encoded."""


class OpusDecoder:
    """Packets → PCM16, mono, 16 kHz."""

    def __init__(self) -> None:
        self._codec: Any = av.CodecContext.create("libopus", "r")
        self._codec.layout = "mono"
        self._resampler = rtc.AudioResampler(_DECODED_RATE, SAMPLE_RATE)

    def decode(self, packet: bytes) -> bytes:
        """Decodes one packet, never empty.

        Raises:
            ValueError: the packet is no Opus.
        """
        if not packet:
            raise ValueError("an empty packet is no Opus frame")
        try:
            frames = self._codec.decode(av.Packet(packet))
        except av.FFmpegError as e:
            raise ValueError("the packet is no Opus frame") from e
        pcm = bytearray()
        for frame in frames:
            samples = frame.to_ndarray().astype(np.int16).tobytes()
            decoded = rtc.AudioFrame(samples, _DECODED_RATE, 1, len(samples) // 2)
            for part in self._resampler.push(decoded):
                pcm += bytes(part.data)
        return bytes(pcm)


class OpusEncoder:
    """PCM16, mono, 20 ms at a time → packets.

    Args:
        sample_rate: Hertz, one that Opus has.
    """

    def __init__(self, sample_rate: int = SAMPLE_RATE) -> None:
        codec: Any = av.CodecContext.create("libopus", "w")
        codec.sample_rate = self._sample_rate = sample_rate
        codec.layout = "mono"
        codec.format = "s16"
        codec.bit_rate = 24_000
        codec.options = {"frame_duration": "20", "application": "voip"}
        codec.open()
        self._codec = codec
        self._pts = 0

    def encode(self, pcm: bytes) -> list[bytes]:
        """Encodes one frame; a shorter last one is filled up with silence."""
        samples = np.frombuffer(pcm, dtype=np.int16)
        whole = np.zeros(self._codec.frame_size, dtype=np.int16)
        whole[: len(samples)] = samples
        frame = av.AudioFrame.from_ndarray(whole[None, :], format="s16", layout="mono")
        frame.sample_rate = self._sample_rate
        frame.pts = self._pts
        self._pts += len(whole)
        return [bytes(packet) for packet in self._codec.encode(frame)]
