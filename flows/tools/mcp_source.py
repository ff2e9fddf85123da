"""Tools of MCP servers, as LangChain tools.

A thin adapter of our own: langchain-mcp-adapters wants mcp below 2, LiveKit's own MCP extra wants
2.2 or later, and only one of them can be installed.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool
from mcp import Client, MCPError, StdioServerParameters, types

from flows.gate import SIDE_EFFECTS

from .mcp_server import McpServer

_START_TIMEOUT_S = 20.0


class McpError(RuntimeError):
    """An MCP server can't be used; the message is one line of advice."""


@contextlib.asynccontextmanager
async def open_mcp_tools(servers: Sequence[McpServer]) -> AsyncIterator[list[BaseTool]]:
    """Connect to all servers and offer their tools, named `<server>_<tool>`.

    Raises:
        McpError: A server does not start or does not answer.
    """
    connections = [_Connection(server) for server in servers]
    try:
        await asyncio.gather(*(connection.start() for connection in connections))
        yield [tool for connection in connections for tool in connection.tools]
    finally:
        await asyncio.gather(*(connection.aclose() for connection in connections))


class _Connection:
    """One server. Its client lives in a task of its own, since anyio wants a client to be closed
    by the task that opened it, and calls come from any."""

    def __init__(self, server: McpServer) -> None:
        self._server = server
        self._ready: asyncio.Future[Client] | None = None
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.tools: list[BaseTool] = []

    async def start(self) -> None:
        self._ready = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._hold(), name=f"mcp {self._server.name}")
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                client = await self._ready
                listed = await client.list_tools()
        except Exception as e:
            reason = str(e) or type(e).__name__
            raise McpError(f"MCP server {self._server.name!r} does not answer: {reason}") from e
        self.tools = [self._tool(client, tool) for tool in listed.tools]

    async def aclose(self) -> None:
        self._stop.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _hold(self) -> None:
        assert self._ready is not None
        server: Any = self._server.url
        if self._server.command:
            program, *arguments = self._server.command
            server = StdioServerParameters(
                command=program, args=arguments, env=dict(self._server.env) or None
            )
        try:
            async with Client(server) as client:
                if not self._ready.done():
                    self._ready.set_result(client)
                await self._stop.wait()
        except Exception as e:
            if not self._ready.done():
                self._ready.set_exception(e)

    def _tool(self, client: Client, tool: types.Tool) -> BaseTool:
        async def call(**arguments: Any) -> str:
            try:
                result = await client.call_tool(
                    tool.name, arguments, read_timeout_seconds=self._server.timeout_s
                )
            except (MCPError, OSError, TimeoutError) as e:
                return json.dumps({"error": f"the server did not answer: {e}"})
            return _text_of(result)

        hints = tool.annotations
        harmless = hints is not None and hints.read_only_hint
        return StructuredTool(
            name=f"{self._server.name}_{tool.name}"[:64],
            description=tool.description or tool.name,
            args_schema=tool.input_schema,
            coroutine=call,
            metadata=dict(SIDE_EFFECTS) if self._server.side_effects and not harmless else {},
        )


def _text_of(result: Any) -> str:
    texts = [part.text for part in result.content if isinstance(part, types.TextContent)]
    text = "\n".join(texts)
    return json.dumps({"error": text}, ensure_ascii=False) if result.is_error else text
