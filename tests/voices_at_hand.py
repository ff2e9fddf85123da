"""What voice engines have on a machine, for tests that say what was found."""

from __future__ import annotations

from collections.abc import Mapping

from agent_worker.engines.inventory import VoicesFound

ESPEAK: Mapping[str, VoicesFound] = {"espeak": VoicesFound()}
"""espeak-ng alone, as nearly everywhere."""


def piper(languages: Mapping[str, str] | None = None) -> Mapping[str, VoicesFound]:
    """espeak-ng, and Piper with the languages of its voices by name, the best first."""
    return {**ESPEAK, "piper": VoicesFound(voices=languages or {})}
