"""MCP servers of a process whose graphs run in several event loops, as those of a worker do.

A connection belongs to the loop that opened it. So all live in the loop of one thread, are opened
once for all calls, and each call of a tool is sent there.
"""

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, cast

from langchain_core.tools import BaseTool, StructuredTool

from .mcp_server import McpServer
from .mcp_source import open_mcp_tools


class McpHost:
    """Holds the connections to some servers until it is closed.

    Args:
        servers: Whose tools are wanted.
    """

    def __init__(self, servers: Sequence[McpServer]) -> None:
        self._servers = tuple(servers)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._opened: Future[list[BaseTool]] = Future()
        self._thread = threading.Thread(target=self._run, name="mcp servers", daemon=True)

    def open(self) -> list[BaseTool]:
        """Connect, and wait until all servers have answered.

        Returns:
            Their tools, for any event loop.

        Raises:
            McpError: A server does not start or does not answer.
        """
        self._thread.start()
        return [self._from_any_loop(tool) for tool in self._opened.result()]

    def close(self) -> None:
        """End the connections and the programs behind them; safe to call twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._hold())
        finally:
            self._loop.close()

    async def _hold(self) -> None:
        try:
            async with open_mcp_tools(self._servers) as tools:
                self._opened.set_result(tools)
                await self._stop.wait()
        except BaseException as e:
            if self._opened.done():
                raise
            self._opened.set_exception(e)

    def _from_any_loop(self, tool: BaseTool) -> BaseTool:
        assert isinstance(tool, StructuredTool) and tool.coroutine is not None
        there: Callable[..., Coroutine[Any, Any, Any]] = cast(Any, tool.coroutine)

        async def call(**arguments: Any) -> Any:
            if self._loop.is_closed() or self._stop.is_set():
                return json.dumps({"error": "the server was closed"})
            sent: Future[Any] = asyncio.run_coroutine_threadsafe(there(**arguments), self._loop)
            return await asyncio.wrap_future(sent)

        return StructuredTool(
            name=tool.name,
            description=tool.description,
            args_schema=tool.args_schema,
            coroutine=call,
            metadata=tool.metadata,
        )


_hosts: dict[str, tuple[McpHost, list[BaseTool]]] = {}
_opening = threading.Lock()


def shared_mcp_tools(servers: Sequence[McpServer]) -> list[BaseTool]:
    """The tools of these servers, connected once in a process. Blocks the first time.

    Raises:
        McpError: A server does not start or does not answer.
    """
    key = json.dumps([server.model_dump() for server in servers])
    with _opening:
        if key not in _hosts:
            host = McpHost(servers)
            _hosts[key] = host, host.open()
        return list(_hosts[key][1])


def close_shared_mcp() -> None:
    """End all connections of `shared_mcp_tools`."""
    with _opening:
        while _hosts:
            _, (host, _) = _hosts.popitem()
            host.close()
