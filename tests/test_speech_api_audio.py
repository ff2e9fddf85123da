"""What a speech server sends, cut anywhere, becomes the right samples."""

from __future__ import annotations

import base64
import io
import json
import struct
import wave
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livekit.plugins.speech_api.pcm import PcmReader
from livekit.plugins.speech_api.sse import SpeechReader, SseError
from livekit.plugins.speech_api.wav import WavError, WavReader
from local_tts.delivery import frame_size_ms
from local_tts.text import cut_long, is_speakable
from tests.fake_speech_server import wav_header

SAMPLES = np.arange(-500, 500, dtype="<i2").tobytes()

cuts = st.lists(st.integers(0, 2200), max_size=12)


def pieces(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(edge, len(data)) for edge in at), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def read(reader: PcmReader, data: bytes, at: list[int]) -> bytes:
    return b"".join(map(reader.feed, pieces(data, at))) + reader.finish()


def reader(**options: int | bool) -> PcmReader:
    return PcmReader(**{"sample_rate": 24000, "source_rate": 24000, **options})  # type: ignore[arg-type]


@given(cuts)
def test_raw_samples_survive_any_cut(at: list[int]) -> None:
    assert read(reader(), SAMPLES, at) == SAMPLES


@given(cuts, st.sampled_from([0, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFFFFDB, len(SAMPLES)]))
def test_a_wav_survives_any_cut_whatever_length_it_claims(at: list[int], size: int) -> None:
    data = wav_header(24000, size=size) + SAMPLES
    assert read(reader(expect_wav=True), data, at) == SAMPLES
    assert read(reader(), data, at) == SAMPLES


@given(cuts)
def test_chunks_around_the_samples_are_not_played(at: list[int]) -> None:
    plain = io.BytesIO()
    with wave.open(plain, "wb") as file:
        file.setparams((1, 2, 24000, 0, "NONE", ""))
        file.writeframes(SAMPLES)
    notes = b"LIST" + struct.pack("<I", 5) + b"INFOx\0"
    data = plain.getvalue()[:36] + notes + plain.getvalue()[36:] + notes
    assert read(reader(expect_wav=True), data, at) == SAMPLES


@given(cuts)
def test_a_file_for_each_chunk_gives_one_stream(at: list[int]) -> None:
    one = wav_header(24000, size=400) + SAMPLES[:400]
    two = wav_header(24000, size=len(SAMPLES) - 400) + SAMPLES[400:]
    assert read(reader(expect_wav=True), one + two, at) == SAMPLES


def test_audio_beyond_the_length_in_the_header_is_not_lost() -> None:
    data = wav_header(24000, size=400) + SAMPLES
    assert read(reader(expect_wav=True), data, [77]) == SAMPLES


def test_half_a_sample_at_the_end_is_dropped() -> None:
    assert read(reader(), SAMPLES + b"\x01", [3]) == SAMPLES


def test_less_than_a_header_of_raw_samples_is_played() -> None:
    assert read(reader(), b"RIF\0", [1, 2]) == b"RIF\0"
    assert read(reader(), b"RI", [1]) == b"RI"


@pytest.mark.parametrize(
    ("header", "data"),
    [
        (wav_header(24000, bits=8), bytes([0, 128, 192, 255])),
        (wav_header(24000, bits=24), b"\0\0\x80\0\0\0\0\0\x40\xff\xff\x7f"),
        (wav_header(24000, bits=32), struct.pack("<4i", -(2**31), 0, 2**30, 2**31 - 1)),
        (wav_header(24000, bits=32, tag=3), struct.pack("<4f", -1.0, 0.0, 0.5, 7.0)),
        (wav_header(24000, bits=64, tag=3), struct.pack("<4d", -1.0, 0.0, 0.5, float("inf"))),
        (
            wav_header(24000, channels=2),
            struct.pack("<8h", -32768, -32768, 100, -100, 0, 32767, 32767, 32767),
        ),
    ],
)
def test_other_sample_formats_become_16_bit_mono(header: bytes, data: bytes) -> None:
    heard = np.frombuffer(read(reader(expect_wav=True), header + data, [45, 46]), "<i2")
    assert heard == pytest.approx([-32768, 0, 16384, 32767], abs=260)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
def test_another_rate_keeps_length_and_pitch(rate: int) -> None:
    seconds = np.arange(rate) / rate
    tone = (10000 * np.sin(2 * np.pi * 440 * seconds)).astype("<i2").tobytes()
    heard = np.frombuffer(read(reader(expect_wav=True), wav_header(rate) + tone, [999]), "<i2")
    assert len(heard) == pytest.approx(24000, abs=100)
    peak = np.argmax(np.abs(np.fft.rfft(heard.astype(float), 24000)))
    assert peak == pytest.approx(440, abs=1)


@pytest.mark.parametrize(
    "data",
    [
        b"<html><body>no</body></html>",
        b"RIFF\0\0\0\0AVI LIST",
        wav_header(24000, tag=2, bits=4),
        wav_header(10),
        wav_header(24000, channels=20),
        b"RIFF\0\0\0\0WAVEdata\0\0\0\0",
        b"RIFF\0\0\0\0WAVEfmt \xff\xff\xff\x7f",
    ],
)
def test_what_is_no_wav_is_refused(data: bytes) -> None:
    with pytest.raises(WavError):
        WavReader().feed(data)


def test_frames_hold_four_kilobytes_at_most() -> None:
    assert frame_size_ms(22050) == 92
    assert frame_size_ms(24000) == 85
    for rate in (8000, 16000, 22050, 24000, 44100, 48000, 96000):
        assert rate // 1000 * frame_size_ms(rate) * 2 <= 4096


def event(**body: object) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


AUDIO = base64.b64encode(b"\x01\x02\x03").decode()


@pytest.mark.parametrize(
    "data",
    [
        event(type="speech.audio.delta", audio=AUDIO),
        event(delta=AUDIO),
        event(data=AUDIO),
        event(audio={"data": AUDIO}),
        event(audio="data:audio/pcm;base64," + AUDIO),
        event(choices=[{"delta": {"content": "", "audio": {"data": AUDIO}}}]),
        event(choices=[{"message": {"audio": {"data": AUDIO}}}]),
    ],
)
def test_audio_is_found_wherever_servers_put_it(data: bytes) -> None:
    assert [found.audio for found in SpeechReader().feed(data)] == [b"\x01\x02\x03"]


@given(st.lists(st.integers(0, 200), max_size=8))
def test_events_survive_any_cut(at: list[int]) -> None:
    data = b": hi\r\n\r\nevent: x\r\n" + event(audio=AUDIO).replace(b"\n", b"\r\n") * 2
    data += b"data: [DONE]"
    lines = SpeechReader()
    found = [each for piece in pieces(data, at) for each in lines.feed(piece)] + lines.finish()
    assert [each.audio for each in found] == [b"\x01\x02\x03"] * 2 + [b""]
    assert found[-1].done


@pytest.mark.parametrize("data", [b"data: no json\n\n", b"data: 5\n\n", event(audio="%%%")])
def test_an_event_that_cannot_be_read_is_an_error(data: bytes) -> None:
    with pytest.raises(SseError):
        SpeechReader().feed(data)


@given(st.text(), st.integers(16, 60))
def test_a_long_text_is_cut_without_loss(text: str, limit: int) -> None:
    parts = cut_long(text, limit)
    assert "".join(parts) == text
    assert all(0 < len(part) <= limit for part in parts)


def test_a_long_text_is_cut_at_sentences_before_clauses_before_words() -> None:
    assert cut_long("One two. Three, four five", 20) == ["One two. ", "Three, four five"]
    assert cut_long("One two three, four five", 20) == ["One two three, ", "four five"]
    assert cut_long("One two three four five", 20) == ["One two three four ", "five"]


@pytest.mark.parametrize(("text", "sounds"), [("a", True), ("7", True), ("字", True), ("नम", True)])
def test_letters_and_digits_can_be_spoken(text: str, sounds: bool) -> None:
    assert is_speakable(text) is sounds


@pytest.mark.parametrize("text", ["", " ", "—", "😀", "👩‍👩‍👧", "...", "\u200b"])
def test_what_makes_no_sound_is_known(text: str) -> None:
    assert not is_speakable(text)
