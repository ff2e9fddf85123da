"""A telephone line: what it does to speech, and that words survive it on real weights."""

from __future__ import annotations

import numpy as np
import pytest

from bench import real_parts
from bench.hearing_clips import load
from bench.hearing_score import edits, spoken_words
from bench.telephone import DEGRADATIONS, a_law, from_a_law, from_mu_law, mu_law
from livekit.plugins.faster_whisper.decode import WhisperDecoder
from livekit.plugins.faster_whisper.job import Job
from livekit.plugins.faster_whisper.models import ModelSpec

pytestmark = pytest.mark.timeout(180)


def test_g711_keeps_every_sample_within_its_step() -> None:
    pcm = np.arange(-32000, 32000, 7, dtype=np.int16)
    for there, back in ((mu_law, from_mu_law), (a_law, from_a_law)):
        error = np.abs(back(there(pcm)).astype(int) - pcm)
        # a sixteenth of a segment, and the smallest step near silence
        assert np.all(error <= np.abs(pcm.astype(int)) / 16 + 16)


@pytest.fixture(scope="module")
def decoder() -> WhisperDecoder:
    return WhisperDecoder(ModelSpec(str(real_parts.whisper_base()), device="cpu"))


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_words_survive_the_line(decoder: WhisperDecoder, name: str) -> None:
    clip = load(real_parts.prompt("en", "agent-incorrect"))
    heard = decoder.decode([Job(DEGRADATIONS[name](clip.samples))])[0]
    said = spoken_words(clip.text, "en")
    assert edits(said, spoken_words(heard.text, "en")) <= len(said) // 3, heard.text
