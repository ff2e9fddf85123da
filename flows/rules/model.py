"""A chat model made of rules: it calls tools and streams its answers as a language model does.

So the offline graph is the same agent as the one on Qwen3, with the same tools, the same
streaming and the same way to be interrupted; only the thinking is plain.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any
from uuid import uuid4

from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    CallbackManagerForLLMRun,
)
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    ToolMessage,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable

from . import english, mandarin
from .phrasing import phrase
from .plan import Plan, Say, Use

SEARCH_DOCUMENTS = "search_documents"
MODEL_NAME = "offline-rules"
_HAN = re.compile(r"[\u3400-\u9fff]")
# Of a text without space at its end, so that it never fails after a run of spaces: trying again
# at each of them takes minutes for a hostile text.
_TOKEN = re.compile(r"\s*(?:[\u3000-\u9fff\uff00-\uffef]|[^\s\u3000-\u9fff\uff00-\uffef]+)")


class RuleModel(BaseChatModel):
    """Answers by rules; needs no network, no weights and no time to speak of."""

    documents: bool = False
    """Whether what no rule understands is looked up in documents."""

    @property
    def _llm_type(self) -> str:
        return MODEL_NAME

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, Any]:
        """The rules know their tools by name; nothing has to be bound."""
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return generate_from_stream(self._chunks(messages))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        yield from self._chunks(messages)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._chunks(messages):
            yield chunk
            # Lets the listener take each token, and a cancel come between two of them.
            await asyncio.sleep(0)

    def _chunks(self, messages: list[BaseMessage]) -> Iterator[ChatGenerationChunk]:
        match decide(messages, documents=self.documents):
            case Use(tool=name, arguments=arguments):
                call = tool_call_chunk(
                    name=name,
                    args=json.dumps(arguments, ensure_ascii=False),
                    id=f"call_{uuid4().hex[:12]}",
                    index=0,
                )
                tokens = 1
                yield _chunk(AIMessageChunk(content="", tool_call_chunks=[call]))
            case Say(text=text):
                pieces = _tokens(text)
                tokens = len(pieces)
                for piece in pieces:
                    yield _chunk(AIMessageChunk(content=piece))
        read = sum(len(_tokens(message.text)) for message in messages)
        usage = UsageMetadata(input_tokens=read, output_tokens=tokens, total_tokens=read + tokens)
        yield _chunk(
            AIMessageChunk(
                content="",
                usage_metadata=usage,
                response_metadata={"model_name": MODEL_NAME, "finish_reason": "stop"},
                chunk_position="last",
            )
        )


def _tokens(text: str) -> list[str]:
    """Words with the space before them, and single characters of Chinese."""
    tokens: list[str] = _TOKEN.findall(text.rstrip())
    return tokens


def _chunk(message: AIMessageChunk) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=message)


def decide(messages: Sequence[BaseMessage], *, documents: bool = False) -> Plan:
    """What to do at this point of the conversation: use a tool, or say something.

    Args:
        messages: The conversation.
        documents: Whether there are documents for what no rule understands.
    """
    turn = next(
        (i for i in range(len(messages) - 1, -1, -1) if isinstance(messages[i], HumanMessage)), None
    )
    if turn is None:
        return Say("Hello. What can I do for you?")
    said = messages[turn].text
    in_mandarin = bool(_HAN.search(said))
    results = [m for m in messages[turn + 1 :] if isinstance(m, ToolMessage)]
    if results:
        return Say(_phrase_result(results[-1], messages[:turn], in_mandarin))
    answers = [m.text for m in messages[:turn] if isinstance(m, AIMessage) and m.text.strip()]
    chosen = mandarin.plan(said, answers) if in_mandarin else english.plan(said, answers)
    not_understood = chosen in (Say(mandarin.NOT_UNDERSTOOD), Say(english.NOT_UNDERSTOOD))
    if documents and not_understood:
        return Use(SEARCH_DOCUMENTS, {"question": said})
    return chosen


def _phrase_result(message: ToolMessage, earlier: Sequence[BaseMessage], in_mandarin: bool) -> str:
    try:
        result = json.loads(message.text)
        if message.name == "recall" and result["fact"] == "name" and result["value"] is None:
            # The store may be new; what the caller said in this conversation still holds.
            result["value"] = _name_told_in(earlier)
        return phrase(message.name or "", result, in_mandarin)
    except (ValueError, KeyError, TypeError):
        # A tool that broke answers with prose about its fault, which is not for the ear.
        return "对不起，这个现在不行。" if in_mandarin else "I am sorry, that did not work."


def _name_told_in(messages: Sequence[BaseMessage]) -> str | None:
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            text = message.text
            name = mandarin.name_in(text) if _HAN.search(text) else english.name_in(text)
            if name is not None:
                return name
    return None
