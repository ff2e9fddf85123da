"""One of several processes that take calls: a worker that gets its engines from its parent."""

from __future__ import annotations

import os
import pickle
import sys

from agent_worker.engines.build import import_plugins
from agent_worker.settings import load_settings
from agent_worker.telemetry.outlets import Telemetry
from agent_worker.worker import build_server, run
from livekit.plugins.faster_whisper import engines
from livekit.plugins.faster_whisper.engine_process.lifeline import end_with_parent

from .pulse import keep_beating
from .supervisor import Orders


def run_call_process() -> int:
    """Reads its orders on stdin and works until it is told to drain, or the parent is gone.

    First come the engines' names: what they are made of takes seconds to import, and a spare has
    it done when its orders come.
    """
    parent = os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)
    try:
        import_plugins(pickle.load(parent))
        orders = pickle.load(parent)
    except EOFError:
        return 0
    if not isinstance(orders, Orders):
        raise TypeError("a call process is started by `agent-worker start`")
    end_with_parent(parent)
    keep_beating(orders.pulse)
    engines.use_engine_processes(orders.engines)
    settings = load_settings(
        max_sessions=orders.max_sessions,
        health_host="127.0.0.1",
        health_port=orders.health_port,
        metrics_port=orders.metrics_port,
    )
    with Telemetry.of(settings) as telemetry:
        server = build_server(settings, orders.choices, telemetry, family=os.getppid())
        return run(server, orders.command, list(orders.rest))
