"""Windows, prompts and gates: what is asked of the model, and which of its answers stand."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from livekit.plugins.faster_whisper.alignment import whole_words, words_of
from livekit.plugins.faster_whisper.decode import WhisperDecoder, silence_beside
from livekit.plugins.faster_whisper.gates import (
    Evidence,
    Gates,
    compression_ratio,
    reason_to_reject,
    repeats_itself,
)
from livekit.plugins.faster_whisper.job import FULL_FRAMES, Job
from livekit.plugins.faster_whisper.models import Hardware, ModelSpec, choose_hardware
from livekit.plugins.faster_whisper.partials import PartialTranscript
from livekit.plugins.faster_whisper.second_look import looked
from livekit.plugins.faster_whisper.soundness import Doubt
from livekit.plugins.faster_whisper.transcript import speech_data, stands
from livekit.plugins.faster_whisper.tuning import BUNDLED, ON_GPU, STOCK, tuning_for
from livekit.plugins.faster_whisper.utterance import Utterance

from .fake_stt_decoder import decoded
from .speech import speak
from .stt_probe import silence

SPEECH = np.concatenate([silence(0.3), speak("what time is it"), silence(0.2)])


@pytest.fixture
def decoder() -> WhisperDecoder:
    return WhisperDecoder(ModelSpec("bundled"))


def test_a_short_window_is_encoded_where_that_is_enough(decoder: WhisperDecoder) -> None:
    short, full = (
        decoder.decode([Job(SPEECH, audio_ctx=context)])[0] for context in ("auto", "full")
    )
    assert short.text == full.text == "What time is it?"
    assert short.frames < full.frames == FULL_FRAMES


def test_a_window_never_has_the_length_that_ctranslate2_takes_for_a_mel(
    decoder: WhisperDecoder,
) -> None:
    decoder._tuning = replace(decoder._tuning, buckets=(160, 3000))
    job = Job(SPEECH[: 16000 + 1600])
    assert decoder.plan(job).frames == 162
    assert decoder.decode([job])[0].text


def test_a_gpu_is_given_wider_windows_and_asked_for_no_time_tokens(
    decoder: WhisperDecoder,
) -> None:
    # CTranslate2's rules for them cost a GPU a step for each row
    base, bundled = ModelSpec("base"), ModelSpec("bundled")
    for device, tuning in (("cpu", STOCK), ("cuda", ON_GPU)):
        hardware = Hardware(device, "float16", 1)
        assert tuning_for(base, hardware) is tuning
        assert tuning_for(bundled, hardware) is BUNDLED
    decoder._tuning = ON_GPU
    final = decoder.plan(Job(SPEECH))
    partial = decoder.plan(Job(SPEECH, is_final=False))
    assert partial.frames < final.frames == decoder.plan(Job(SPEECH, audio_ctx="wide")).frames
    assert decoder._prompt(Job(SPEECH), "en").tokens[-1] == decoder._tokenizer("en").no_timestamps
    assert decoder.decode([Job(SPEECH)])[0].is_wide
    decoder._tuning = STOCK
    assert not decoder.decode([Job(SPEECH)])[0].is_wide
    assert decoder.decode([Job(SPEECH, audio_ctx="wide")])[0].is_wide


def test_a_window_is_filled_up_with_what_the_model_learnt_as_silence(
    decoder: WhisperDecoder,
) -> None:
    # OpenAI's models saw the spectrum of padded sound; the bundled one's was padded with zeros.
    padded = np.concatenate([SPEECH, silence(2.0)])
    extractor = decoder._model.feature_extractor
    learnt = extractor(padded)[:, len(SPEECH) // 160 + 2 : len(padded) // 160 - 2]
    decoder._tuning = STOCK
    (window,), (length,) = decoder._features([Job(SPEECH)], 600)
    assert np.ptp(learnt) == 0
    np.testing.assert_allclose(window[:, length:], learnt.flat[0], atol=1e-5)
    assert silence_beside(extractor(silence(1.0))) == pytest.approx(extractor(silence(1.0)).min())
    decoder._tuning = BUNDLED
    (window,), (length,) = decoder._features([Job(SPEECH)], 600)
    assert not window[:, length:].any()


def test_a_loop_in_a_short_window_asks_for_the_whole_one(
    decoder: WhisperDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # To write as many tokens as it may is what a decoder does in a loop.
    monkeypatch.setattr(decoder, "_token_limit", lambda duration_s: 3)
    short = decoder.decode([Job(SPEECH)])[0]
    whole = decoder.decode([Job(SPEECH, audio_ctx="full")])[0]
    assert short.repeated and whole.repeated
    look = looked(short, None, stands=lambda _: True)
    assert not look.is_sure and not look.may_be_acted_on
    assert looked(whole, None, stands=lambda _: True).is_sure, "nothing better is to be had"


def test_jobs_of_one_plan_are_decoded_together_each_with_its_own_text(
    decoder: WhisperDecoder,
) -> None:
    sentences = ["tell me a joke", "what time is it", "my name is bob"]
    jobs = [Job(np.concatenate([silence(0.2), speak(s), silence(0.2)])) for s in sentences]
    assert len({decoder.plan(job) for job in jobs}) == 1
    texts = [result.text.lower().strip(".?") for result in decoder.decode(jobs)]
    assert texts == sentences


def test_a_prompt_and_keyterms_go_before_the_start_and_are_bounded(decoder: WhisperDecoder) -> None:
    plain, hinted = Job(SPEECH), Job(SPEECH, prompt="Good morning.", keyterms=("Alice", "Bob"))
    endless = Job(SPEECH, prompt="alice " * 900, keyterms=("bob",) * 900)
    assert decoder.plan(plain).prompt_tokens == 4
    assert decoder.plan(hinted).prompt_tokens > 4
    assert decoder.plan(endless).prompt_tokens <= 4 + 1 + 50 + 50
    assert decoder.decode([hinted])[0].text == "What time is it?"
    tokens = decoder._prompt(hinted, "en").tokens
    tokenizer = decoder._tokenizer("en")
    assert tokens[0] == tokenizer.sot_prev
    assert tokens[-4:] == [*tokenizer.sot_sequence, tokenizer.no_timestamps]


def test_partials_are_greedy_whatever_the_beam(decoder: WhisperDecoder) -> None:
    assert decoder.plan(Job(SPEECH, beam_size=5, is_final=False)).beam_size == 1
    assert decoder.plan(Job(SPEECH, beam_size=5)).beam_size == 5


def test_hardware_is_int8_on_a_cpu_and_what_was_asked_for_elsewhere() -> None:
    assert choose_hardware(ModelSpec("base", device="cpu")).compute_type == "int8"
    asked = choose_hardware(ModelSpec("base", device="cpu", compute_type="float32", cpu_threads=3))
    assert (asked.compute_type, asked.cpu_threads) == ("float32", 3)


def evidence(text: str, **changes: float) -> Evidence:
    values: dict[str, Any] = {
        "voiced_s": 1.0,
        "no_speech_probability": 0.01,
        "mean_log_probability": -0.2,
    } | changes
    return Evidence(text=text, word_count=len(text.split()), **values)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (evidence("what time is it"), None),
        (evidence("yes", voiced_s=0.25), None),
        (evidence("  "), "empty"),
        (evidence("yes", voiced_s=0.1), "too little voice"),
        (evidence("so", no_speech_probability=0.7, mean_log_probability=-1.2), "no speech"),
        (
            evidence("so it goes", no_speech_probability=0.99, mean_log_probability=-0.5),
            "no speech",
        ),
        (evidence("what time", no_speech_probability=0.7, mean_log_probability=-0.3), None),
        (evidence("what can you do " * 6, voiced_s=9.0), "repetition"),
        (
            evidence("one two three four five six seven eight nine", voiced_s=0.5),
            "more words than time",
        ),
        (evidence("Thank you.", voiced_s=0.8), None),
        (
            evidence("Thank you.", mean_log_probability=-0.85, no_speech_probability=0.6),
            "known invention",
        ),
        (evidence("Thank you.", voiced_s=0.3, mean_log_probability=-0.5), "known invention"),
        (evidence("谢谢观看", mean_log_probability=-0.8), "known invention"),
        (evidence("Продолжение следует...", mean_log_probability=-0.8), "known invention"),
    ],
)
def test_invented_texts_are_told_from_spoken_ones(given: Evidence, reason: str | None) -> None:
    assert reason_to_reject(given, Gates()) == reason


def test_spelt_numbers_are_no_repetition() -> None:
    assert not repeats_itself("five five five five five one")
    assert repeats_itself("no " * 14)
    assert repeats_itself("and then and then and then and then")
    assert compression_ratio("") == 0.0


def utterance(*, voiced_windows: int, starts_speech: bool = True) -> Utterance:
    made = Utterance(
        request_id="test",
        start_sample=0,
        starts_speech=starts_speech,
        partials=PartialTranscript(),
        heard_at=0.0,
    )
    made.voiced_windows = voiced_windows
    return made


def test_a_text_from_a_loop_does_not_stand() -> None:
    spoken = utterance(voiced_windows=60)
    assert stands(decoded("what time is it"), spoken, Gates())
    assert not stands(replace(decoded("what time is it"), doubt=Doubt.LOOP), spoken, Gates())


def test_a_short_word_after_a_cut_in_running_speech_stands() -> None:
    assert not stands(decoded("please"), utterance(voiced_windows=4), Gates())
    assert stands(decoded("please"), utterance(voiced_windows=4, starts_speech=False), Gates())


def test_the_quietest_place_near_a_cut_is_found() -> None:
    made = utterance(voiced_windows=0)
    loud = np.full(16000, 8000, "<i2")
    loud[9000:9400] = 3
    made.sound.extend(loud.tobytes())
    assert 9000 <= made.sound.quietest_near(8500, within=960) <= 9400
    rest = utterance(voiced_windows=0)
    made.sound.hand_over(rest.sound, 9200)
    assert np.array_equal(rest.sound.samples() * 32768, loud[9200:])
    assert (made.sound.start_sample, made.sound.end_sample) == (0, 9200)


def test_a_word_is_not_taken_apart_at_a_mark_in_it() -> None:
    texts = [" d", "'Asterisk", ".", " open", "-source", " at", " 5", ":06", "¿", "Que", "?"]
    joined = whole_words(texts, [1] * len(texts))
    assert [text for text, _ in joined] == [
        " d'Asterisk",
        ".",
        " open-source",
        " at",
        " 5:06",
        "¿",
        "Que",
        "?",
    ]
    assert sum(size for _, size in joined) == len(texts), "no token is lost"


def test_a_word_tells_how_sure_the_model_is_of_the_marks_behind_it() -> None:
    texts = [" Well", ",", " he", " said", ".", '"']

    def split(tokens: list[int]) -> tuple[list[str], list[list[int]]]:
        return [*texts, "<end>"], [[token] for token in tokens]

    places = range(len(texts) + 1)
    alignment = SimpleNamespace(
        alignments=[(place, 10 * place) for place in places],
        text_token_probs=[0.9, 0.4, 0.8, 0.7, 0.6, 0.95],
    )
    tokenizer = SimpleNamespace(eot=99, split_to_word_tokens=split)
    words = words_of(alignment, list(range(len(texts))), tokenizer, duration_s=2.0)
    assert [word.text for word in words] == [" Well,", " he", ' said."']
    assert [word.closing_probability for word in words] == [0.4, None, 0.6]
    assert [word.probability for word in words] == [0.9, 0.8, 0.7]


def test_only_the_end_of_a_sentence_is_told_as_one(decoder: WhisperDecoder) -> None:
    words = decoder.decode([Job(SPEECH)])[0].words
    told = speech_data(words, language="en", span_s=(0.0, 2.0), confirmed=words[:1]).metadata
    assert told == {
        "confirmed_words": 1,
        "confirmed_text": "What",
        "closing_probability": words[-1].closing_probability,
    }
    assert 0.5 < told["closing_probability"] <= 1.0
    assert speech_data(words[:-1], language="en", span_s=(0.0, 2.0)).metadata is None
    comma = replace(words[-1], text=" it,")
    assert speech_data([comma], language="en", span_s=(0.0, 2.0)).metadata is None
