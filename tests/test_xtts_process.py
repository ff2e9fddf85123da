"""The parts of the XTTS plugin that need no process."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livekit.plugins.xtts.languages import MAX_CHARACTERS
from livekit.plugins.xtts.restart import RestartDelay
from livekit.plugins.xtts.xtts_process import frames
from livekit.plugins.xtts.xtts_process.synthesis import to_pcm
from local_tts.text import cut_long, is_speakable


class Dribble(io.RawIOBase):
    """A pipe that gives a byte or two at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, 2))


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none()), st.binary(max_size=300))
def test_frames_come_out_as_they_went_in(header: frames.Header, payload: bytes) -> None:
    data = frames.pack(header, payload) * 2
    stream = Dribble(data)
    assert frames.read(stream) == (header, payload)  # type: ignore[arg-type]
    assert frames.read(stream) == (header, payload)  # type: ignore[arg-type]
    assert frames.read(stream) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("kept", [1, 7, 8, 12, -1])
def test_a_stream_that_ends_within_a_frame_is_broken(kept: int) -> None:
    data = frames.pack({"type": "audio"}, b"samples")[:kept]
    with pytest.raises(frames.FrameError):
        frames.read(io.BytesIO(data))


@pytest.mark.parametrize(
    "data",
    [
        b"Loading model...",
        b"\0\0\0\x02\0\0\0\0[]",
        b"\0\0\0\x02\0\0\0\0{x",
        b"\0\0\0\x02\x7f\0\0\0{}",
    ],
)
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(frames.FrameError):
        frames.read(io.BytesIO(data))


def test_a_frame_that_is_too_long_is_not_sent() -> None:
    with pytest.raises(frames.FrameError):
        frames.pack({"text": "x" * frames.MAX_HEADER_BYTES})


def test_floats_become_samples_and_are_clipped() -> None:
    samples = np.frombuffer(to_pcm(np.array([[0.0, 0.5, -0.5, 1.0, 9.0, -9.0]])), "<i2")
    assert samples.tolist() == [0, 16384, -16384, 32767, 32767, -32768]


def test_restarts_are_further_and_further_apart_until_one_works() -> None:
    now = 100.0
    delay = RestartDelay(lambda: now)
    waits = []
    for _ in range(9):
        assert delay.remaining_s() == 0.0
        delay.failed()
        waits.append(delay.remaining_s())
        now += waits[-1]
    assert waits == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    delay.succeeded()
    delay.failed()
    assert delay.remaining_s() == 0.0


@given(st.text(max_size=600), st.sampled_from(sorted(MAX_CHARACTERS.values())))
def test_a_long_text_is_cut_without_loss(text: str, limit: int) -> None:
    parts = cut_long(text, limit)
    assert "".join(parts) == text
    assert all(0 < len(part) <= limit for part in parts)


@pytest.mark.parametrize("text", ["", " ", "—", "😀", "..."])
def test_what_makes_no_sound_is_known(text: str) -> None:
    assert not is_speakable(text)
