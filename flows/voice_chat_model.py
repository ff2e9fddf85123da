"""The chat model that never leaves a caller in silence: cancellable, patient, and taught by
refusals.

LangChain's own limit on the time between chunks wraps each in `asyncio.wait_for`, which on Python
3.11 swallows cancellations: a barge-in would not reach the server. It is switched off, and
`asyncio.timeout`, which has no such fault, takes its place.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import openai
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.chat_models import agenerate_from_stream
from langchain_core.messages import AIMessageChunk, BaseMessage, BaseMessageChunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI
from pydantic import PrivateAttr

from .model_server import advice
from .model_server.answer_check import AnswerCheck, EmptyAnswerError, has_been_answered
from .model_server.asked import Asked, Served
from .model_server.chunks import as_chunk, marked, note
from .model_server.habits import Habits, ServerMemory
from .model_server.kinds import ServerKind
from .model_server.refusals import is_loading, is_no_model, learn, wait_s
from .model_server.waiting import Loader, WaitingCaller
from .model_server.wording import Refusal, refusal_of

logger = logging.getLogger("flows")

_MOST_ATTEMPTS = 10
"""Requests for one answer; each but the first was refused for another reason than those before."""
_LISTING_S = 2.0
_LOADS_AFTER_S = 0.4
"""Seconds without a token after which a model may be loading; one in memory is rarely as slow."""


@dataclass
class _Attempt:
    """One request: what it was made from, and what was sent."""

    habits: Habits
    payload: dict[str, Any] = field(default_factory=dict)
    began_at: float = 0.0
    """When it was sent, by the event loop's clock."""


class VoiceChatModel(ChatOpenAI):
    """`ChatOpenAI` whose streams can be cancelled at once, never hang, and never end in nothing."""

    first_token_timeout_s: float = 20.0
    idle_timeout_s: float = 10.0
    tells: bool = True
    """Whether what is learnt of the server, and why it does not answer, is logged."""
    _asked: Asked = PrivateAttr(default_factory=Asked)
    _loader: Loader = PrivateAttr(default_factory=Loader)

    def asks(self, asked: Asked) -> None:
        """Say what is known of the server."""
        self._asked = asked

    @property
    def memory(self) -> ServerMemory:
        """What has been learnt of the server."""
        return self._asked.memory

    async def aclose(self) -> None:
        """Close the connections to the server; safe to call twice."""
        await self._loader.aclose()
        await self.root_async_client.close()

    def _get_request_payload(
        self,
        input_: LanguageModelInput,
        *,
        stop: list[str] | None = None,
        attempt: _Attempt | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        payload = super()._get_request_payload(input_, stop=stop, **kwargs)
        # The name that every server knows; several local ones ignore OpenAI's newer one.
        if "max_completion_tokens" in payload:
            payload["max_tokens"] = payload.pop("max_completion_tokens")
        attempt = attempt or _Attempt(self.memory.habits)
        attempt.payload = attempt.habits.shape(payload)
        return attempt.payload

    def _convert_chunk_to_generation_chunk(
        self,
        chunk: dict[str, Any],
        default_chunk_class: type[BaseMessageChunk],
        base_generation_info: dict[str, Any] | None,
    ) -> ChatGenerationChunk | None:
        made = super()._convert_chunk_to_generation_chunk(
            chunk, default_chunk_class, base_generation_info
        )
        return marked(made, chunk)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        # One way of asking: what is awaited whole has the same limits and is taught the same.
        return await agenerate_from_stream(self._astream(messages, stop, None, **kwargs))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        if not self.model_name and self._asked.find is not None:
            await self._find_model(self._asked.find)
        attempt = _Attempt(self.memory.habits)
        give_up_at = asyncio.get_running_loop().time() + self.first_token_timeout_s
        asked_again = empty_before = False
        with WaitingCaller(self._asked.fillers, cold=not self.memory.is_warm()) as caller:
            for number in range(1, _MOST_ATTEMPTS + 1):
                check = AnswerCheck()
                answer = self._answer(messages, stop, run_manager, attempt, check, caller, kwargs)
                try:
                    async with contextlib.aclosing(answer):  # type: ignore[type-var]  # a generator
                        async for chunk in answer:
                            yield chunk
                except openai.APIError as e:
                    if check.is_said or check.texts:
                        raise
                    attempt = await self._ask_again(
                        e, attempt, give_up_at, caller, last=number == _MOST_ATTEMPTS
                    )
                    continue
                if not check.came and not attempt.habits.whole:
                    # Not even an end: nothing at all, which may pass, or one JSON object instead
                    # of a stream, which comes again. The slower way is taken for the latter only.
                    attempt = _Attempt(replace(attempt.habits, whole=empty_before))
                    empty_before = True
                    continue
                if check.came:
                    self._learnt(attempt.habits)
                if check.is_said or has_been_answered(messages, check):
                    if check.thoughts and not attempt.habits.thinks and not self._asked.thinking:
                        # Heard, but late: the next turn is asked for without the thoughts.
                        self._learnt(replace(attempt.habits, thinks=1))
                    return
                cause = check.cause(attempt.payload.get("max_tokens"))
                if asked_again:
                    raise self._nothing_said(attempt, check, cause)
                self._tell(f"{cause}; it is asked once more")
                if check.left_open:
                    # Or what is said now would be taken for more of the thoughts.
                    yield ChatGenerationChunk(message=AIMessageChunk(content="</think>"))
                attempt, asked_again = _Attempt(self._without_thinking(attempt, check)), True

    async def _find_model(self, find: Callable[[], Awaitable[Served]]) -> None:
        """The server may have come up after us: it is asked at the first turn, then no more."""
        served = await find()
        self.extra_body = served.extra_body
        self.memory.known_context = served.context_tokens
        self._asked = replace(self._asked, kind=served.kind, find=None)
        self.model_name = served.model
        logger.info("language model: %s at %s (%s)", served.model, self._asked.url, served.kind)

    async def _answer(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        run_manager: AsyncCallbackManagerForLLMRun | None,
        attempt: _Attempt,
        check: AnswerCheck,
        caller: WaitingCaller,
        kwargs: dict[str, Any],
    ) -> AsyncIterator[ChatGenerationChunk]:
        """The chunks of one request; those without content wait until something has come."""
        if attempt.habits.whole:
            chunks = self._in_one_piece(messages, stop, attempt, kwargs)
            caller.is_waiting()
        else:
            chunks = super()._astream(messages, stop, run_manager, attempt=attempt, **kwargs)
        limit, waited_for = self.first_token_timeout_s, "first token"
        attempt.began_at = asyncio.get_running_loop().time()
        held: list[ChatGenerationChunk] | None = []
        came = False
        async with contextlib.aclosing(chunks):  # type: ignore[type-var]  # is a generator
            try:
                while True:
                    async with asyncio.timeout(limit):
                        chunk = await anext(chunks)
                    if not came:
                        came, limit, waited_for = True, self.idle_timeout_s, "further token"
                        check.came = True
                        self.memory.answered()
                        caller.is_answered()
                    message = chunk.message
                    note(check, chunk)
                    if held is None:
                        yield chunk
                    elif message.content or check.calls_tools:
                        for early in held:
                            yield early
                        held = None
                        yield chunk
                    else:
                        held.append(chunk)
            except StopAsyncIteration:
                pass
            except TimeoutError as e:
                self._go_on_loading(attempt, came)
                said = f"The model sent no {waited_for} for {limit:g} s."
                raise TimeoutError(said) from e
            except (asyncio.CancelledError, GeneratorExit):
                self._go_on_loading(attempt, came)
                raise
        # A silent answer that is to be is given as it came; one that is not will be asked again.
        if held and has_been_answered(messages, check):
            for early in held:
                yield early

    async def _in_one_piece(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        attempt: _Attempt,
        kwargs: dict[str, Any],
    ) -> AsyncIterator[ChatGenerationChunk]:
        """The answer of a server that does not stream, as the one chunk of a stream."""
        result = await super()._agenerate(messages, stop, attempt=attempt, **kwargs)
        if result.generations:
            yield as_chunk(result.generations[0])

    async def _ask_again(
        self,
        fault: openai.APIError,
        attempt: _Attempt,
        give_up_at: float,
        caller: WaitingCaller,
        *,
        last: bool,
    ) -> _Attempt:
        """What to send after a refusal, when it is time to; raises `fault` where nothing helps."""
        refusal = refusal_of(fault)
        if refusal is None:
            raise fault
        left = give_up_at - asyncio.get_running_loop().time()
        wait = wait_s(refusal, left)
        if wait is not None and wait < left and not last:
            if is_loading(refusal):
                logger.info("model server: %s", advice.of_loading(self._asked.url))
            caller.is_waiting()
            await asyncio.sleep(wait)
            return _Attempt(attempt.habits)
        habits = learn(attempt.habits, refusal, attempt.payload)
        if wait is None and habits is not None and not last:
            return _Attempt(habits)
        sentence = await self._why(refusal)
        self._tell(sentence)
        fault.add_note(sentence)
        raise fault

    async def _why(self, refusal: Refusal) -> str:
        if is_loading(refusal):
            return advice.of_loading(self._asked.url)
        there: list[str] = []
        if refusal.status == 404 or is_no_model(refusal):
            with contextlib.suppress(openai.APIError, TimeoutError, ValueError):
                async with asyncio.timeout(_LISTING_S):
                    there = [m.id async for m in await self.root_async_client.models.list()]
        return advice.of_refusal(
            refusal,
            url=self._asked.url,
            model=self.model_name,
            there=[name for name in there if name != self.model_name],
            kind=self._asked.kind,
        )

    def _learnt(self, habits: Habits) -> None:
        before = self.memory.habits
        if habits == before:
            return
        for sentence in advice.of_habits(
            before, habits, url=self._asked.url, kind=self._asked.kind
        ):
            if sentence not in self.memory.told:
                self._tell(sentence)
            if self.tells:
                self.memory.told.add(sentence)
        self.memory.learn(habits)

    def _without_thinking(self, attempt: _Attempt, check: AnswerCheck) -> Habits:
        habits = attempt.habits
        if not check.thought_only or self._asked.thinking:
            return habits
        known = attempt.payload.get("extra_body") or {}
        both_sent = {"chat_template_kwargs", "reasoning_effort"} <= {*known, *habits.without}
        return replace(habits, thinks=2 if habits.thinks or both_sent else 1)

    def _nothing_said(self, attempt: _Attempt, check: AnswerCheck, cause: str) -> EmptyAnswerError:
        if check.thought_only and not self._asked.thinking:
            # The next turn is asked in the way that this one was not.
            self._learnt(replace(attempt.habits, thinks=2))
        self._tell(f"nothing can be said: {cause}")
        fault = EmptyAnswerError(cause)
        fault.add_note(cause)
        return fault

    def _tell(self, sentence: str) -> None:
        if self.tells:
            logger.warning("model server: %s", sentence)

    def _go_on_loading(self, attempt: _Attempt, came: bool) -> None:
        """A model that is being loaded goes on when the caller does not wait for it."""
        waited_s = asyncio.get_running_loop().time() - attempt.began_at
        if came or waited_s < _LOADS_AFTER_S or not attempt.payload or self.memory.is_warm():
            return
        if self._asked.kind is not ServerKind.OPENROUTER:
            self._loader.start(self.root_async_client, attempt.payload, self.memory)
