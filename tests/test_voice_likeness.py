"""The measure of how steady a voice is, on voices that are made up."""

from __future__ import annotations

import numpy as np
import pytest

from bench.voice_likeness import RATE, Likeness, Samples, Vector, describe, steadiness


def spoken(pitch_hz: float, formant_hz: float, seed: int) -> Samples:
    """Two seconds of a buzz through one resonance, which glides a little, as a word does."""
    random = np.random.default_rng(seed)
    samples = np.zeros(2 * RATE)
    at = 0.0
    while at < len(samples):
        samples[int(at)] = 1.0
        at += RATE / (pitch_hz * (1 + 0.01 * random.standard_normal()))
    spread = formant_hz * (1 + 0.03 * random.standard_normal())
    radius, angle = 0.97, 2 * np.pi * spread / RATE
    first, second = 2 * radius * np.cos(angle), -(radius**2)
    out = np.zeros_like(samples)
    for n in range(2, len(samples)):
        out[n] = samples[n] + first * out[n - 1] + second * out[n - 2]
    noisy: Samples = out / np.abs(out).max() + 1e-4 * random.standard_normal(len(out))
    return noisy


@pytest.fixture(scope="module")
def people() -> dict[str, list[Vector]]:
    kinds = {"low": (90, 500), "middle": (140, 900), "high": (220, 1500)}
    return {
        name: [describe(spoken(pitch, formant, seed)) for seed in range(5)]
        for name, (pitch, formant) in kinds.items()
    }


def test_a_pitch_is_found_and_not_its_double() -> None:
    for hertz in (80.0, 120.0, 230.0, 350.0):
        assert 2 ** describe(spoken(hertz, 700, 1))[-1] == pytest.approx(hertz, rel=0.08)


def test_one_voice_is_nearer_to_itself_than_to_another(people: dict[str, list[Vector]]) -> None:
    likeness = Likeness.fitted(people)
    for name, voice in people.items():
        others = [v for other, vectors in people.items() if other != name for v in vectors]
        assert likeness.told_apart(voice, others) == 1.0
    assert likeness.distance(people["low"][0], people["low"][0]) == 0


def test_loudness_is_no_voice(people: dict[str, list[Vector]]) -> None:
    likeness = Likeness.fitted(people)
    sound = spoken(140, 900, 77)
    assert likeness.distance(describe(sound), describe(sound * 0.2)) < 0.05


def test_a_voice_that_turns_into_another_is_told_by_its_last_turns(
    people: dict[str, list[Vector]],
) -> None:
    likeness = Likeness.fitted(people)
    steady = steadiness(people["low"], likeness)
    drifting = steadiness(
        [describe(spoken(90 + 15 * n, 500 + 110 * n, n)) for n in range(9)], likeness
    )
    assert drifting.from_the_first > 2 * steady.from_the_first
    assert drifting.from_the_first > drifting.mean
    assert drifting.worst >= drifting.from_the_first
