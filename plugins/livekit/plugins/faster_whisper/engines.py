"""The engines of this process: one per model, device and compute type, for all its streams."""

from __future__ import annotations

import atexit
import os
import threading
from pathlib import Path

from .any_engine import AnyEngine
from .device_fallback import load_decoder
from .engine import Engine
from .engine_process import Meeting, RemoteEngine
from .models import ModelSpec

_engines: dict[ModelSpec, AnyEngine] = {}
_keeper: Meeting | None = None
_engines_lock = threading.Lock()


def use_engine_processes(keeper: Meeting | None) -> None:
    """From now on this process's engines are those of a keeper; None brings them back here.

    Args:
        keeper: `EngineProcesses.meeting` of the parent process.
    """
    global _keeper
    close_engines()
    _keeper = keeper


def engine_for(spec: ModelSpec) -> AnyEngine:
    """Returns the process's engine for a model, which starts to load where it is new.

    An engine that failed, hangs or was closed is replaced by a fresh one.
    """
    with _engines_lock:
        engine = _engines.get(spec)
        if engine is None or not engine.usable:
            engine = _new_engine(spec)
            _engines[spec] = engine
        return engine


def _new_engine(spec: ModelSpec) -> AnyEngine:
    if _keeper is not None:
        return RemoteEngine(spec, _keeper)
    return Engine(lambda: load_decoder(spec), name=repr(spec.model))


def queue_depths() -> dict[str, int]:
    """Returns how many requests wait for each of this process's models, by the model's name."""
    with _engines_lock:
        engines = list(_engines.items())
    depths: dict[str, int] = {}
    for spec, engine in engines:
        name = Path(spec.model).name
        depths[name] = depths.get(name, 0) + engine.statistics().depth
    return depths


def recent_final_wait_s() -> float:
    """Returns how long finals wait just now for the busiest model of this process's streams."""
    with _engines_lock:
        engines = list(_engines.values())
    return max((e.statistics().recent_final_wait_s for e in engines), default=0.0)


def close_engines() -> None:
    """Closes every engine of this process and frees the models."""
    with _engines_lock:
        engines = list(_engines.values())
        _engines.clear()
    for engine in engines:
        engine.close()


def _forget_after_fork() -> None:
    # Threads don't survive a fork, so neither does an engine.
    global _engines_lock
    _engines_lock = threading.Lock()
    _engines.clear()


atexit.register(close_engines)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
