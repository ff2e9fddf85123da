from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from bench.listen import REPLIES, largest_jumps, main
from livekit.plugins import espeak
from livekit.plugins.espeak.engine import Engine, Sink, SpeechOptions, WordEvent
from tests import tiny_piper
from tests.tts_probe import pcm, speak


@pytest.fixture(params=["espeak", "piper"])
def recordings(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, np.ndarray]:
    arguments = [str(tmp_path / "out")]
    if request.param == "piper":
        arguments += ["--voice", str(tiny_piper.build(tmp_path / "voice.onnx"))]
    main(arguments)
    found: dict[str, np.ndarray] = {}
    for file in sorted((tmp_path / "out").glob("*.wav")):
        with wave.open(str(file)) as audio:
            found[file.stem[3:]] = np.frombuffer(audio.readframes(audio.getnframes()), np.int16)
    assert (tmp_path / "out" / "listen.txt").read_text().count(".wav") == 10
    return found


def test_ten_recordings_are_heard_to_their_end(recordings: dict[str, np.ndarray]) -> None:
    assert list(recordings) == [reply.name for reply in REPLIES]
    for name, audio in recordings.items():
        assert np.abs(audio).max() > 3000, name
        if name == "cut":
            assert 2.0 <= len(audio) / 22050 < 2.2
        else:
            # It ends in the pause after the last word, not inside the word.
            assert np.abs(audio[-200:]).max() < 0.05 * np.abs(audio).max(), name


async def test_every_sample_of_the_engine_is_heard_once_and_in_order() -> None:
    made: list[bytes] = []

    class Overheard(Engine):
        def synthesize(self, text: str, options: SpeechOptions, sink: Sink) -> None:
            def listen(audio: bytes, events: list[WordEvent]) -> bool:
                made.append(audio)
                return sink(audio, events)

            super().synthesize(text, options, listen)

    voice = espeak.TTS()
    voice._engine = Overheard()
    heard = pcm(await speak(voice, "The end of the last word is heard. " * 30))
    expected = np.frombuffer(b"".join(made), np.int16)
    assert np.array_equal(heard[: len(expected)], expected)
    # LiveKit ends a segment with a silent marker of 10 ms.
    assert len(heard) - len(expected) <= 221
    assert not heard[len(expected) :].any()


def test_a_click_between_frames_would_be_seen() -> None:
    smooth = (8000 * np.sin(np.arange(4000) / 20)).astype(np.int16)
    whole = [smooth[:2000], smooth[2000:]]
    broken = [smooth[:2000], -smooth[2000:]]
    at_borders, inside = largest_jumps(whole)
    assert at_borders <= inside
    at_borders, inside = largest_jumps(broken)
    assert at_borders > 5 * inside
