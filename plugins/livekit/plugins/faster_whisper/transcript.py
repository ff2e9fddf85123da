"""From what the model wrote to what LiveKit is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from livekit.agents import LanguageCode, stt
from livekit.agents.types import TimedString

from .chinese_scripts import CHINESE, script_of, words_in_script
from .gates import Gates, reason_to_reject
from .inventions import without_credits
from .job import Decoded
from .language import parse_language
from .log import logger
from .utterance import Utterance
from .voice import WINDOW_S
from .words import Word, text_of

_ONSET_SLACK_S = 0.1
_MIN_VOICED_AFTER_CUT_S = 0.06


def stands(decoded: Decoded, utterance: Utterance, gates: Gates) -> bool:
    """Tells whether somebody said what the model wrote."""
    if not utterance.starts_speech:
        # What follows a cut in running speech may be as short as "please".
        gates = replace(gates, min_voiced_s=min(gates.min_voiced_s, _MIN_VOICED_AFTER_CUT_S))
    reason = reason_to_reject(decoded.evidence(utterance.voiced_windows * WINDOW_S), gates)
    if reason is not None:
        logger.debug("a transcript was rejected", extra={"reason": reason})
    return reason is None


def words_in_stream(decoded: Decoded, utterance: Utterance) -> list[Word]:
    """Returns the words with times in seconds from the start of the stream."""
    start_s = utterance.sound.start_s
    words = [
        replace(w, start=w.start + start_s, end=w.end + start_s)
        for w in without_credits(decoded.words)
    ]
    # The alignment lets the first word begin with the window, long before its sound.
    onset_s = utterance.onset_s - _ONSET_SLACK_S
    if words and words[0].start < onset_s < words[0].end:
        words[0] = replace(words[0], start=onset_s)
    return words


def in_asked_script(decoded: Decoded, language: str | None) -> Decoded:
    """Returns what was heard in the script that a language setting asks for.

    Args:
        decoded: In any language; only Chinese is changed.
        language: As `STT` takes it.
    """
    if decoded.language not in CHINESE:
        return decoded
    mode, _ = parse_language(language)
    script = script_of(language if mode == "fixed" else decoded.language)
    return replace(decoded, words=words_in_script(decoded.words, script))


def speech_data(
    words: Sequence[Word],
    *,
    language: str,
    span_s: tuple[float, float],
    offset_s: float = 0.0,
    confirmed: Sequence[Word] | None = None,
) -> stt.SpeechData:
    """Returns LiveKit's form of a transcript.

    Args:
        words: Its words.
        language: Whisper's code.
        span_s: Start and end to tell where there are no words, in seconds.
        offset_s: Added to all times.
        confirmed: The words at its front that will not change, to be told as metadata
            ("confirmed_words", how many, and "confirmed_text"). Beside it stands
            "closing_probability", how sure the model is of the full stop, question or exclamation
            mark at the end, where there is one.
    """
    metadata: dict[str, Any] = {}
    if confirmed is not None:
        metadata |= {"confirmed_words": len(confirmed), "confirmed_text": text_of(confirmed)}
    if words and words[-1].ends_sentence and words[-1].closing_probability is not None:
        metadata["closing_probability"] = words[-1].closing_probability
    return stt.SpeechData(
        language=LanguageCode(language),
        text=text_of(words),
        start_time=(words[0].start if words else span_s[0]) + offset_s,
        end_time=(words[-1].end if words else span_s[1]) + offset_s,
        confidence=sum(word.probability for word in words) / len(words) if words else 0.0,
        words=[
            TimedString(
                word.text.strip(),
                start_time=word.start + offset_s,
                end_time=word.end + offset_s,
                confidence=word.probability,
                start_time_offset=offset_s,
            )
            for word in words
        ],
        metadata=metadata or None,
    )
