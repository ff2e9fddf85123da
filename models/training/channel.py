"""From a clean voice to what a microphone, a room and a call make of it; and sounds without words.

Signals are mono float32 at 16 kHz unless said otherwise.
"""

from __future__ import annotations

import av
import numpy as np
import numpy.typing as npt

from models.training.speech import SAMPLE_RATE, Audio, resample

CALL_RATE = 48_000
"""Hertz, the rate of Opus in WebRTC."""

Random = np.random.Generator
Signal = npt.NDArray[np.floating]


def noise(length: int, rng: Random) -> Audio:
    """Noise of unit power: white, or falling towards high frequencies."""
    white = rng.standard_normal(length)
    if rng.random() < 0.5:
        return white.astype(np.float32)
    spectrum = np.fft.rfft(white)
    spectrum /= (np.arange(len(spectrum)) + 1.0) ** rng.uniform(0.2, 1.0)
    coloured = np.fft.irfft(spectrum, length)
    return _unit_power(coloured)


def hum(length: int, rng: Random) -> Audio:
    """Mains hum with harmonics."""
    time = np.arange(length) / SAMPLE_RATE
    base = rng.choice([50.0, 60.0, 100.0, 120.0])
    total = np.zeros(length)
    for harmonic in range(1, int(rng.integers(2, 9))):
        phase = rng.uniform(0, 6.28)
        total += np.sin(2 * np.pi * base * harmonic * time + phase) * rng.uniform(0, 1) / harmonic
    total += np.sin(2 * np.pi * base * time)
    return _unit_power(total)


def tones(length: int, rng: Random) -> Audio:
    """Notes or beeps, one after the other, one to three at a time."""
    total = np.zeros(length)
    position = 0
    while position < length:
        size = int(rng.uniform(0.08, 0.8) * SAMPLE_RATE)
        time = np.arange(min(size, length - position)) / SAMPLE_RATE
        for _ in range(int(rng.integers(1, 4))):
            pitch = 10 ** rng.uniform(1.9, 3.5)
            total[position : position + len(time)] += np.sin(2 * np.pi * pitch * time) * np.exp(
                -time * rng.uniform(0, 8)
            )
        position += size + int(rng.uniform(0, 0.3) * SAMPLE_RATE)
    return _unit_power(total)


def clicks(length: int, rng: Random) -> Audio:
    """Short decaying knocks and clicks."""
    total = np.zeros(length)
    for _ in range(int(rng.integers(1, 8))):
        start = int(rng.integers(0, max(1, length - 800)))
        size = min(800, length - start)
        decay = rng.uniform(8, 250)
        total[start : start + size] += rng.standard_normal(size) * np.exp(-np.arange(size) / decay)
    return _unit_peak(total)


def breaths(length: int, rng: Random) -> Audio:
    """Bursts of soft band-passed noise, rising and falling as breath does."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    frequency = np.linspace(0, SAMPLE_RATE / 2, len(spectrum))
    centre, width = rng.uniform(400, 3000), rng.uniform(300, 1500)
    spectrum *= np.exp(-(((frequency - centre) / width) ** 2))
    hiss = np.fft.irfft(spectrum, length)
    envelope = np.zeros(length)
    for _ in range(int(rng.integers(1, 4))):
        size = min(length, int(rng.uniform(0.15, 0.9) * SAMPLE_RATE))
        start = int(rng.integers(0, length - size + 1))
        envelope[start : start + size] += np.sin(np.linspace(0, np.pi, size)) ** rng.uniform(0.6, 2)
    return (_unit_peak(hiss) * envelope).astype(np.float32)


def wordless(rng: Random) -> Audio:
    """0.2 to 10 s of anything but speech, from digital silence to loud."""
    seconds = rng.choice([rng.uniform(0.2, 2), rng.uniform(0.8, 4), rng.uniform(2, 10)])
    length = int(seconds * SAMPLE_RATE)
    kind = rng.random()
    if kind < 0.1:
        return np.zeros(length, np.float32)
    level = 10 ** rng.uniform(-4.5, -0.5)
    if kind < 0.4:
        return _clipped(noise(length, rng) * level)
    source = hum if kind < 0.55 else tones if kind < 0.7 else clicks if kind < 0.85 else breaths
    floor = noise(length, rng) * 10 ** rng.uniform(-5, -2.5) * (rng.random() < 0.7)
    return _clipped(source(length, rng) * level + floor)


def equalised(audio: Audio, rng: Random) -> Audio:
    """A microphone: eight bands up to 6 dB up or down, sometimes no treble."""
    spectrum = np.fft.rfft(audio)
    gains = np.interp(np.linspace(0, 7, len(spectrum)), np.arange(8), rng.uniform(-6, 6, 8))
    response = 10 ** (gains / 20)
    if rng.random() < 0.25:
        cutoff = rng.uniform(3300, 7500) / (SAMPLE_RATE / 2)
        response /= 1 + np.exp((np.linspace(0, 1, len(spectrum)) - cutoff) * 120)
    return np.fft.irfft(spectrum * response, len(audio)).astype(np.float32)


def reverberated(audio: Audio, rng: Random) -> Audio:
    """A small room: a decaying tail of 30 to 200 ms."""
    length = int(rng.uniform(0.03, 0.2) * SAMPLE_RATE)
    tail = rng.standard_normal(length) * np.exp(-np.arange(length) / (length / 5))
    tail *= rng.uniform(0.05, 0.35) / np.sqrt((tail**2).sum())
    tail[0] = 1
    size = 1 << (len(audio) + length - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(audio, size) * np.fft.rfft(tail, size), size)
    return wet[: len(audio)].astype(np.float32)


def through_opus(audio: Audio, bit_rate: int) -> Audio:
    """The signal after a WebRTC call: Opus at 48 kHz and back, delay removed."""
    pcm = (np.clip(resample(audio, SAMPLE_RATE, CALL_RATE), -1, 1) * 32767).astype(np.int16)
    size = CALL_RATE // 50
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = CALL_RATE, "mono", "s16"
    encoder.bit_rate = bit_rate
    encoder.options = {"application": "voip"}
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout, decoder.format = CALL_RATE, "mono", "s16"
    frames = -(-len(pcm) // size) + 1
    pcm_padded = np.pad(pcm, (0, frames * size - len(pcm)))
    packets = []
    for index in range(frames):
        chunk = np.ascontiguousarray(pcm_padded[index * size : (index + 1) * size])
        frame = av.AudioFrame.from_ndarray(chunk[None], "s16", "mono")
        frame.sample_rate, frame.pts = CALL_RATE, index * size
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    heard = [
        frame.to_ndarray().ravel().astype(np.float32) / 32768
        for packet in packets
        for frame in decoder.decode(packet)
    ]
    decoded: Audio = np.concatenate(heard)
    delay = 312  # samples at 48 kHz: libopus' own look-ahead
    return resample(decoded[delay : delay + len(pcm)], CALL_RATE, SAMPLE_RATE)[: len(audio)]


def coded(audio: Audio, rng: Random) -> Audio:
    """A call, at the bit rates that WebRTC clients use."""
    return through_opus(audio, int(rng.choice([12_000, 16_000, 24_000, 32_000, 48_000])))


def as_heard(audio: Audio, rng: Random, clean: float = 0.35) -> Audio:
    """A voice as the agent hears it; with probability ``clean`` without noise."""
    if rng.random() < 0.35:
        audio = equalised(audio, rng)
    if rng.random() < 0.2:
        audio = reverberated(audio, rng)
    audio = audio * (10 ** rng.uniform(-1.5, -0.02) / max(1e-4, float(np.abs(audio).max())))
    if rng.random() > clean:
        power = np.sqrt(np.mean(audio**2) + 1e-10)
        source = hum if rng.random() < 0.12 else noise
        audio = audio + source(len(audio), rng) * power * 10 ** (-rng.uniform(8, 50) / 20)
        if rng.random() < 0.08:
            audio = audio + clicks(len(audio), rng) * float(np.abs(audio).max()) * rng.uniform(
                0, 0.5
            )
    audio = _clipped(audio)
    return coded(audio, rng) if rng.random() < 0.3 else audio


def _unit_power(signal: Signal) -> Audio:
    scaled: Audio = (signal / (signal.std() + 1e-9)).astype(np.float32)
    return scaled


def _unit_peak(signal: Signal) -> Audio:
    scaled: Audio = (signal / (np.abs(signal).max() + 1e-9)).astype(np.float32)
    return scaled


def _clipped(audio: Audio) -> Audio:
    return np.clip(audio, -1, 1).astype(np.float32)
