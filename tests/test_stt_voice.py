"""A pause is noticed by its level, before the detector of voice lets go."""

from __future__ import annotations

import pytest

from livekit.plugins.faster_whisper.voice import PauseTracker

LOUD, SOFT, SILENT = 3000.0, 300.0, 3.0
"""Levels of a voice, of its soft consonants, and of a room."""


def after(*windows: tuple[float, bool]) -> PauseTracker:
    tracker = PauseTracker()
    for rms, voiced in windows:
        tracker.step(rms, voiced=voiced)
    return tracker


def test_silence_that_the_detector_still_calls_voice_is_a_pause() -> None:
    tracker = after(*[(LOUD, True)] * 10, (SILENT, True), (SILENT, True))
    assert tracker.pause_windows == 2
    assert not tracker.sounding


def test_soft_consonants_are_no_pause() -> None:
    assert after(*[(LOUD, True)] * 10, *[(SOFT, True)] * 4).sounding


def test_what_the_detector_calls_silence_is_a_pause_however_loud() -> None:
    assert after(*[(LOUD, True)] * 10, *[(LOUD, False)] * 3).pause_windows == 3


def test_voice_ends_a_pause() -> None:
    assert after(*[(LOUD, True)] * 10, *[(SILENT, False)] * 3, (LOUD, True)).sounding


def test_a_soft_voice_that_goes_on_is_no_pause() -> None:
    tracker = after(*[(LOUD, True)] * 10, *[(SILENT, True)] * 7)
    assert tracker.sounding, "longer than any detector lags behind"


@pytest.mark.parametrize("level", [30.0, 3000.0, 30_000.0])
def test_only_the_speakers_own_level_counts(level: float) -> None:
    assert after(*[(level, True)] * 10, (level / 100, True)).pause_windows == 1
    assert after(*[(level, True)] * 10, (level / 10, True)).sounding


def test_digital_silence_is_a_pause() -> None:
    assert after((LOUD, True), (0.0, True)).pause_windows == 1
    assert after((0.0, False)).pause_windows == 1
