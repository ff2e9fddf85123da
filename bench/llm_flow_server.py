"""A flow server in a process of its own, for the LLM benchmark: `... MODEL_URL`.

Prints one JSON line with its address, then serves one flow, `bench`, until it is terminated.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys

from flows.flow import Flow
from tests.flow_server import flow_server

from .llm_contenders import graph_on, model_at


async def serve(model_url: str) -> None:
    """Serves until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    flow = Flow("bench", "asks the model", graph_on(model_at(model_url)), ("answer",))
    async with flow_server([flow]) as url:
        sys.stdout.write(json.dumps({"url": url}) + "\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
