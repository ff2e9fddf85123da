"""Where in a LangGraph store the facts of a session and of a caller live."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

Namespace = tuple[str, ...]


def _label(text: str) -> str:
    # A store refuses a full stop in a label; percent coding keeps two ids from becoming one.
    return quote(text, safe="").replace(".", "%2E")


def session_namespace(config: Mapping[str, Any]) -> Namespace | None:
    """The namespace of this call; None where the runner gave no `thread_id`."""
    thread_id = config.get("configurable", {}).get("thread_id")
    return ("sessions", _label(str(thread_id))) if thread_id else None


def caller_namespace(config: Mapping[str, Any]) -> Namespace | None:
    """The namespace of this caller across calls; None where the caller is not known.

    The runner tells who calls by `config["configurable"]["caller_id"]`.
    """
    caller_id = config.get("configurable", {}).get("caller_id")
    return ("callers", _label(str(caller_id))) if caller_id else None
