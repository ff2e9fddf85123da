"""Invented voices: espeak-ng variants with random throats, so that no training voice is special.

The variants that espeak-ng comes with are few, and mostly men of ordinary size. A network that
hears only those learns them by heart and fails on a child's voice.
"""

from __future__ import annotations

import math
import random
from pathlib import Path

from models.training.grammar import MANDARIN
from models.training.speech import ENGLISH_BASES, MANDARIN_BASE, PLAIN_VOICE, Voice

INVENTED_VOICES = 160
"""How many there are; each is a function of its number. espeak-ng lists 350 voices at most."""

_KLATT_SYNTHESISERS = 6


def _between(rng: random.Random, low: float, high: float) -> float:
    """A number between the two, small and large factors being equally likely."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def variant(number: int) -> str:
    """The variant file of an invented voice, in espeak-ng's format."""
    rng = random.Random(f"voice {number}")
    throat = _between(rng, 0.75, 1.5)
    base = _between(rng, 60, 110) * max(1.0, throat) ** rng.uniform(0.5, 2.5)
    lines = [
        "language variant",
        f"name {name(number)}",
        f"pitch {base:.0f} {base * rng.uniform(1.15, 1.7):.0f}",
        f"flutter {rng.randint(0, 6)}",
        f"roughness {rng.randint(0, 4)}",
        f"voicing {rng.randint(70, 140)}",
        f"consonants {rng.randint(70, 130)} {rng.randint(70, 130)}",
    ]
    for formant in range(9):
        # The second formant, by which most vowels differ, strays most between speakers.
        stray = 0.2 if formant == 2 else 0.1
        frequency = 100 * throat * _between(rng, 1 - stray, 1 + stray)
        strength, width = rng.randint(55, 150), rng.randint(60, 170)
        lines.append(f"formant {formant} {frequency:.0f} {strength} {width}")
    if rng.random() < 0.12:
        lines.append(f"klatt {rng.randint(1, _KLATT_SYNTHESISERS)}")
    return "\n".join(lines) + "\n"


def name(number: int) -> str:
    """What the variant is called."""
    return f"invented{number}"


def write_data(original: Path, folder: Path) -> None:
    """Makes ``folder`` a data folder of espeak-ng with the invented voices as its only variants.

    Everything else is linked to ``original``.
    """
    own = folder / "voices" / "!v"
    own.mkdir(parents=True)
    for source, target in ((original, folder), (original / "voices", folder / "voices")):
        for path in source.iterdir():
            if not (target / path.name).exists():
                (target / path.name).symlink_to(path)
    for number in range(INVENTED_VOICES):
        (own / name(number)).write_text(variant(number), encoding="ascii")


def sample_invented(rng: random.Random, language: str) -> Voice:
    """A random invented voice, at a wider range of rates and pitches than the others."""
    base = MANDARIN_BASE if language == MANDARIN else rng.choice(ENGLISH_BASES)
    if language != MANDARIN and rng.random() < 0.4:
        base = PLAIN_VOICE
    return Voice(
        f"{base}+{name(rng.randrange(INVENTED_VOICES))}",
        rng.randint(110, 240),
        rng.randint(20, 99),
        rng.randint(20, 80),
    )
