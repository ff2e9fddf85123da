from __future__ import annotations

import asyncio
import json
import wave
from pathlib import Path

import numpy as np
import pytest

from agent_worker.__main__ import main
from agent_worker.commands.simulate import (
    SAMPLE_RATE,
    Loudspeaker,
    Microphone,
    TalkError,
    check_output,
    read_audio,
    talk,
)
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


async def test_what_comes_late_for_a_stretch_that_was_cut_is_not_played(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loudspeaker = Loudspeaker()
    frame = rtc.AudioFrame(b"\x00\x20" * 4800, SAMPLE_RATE, 1, 4800)
    await loudspeaker.capture_frame(frame)
    await asyncio.sleep(0.02)
    loudspeaker.clear_buffer()
    played = np.count_nonzero(loudspeaker.recording())
    await loudspeaker.capture_frame(frame)
    loudspeaker.flush()
    await asyncio.sleep(0.3)
    assert np.count_nonzero(loudspeaker.recording()) == played
    await loudspeaker.capture_frame(frame)
    loudspeaker.flush()
    await loudspeaker.wait_for_playout()
    assert np.count_nonzero(loudspeaker.recording()) == played + 4800
    assert "playback_finished" not in caplog.text


async def test_a_microphone_is_silent_until_it_is_told_to_speak() -> None:
    microphone = Microphone(np.full(480, 1000, np.int16))
    before = [await anext(microphone) for _ in range(3)]
    assert microphone.speak() == pytest.approx(0.06)
    spoken = await anext(microphone)
    assert not any(any(bytes(frame.data)) for frame in before)
    assert set(spoken.data) == {1000}
    assert microphone.finished.is_set()


@pytest.mark.parametrize(
    ("target", "told"), [("in.wav", "is the input"), ("no/such/folder.wav", "can't be written")]
)
def test_an_answer_that_could_not_be_written_is_said_before_the_call(
    target: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(TalkError, match=told):
        check_output(tmp_path / "in.wav", tmp_path / target)
    check_output(tmp_path / "in.wav", tmp_path / "out.wav")


async def test_a_wav_is_answered_in_a_wav_after_the_greeting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said = speak("what is two plus three", sample_rate=SAMPLE_RATE)
    source = write_wav(tmp_path / "in.wav", said, SAMPLE_RATE)
    target = tmp_path / "out.wav"
    lines: list[str] = []
    warnings: list[str] = []
    settings = load_settings(stt="bundled", llm="offline", tts="espeak", greeting="Good morning.")
    call = await talk(settings, source, target, say=lines.append, warn=warnings.append)
    assert lines[0] == " agent: Good morning.", "the caller waits for it to end"
    assert "two plus three" in lines[1].lower()
    assert "five" in lines[2].lower()
    assert lines[-1].startswith(f"written: {target} (")
    assert any("bundled model knows only" in warning for warning in warnings)
    with wave.open(str(target)) as file:
        answer = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    assert np.abs(answer).max() > 3000
    assert call.output_s == pytest.approx(len(answer) / SAMPLE_RATE, abs=0.02)
    assert [line.who for line in call.lines] == ["agent", "caller", "agent"]
    assert 0.5 < call.began_s < call.output_s
    assert "playback_finished" not in caplog.text


def test_talk_prints_json_for_programs_and_nothing_else_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"LLM": "offline", "TTS": "espeak", "GREETING": ""}.items():
        monkeypatch.setenv(f"AGENT_WORKER_{name}", value)
    source = write_wav(tmp_path / "in.wav", np.zeros(2400), SAMPLE_RATE)
    target = tmp_path / "own.wav"
    assert main(["talk", str(source), "-o", str(target), "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["output"] == str(target)
    assert target.is_file()
    assert main(["talk", str(source), "--quiet"]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")
    assert (tmp_path / "in-answer.wav").is_file()
