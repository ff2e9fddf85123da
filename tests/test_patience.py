"""What a caller hears while a model does not answer. Time is as short as the machine allows."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator

from livekit.agents import llm
from livekit.agents.types import FlushSentinel

from agent_worker.engines.language_model import aside_mark
from agent_worker.faults.patience import Patience, in_time
from livekit.plugins.langgraph.history import without_asides

SOON = Patience(
    filler=lambda: "One moment.",
    filler_after_s=0.05,
    apology="Sorry.",
    give_up_after_s=0.1,
)
NEVER = Patience(filler=lambda: "One moment.", filler_after_s=30, give_up_after_s=30)


def _committed() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


def _word(text: str) -> llm.ChatChunk:
    return llm.ChatChunk(id="1", delta=llm.ChoiceDelta(role="assistant", content=text))


async def _chunks(*chunks: llm.ChatChunk, hangs: bool = False) -> AsyncIterator[llm.ChatChunk]:
    for chunk in chunks:
        yield chunk
    if hangs:
        await asyncio.Event().wait()


def _delta(chunk: llm.ChatChunk | FlushSentinel) -> llm.ChoiceDelta:
    assert isinstance(chunk, llm.ChatChunk) and chunk.delta is not None
    return chunk.delta


async def _said(
    chunks: AsyncIterator[llm.ChatChunk], patience: Patience, committed: asyncio.Event
) -> list[str]:
    """What is said; "|" where a segment ends."""
    said = []
    async for chunk in in_time(chunks, patience, committed):
        if isinstance(chunk, FlushSentinel):
            said.append("|")
        elif chunk.delta is not None:
            said.append(chunk.delta.content or "")
    return said


async def test_an_answer_in_time_has_no_filler() -> None:
    assert await _said(_chunks(_word("Yes."), _word("No.")), NEVER, _committed()) == ["Yes.", "No."]


async def test_a_late_answer_comes_after_a_filler_that_is_spoken_at_once() -> None:
    async def late() -> AsyncIterator[llm.ChatChunk]:
        await asyncio.sleep(0.2)
        yield _word("Yes.")

    patience = dataclasses.replace(SOON, give_up_after_s=30)
    assert await _said(late(), patience, _committed()) == ["One moment. ", "|", "Yes."]


async def test_what_the_answer_marks_itself_moves_behind_the_filler() -> None:
    async def late() -> AsyncIterator[llm.ChatChunk]:
        await asyncio.sleep(0.2)
        chunk = _word("Sorry.")
        assert chunk.delta is not None
        chunk.delta.extra = {"langgraph": {"asides": [[0, "Sorry."]]}}
        yield chunk

    patience = dataclasses.replace(SOON, give_up_after_s=30, mark=aside_mark)
    chunks = [chunk async for chunk in in_time(late(), patience, _committed())]
    extra = _delta(chunks[-1]).extra
    assert extra is not None
    assert without_asides("One moment. Sorry.", extra).strip() == ""


async def test_a_model_that_hangs_is_given_up_with_an_apology_that_is_marked() -> None:
    patience = dataclasses.replace(SOON, mark=aside_mark)
    chunks = [chunk async for chunk in in_time(_chunks(hangs=True), patience, _committed())]
    filler, _, apology = chunks
    said = f"{_delta(filler).content}{_delta(apology).content}"
    assert said == "One moment. Sorry."
    extra = _delta(apology).extra
    assert extra is not None
    assert without_asides(said, extra).strip() == ""


async def test_signs_without_a_word_do_not_put_the_apology_off() -> None:
    empty = llm.ChatChunk(id="1", delta=llm.ChoiceDelta(role="assistant"))
    chunks = [chunk async for chunk in in_time(_chunks(empty, hangs=True), SOON, _committed())]
    assert chunks[0] is empty
    assert _delta(chunks[-1]).content == "Sorry."


async def test_a_model_that_has_begun_may_take_its_time() -> None:
    more = asyncio.Event()

    async def slow() -> AsyncIterator[llm.ChatChunk]:
        yield _word("Well,")
        await more.wait()
        yield _word(" yes.")

    listening = asyncio.create_task(_said(slow(), SOON, _committed()))
    await asyncio.sleep(0.3)
    more.set()
    assert await listening == ["Well,", " yes."]


async def test_a_speculation_is_not_given_up_before_its_turn_stands() -> None:
    committed = asyncio.Event()
    chunks = in_time(_chunks(hangs=True), SOON, committed)
    step = asyncio.ensure_future(anext(chunks))
    await asyncio.sleep(0.3)
    assert not step.done()
    committed.set()
    chunk = await step
    assert _delta(chunk).content == "One moment. "
    await chunks.aclose()


async def test_interrupted_midway_it_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    waiting = in_time(_chunks(hangs=True), NEVER, _committed())
    step = asyncio.ensure_future(anext(waiting))
    await asyncio.sleep(0.02)
    step.cancel()
    await asyncio.gather(step, return_exceptions=True)
    await waiting.aclose()
    assert asyncio.all_tasks() == before
