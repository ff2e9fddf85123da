"""llama.cpp's own server with SmolLM2 135M, in a process of its own: `... [--context N] …`.

Prints one JSON line with its address, then serves until it is terminated. For tests and benchmarks
only: the model is small enough for any machine, and says little that makes sense.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from .real_parts import install, smollm2


def main() -> None:
    """Serves until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 = any")
    parser.add_argument("--context", type=int, default=4096, help="tokens of all slots together")
    parser.add_argument("--parallel", type=int, default=1, help="slots")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--template", type=Path, help="file with a chat template of one's own")
    options = parser.parse_args()
    install()
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(smollm2())
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = options.port
    parameters.n_ctx = options.context
    parameters.n_parallel = options.parallel
    parameters.cpuparams.n_threads = options.threads
    parameters.use_jinja = True
    if options.template is not None:
        parameters.chat_template = options.template.read_text(encoding="utf-8")
    # Before the server's threads are made, so that the signal is this one's to wait for.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    server = xllamacpp.Server(parameters)
    sys.stdout.write(json.dumps({"url": f"{server.listening_address}/v1"}) + "\n")
    sys.stdout.flush()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
