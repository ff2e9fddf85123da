"""The caller's own loudness, and what lies far below it."""

from __future__ import annotations

import numpy as np
import pytest

from agent_worker.hearing.loudness import CallerLoudness
from livekit import rtc

RATE = 16_000


def frames(level_db: float, seconds: float, *, seed: int = 1) -> list[rtc.AudioFrame]:
    """Noise that comes and goes like syllables do, 20 ms at a time."""
    random = np.random.default_rng(seed)
    made = []
    for number in range(int(seconds / 0.02)):
        syllable_db = -25.0 if number % 12 > 8 else 0.0
        noise = random.normal(0, 32768 * 10 ** ((level_db + syllable_db) / 20), RATE // 50)
        samples = np.clip(noise, -32768, 32767).astype(np.int16)
        made.append(rtc.AudioFrame(samples.tobytes(), RATE, 1, len(samples)))
    return made


def speak(loudness: CallerLoudness, level_db: float, seconds: float = 1.5) -> None:
    """A voice that is noticed a little late."""
    for frame in frames(-80.0, 1.0):
        loudness.hear(frame)
    voice = frames(level_db, seconds)
    for frame in voice[:5]:
        loudness.hear(frame)
    loudness.speech_started()
    for frame in voice[5:]:
        loudness.hear(frame)


def test_nothing_is_faint_before_the_first_turn() -> None:
    loudness = CallerLoudness()
    speak(loudness, -60.0)
    assert loudness.below_usual_db == 0.0


@pytest.mark.parametrize("seconds", [0.4, 1.5, 6.0, 15.0])
def test_an_echo_of_minus_20_db_is_20_db_below_however_long(seconds: float) -> None:
    loudness = CallerLoudness()
    speak(loudness, -25.0)
    loudness.turn_taken()
    speak(loudness, -45.0, seconds)
    assert loudness.below_usual_db == pytest.approx(20.0, abs=3.0)
    speak(loudness, -25.0, seconds)
    assert loudness.below_usual_db == pytest.approx(0.0, abs=3.0)


def test_a_caller_who_moves_away_is_known_again_after_some_turns() -> None:
    loudness = CallerLoudness()
    speak(loudness, -25.0)
    loudness.turn_taken()
    for _ in range(3):
        speak(loudness, -40.0)
        loudness.turn_taken()
    assert loudness.below_usual_db < 5.0


def test_digital_silence_is_no_turn() -> None:
    loudness = CallerLoudness()
    loudness.hear(rtc.AudioFrame.create(RATE, 1, 320))
    loudness.speech_started()
    loudness.turn_taken()
    speak(loudness, -30.0)
    assert loudness.below_usual_db == 0.0
