"""Which size of Whisper suits which machine: what each costs, and what keeps up with speech.

Measured by `python -m bench.model_table` (CPU) and `python -m bench.gpu_check` (GPU); the machines
and dates are in docs/real-models.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_CPU_SHARE = 0.6
"""Of the cores for hearing one call with every partial; whoever is behind skips some of them."""
_GPU_SPARE_MB = 1000
"""On top of what the model takes, for what it computes."""


@dataclass(frozen=True, slots=True)
class ModelCost:
    """One size of Whisper."""

    name: str
    disk_mb: int
    """Of the download, which holds float16."""
    memory_mb: int
    """On a CPU, INT8."""
    cpu_per_speech_s: float
    """Seconds of one core for each second of speech, live, with every partial."""
    final_ms: int
    """Milliseconds of one core for the final of four seconds of speech."""
    gpu_memory_mb: int
    """On a GPU, float16."""
    is_measured: bool = True
    """False: reckoned from the sizes of its layers."""


COSTS = (
    ModelCost("tiny", 75, 180, 0.6, 190, 300),
    ModelCost("base", 145, 300, 1.05, 300, 400),
    ModelCost("small", 485, 630, 3.1, 890, 900),
    ModelCost("medium", 1530, 1700, 11.0, 3200, 2000, is_measured=False),
    ModelCost("large-v3", 3090, 3300, 23.0, 6600, 3600, is_measured=False),
    ModelCost("large-v3-turbo", 1620, 1800, 13.0, 3700, 2100, is_measured=False),
)
"""What to take last comes first: turbo hears as well as large-v3 and is several times faster."""

_BY_NAME = {cost.name: cost for cost in COSTS}


def cost_of(model: str) -> ModelCost | None:
    """Returns what a model costs; None where it is not one of the table's sizes."""
    name = {"turbo": "large-v3-turbo", "large": "large-v3"}.get(model, model)
    return _BY_NAME.get(name.removesuffix(".en"))


def keeps_up(model: str, *, cores: int, gpu_mb: int | None) -> bool:
    """Tells whether a model transcribes one call as fast as it is spoken.

    Args:
        model: A name; one that is not in the table is trusted to.
        cores: That this process may use.
        gpu_mb: Free memory of a GPU that decodes; 0 where it is not known, None without one.
    """
    cost = cost_of(model)
    if cost is None:
        return True
    if gpu_mb is not None:
        return gpu_mb == 0 or cost.gpu_memory_mb + _GPU_SPARE_MB <= gpu_mb
    return cost.cpu_per_speech_s <= _CPU_SHARE * cores


def suited_model(*, cores: int, gpu_mb: int | None) -> str:
    """Returns the best size that keeps up; the smallest where none does. See `keeps_up`."""
    fit = [cost.name for cost in COSTS if keeps_up(cost.name, cores=cores, gpu_mb=gpu_mb)]
    return fit[-1] if fit else COSTS[0].name


def best_first(models: Iterable[str], *, cores: int, gpu_mb: int | None) -> list[str]:
    """Sorts models for a machine: what keeps up, best first, then the rest, lightest first.

    Args:
        models: In any order that puts better ones first.
        cores: As in `keeps_up`.
        gpu_mb: As in `keeps_up`.
    """
    given = list(models)
    fit = [model for model in given if keeps_up(model, cores=cores, gpu_mb=gpu_mb)]
    return fit + [model for model in reversed(given) if model not in fit]
