"""What Whisper writes where nobody spoke, and the same words where somebody did."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from livekit.plugins.faster_whisper.gates import Evidence, Gates, reason_to_reject
from livekit.plugins.faster_whisper.hints import judged_without_hints
from livekit.plugins.faster_whisper.inventions import (
    Invention,
    has_words,
    is_echo,
    known_invention,
    without_credits,
)
from livekit.plugins.faster_whisper.job import Decoded, Job
from livekit.plugins.faster_whisper.second_look import looked
from livekit.plugins.faster_whisper.soundness import Doubt
from livekit.plugins.faster_whisper.words import Word, text_of

from .stt_probe import silence

TICKETS = ("Two", "tickets", "please.", "Thanks", "for", "watching!")
NAMES = ("Kowalczyk", "Zephyr Bank")


def evidence(text: str, **changes: float) -> Evidence:
    values: dict[str, Any] = {
        "voiced_s": 1.0,
        "no_speech_probability": 0.02,
        "mean_log_probability": -0.2,
    } | changes
    return Evidence(text=text, word_count=len(text.split()), **values)


def heard(text: str, *, sure: float = -0.4, silent: float = 0.3, fits: float = 0.1) -> Decoded:
    """What a model might write; `fits` is the words' own probability."""
    return Decoded(
        words=tuple(Word(f" {word}", 0.0, 1.0, fits) for word in text.split()),
        language="en",
        language_probability=1.0,
        mean_log_probability=sure,
        no_speech_probability=silent,
        frames=600,
    )


@pytest.mark.parametrize(
    "text",
    [
        "Subtitles by the Amara.org community",
        "Thanks for watching!",
        "Untertitel im Auftrag des ZDF für funk, 2017",
        "Untertitelung des ZDF, 2020",
        "Sous-titrage ST' 501",
        "Sous-titres réalisés para la communauté d'Amara.org",
        "Subtítulos realizados por la comunidad de Amara.org",
        "Sottotitoli e revisione a cura di QTSS",
        "Legendas pela comunidade Amara.org",
        "Ondertitels ingediend door de Amara.org gemeenschap",
        "Napisy stworzone przez społeczność Amara.org",
        "Titulky vytvořil JohnyX.",
        "www.hradeckesluzby.cz",
        "Субтитры сделал DimaTorzok",
        "Редактор субтитров А.Семкин Корректор А.Егорова",
        "Altyazı M.K.",
        "ترجمة نانسي قنقر",
        "اشتركوا في القناة",
        "ご視聴ありがとうございました",
        "チャンネル登録をお願いします",
        "시청해주셔서 감사합니다.",
        "시청해 주셔서 감사합니다.",
        "MBC 뉴스 이덕영입니다.",
        "字幕by索兰娅",
        "請不吝點贊訂閱轉發打賞支持明鏡與點點欄目",
        "请不吝点赞 订阅 转发 打赏支持明镜与点点栏目",
        "ТЕЛЕФОННЫЙ ЗВОНОК",
        "ПЕЧАЛЬНАЯ МУЗЫКА",
        "ЗВУК В ДВЕРЬ",
        "Субтитры и Корректор А.Егорова",
        "Sous-titres d'Amérique",
    ],
)
def test_credits_of_subtitles_are_never_taken_for_speech(text: str) -> None:
    assert known_invention(text) is Invention.CREDIT
    assert reason_to_reject(evidence(text), Gates()) == "known invention"


@pytest.mark.parametrize(
    "text",
    [
        "Are there subtitles by now?",
        "Untertitel fehlen in meinem Film",
        "Je voudrais les sous-titres, s'il vous plaît",
        "Thank you for the watch",
        "Мне нужны субтитры",
        "ترجم هذا من فضلك",
        "字幕怎么打开",
        "МТС",
        "КАМАЗ",
        "Я ИЗ США",
        "Bu ne?",
    ],
)
def test_who_speaks_of_subtitles_is_heard(text: str) -> None:
    assert known_invention(text) is None
    assert reason_to_reject(evidence(text), Gates()) is None


@pytest.mark.parametrize(
    "text",
    [
        "Thank you.",
        "Bye!",
        "You.",
        "So?",
        "Goodbye.",
        "Merci.",
        "谢谢",
        "감사합니다",
        "Danke!",
        "www.example.org",
    ],
)
def test_real_thanks_and_goodbyes_count(text: str) -> None:
    assert known_invention(text) is Invention.FAREWELL
    assert reason_to_reject(evidence(text), Gates()) is None
    # as a person's "Goodbye." on a telephone prompt came out, cut here or there
    for sureness, no_speech in ((-0.63, 0.07), (-0.97, 0.2)):
        spoken = evidence(
            text,
            mean_log_probability=sureness,
            no_speech_probability=no_speech,
            voiced_s=0.8,
        )
        assert reason_to_reject(spoken, Gates()) is None
    for doubtful in (
        # as "You." came out of breath
        evidence(text, mean_log_probability=-0.87, no_speech_probability=0.56),
        evidence(text, mean_log_probability=-1.05),
        evidence(text, mean_log_probability=-0.4, no_speech_probability=0.8),
        evidence(text, mean_log_probability=-0.5, voiced_s=0.25),
    ):
        assert reason_to_reject(doubtful, Gates()) == "known invention"


def test_a_farewell_said_twice_is_still_one() -> None:
    assert known_invention("Thank you. Thank you!") is Invention.FAREWELL
    assert known_invention("Thank you. I need a taxi.") is None


@pytest.mark.parametrize("text", ["...", "[Music]", "(upbeat music)", "♪♪", "*sighs*", "。"])
def test_marks_and_descriptions_of_sound_are_no_words(text: str) -> None:
    assert not has_words(text)
    assert reason_to_reject(evidence(text), Gates()) == "empty"


def test_a_text_that_the_model_hardly_believes_is_noise() -> None:
    # as base wrote into white noise, and for a person's "quatorze"
    noise, misheard = (evidence("駕駛", mean_log_probability=lp) for lp in (-2.4, -1.28))
    assert reason_to_reject(noise, Gates()) == "improbable"
    assert reason_to_reject(misheard, Gates()) is None


def test_credits_are_cut_off_the_end_of_real_speech() -> None:
    words = [Word(f" {w}", 0, 1) for w in TICKETS]
    assert text_of(without_credits(words)) == "Two tickets please."
    assert without_credits(words[:3]) == tuple(words[:3])
    for said in (
        "That's all. Thank you.",
        "It's free. For more information, visit www.example.org.",
    ):
        words = [Word(f" {w}", 0, 1) for w in said.split()]
        assert without_credits(words) == tuple(words)
    assert (
        without_credits([Word(" Thanks", 0, 1), Word(" for", 0, 1), Word(" watching.", 0, 1)]) == ()
    )


@pytest.mark.parametrize("text", ["POR POR POR", "Пу-пу-пу-п", "5 5 5 5", "うううう"])
def test_one_word_on_and_on_is_a_loop_where_the_model_hears_silence_too(text: str) -> None:
    in_noise = {"mean_log_probability": -0.83, "no_speech_probability": 0.7}
    assert reason_to_reject(evidence(text, **in_noise), Gates()) == "repetition"
    assert reason_to_reject(evidence(text), Gates()) is None
    assert reason_to_reject(evidence(text, mean_log_probability=-0.83), Gates()) is None
    assert reason_to_reject(evidence(f"Yes, {text}", **in_noise), Gates()) is None


def test_nobody_says_one_letter_on_and_on() -> None:
    assert reason_to_reject(evidence("S-S-S-S-S-S-S"), Gates()) == "repetition"
    for said in (
        "www",
        "5-5-5-5-5-5",
        "I, I, I, I think so",
        "A, A, A",
        "嗯 嗯 嗯 嗯 嗯",
        "对对对对对",
    ):
        assert reason_to_reject(evidence(said), Gates()) is None, said


def test_only_a_text_of_nothing_but_hints_is_an_echo() -> None:
    assert is_echo("Kowalczyk, Zephyr Bank", NAMES)
    assert is_echo("zephyr", NAMES)
    assert not is_echo("Call Kowalczyk", NAMES)
    assert not is_echo("...", NAMES)
    assert not is_echo("yes", ("", ""))


def test_keyterms_that_the_model_repeats_into_noise_do_not_stand() -> None:
    asked: list[Job] = []

    def decode(job: Job) -> Decoded:
        asked.append(job)
        return heard("you", sure=-1.6, silent=0.68)

    job = Job(silence(1.0), keyterms=NAMES, prompt="A bank.")
    assert judged_without_hints(job, heard("Kowalczyk, Zephyr Bank"), decode).text == ""
    assert [(j.keyterms, j.prompt) for j in asked] == [((), "")]


@pytest.mark.parametrize(
    "without_hints",
    [
        heard("You", sure=-0.99, silent=0.76),
        heard("Thank you very much!", sure=-1.25, silent=0.37),
        heard("Beep beep", sure=-0.9, silent=0.54),
        replace(heard("I don't know what to do. I don't", sure=-0.5, silent=0.2), doubt=Doubt.LOOP),
    ],
    ids=lambda bare: bare.text,
)
def test_keyterms_in_whose_place_nothing_is_heard_are_looked_at_once_more(
    without_hints: Decoded,
) -> None:
    job = Job(silence(1.0), keyterms=NAMES, voice=((0.1, 0.9),))
    judged = judged_without_hints(job, heard("Kowalczyk, Zephyr Bank"), lambda _: without_hints)
    assert judged.text == ""
    look = looked(replace(judged, frames=400), None, stands=lambda decoded: bool(decoded.words))
    assert look.wider == "wide"


def test_a_keyterm_is_not_believed_for_being_repeated() -> None:
    twice = heard("Kowalczyk Kowalczyk")
    twice = replace(twice, words=(twice.words[0], replace(twice.words[1], probability=0.61)))
    judged = judged_without_hints(
        Job(silence(1.0), keyterms=NAMES), twice, lambda _: heard("You", sure=-1.0, silent=0.8)
    )
    assert judged.text == ""


def test_a_keyterm_that_was_said_keeps_its_spelling() -> None:
    judged = judged_without_hints(
        Job(silence(1.0), keyterms=NAMES),
        heard("Kowalczyk"),
        lambda job: heard("Kovalchick", sure=-0.7, silent=0.1),
    )
    assert judged.text == "Kowalczyk"
    assert judged.mean_log_probability == -0.7


def test_a_partial_that_only_echoes_waits_for_the_next() -> None:
    def decode(job: Job) -> Decoded:
        raise AssertionError("a partial is not worth a second run")

    job = Job(silence(1.0), keyterms=NAMES, is_final=False)
    assert judged_without_hints(job, heard("Kowalczyk"), decode).text == ""
    # the model would have written it by itself
    assert judged_without_hints(job, heard("Kowalczyk", fits=0.8), decode).text == "Kowalczyk"
    assert judged_without_hints(job, heard("call Kowalczyk"), decode).text == "call Kowalczyk"
