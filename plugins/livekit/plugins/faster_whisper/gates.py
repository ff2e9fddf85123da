"""Keeps words out that nobody said: Whisper writes text for hum, breath and silence too."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from .inventions import Invention, has_words, known_invention

# Base INT8: single words of people on telephone prompts lie above -1.2, misheard ones above -1.4;
# what it writes into noise, hum, ringing and music lies between -1.4 and -3.9, but for credits.
_NOISE = 1.4

_HEARD_A_VOICE = 0.25
"""Probability of no speech below which the model heard a voice.

Of 425 farewells that base INT8 wrote into sounds without words, in eight languages, none lies below
0.29 (breath); of people's own three in four do."""

SILENT_TOO = 0.4
"""Probability of no speech above which a text that something else speaks against was not said.

Over a wide window, of 189 short prompts of people in three languages, their own words as keyterms,
none had more than 0.34 without them; what base makes of noise, ringing and music has 0.47 to 0.81.
"""

WEAK_LOG_PROBABILITY = -1.0
"""Mean per token below which a text is weak; Whisper's own limit (Radford et al., 2022, 4.5)."""


@dataclass(frozen=True, slots=True)
class Gates:
    """Limits beyond which a decoded text counts as invented."""

    min_voiced_s: float = 0.2
    """Seconds of voice below which nothing was said."""
    no_speech: float = 0.6
    """Probability of the no-speech token above which a weak text is dropped."""
    log_probability: float = WEAK_LOG_PROBABILITY
    """Mean per token below which a text is weak; at 1.4 times as much it is taken for noise."""
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
    repeated: bool = False
    """Whether the decoder looped."""

    def is_silence_too(self, gates: Gates) -> bool:
        """Tells whether the model takes the sound of a rather weak text for silence as well."""
        weak = self.mean_log_probability < 0.8 * gates.log_probability
        return weak and self.no_speech_probability > SILENT_TOO


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
    if not has_words(evidence.text):
        return "empty"
    if evidence.voiced_s < gates.min_voiced_s:
        return "too little voice"
    invention = known_invention(evidence.text)
    if invention is Invention.CREDIT:
        return "known invention"
    if evidence.mean_log_probability < _NOISE * gates.log_probability:
        return "improbable"
    weak = evidence.mean_log_probability < gates.log_probability
    if weak and evidence.no_speech_probability > gates.no_speech:
        return "no speech"
    # A model this sure of silence needs no second witness, short of a text it is sure of as well.
    if evidence.no_speech_probability > 0.95 and evidence.mean_log_probability < -0.3:
        return "no speech"
    if evidence.repeated or repeats_itself(evidence.text, gates.compression_ratio):
        return "repetition"
    if _only_stammers(evidence, gates):
        return "repetition"
    if evidence.word_count > 3 + gates.words_per_s * evidence.voiced_s:
        return "more words than time"
    if invention is Invention.FAREWELL and _speaks_against(evidence, gates):
        return "known invention"
    return None


def _only_stammers(evidence: Evidence, gates: Gates) -> bool:
    """Tells whether nothing but one word comes on and on, and not from a person.

    People do say "no, no, no", and are heard to; Whisper writes "POR POR POR" into music.
    """
    text = _plain(evidence.text)
    words, has_case = text.split(), text.upper() != text
    if len(words) == 1 and not has_case:
        # Chinese and Japanese have no spaces.
        words = list(text)
    # The last may be cut off: "pu-pu-pu-p".
    if len(words) < 3 or len(set(words[:-1])) > 1 or not words[0].startswith(words[-1]):
        return False
    is_letter = has_case and len(words[0]) == 1
    return (is_letter and len(words) >= 5) or evidence.is_silence_too(gates)


def _speaks_against(evidence: Evidence, gates: Gates) -> bool:
    """Tells whether words that people do say were invented this time."""
    # A person's "goodbye" alone may be as improbable as an invented one: -0.74 to -1.05, as it was
    # cut and on which CPU. Whether the model heard a voice tells them apart.
    least = 1.0 if evidence.no_speech_probability < _HEARD_A_VOICE else 0.8
    if evidence.mean_log_probability < least * gates.log_probability:
        return True
    # A word of half a second is 0.3 s of voice; what deceives the detector is shorter.
    weakly_voiced = evidence.voiced_s < max(0.4, 0.12 * evidence.word_count)
    unsure = evidence.mean_log_probability < 0.35 * gates.log_probability
    silent = evidence.no_speech_probability > gates.no_speech
    return unsure and (weakly_voiced or silent)


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w]+", " ", text.casefold()).split())
