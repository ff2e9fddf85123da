"""The flow server in a test: real uvicorn on 127.0.0.1, and a reader of its events."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import httpx
import uvicorn

from flows.flow import Flow
from flows.memory import Memory, open_memory
from flows.server import FlowServer, ServerOptions
from flows.serving.connections import server_config


@contextlib.asynccontextmanager
async def served(app: Any, **options: Any) -> AsyncIterator[str]:
    """Serve an ASGI application on a free port, as the flow server is; gives its address."""
    # asyncio turns Nagle's algorithm off only where the protocol is named; with it on, the first
    # event of a stream waits 40 ms for an acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(512)
    server = uvicorn.Server(server_config(app, **{"log_level": "error", **options}))
    # Tests have signal handlers of their own.
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            if task.done():
                task.result()
            await asyncio.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()


@contextlib.asynccontextmanager
async def flow_server(
    flows: Sequence[Flow] | Mapping[str, Flow],
    options: ServerOptions | None = None,
    memory: Memory | None = None,
) -> AsyncIterator[str]:
    """Serve flows; gives the server's address."""
    by_id = flows if isinstance(flows, Mapping) else {flow.id: flow for flow in flows}
    async with contextlib.AsyncExitStack() as stack:
        if memory is None:
            memory = await stack.enter_async_context(open_memory())
        server = FlowServer(by_id, memory, options or ServerOptions())
        yield await stack.enter_async_context(served(server.app()))


async def read_events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The events of a stream as they come."""
    async for line in response.aiter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


async def ask(
    client: httpx.AsyncClient,
    flow_id: str,
    session_id: str,
    messages: Sequence[Mapping[str, Any]] | str,
    **fields: Any,
) -> list[dict[str, Any]]:
    """One turn, to its end."""
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    body = {"messages": list(messages), **fields}
    path = f"/api/flows/{flow_id}/stream/{session_id}"
    async with client.stream("POST", path, json=body) as response:
        assert response.status_code == 200, await response.aread()
        return [event async for event in read_events(response)]


def spoken(events: Sequence[Mapping[str, Any]]) -> str:
    """The text of the answer."""
    return "".join(event["content"] for event in events if event["type"] == "token")
