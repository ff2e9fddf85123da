"""What a simulated caller says, hears and reads, without a room."""

from __future__ import annotations

import numpy as np
import pytest

from agent_worker.caller.microphone import CallerError, Line, Spoken
from agent_worker.caller.sound import SAMPLE_RATE, Pcm, Recording, is_audible
from agent_worker.caller.transcripts import Transcripts

FRAME = SAMPLE_RATE // 100


def voice(seconds: float) -> Pcm:
    return np.full(round(seconds * SAMPLE_RATE), 1000, np.int16)


def silence(seconds: float) -> Pcm:
    return np.zeros(round(seconds * SAMPLE_RATE), np.int16)


async def test_a_line_tells_when_its_first_and_its_last_voiced_sample_were_heard() -> None:
    line = Line(np.concatenate([silence(0.1), voice(0.2), silence(0.05)]))
    sent: list[Pcm] = []
    now = 50.0
    while not line.exhausted:
        sent.append(line.next_frame(FRAME, now))
        now += 0.01
    line.finish()
    spoken = await line.done
    assert spoken.started_at == pytest.approx(50.1)
    assert spoken.ended_at == pytest.approx(50.3, abs=1 / SAMPLE_RATE * 2)
    assert isinstance(spoken, Spoken)
    assert sum(is_audible(frame) for frame in sent) == 20


async def test_a_line_ends_with_a_whole_frame_and_needs_a_voice() -> None:
    line = Line(voice(0.015))
    line.next_frame(FRAME, 0.0)
    assert list(line.next_frame(FRAME, 0.01)) == [1000] * (FRAME // 2) + [0] * (FRAME // 2)
    assert line.exhausted
    with pytest.raises(CallerError, match="no voice"):
        Line(silence(0.5))


def test_a_recording_lays_sound_where_it_was_in_the_call() -> None:
    recording = Recording()
    assert not len(recording.samples())
    recording.add(voice(0.5), 1.5)
    recording.add(voice(0.5), 2.05)
    samples = recording.samples()
    assert len(samples) == 2 * SAMPLE_RATE, "50 ms late is jitter, and no hole"
    assert not samples[:SAMPLE_RATE].any()
    assert samples[SAMPLE_RATE:].all()


def test_of_a_segment_the_newest_text_counts_and_others_end_when_all_of_them_did() -> None:
    texts = Transcripts()
    texts.begin("ann", "1", 10.0).text = "what"
    final = texts.begin("ann", "1", 10.5)
    final.text, final.final = "what time is it", True
    answer = texts.begin("agent", "2", 11.0)
    answer.text = "It is "
    assert texts.of("ann", 0.0, 20.0) == "what time is it"
    assert texts.of("ann", 0.0, 10.2) == "what"
    assert texts.of("ann", 0.0, 10.2, only_final=True) == ""
    assert texts.of_others("ann", 10.0, 20.0) == "It is"
    assert not texts.others_ended("ann", 10.0)
    answer.final = True
    assert texts.others_ended("ann", 10.0)
    assert not texts.others_ended("ann", 12.0), "nothing was said since"
