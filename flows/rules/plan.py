"""What a rule decides for an utterance: say something, or use a tool first."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Say:
    """Answer with this text."""

    text: str


@dataclass(frozen=True)
class Use:
    """Call a tool, then phrase its result."""

    tool: str
    arguments: dict[str, Any] = field(default_factory=dict)


Plan = Say | Use
