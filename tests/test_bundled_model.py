"""The bundled Whisper, as anyone would use it: through faster-whisper, from its folder."""

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer

from models.training import channel, grammar, tokens
from models.training.clips import features_of
from models.training.evaluate import DEMO, Listener, edit_distance, units
from models.training.speech import MANDARIN_BASE, PLAIN_VOICE, SAMPLE_RATE, Audio, Voice, render
from models.training.warping import centres, warped

FOLDER = Path(__file__).parents[1] / "plugins/livekit/plugins/faster_whisper/bundled"
MANDARIN = ("你好。", "现在几点？", "谢谢。", "再见。", "三加五是多少？")
TURN_TAKING = (
    "yeah but wait.",
    "um what time is it?",
    "my name is alice and",
    "uh huh.",
    "right.",
    "alice at example dot com.",
    "A L I C E.",
)
Recordings = dict[tuple[str, int], Audio]


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener(FOLDER)


@pytest.fixture(scope="module")
def recordings() -> Recordings:
    """Every sentence of these tests at two rates, by text and rate.

    Rendered in another process: espeak-ng has one state per process, and its plugin has its own
    use for it.
    """
    wanted = [
        (text, Voice(MANDARIN_BASE if text in MANDARIN else PLAIN_VOICE, rate))
        for rate in (150, 175)
        for text in (*DEMO, *MANDARIN, *TURN_TAKING)
    ]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        rendered = pool.submit(render, wanted).result()
    return {
        (text, voice.rate): audio for (text, voice), audio in zip(wanted, rendered, strict=True)
    }


def heard_words(listener: Listener, audio: Audio) -> list[str]:
    return units(listener.text(audio, beam_size=1), grammar.ENGLISH)


def test_the_whole_folder_fits_in_four_megabytes() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 4_000_000


def test_its_card_says_what_it_is_not() -> None:
    card = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Apache-2.0" in card
    assert "not" in card.lower()


def test_its_tokenizer_is_the_one_that_training_writes(tmp_path: Path) -> None:
    tokens.write_tokenizer(tmp_path / "tokenizer.json")
    assert json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8")) == json.loads(
        (FOLDER / "tokenizer.json").read_text(encoding="utf-8")
    )


def test_faster_whisper_takes_it_for_multilingual(listener: Listener) -> None:
    whisper: WhisperModel = listener.whisper
    assert whisper.model.is_multilingual
    for language, token in tokens.LANGUAGES.items():
        tokenizer = Tokenizer(whisper.hf_tokenizer, True, task="transcribe", language=language)
        assert tokenizer.sot_sequence == [tokens.SOT, token, tokens.TRANSCRIBE]
        assert tokenizer.no_speech == tokens.NO_SPEECH
        assert tokenizer.timestamp_begin == tokens.FIRST_TIME


def test_prompts_in_both_languages_become_words_not_bytes() -> None:
    whisper = WhisperModel(str(FOLDER), device="cpu", compute_type="int8", cpu_threads=1)
    for text, count in ((" My name is Alice.", 5), ("现在几点？", 5)):
        ids = whisper.hf_tokenizer.encode(text, add_special_tokens=False).ids
        assert len(ids) == count
        assert whisper.hf_tokenizer.decode(ids).strip() == text.strip()


@pytest.mark.parametrize("sentence", DEMO)
def test_every_sentence_of_the_demo_is_heard_right(
    listener: Listener, recordings: Recordings, sentence: str
) -> None:
    expected = units(sentence, grammar.ENGLISH)
    assert heard_words(listener, recordings[sentence, 150]) == expected
    assert heard_words(listener, recordings[sentence, 175]) == expected


@pytest.mark.parametrize("sentence", DEMO[:6])
def test_the_demo_is_heard_right_after_a_call_through_opus(
    listener: Listener, recordings: Recordings, sentence: str
) -> None:
    audio = channel.through_opus(recordings[sentence, 175], 24_000)
    assert heard_words(listener, audio) == units(sentence, grammar.ENGLISH)


@pytest.mark.parametrize("sentence", DEMO[:6])
def test_a_window_of_the_sound_and_a_little_slack_is_enough(
    listener: Listener, recordings: Recordings, sentence: str
) -> None:
    text = listener.short_window_text(recordings[sentence, 175], grammar.ENGLISH, slack_s=1.5)
    assert units(text, grammar.ENGLISH) == units(sentence, grammar.ENGLISH)


@pytest.mark.parametrize("part", [0.5, 0.65, 0.8])
def test_a_recording_that_breaks_off_gives_the_beginning_of_the_sentence(
    listener: Listener, recordings: Recordings, part: float
) -> None:
    sentence = "remember that my name is alice."
    audio = recordings[sentence, 175]
    heard = heard_words(listener, audio[: int(len(audio) * part)])
    expected = units(sentence, grammar.ENGLISH)
    assert heard == expected[: len(heard)]
    assert 2 <= len(heard) < len(expected)


@pytest.mark.parametrize("options", [{"initial_prompt": "Hello."}, {"hotwords": "LiveKit Bob"}])
def test_a_prompt_adds_no_words(
    listener: Listener, recordings: Recordings, options: dict[str, str]
) -> None:
    text = listener.text(recordings["what time is it?", 175], beam_size=1, **options)
    assert text == "What time is it?"


@pytest.mark.parametrize("sentence", TURN_TAKING)
def test_words_that_steer_turns_are_heard(
    listener: Listener, recordings: Recordings, sentence: str
) -> None:
    heard = heard_words(listener, recordings[sentence, 175])
    assert heard == units(sentence, grammar.ENGLISH)


@pytest.mark.parametrize("sentence", MANDARIN)
def test_mandarin_is_heard_with_its_own_punctuation(
    listener: Listener, recordings: Recordings, sentence: str
) -> None:
    assert listener.text(recordings[sentence, 175], grammar.MANDARIN, beam_size=1) == sentence


@pytest.mark.parametrize(
    ("sentence", "language"),
    [
        ("what time is it?", "en"),
        ("remember that my name is alice.", "en"),
        ("tell me a story.", "en"),
        ("现在几点？", "zh"),
        ("三加五是多少？", "zh"),
    ],
)
def test_the_language_is_detected_and_is_one_of_two(
    listener: Listener, recordings: Recordings, sentence: str, language: str
) -> None:
    detected, probability, every = listener.whisper.detect_language(recordings[sentence, 175])
    assert detected == language
    assert probability > 0.7
    assert {code for code, _ in every} == {"en", "zh"}


@pytest.mark.parametrize("level", [0.003, 0.03, 0.3])
def test_nothing_is_heard_where_nobody_speaks(listener: Listener, level: float) -> None:
    rng = np.random.default_rng(4)
    length = 2 * SAMPLE_RATE
    sounds = {
        "silence": np.zeros(length, np.float32),
        "noise": channel.noise(length, rng) * level,
        "hum": channel.hum(length, rng) * level,
        "clicks": channel.clicks(length, rng) * level,
        "breaths": channel.breaths(length, rng) * level,
    }
    heard = {name: listener.text(sound, beam_size=1) for name, sound in sounds.items()}
    assert heard == dict.fromkeys(sounds, "")


def test_its_no_speech_probability_tells_speech_from_silence(
    listener: Listener, recordings: Recordings
) -> None:
    assert listener.no_speech(np.zeros(2 * SAMPLE_RATE, np.float32)) > 0.6
    assert listener.no_speech(recordings["what time is it?", 175]) < 0.1


def test_word_times_follow_the_words(listener: Listener, recordings: Recordings) -> None:
    audio = recordings["remember that my name is alice.", 175]
    segments, _ = listener.whisper.transcribe(
        audio, language="en", beam_size=1, word_timestamps=True
    )
    words = [word for segment in segments for word in segment.words or []]
    starts = [float(word.start) for word in words]
    assert len(words) == 6
    assert starts == sorted(starts)
    assert 0.4 < starts[1] < 1.2  # the first word is given from the start of the recording
    assert len(audio) / SAMPLE_RATE - 1.0 < starts[-1] < len(audio) / SAMPLE_RATE


def test_errors_are_counted_as_edits() -> None:
    assert edit_distance(units("what time is it?", "en"), units("What is it now.", "en")) == 2
    assert edit_distance([], ["hello"]) == 1
    assert edit_distance(["hello"], ["hello"]) == 0


@pytest.mark.parametrize("factor", [0.8, 1.25])
@pytest.mark.parametrize("hertz", [500.0, 1500.0, 3000.0])
def test_a_warp_moves_a_tone_to_its_frequency_times_the_factor(hertz: float, factor: float) -> None:
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    features = features_of(np.sin(2 * np.pi * hertz * time).astype(np.float32))
    loudest = int(warped(features, (factor,) * 5)[50].argmax())
    expected = int(np.abs(centres() - hertz * factor).argmin())
    assert abs(loudest - expected) <= 1
