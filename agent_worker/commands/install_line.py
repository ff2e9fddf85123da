"""Commands as the one who reads them can paste them: how this program was installed tells how."""

from __future__ import annotations

import json
import sys
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PROJECT = "livekit-agent-worker"
ENGINES = "engines"
"""The extra with all that a first conversation needs."""


def engines_missing() -> str:
    """Why the demo can't speak on this installation, and the line to paste; empty where it can."""
    if find_spec("espeakng_loader") is not None:
        return ""
    line = install_line(ENGINES, origin=_origin(), prefix=Path(sys.prefix), command="demo")
    return (
        "the voices are not installed. They are extras, since espeak-ng and Piper are under the "
        f"GPL. This brings them, and llama.cpp with them:\n\n  {line}\n"
    )


def install_line(extra: str, *, origin: dict[str, Any], prefix: Path, command: str) -> str:
    """How to have an extra, in the way that this installation was made.

    Args:
        extra: its name.
        origin: where the package came from, as its `direct_url.json` tells (PEP 610); empty = from
            an index.
        prefix: of the environment.
        command: of `agent-worker`, to be run with it.
    """
    if _is_checkout(origin):
        return f"uv run --extra {extra} agent-worker {command}"
    if _is_uvx(prefix):
        return f"uvx --from {_requirement(extra, origin)} agent-worker {command}"
    return f"pip install {_requirement(extra, origin)} && agent-worker {command}"


def as_typed(text: str) -> str:
    """The text with its commands, which stand in backticks, as they are typed here."""
    return text.replace("`agent-worker ", f"`{_here()} ")


def typed_command(command: str) -> str:
    """One such command without backticks; empty stays empty."""
    head, _, rest = command.partition(" ")
    return f"{_here()} {rest}" if head == "agent-worker" else command


def program(origin: dict[str, Any], prefix: Path) -> str:
    """What is typed for `agent-worker`; arguments as `install_line`'s."""
    if _is_checkout(origin):
        return "uv run agent-worker"
    if _is_uvx(prefix):
        return f"uvx --from {_requirement(ENGINES, origin)} agent-worker"
    return "agent-worker"


def _here() -> str:
    return program(_origin(), Path(sys.prefix))


def _is_checkout(origin: dict[str, Any]) -> bool:
    return bool(origin.get("dir_info", {}).get("editable"))


def _is_uvx(prefix: Path) -> bool:
    # uv keeps its environments under such a name in its cache
    return any(part.startswith("archive-v") for part in prefix.parts)


def _requirement(extra: str, origin: dict[str, Any]) -> str:
    url = str(origin.get("url", ""))
    if "vcs_info" in origin:
        about = origin["vcs_info"]
        url = f"{about.get('vcs', 'git')}+{url}@{about.get('commit_id', 'HEAD')}"
    return f"'{PROJECT}[{extra}]{f' @ {url}' if url else ''}'"


def _origin() -> dict[str, Any]:
    try:
        text = distribution(PROJECT).read_text("direct_url.json")
        read = json.loads(text or "{}")
    except (PackageNotFoundError, OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}
