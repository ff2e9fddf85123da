"""A tiny real MCP server over stdio: `python -m tests.fake_mcp_server`."""

import sys
import time
from pathlib import Path

from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations

server = MCPServer("desk")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def opening_hours(day: str) -> str:
    """Tell when the desk is open on a day of the week."""
    return "closed" if day.lower() == "sunday" else "nine to five"


@server.tool()
def leave_message(text: str) -> str:
    """Leave a message at the desk."""
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text, encoding="utf-8")
    return "left"


@server.tool()
def broken() -> str:
    """Always fails."""
    raise ValueError("out of order")


@server.tool()
def slow() -> str:
    """Takes its time."""
    time.sleep(2)
    return "late"


if __name__ == "__main__":
    server.run("stdio")
