"""What a caller hears while a model does not answer. Time is as short as the machine allows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from livekit.agents import llm

from agent_worker.patience import Patience, bridged, in_time

SOON = Patience(
    filler=lambda: "One moment.",
    filler_after_s=0.05,
    apology="Sorry.",
    give_up_after_s=0.1,
    mark=lambda apology: {"aside": apology},
)
NEVER = Patience(filler=lambda: "One moment.", filler_after_s=30, give_up_after_s=30)


def _committed() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


async def _phrases(*phrases: str, after: asyncio.Event | None = None) -> AsyncIterator[str]:
    if after is not None:
        await after.wait()
    for phrase in phrases:
        yield phrase


def _word(text: str) -> llm.ChatChunk:
    return llm.ChatChunk(id="1", delta=llm.ChoiceDelta(role="assistant", content=text))


async def _chunks(*chunks: llm.ChatChunk, hangs: bool = False) -> AsyncIterator[llm.ChatChunk]:
    for chunk in chunks:
        yield chunk
    if hangs:
        await asyncio.Event().wait()


async def test_an_answer_in_time_has_no_filler() -> None:
    said = [phrase async for phrase in bridged(_phrases("Yes.", "No."), NEVER, _committed())]
    assert said == ["Yes.", "No."]


async def test_a_late_answer_comes_after_a_filler() -> None:
    ready = asyncio.Event()
    said = []
    async with aclosing(bridged(_phrases("Yes.", after=ready), SOON, _committed())) as phrases:
        async for phrase in phrases:
            said.append(phrase)
            ready.set()
    assert said == ["One moment. ", "Yes."]


async def test_nobody_waits_for_an_answer_whose_turn_does_not_stand() -> None:
    ready, committed = asyncio.Event(), asyncio.Event()
    step = asyncio.ensure_future(anext(bridged(_phrases("Yes.", after=ready), SOON, committed)))
    await asyncio.sleep(0.2)
    assert not step.done()
    committed.set()
    assert await step == "One moment. "


async def test_a_model_that_hangs_is_given_up_with_an_apology_that_is_marked() -> None:
    (apology,) = [chunk async for chunk in in_time(_chunks(hangs=True), SOON, _committed())]
    assert apology.delta is not None
    assert apology.delta.content == "Sorry."
    assert apology.delta.extra == {"aside": "Sorry."}


async def test_signs_without_a_word_do_not_put_the_apology_off() -> None:
    empty = llm.ChatChunk(id="1", delta=llm.ChoiceDelta(role="assistant"))
    chunks = [chunk async for chunk in in_time(_chunks(empty, hangs=True), SOON, _committed())]
    assert chunks[0] is empty
    assert chunks[-1].delta is not None and chunks[-1].delta.content == "Sorry."


async def test_a_model_that_has_begun_may_take_its_time() -> None:
    more = asyncio.Event()

    async def slow() -> AsyncIterator[llm.ChatChunk]:
        yield _word("Well,")
        await more.wait()
        yield _word(" yes.")

    said: list[str] = []

    async def listen() -> None:
        async for chunk in in_time(slow(), SOON, _committed()):
            assert chunk.delta is not None
            said.append(chunk.delta.content or "")

    listening = asyncio.create_task(listen())
    await asyncio.sleep(0.3)
    more.set()
    await listening
    assert said == ["Well,", " yes."]


async def test_a_speculation_is_not_given_up_before_its_turn_stands() -> None:
    committed = asyncio.Event()
    chunks = in_time(_chunks(hangs=True), SOON, committed)
    step = asyncio.ensure_future(anext(chunks))
    await asyncio.sleep(0.3)
    assert not step.done()
    committed.set()
    chunk = await step
    assert chunk.delta is not None and chunk.delta.content == "Sorry."


async def test_interrupted_midway_it_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    for waiting in (
        bridged(_phrases("Yes.", after=asyncio.Event()), SOON, asyncio.Event()),
        in_time(_chunks(hangs=True), NEVER, _committed()),
    ):
        step = asyncio.ensure_future(anext(waiting))
        await asyncio.sleep(0.02)
        step.cancel()
        await asyncio.gather(step, return_exceptions=True)
        await waiting.aclose()
    assert asyncio.all_tasks() == before
