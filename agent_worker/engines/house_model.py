"""The language model that the worker runs itself: what is on this machine for it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from agent_worker.machine_limits import free_memory_mib, usable_cores
from agent_worker.settings import Settings

from .local_models import (
    LocalModel,
    Machine,
    fits,
    local_models,
    slots,
    suited_local_model,
)

EXTRA = "pip install 'livekit-agent-worker[llama]'"


def llama_installed() -> bool:
    """Whether llama.cpp's wheel is here."""
    return find_spec("xllamacpp") is not None


def find_machine() -> Machine:
    """What a model of ours could run on."""
    memory = int(free_memory_mib() * 2**20)
    return Machine(max(1, int(usable_cores())), memory, _gpu_bytes())


_GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dri")
_LOOK = """
import xllamacpp
gpu = xllamacpp.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_GPU
print(*(device["memory_free"] for device in xllamacpp.get_device_info() if device["type"] == gpu))
"""
"""A build without a backend for a GPU lists none, even where there is one."""
_LOOK_S = 20.0


def _gpu_bytes() -> int | None:
    """Free memory of the GPUs that the installed wheel can use.

    Asked in a process of its own: a GPU's library takes memory of it for as long as it is loaded.
    """
    may_be = sys.platform != "linux" or any(Path(device).exists() for device in _GPU_DEVICES)
    if not may_be or not llama_installed():
        return None
    try:
        asked = subprocess.run(
            [sys.executable, "-c", _LOOK], capture_output=True, text=True, timeout=_LOOK_S
        )
        free = [int(word) for word in asked.stdout.split()]
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return sum(free) if free else None


def version() -> str:
    """Of the wheel; empty where it is not installed."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version("xllamacpp")
    return ""


def find_house_model(settings: Settings, machine: Machine) -> Path | None:
    """The GGUF file of the settings, else the best Qwen3 that was downloaded and fits.

    Where none of those fits the smallest is taken: it was downloaded to be used.
    """
    if settings.llm_gguf is not None:
        return settings.llm_gguf
    there = [(model, path) for model in local_models() if (path := in_cache(model)) is not None]
    fit = [path for model, path in there if fits(model, machine)]
    if fit:
        return fit[-1]
    return there[0][1] if there else None


def house_fault(settings: Settings, path: Path | None) -> str:
    """Why the worker can't run that file itself; empty where it can, or there is none."""
    if settings.llm_gguf is not None and not settings.llm_gguf.is_file():
        return f"llm_gguf: no such file: {settings.llm_gguf}"
    if path is not None and not llama_installed():
        return f"llama.cpp is not installed: {EXTRA}"
    return ""


def model_sizes(settings: Settings) -> list[str]:
    """Lines of a table: what each size of Qwen3 costs where the worker would run it here.

    The time of a token is reckoned from the size of the file and the number of cores.
    """
    machine, calls = find_machine(), settings.max_sessions
    suited = suited_local_model(machine, max_sessions=calls)
    lines = [f"{'Qwen3':<16}{'file':>8}{'memory':>9}{'a token (reckoned)':>20}"]
    for model in local_models():
        needs = model.needs_bytes(slots(machine, max_sessions=calls)) / 1e6
        took = model.token_ms(machine)
        row = f"{model.name:<16}{model.megabytes:>5} MB{needs:>6.0f} MB"
        row += f"{'on the GPU':>20}" if took is None else f"{took:>17.0f} ms"
        note = "suits this machine" if model == suited else ""
        if not fits(model, machine, max_sessions=calls):
            slow = machine.gpu_bytes is None and machine.cores < model.least_cores
            note = "too slow here" if slow else "no room here"
        lines.append(f"{row}  {note}".rstrip())
    return lines


def in_cache(model: LocalModel) -> Path | None:
    """The model's file in the hub's cache, of whichever revision; None where it is not whole."""
    for path in sorted((hub_folder(model.repository) / "snapshots").glob(f"*/{model.file}")):
        # the hub's client gives a file its name only when it is whole
        if path.is_file() and path.stat().st_size == model.bytes:
            return path
    return None


def hub_folder(repository: str) -> Path:
    """Where the hub's cache keeps a repository of models."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")
