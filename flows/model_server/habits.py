"""What has been learnt of one server and model, and how it shapes each request to them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flows.model_server import conversation

NEVER_LEFT_OUT = frozenset({"model", "messages", "stream", "extra_body"})
_TOOL_FIELDS = frozenset({"tools", "tool_choice", "parallel_tool_calls"})
_BYTES_PER_TOKEN = 3.0
"""English takes four or more, Chinese three, numbers and JSON two to three."""
_MARGIN_TOKENS = 48
"""What the template puts around messages."""
_ROOM_TO_THINK = 2048
_FORGOTTEN_AFTER_S = 900.0

THINKING_OFF = {
    "chat_template_kwargs": {"enable_thinking": False},
    "reasoning_effort": "none",
}
"""Both ways that servers know, for one that thinks although it is not asked to."""


@dataclass(frozen=True)
class Habits:
    """How a server wants to be asked. Each differs from the default because it refused that."""

    without: frozenset[str] = frozenset()
    """Fields that it does not take."""
    max_tokens_field: str = "max_tokens"
    max_tokens: int | None = None
    """It gives no longer answers."""
    in_turn: bool = False
    """Its template wants user and assistant in turn."""
    no_system: bool = False
    """Its template knows no system prompt."""
    plain: bool = False
    """It wants text for content, and no further fields in messages."""
    context_tokens: int | None = None
    """Tokens that prompt and answer have together; None where it is not known."""
    bytes_per_token: float = _BYTES_PER_TOKEN
    whole: bool = False
    """It does not stream: an answer comes in one piece."""
    thinks: int = 0
    """How often it has thought its tokens away: 0; 1 = both switches; 2 = room to think, too."""

    @property
    def takes_tools(self) -> bool:
        """Whether tools can be given along."""
        return "tools" not in self.without

    def shape(self, payload: dict[str, Any]) -> dict[str, Any]:
        """The request as this server takes it; `payload` itself stays as it is."""
        if self == _NONE:
            return payload
        shaped = dict(payload)
        extra = dict(shaped.pop("extra_body", None) or {})
        if self.thinks:
            extra |= THINKING_OFF
        if not self.takes_tools:
            for name in _TOOL_FIELDS:
                shaped.pop(name, None)
        for name in self.without:
            shaped.pop(name, None)
            extra.pop(name, None)
        if extra:
            shaped["extra_body"] = extra
        self._shape_answer(shaped)
        shaped["messages"] = self._shape_messages(shaped)
        if self.max_tokens_field not in shaped and "max_tokens" in shaped:
            shaped[self.max_tokens_field] = shaped.pop("max_tokens")
        return shaped

    def _shape_answer(self, shaped: dict[str, Any]) -> None:
        wanted = shaped.get("max_tokens")
        if wanted is None:
            return
        if self.thinks > 1:
            wanted += _ROOM_TO_THINK
        if self.max_tokens is not None:
            wanted = min(wanted, self.max_tokens)
        if self.context_tokens is not None:
            wanted = max(min(wanted, self.context_tokens // 2), 1)
        shaped["max_tokens"] = wanted

    def _shape_messages(self, shaped: dict[str, Any]) -> list[conversation.Message]:
        messages = list(shaped["messages"])
        if not self.takes_tools:
            messages = conversation.without_tools(messages)
        if self.plain:
            messages = conversation.plain(messages)
        if self.thinks > 1:
            messages = _with_soft_switch(messages)
        if self.context_tokens is not None:
            answer = shaped.get("max_tokens") or 0
            tokens = max(self.context_tokens - answer - _MARGIN_TOKENS, _MARGIN_TOKENS)
            most = int(tokens * self.bytes_per_token)
            messages = conversation.fit(messages, most, shaped.get("tools"))
        if self.in_turn:
            messages = conversation.in_turn(messages)
        if self.no_system:
            messages = conversation.system_in_user(messages)
        return messages


_NONE = Habits()


def _with_soft_switch(messages: list[conversation.Message]) -> list[conversation.Message]:
    """Qwen3's own switch, in its words."""
    for at, message in enumerate(messages):
        if message["role"] == "system":
            text = conversation.text_of(message)
            return [
                *messages[:at],
                message | {"content": f"{text}\n/no_think"},
                *messages[at + 1 :],
            ]
    return [{"role": "system", "content": "/no_think"}, *messages]


@dataclass
class ServerMemory:
    """What is known of one server and model, shared by all who ask it in this process.

    Forgotten after a quarter of an hour: it may have been started anew, with other flags.
    """

    known_context: int | None = None
    """Tokens of context as the server itself tells, which is not forgotten."""
    clock: Callable[[], float] = time.monotonic
    warm_at: float | None = None
    """When the last token came; None = never."""
    told: set[str] = field(default_factory=set)
    """What has been said of it in the log: once is enough, though it is learnt anew at times."""
    _habits: Habits = field(default_factory=Habits)
    _learnt_at: float = 0.0

    @property
    def habits(self) -> Habits:
        """What holds now."""
        if self.clock() - self._learnt_at > _FORGOTTEN_AFTER_S:
            return Habits(context_tokens=self.known_context)
        return self._habits

    def learn(self, habits: Habits) -> None:
        """Keep what has been learnt, once a request made so was taken."""
        self._habits, self._learnt_at = habits, self.clock()

    def answered(self) -> None:
        """A token came: the model is in memory."""
        self.warm_at = self.clock()

    def is_warm(self, within_s: float = 240.0) -> bool:
        """Whether the model answered not long ago; Ollama unloads after five minutes."""
        return self.warm_at is not None and self.clock() - self.warm_at < within_s
