"""What happens in a turn, as far as a voice has to know: a closed set of events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class Speech:
    """A piece of the answer, as it is to be spoken and shown."""

    text: str


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who speaks from here on."""

    name: str | None = None
    tag: str | None = None
    voice: str | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing more comes for a while: what was said so far is to be spoken now."""


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """The graph calls a tool."""

    id: str
    name: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolEnded:
    """A tool has answered."""

    id: str
    name: str | None = None
    status: str = "success"
    output: str = ""


@dataclass(frozen=True, slots=True)
class ClientCall:
    """A call of a tool that the client runs; the next turn brings its result."""

    id: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Filler:
    """Said in passing: heard, but no part of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """The graph has stopped to ask something, which the next turn answers."""

    id: str
    text: str
    """What can be asked aloud; empty if nothing in `value` can."""
    value: Any = None


@dataclass(frozen=True, slots=True)
class Excuse:
    """Said because there was no answer; no part of it."""

    text: str
    cause: str
    """Why there was none, for the log and the turn's record. It holds no word that was said."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What the models of the turn cost, in tokens."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    created_tokens: int = 0
    """Written to the provider's cache."""
    reasoning_tokens: int = 0
    model: str = ""

    @property
    def total_tokens(self) -> int:
        """Of the prompts and the answers."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class Failure:
    """The turn has failed."""

    code: str
    """`model_timeout`, `model_unreachable`, `model_refused`, `model_failed`, `too_many_steps` or
    `flow_failed`."""
    message: str
    """One sentence, without anything private."""
    retryable: bool = False
    """Whether the same turn may succeed when it is tried again."""
    status: int | None = None
    """The HTTP status that the model's server gave."""
    retry_after_s: float | None = None
    """How long that server asks to be left alone."""
    error: BaseException | None = field(default=None, compare=False, repr=False)
    """What was raised, where it happened in this process."""


@dataclass(frozen=True, slots=True)
class End:
    """The turn is over."""

    reason: Literal["completed", "interrupted", "failed", "cancelled"] = "completed"
    """`interrupted`: the graph waits for the answer to its question."""


VoiceEvent: TypeAlias = (
    Speech
    | Speaker
    | Pause
    | ToolStarted
    | ToolEnded
    | ClientCall
    | Filler
    | Question
    | Excuse
    | Usage
    | Failure
    | End
)
