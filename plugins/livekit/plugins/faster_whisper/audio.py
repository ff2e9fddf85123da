"""From LiveKit's audio frames to what Whisper takes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from livekit import rtc

from .job import SAMPLE_RATE


def mono(frame: rtc.AudioFrame) -> rtc.AudioFrame:
    """Returns the frame with its channels mixed into one."""
    if frame.num_channels == 1:
        return frame
    samples = np.frombuffer(frame.data, np.int16).reshape(-1, frame.num_channels)
    mixed = samples.mean(axis=1).astype(np.int16)
    return rtc.AudioFrame(
        data=mixed.tobytes(),
        sample_rate=frame.sample_rate,
        num_channels=1,
        samples_per_channel=len(mixed),
    )


def pcm_of(buffer: rtc.AudioFrame | Iterable[rtc.AudioFrame]) -> bytes:
    """Returns frames of any rate and number of channels as 16-bit mono at 16 kHz.

    Raises:
        TypeError: It holds something other than audio frames.
        ValueError: The frames differ in their rate.
    """
    frames = [buffer] if isinstance(buffer, rtc.AudioFrame) else buffer
    if isinstance(frames, (str, bytes, bytearray, np.ndarray)) or not isinstance(frames, Iterable):
        raise TypeError(
            f"audio must be an rtc.AudioFrame or a list of them, not {type(buffer).__name__}"
        )
    pcm = bytearray()
    rate = 0
    for frame in frames:
        if not isinstance(frame, rtc.AudioFrame):
            raise TypeError(f"audio must hold rtc.AudioFrames, not {type(frame).__name__}")
        if rate and frame.sample_rate != rate:
            raise ValueError("the sample rate of the input frames must be consistent")
        rate = frame.sample_rate
        pcm += bytes(mono(frame).data)
    if not pcm or rate == SAMPLE_RATE:
        return bytes(pcm)
    resampler = rtc.AudioResampler(rate, SAMPLE_RATE, quality=rtc.AudioResamplerQuality.HIGH)
    out = bytearray()
    for piece in (*resampler.push(pcm), *resampler.flush()):
        out += bytes(piece.data)
    return bytes(out)


def to_float(pcm: bytes) -> npt.NDArray[np.float32]:
    """Returns 16-bit audio as numbers in [-1, 1]."""
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)
