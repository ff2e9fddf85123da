"""The chunks of an answer, as LangChain has them: what each brings, and one made of a whole."""

import json
from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk

from .answer_check import AnswerCheck

_THOUGHT_KEYS = ("reasoning_content", "reasoning", "thinking")


class Thought(ChatGenerationChunk):
    """A chunk that brought only thinking, in a field of its own."""


def marked(made: ChatGenerationChunk | None, sent: Mapping[str, Any]) -> ChatGenerationChunk | None:
    """What LangChain made of a chunk that was sent, marked where all it brought is thinking."""
    if made is not None and not made.message.content and sent.get("choices"):
        delta = sent["choices"][0].get("delta") or {}
        if any(delta.get(key) for key in _THOUGHT_KEYS):
            return Thought(message=made.message, generation_info=made.generation_info)
    return made


def note(check: AnswerCheck, chunk: ChatGenerationChunk) -> None:
    """Notes what a chunk brings."""
    message = chunk.message
    if content := message.content:
        # The property takes longer than all else here, and is needed for lists of blocks only.
        check.texts.append(content if type(content) is str else str(message.text))
    elif isinstance(chunk, Thought):
        check.thoughts += 1
    if isinstance(message, AIMessageChunk) and message.tool_call_chunks:
        check.calls_tools = True
    if reason := (chunk.generation_info or {}).get("finish_reason"):
        check.finish_reason = str(reason)


def as_chunk(whole: ChatGeneration) -> ChatGenerationChunk:
    """A whole answer as the one chunk of a stream."""
    message = whole.message
    made: list[tuple[str | None, str | None, str | None]] = []
    usage = None
    if isinstance(message, AIMessage):
        usage = message.usage_metadata
        made += [(c["name"], json.dumps(c["args"]), c["id"]) for c in message.tool_calls]
        made += [(c["name"], c["args"], c["id"]) for c in message.invalid_tool_calls]
    calls = [
        tool_call_chunk(name=name, args=args, id=call_id, index=index)
        for index, (name, args, call_id) in enumerate(made)
    ]
    chunk = AIMessageChunk(
        content=message.content,
        tool_call_chunks=calls,
        usage_metadata=usage,
        response_metadata=message.response_metadata,
        chunk_position="last",
    )
    return ChatGenerationChunk(message=chunk, generation_info=whole.generation_info)
