"""Two halves of what a caller said, as one message of the conversation."""

from __future__ import annotations

from dataclasses import dataclass

from livekit.agents import llm


@dataclass(frozen=True)
class FirstHalf:
    """What a caller said before the agent broke in."""

    text: str
    ids: frozenset[str]
    """Of the caller's message, and of the beginnings of answers to it that were heard."""


def first_half(chat_ctx: llm.ChatContext) -> FirstHalf | None:
    """The turn at the end of a conversation, if it was not answered, or not to the end.

    None as well where a tool was called for it: what that did stands.
    """
    ids = []
    for item in reversed(chat_ctx.items):
        match item:
            case llm.ChatMessage(role="assistant", interrupted=True):
                ids.append(item.id)
            case llm.ChatMessage(role="user"):
                return FirstHalf(item.text_content or "", frozenset({*ids, item.id}))
            case llm.ChatMessage(role="system" | "developer"):
                continue
            case _:
                return None
    return None


def whole(first: str, rest: str) -> str:
    """Both halves as one text."""
    return f"{first.rstrip()} {rest.lstrip()}".strip()


def without(chat_ctx: llm.ChatContext, half: FirstHalf) -> llm.ChatContext:
    """The conversation before that turn."""
    return llm.ChatContext([item for item in chat_ctx.items if item.id not in half.ids])


def joined(chat_ctx: llm.ChatContext) -> llm.ChatContext:
    """The conversation with the caller's last two messages as one, if the agent broke in.

    What follows the last one, such as a tool's result, stays behind it.
    """
    last = next(
        (n for n, item in reversed(list(enumerate(chat_ctx.items))) if _by_caller(item)), None
    )
    if last is None:
        return chat_ctx
    rest = chat_ctx.items[last]
    half = first_half(llm.ChatContext(chat_ctx.items[:last]))
    if half is None or not isinstance(rest, llm.ChatMessage):
        return chat_ctx
    both = rest.model_copy(update={"content": [whole(half.text, rest.text_content or "")]})
    items = [both if item is rest else item for item in chat_ctx.items]
    return without(llm.ChatContext(items), half)


def _by_caller(item: llm.ChatItem) -> bool:
    return isinstance(item, llm.ChatMessage) and item.role == "user"
