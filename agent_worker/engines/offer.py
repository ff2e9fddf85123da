"""One entry of what callers may choose from."""

from __future__ import annotations

import dataclasses

STANDARD = "standard"
"""The voice that the settings and the language give."""


@dataclasses.dataclass(frozen=True)
class Offer:
    """One entry of a list: a flow, a character, a voice or a language."""

    id: str
    name: str
    note: str = ""
    language: str = ""
    """Primary tag of the only language that a voice speaks; empty = it speaks them all."""
