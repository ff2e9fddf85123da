"""Keeps words out that nobody said: Whisper writes text for hum, breath and silence too."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

# What Whisper learnt from the ends of subtitled videos. Each is dropped only when the sound was
# hardly voiced or the model hardly sure, since people do say "thank you".
_KNOWN_INVENTIONS = frozenset(
    {
        "thank you",
        "thank you very much",
        "thanks for watching",
        "thank you for watching",
        "please subscribe",
        "like and subscribe",
        "subtitles by the amara org community",
        "bye",
        "bye bye",
        "you",
        "so",
        "oh",
        "okay",
        "hmm",
        "sous titres réalisés par la communauté d amara org",
        "merci d avoir regardé cette vidéo",
        "untertitel der amara org community",
        "untertitel von der amara org community",
        "vielen dank fürs zuschauen",
        "gracias por ver el video",
        "subtítulos realizados por la comunidad de amara org",
        "sottotitoli creati dalla comunità amara org",
        "grazie per aver guardato il video",
        "obrigado por assistir",
        "legendas pela comunidade amara org",
        "продолжение следует",
        "спасибо за просмотр",
        "субтитры сделал dimatorzok",
        "谢谢观看",
        "謝謝觀看",
        "谢谢大家",
        "請不吝點贊訂閱轉發打賞支持明鏡與點點欄目",
        "请不吝点赞订阅转发打赏支持明镜与点点栏目",
        "字幕by索兰娅",
        "ご視聴ありがとうございました",
        "시청해주셔서 감사합니다",
    }
)


@dataclass(frozen=True, slots=True)
class Gates:
    """Limits beyond which a decoded text counts as invented."""

    min_voiced_s: float = 0.2
    """Seconds of voice below which nothing was said."""
    no_speech: float = 0.6
    """Probability of the no-speech token above which a weak text is dropped."""
    log_probability: float = -1.0
    """Mean per token below which a text is weak."""
    compression_ratio: float = 2.4
    """Above this the text repeats itself."""
    words_per_s: float = 7.0
    """Nobody speaks faster than this over a whole utterance."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one decoded text."""

    text: str
    word_count: int
    voiced_s: float
    """Seconds in which the voice detector heard a voice."""
    no_speech_probability: float
    mean_log_probability: float


def compression_ratio(text: str) -> float:
    """Returns how far zlib shrinks the text: over 2.4 it repeats itself (Whisper's own measure)."""
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw)) if raw else 0.0


def repeats_itself(text: str, limit: float = 2.4) -> bool:
    """Tells a decoder's loop: the text compresses too well, or one to four words come on and on."""
    if compression_ratio(text) > limit:
        return True
    words = _plain(text).split()
    for size in (1, 2, 3, 4):
        times = 5 if size == 1 else 4
        for start in range(len(words) - size * times + 1):
            unit = words[start : start + size]
            if all(
                words[start + k * size : start + (k + 1) * size] == unit for k in range(1, times)
            ):
                # A spelt number may well hold five equal digits; looping decoders write far more.
                if size == 1 and len(words) < 12:
                    continue
                return True
    return False


def reason_to_reject(evidence: Evidence, gates: Gates) -> str | None:
    """Returns why the text counts as invented, or None where it stands."""
    if not evidence.text.strip():
        return "empty"
    if evidence.voiced_s < gates.min_voiced_s:
        return "too little voice"
    weak = evidence.mean_log_probability < gates.log_probability
    if evidence.no_speech_probability > gates.no_speech and weak:
        return "no speech"
    # A model this sure of silence needs no second witness, short of a text it is sure of as well.
    if evidence.no_speech_probability > 0.95 and evidence.mean_log_probability < -0.3:
        return "no speech"
    if repeats_itself(evidence.text, gates.compression_ratio):
        return "repetition"
    if evidence.word_count > 3 + gates.words_per_s * evidence.voiced_s:
        return "more words than time"
    improbable = evidence.mean_log_probability < 0.6 * gates.log_probability
    weakly_voiced = evidence.voiced_s < max(0.4, 0.12 * evidence.word_count)
    if _plain(evidence.text) in _KNOWN_INVENTIONS and (
        improbable or (weakly_voiced and evidence.mean_log_probability < -0.35)
    ):
        return "known invention"
    return None


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w]+", " ", text.casefold()).split())
