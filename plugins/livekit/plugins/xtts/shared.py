"""One engine for all who want the same model: a second copy would not fit on most GPUs."""

from __future__ import annotations

import threading

from .engine import Engine, EngineConfig

_lock = threading.Lock()
_engines: dict[EngineConfig, tuple[Engine, int]] = {}


def acquire(config: EngineConfig) -> Engine:
    """The engine of this configuration, made if there is none. To be given back."""
    with _lock:
        engine, users = _engines.get(config) or (Engine(config), 0)
        _engines[config] = engine, users + 1
        return engine


async def release(engine: Engine) -> None:
    """Gives an engine back; the last one who does ends its process."""
    with _lock:
        held, users = _engines[engine.config]
        if users > 1:
            _engines[engine.config] = held, users - 1
            return
        del _engines[engine.config]
    await engine.aclose()
