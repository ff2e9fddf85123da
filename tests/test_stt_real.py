"""Hearing on real weights: Whisper base and people on the telephone, live.

The recordings are those that the windows' first settings got wrong in ways that plain Whisper does
not. `bench.hearing` is the long form.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest
from livekit.agents.stt import SpeechEventType as Kind

from bench import real_parts
from bench.hearing_clips import Clip, load
from bench.hearing_listeners import PlainWhisper
from bench.hearing_score import edits, is_doubled, lost_tail, spoken_words
from livekit.plugins import faster_whisper

from .stt_probe import Heard, silence, transcribe

pytestmark = pytest.mark.timeout(240)

DOUBLED = ("phonetic/l_p", "digits/h-7", "phonetic/j_p", "vm-savedto", "vm-torerecord")
OTHERS = ("fr:conf-getpin", "ru:agent-loginok", "es:vm-rec-name", "it:agent-loggedoff")
LOST = ("seconds", "conf-onlyperson", "vm-tocancel")


def recording(name: str) -> Clip:
    """A recording by language and name."""
    code, _, prompt = name.partition(":")
    return load(next(r for r in real_parts.prompts(code) if r.name == prompt))


@pytest.fixture
async def stt() -> AsyncIterator[faster_whisper.STT]:
    async with faster_whisper.STT(
        model=str(real_parts.whisper_base()), device="cpu", language="en"
    ) as stt:
        yield stt


async def hear(stt: faster_whisper.STT, clip: Clip) -> Heard:
    stt.update_options(language=clip.language)
    return await transcribe(
        stt.stream(), np.concatenate([silence(0.4), clip.samples, silence(1.0)])
    )


def errors(clip: Clip, text: str) -> int:
    return edits(spoken_words(clip.text, clip.language), spoken_words(text, clip.language))


@pytest.mark.parametrize("name", DOUBLED)
async def test_nothing_is_heard_twice(stt: faster_whisper.STT, name: str) -> None:
    clip = recording(f"en:{name}")
    heard = await hear(stt, clip)
    said = spoken_words(clip.text, "en")
    assert heard.finals
    assert not is_doubled(said, spoken_words(" ".join(heard.finals), "en"))
    for text in heard.texts(Kind.PREFLIGHT_TRANSCRIPT):
        assert not is_doubled(said, spoken_words(text, "en")), text


async def test_a_final_is_as_good_as_plain_whispers_and_keeps_its_last_word(
    stt: faster_whisper.STT,
) -> None:
    ours = plains = 0
    chosen = [recording(f"en:{name}") for name in (*LOST, *DOUBLED[:2])]
    chosen += [recording(name) for name in OTHERS]
    whisper = PlainWhisper(real_parts.whisper_base())
    for clip in chosen:
        heard = " ".join((await hear(stt, clip)).finals)
        plain = whisper.transcribe(clip.samples, clip.language)
        ours += errors(clip, heard)
        plains += errors(clip, plain)
        said = spoken_words(clip.text, clip.language)
        lost = lost_tail(said, spoken_words(heard, clip.language))
        assert not lost or lost_tail(said, spoken_words(plain, clip.language)), heard
    assert ours <= plains + 1


async def test_a_short_word_is_no_politeness(
    stt: faster_whisper.STT,
) -> None:
    heard = await hear(stt, recording("en:digits/today"))
    assert spoken_words(" ".join(heard.finals), "en") == ["today"]


async def test_confirmed_words_never_change(
    stt: faster_whisper.STT,
) -> None:
    for name in ("agent-incorrect", "conf-getpin"):
        heard = await hear(stt, recording(f"en:{name}"))
        final = " ".join(heard.finals)
        confirmed = [
            str((event.alternatives[0].metadata or {})["confirmed_text"])
            for event in heard.of(Kind.INTERIM_TRANSCRIPT)
        ]
        assert len(confirmed) >= 3
        for earlier, later in zip(confirmed, [*confirmed[1:], final], strict=True):
            assert later.startswith(earlier)
