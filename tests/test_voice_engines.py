"""Voice engines are known by one file each; one of the user's own is as good as ours."""

from __future__ import annotations

import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from agent_worker.commands.simulate import talk
from agent_worker.engines.badges import badges
from agent_worker.engines.build import build_engines, import_plugins
from agent_worker.engines.call_options import CallOptions, for_call
from agent_worker.engines.choice import choose
from agent_worker.engines.chosen import Choices
from agent_worker.engines.inventory import Found
from agent_worker.engines.offers import find_offers
from agent_worker.engines.voices import registry
from agent_worker.settings import Settings, load_settings
from tests.own_voice import PITCHES_HZ
from tests.speech import speak

ROOT = Path(__file__).parent.parent
OWN = "tests.own_voice:TONES"
RATE = 24_000


def chosen(**settings: object) -> tuple[Settings, Choices]:
    own = load_settings(stt="bundled", llm="offline", **settings)
    return own, choose(own, Found(voices=registry.find_voices(own)))


def pitch_hz(path: Path) -> float:
    """Of what is loudest in a WAV."""
    with wave.open(str(path)) as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    spectrum = np.abs(np.fft.rfft(samples.astype(np.float64)))
    return float(np.fft.rfftfreq(len(samples), 1 / rate)[spectrum.argmax()])


async def test_a_whole_call_is_spoken_by_an_engine_that_is_one_file_of_the_users(
    tmp_path: Path,
) -> None:
    said = speak("what is two plus three", sample_rate=RATE)
    with wave.open(str(tmp_path / "in.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((said * 32767).astype(np.int16).tobytes())
    own = load_settings(stt="bundled", llm="offline", tts=OWN, tts_voice="high", greeting="")
    lines: list[str] = []
    await talk(own, tmp_path / "in.wav", tmp_path / "out.wav", say=lines.append, warn=lines.append)
    assert any("five" in line.lower() for line in lines)
    assert pitch_hz(tmp_path / "out.wav") == pytest.approx(PITCHES_HZ["high"], abs=5)


async def test_its_voices_are_offered_shown_and_given_to_characters() -> None:
    own, choices = chosen(tts=OWN)
    assert choices.tts.name == f"{OWN} (low)"
    assert badges(choices)[2].name == "Tones low"
    offers = find_offers(own, choices)
    assert [(one.id, one.note, one.language) for one in offers.voices] == [
        ("low", "en", "en"), ("high", "en-GB", "en"), ("tief", "de", "de"),
    ]  # fmt: skip
    _, german = for_call(own, choices, CallOptions(language="de"))
    assert german.tts.detail == "tief"
    import_plugins(choices)
    engines = build_engines(own, choices)
    assert engines.voices is not None
    assert engines.voices("high") is not engines.tts
    assert engines.voices("nobody") is engines.tts
    await engines.aclose()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no.such.module:VOICE", "can't be loaded: No module named 'no'"),
        ("tests.own_voice:NOBODY", "can't be loaded: module 'tests.own_voice' has no attribute"),
        ("tests.own_voice:RATE", "is no VoiceEngine, but a int"),
    ],
)
def test_an_engine_that_is_not_there_is_said_before_a_call(name: str, told: str) -> None:
    own, choices = chosen(tts=name)
    [problem] = choices.problems
    assert told in problem and name in problem
    assert not find_offers(own, choices).voices
    assert badges(choices)[2].name == name
    import_plugins(choices)


def test_each_engine_that_the_settings_name_is_a_file_that_says_so() -> None:
    folder = ROOT / "agent_worker/engines/voices"
    files = {file.stem.replace("_", "-") for file in folder.glob("*.py")}
    assert files == {*registry.OURS, "--init--", "registry", "voice-engine"}
    for name in registry.OURS:
        engine = registry.voice_engine(name)
        assert engine.name == name
        assert engine.title


def test_deciding_on_a_voice_loads_nothing_of_livekit() -> None:
    code = """
import sys
from agent_worker.engines.choice import choose
from agent_worker.engines.inventory import Found
from agent_worker.engines.voices.registry import OURS
from agent_worker.settings import load_settings
for name in ("auto", *OURS):
    choose(load_settings(tts=name), Found())
print("livekit" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
