from __future__ import annotations

import asyncio
import wave
from pathlib import Path

import numpy as np
import pytest

from agent_worker.commands.simulate import SAMPLE_RATE, Loudspeaker, TalkError, read_audio, talk
from agent_worker.settings import load_settings
from livekit import rtc
from tests.speech import speak


def write_wav(path: Path, samples: np.ndarray, rate: int, *, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype(np.int16).tobytes())
    return path


def test_any_rate_and_stereo_are_read_as_mono_at_our_rate(tmp_path: Path) -> None:
    tone = np.sin(np.arange(44_100) * 2 * np.pi * 440 / 44_100) * 0.5
    path = write_wav(tmp_path / "in.wav", np.repeat(tone, 2), 44_100, channels=2)
    samples = read_audio(path)
    assert len(samples) == pytest.approx(SAMPLE_RATE, abs=100)
    assert np.abs(samples).max() == pytest.approx(16_384, rel=0.05)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"not a wav", "no sound file that can be read")],
)
def test_a_file_that_cannot_be_heard_is_named(
    content: bytes | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "in.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TalkError, match=message) as raised:
        read_audio(path)
    assert str(path) in str(raised.value)


def test_a_wav_without_samples_is_named(tmp_path: Path) -> None:
    with pytest.raises(TalkError, match="holds no sound"):
        read_audio(write_wav(tmp_path / "in.wav", np.zeros(0), 16_000))


async def test_what_is_cut_off_is_not_in_the_recording() -> None:
    loudspeaker = Loudspeaker()
    frame = rtc.AudioFrame(b"\x00\x20" * SAMPLE_RATE, SAMPLE_RATE, 1, SAMPLE_RATE)
    await loudspeaker.capture_frame(frame)
    await asyncio.sleep(0.1)
    loudspeaker.clear_buffer()
    played = await loudspeaker.wait_for_playout()
    assert played.interrupted
    assert 0.05 < played.playback_position < 0.9
    recorded = np.count_nonzero(loudspeaker.recording()) / SAMPLE_RATE
    assert recorded == pytest.approx(played.playback_position, abs=0.01)


async def test_a_pause_holds_the_voice_and_nothing_of_it_is_lost() -> None:
    loudspeaker = Loudspeaker()
    frame = rtc.AudioFrame(b"\x00\x20" * 4800, SAMPLE_RATE, 1, 4800)
    await loudspeaker.capture_frame(frame)
    loudspeaker.flush()
    await asyncio.sleep(0.05)
    loudspeaker.pause()
    await asyncio.sleep(0.4)
    assert not loudspeaker.silent
    loudspeaker.resume()
    played = await loudspeaker.wait_for_playout()
    assert not played.interrupted
    assert np.count_nonzero(loudspeaker.recording()) == 4800
    assert len(loudspeaker.recording()) > SAMPLE_RATE * 0.4


async def test_a_wav_is_answered_in_a_wav(tmp_path: Path) -> None:
    second = np.zeros(SAMPLE_RATE, np.float32)
    said = speak("what is two plus three", sample_rate=SAMPLE_RATE)
    source = write_wav(tmp_path / "in.wav", np.concatenate([second, said, second]), SAMPLE_RATE)
    target = tmp_path / "out.wav"
    lines: list[str] = []
    settings = load_settings(stt="bundled", llm="offline", tts="espeak", greeting="")
    await talk(settings, source, target, say=lines.append)
    assert any("two plus three" in line.lower() for line in lines if "heard" in line)
    assert any("five" in line.lower() for line in lines if "agent" in line)
    with wave.open(str(target)) as file:
        answer = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    assert np.abs(answer).max() > 3000
