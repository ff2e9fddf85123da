"""Whether a model's answer has anything that can be said, and if not, why."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

_CLOSED = re.compile(r"<(think|thinking|thought|reasoning)>.*?</\1>", re.DOTALL | re.IGNORECASE)
_OPEN = re.compile(r"<(?:think|thinking|thought|reasoning)>.*", re.DOTALL | re.IGNORECASE)
_BEFORE_CLOSER = re.compile(r".*</(?:think|thinking|thought|reasoning)>", re.DOTALL | re.IGNORECASE)


class EmptyAnswerError(RuntimeError):
    """The model answered, and nothing of it can be said. The message says why."""


@dataclass
class AnswerCheck:
    """What one answer has brought so far."""

    came: bool = False
    """Whether the server sent anything that is part of an answer."""
    texts: list[str] = field(default_factory=list)
    thoughts: int = 0
    """Pieces of thinking that came in a field of their own."""
    calls_tools: bool = False
    finish_reason: str = ""

    @property
    def is_said(self) -> bool:
        """Whether the caller gets something: words, or what a tool finds out."""
        return self.calls_tools or bool(self._speakable())

    @property
    def thought_only(self) -> bool:
        """Whether all there was is thinking."""
        return not self.is_said and (self.thoughts > 0 or bool("".join(self.texts).strip()))

    @property
    def left_open(self) -> bool:
        """Whether the text ends within thinking."""
        return bool(_OPEN.search(_CLOSED.sub("", "".join(self.texts))))

    def _speakable(self) -> str:
        text = _OPEN.sub("", _CLOSED.sub("", "".join(self.texts)))
        return _BEFORE_CLOSER.sub("", text).strip()

    def cause(self, max_tokens: int | None) -> str:
        """Why there is nothing to say, for the log and the turn's record."""
        if self.thought_only and self.finish_reason == "length":
            tokens = f"all {max_tokens} tokens" if max_tokens else "all tokens"
            return f"{tokens} went into thinking"
        if self.thought_only:
            return "the model thought and then said nothing"
        if self.finish_reason == "content_filter":
            return "the model server's content filter took the whole answer"
        ended = f" (finish reason {self.finish_reason})" if self.finish_reason else ""
        return f"the model answered nothing{ended}"


def has_been_answered(messages: Sequence[BaseMessage], check: AnswerCheck) -> bool:
    """Whether silence is an answer: after a tool, where the model has spoken before it."""
    if check.thought_only or not isinstance(messages[-1], ToolMessage):
        return False
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            break
        if isinstance(message, AIMessage) and message.text.strip():
            return True
    return False
