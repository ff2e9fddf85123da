"""``python -m agent_worker.processes.llama_process``: llama.cpp's own server, alone in a process.

It is told what to do on stdin, in one line of JSON, says on stdout when it serves, and never
outlives its parent. Nothing else of the worker is imported: it is started again in the middle of
calls.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
from typing import Any, BinaryIO

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Serves until stdin ends."""
    orders = json.loads(sys.stdin.buffer.readline() or b"null")
    if orders is None:
        return 0
    if sys.platform == "linux":
        # Even when this process hangs in native code; the other systems have the pipe alone.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # A Ctrl-C in the terminal is for the parent, which may still want to drain.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lifeline = threading.Thread(target=_end_with, args=(sys.stdin.buffer,), daemon=True)
    lifeline.start()
    server = _serve(orders)
    sys.stdout.write(json.dumps({"serving": server.listening_address}) + "\n")
    sys.stdout.flush()
    lifeline.join()
    return 0


def _serve(orders: dict[str, Any]) -> Any:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = orders["path"]
    parameters.model_alias = {orders["name"]}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = orders["port"]
    # The parent holds the port, so that nobody else can answer on it while this process is away.
    parameters.reuse_port = orders["reuse_port"]
    parameters.api_keys = [orders["key"]]
    parameters.cors_origins = ""
    parameters.ui = False
    parameters.offline = True
    parameters.endpoint_props = False
    parameters.endpoint_slots = False
    parameters.n_parallel = orders["slots"]
    parameters.n_ctx = orders["slots"] * orders["slot_tokens"]
    parameters.cpuparams.n_threads = orders["threads"]
    parameters.cpuparams_batch.n_threads = orders["threads"]
    parameters.cache_ram_mib = orders["prompt_cache_mib"]
    # As many layers as there is memory for, on whatever the wheel can use.
    parameters.n_gpu_layers = -1
    parameters.use_jinja = True
    parameters.enable_reasoning = 0
    parameters.default_template_kwargs = {"enable_thinking": "false"}
    return xllamacpp.Server(parameters)


def _end_with(pipe: BinaryIO) -> None:
    try:
        while pipe.read(4096):
            pass
    finally:
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
