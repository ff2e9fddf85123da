"""Which Qwen3 the worker's own llama.cpp runs, and with what: decisions without I/O."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from agent_worker.toml_beside import toml_beside

_SLOT_TOKENS = 4096
"""Seven minutes of talk behind the prompt; older turns are left out then."""
_SPARE_BYTES = 700_000_000
"""For what llama.cpp computes with, and for the process itself."""
_OTHERS_BYTES = 1_200_000_000
"""On a CPU, for Whisper, the voice and the calls."""
_CORE_BYTES_PER_S = 6e9
"""Reckoned: what one core reads of a model while it writes a token."""
_MOST_THREADS = 8
_PROMPT_CACHE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is to run a model on."""

    cores: int
    """That this process may use."""
    memory_bytes: int
    """Free."""
    gpu_bytes: int | None = None
    """Free memory of the GPU that the installed llama.cpp can use; None = no such GPU."""


@dataclass(frozen=True, slots=True)
class LocalModel:
    """One size of Qwen3."""

    name: str
    repository: str
    revision: str
    """Commit of the repository that the sum belongs to."""
    file: str
    bytes: int
    sha256: str
    context_bytes: int
    """Memory of one token of context."""
    least_cores: int
    """That write it as fast as it is spoken."""

    @property
    def megabytes(self) -> int:
        """Of the download."""
        return round(self.bytes / 1e6)

    def needs_bytes(self, slots: int) -> int:
        """Memory of the process that runs it."""
        return self.bytes + slots * _SLOT_TOKENS * self.context_bytes + _SPARE_BYTES

    def price(self, machine: Machine) -> str:
        """What it costs to take it here."""
        took = self.token_ms(machine)
        return f"{self.megabytes} MB" + ("" if took is None else f", about {took:.0f} ms a token")

    def token_ms(self, machine: Machine) -> float | None:
        """Milliseconds for a token, reckoned; None on a GPU, where it is not worth mentioning."""
        if machine.gpu_bytes is not None:
            return None
        return 1000 * self.bytes / (_CORE_BYTES_PER_S * threads(machine))


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """How llama.cpp's server is started, but for its address and its key."""

    path: str
    threads: int
    slots: int
    """Calls whose answers are written at the same time; more wait."""
    slot_tokens: int
    """Context of each."""
    prompt_cache_mib: int
    """Memory for the prompts of calls that have no slot just now."""


@cache
def local_models() -> tuple[LocalModel, ...]:
    """Every size, the smallest first."""
    models = toml_beside(__file__, "local_models.toml")["models"]
    return tuple(LocalModel(**entry) for entry in models)


def threads(machine: Machine) -> int:
    """Half of the cores: hearing and speaking want the others."""
    return max(1, min(machine.cores // 2, _MOST_THREADS))


def slots(machine: Machine, *, max_sessions: int) -> int:
    """Answers that are written at the same time."""
    most = 2 if machine.gpu_bytes is None and machine.cores < 8 else 4
    return max(1, min(max_sessions, most))


def fits(model: LocalModel, machine: Machine, *, max_sessions: int = 1) -> bool:
    """Whether a model has room on a machine, and writes as fast as is spoken."""
    needs = model.needs_bytes(slots(machine, max_sessions=max_sessions))
    if machine.gpu_bytes is not None:
        return needs <= machine.gpu_bytes
    return machine.cores >= model.least_cores and needs + _OTHERS_BYTES <= machine.memory_bytes


def suited_local_model(machine: Machine, *, max_sessions: int = 1) -> LocalModel | None:
    """The best size for a machine; None where even the smallest has no room.

    A GPU whose free memory is too small for any is left alone: the CPU is looked at then.
    """
    fit = [m for m in local_models() if fits(m, machine, max_sessions=max_sessions)]
    if fit:
        return fit[-1]
    if machine.gpu_bytes is not None:
        return suited_local_model(Machine(machine.cores, machine.memory_bytes))
    return None


def next_better(model: LocalModel | None, machine: Machine) -> LocalModel | None:
    """The next size that still suits the machine; None where this is the best for it."""
    suited = suited_local_model(machine)
    if suited is None or (model is not None and model.bytes >= suited.bytes):
        return None
    sizes = local_models()
    return sizes[0 if model is None else sizes.index(model) + 1]


def server_plan(path: Path, machine: Machine, *, max_sessions: int) -> ServerPlan:
    """How to run a GGUF file here."""
    return ServerPlan(
        str(path),
        threads(machine),
        slots(machine, max_sessions=max_sessions),
        _SLOT_TOKENS,
        int(min(2e9, _PROMPT_CACHE_SHARE * machine.memory_bytes) / 2**20),
    )
