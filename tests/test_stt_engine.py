"""The engine: one thread with one model for many streams, which may hang, fail or be cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest
from livekit.agents import APIConnectionError, APITimeoutError

from livekit.plugins.faster_whisper import engines
from livekit.plugins.faster_whisper.engine import Engine
from livekit.plugins.faster_whisper.engines import engine_for
from livekit.plugins.faster_whisper.errors import PartialDropped
from livekit.plugins.faster_whisper.job import Decoded, Job
from livekit.plugins.faster_whisper.models import ModelSpec
from livekit.plugins.faster_whisper.schedule import Schedule, Waiting
from livekit.plugins.faster_whisper.statistics import RECENT_S, Counts

from .fake_stt_decoder import FakeDecoder, echo, job


@pytest.fixture
def decoder() -> Iterator[FakeDecoder]:
    decoder = FakeDecoder()
    yield decoder
    decoder.gate.set()


@pytest.fixture
def engine(decoder: FakeDecoder) -> Iterator[Engine]:
    engine = Engine(decoder.load, name="'fake'")
    yield engine
    decoder.gate.set()
    engine.close(5)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


async def blocked(engine: Engine, decoder: FakeDecoder) -> asyncio.Future[Decoded]:
    """Occupies the engine's thread until the gate is opened."""
    await engine.wait_until_loaded()
    decoder.gate.clear()
    running = asyncio.wrap_future(engine.submit(job("first")))
    await until(decoder.entered.is_set)
    return running


def prompts(decoder: FakeDecoder) -> list[list[str]]:
    return [[j.prompt for j in batch] for batch in decoder.batches]


async def test_a_request_is_answered(engine: Engine) -> None:
    assert (await engine.decode(job("hello there"), timeout_s=5)).text == "hello there"


async def test_waiting_requests_of_several_streams_run_as_one_batch(
    engine: Engine, decoder: FakeDecoder
) -> None:
    first = await blocked(engine, decoder)
    others = [asyncio.wrap_future(engine.submit(job(f"s{i}"), stream=i)) for i in range(4)]
    decoder.gate.set()
    await asyncio.gather(first, *others)
    assert prompts(decoder) == [["first"], ["s0", "s1", "s2", "s3"]]
    assert engine.statistics().mean_batch_size == 2.5


async def test_finals_run_before_partials_that_came_earlier(
    engine: Engine, decoder: FakeDecoder
) -> None:
    first = await blocked(engine, decoder)
    partial = asyncio.wrap_future(engine.submit(job("partial", is_final=False), stream="a"))
    final = asyncio.wrap_future(engine.submit(job("final"), stream="b"))
    decoder.gate.set()
    await asyncio.gather(first, partial, final)
    assert prompts(decoder) == [["first"], ["final"], ["partial"]]


async def test_a_newer_partial_of_a_stream_takes_the_place_of_the_one_that_waits(
    engine: Engine, decoder: FakeDecoder
) -> None:
    first = await blocked(engine, decoder)
    old = asyncio.wrap_future(engine.submit(job("old", is_final=False), stream="a"))
    new = asyncio.wrap_future(engine.submit(job("new", is_final=False), stream="a"))
    decoder.gate.set()
    await first
    with pytest.raises(PartialDropped):
        await old
    assert (await new).text == "new"


async def test_under_overload_partials_are_dropped_and_every_final_is_answered(
    decoder: FakeDecoder,
) -> None:
    engine = Engine(decoder.load, max_partials=4, max_batch=2)
    try:
        first = await blocked(engine, decoder)
        requests = [
            asyncio.wrap_future(
                engine.submit(job(f"{kind} {i}", is_final=kind == "final"), stream=(i, kind))
            )
            for i in range(20)
            for kind in ("partial", "final")
        ]
        assert engine.statistics().depth == 24
        decoder.gate.set()
        await first
        answers = await asyncio.gather(*requests, return_exceptions=True)
    finally:
        engine.close(5)
    finals = [a for a in answers[1::2] if isinstance(a, Decoded)]
    assert [f.text for f in finals] == [f"final {i}" for i in range(20)]
    assert sum(isinstance(a, PartialDropped) for a in answers[0::2]) == 16


async def test_cancelling_a_request_frees_its_place(engine: Engine, decoder: FakeDecoder) -> None:
    first = await blocked(engine, decoder)
    waiting = asyncio.create_task(engine.decode(job("unwanted"), timeout_s=5))
    await until(lambda: engine.statistics().depth == 1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert engine.statistics().depth == 0
    assert engine.statistics().cancelled == 1
    decoder.gate.set()
    await first
    await engine.decode(job("next"), timeout_s=5)
    assert prompts(decoder) == [["first"], ["next"]]


async def test_cancelling_a_request_under_way_drops_its_late_result(
    engine: Engine, decoder: FakeDecoder
) -> None:
    await engine.wait_until_loaded()
    decoder.gate.clear()
    running = asyncio.create_task(engine.decode(job("unwanted"), timeout_s=5))
    await until(decoder.entered.is_set)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    decoder.gate.set()
    assert (await engine.decode(job("next"), timeout_s=5)).text == "next"


async def test_a_decode_that_hangs_ends_in_a_timeout_that_may_be_retried(
    engine: Engine, decoder: FakeDecoder
) -> None:
    await engine.wait_until_loaded()
    decoder.gate.clear()
    with pytest.raises(APITimeoutError) as caught:
        await engine.decode(job(), timeout_s=0.05)
    assert caught.value.retryable


async def test_waiting_in_a_queue_that_moves_is_no_timeout_for_a_live_final(
    engine: Engine, decoder: FakeDecoder
) -> None:
    pause = threading.Event()

    def slow(job: Job) -> Decoded:
        pause.wait(0.1)
        return echo(job)

    decoder.answer = slow
    engine_limit_s = 0.35
    # Different plans, so that each is a batch of its own: the last waits for about 1 s.
    requests = [
        engine.decode(
            Job(job().samples, prompt=f"{i}", beam_size=i + 1),
            timeout_s=engine_limit_s,
            while_stuck_only=True,
        )
        for i in range(10)
    ]
    answers = await asyncio.gather(*requests)
    assert [a.text for a in answers] == [str(i) for i in range(10)]


async def test_a_hung_engine_is_given_up_and_its_callers_are_told(decoder: FakeDecoder) -> None:
    engine = Engine(decoder.load, name="'fake'", stall_s=0.1)
    try:
        running = await blocked(engine, decoder)
        waiting = asyncio.wrap_future(engine.submit(job("second")))
        await until(lambda: not engine.usable)
        for request in (running, waiting):
            with pytest.raises(APIConnectionError, match="hangs"):
                await request
        with pytest.raises(APIConnectionError, match="hangs"):
            await engine.decode(job("third"), timeout_s=5)
    finally:
        decoder.gate.set()
        engine.close(5)


async def test_a_failing_decode_fails_its_caller_and_the_engine_goes_on(
    engine: Engine, decoder: FakeDecoder
) -> None:
    def answer(job: Job) -> Decoded:
        if job.prompt == "bad":
            raise RuntimeError("out of memory")
        return echo(job)

    decoder.answer = answer
    with pytest.raises(APIConnectionError, match="out of memory") as caught:
        await engine.decode(job("bad"), timeout_s=5)
    assert caught.value.retryable
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert (await engine.decode(job("good"), timeout_s=5)).text == "good"


async def test_one_bad_request_does_not_take_the_rest_of_its_batch_with_it(
    engine: Engine, decoder: FakeDecoder
) -> None:
    def answer(job: Job) -> Decoded:
        if job.prompt == "bad":
            raise ValueError("no such language")
        return echo(job)

    decoder.answer = answer
    first = await blocked(engine, decoder)
    bad = asyncio.wrap_future(engine.submit(job("bad"), stream=1))
    good = asyncio.wrap_future(engine.submit(job("good"), stream=2))
    decoder.gate.set()
    await first
    assert (await good).text == "good"
    with pytest.raises(APIConnectionError, match="no such language") as caught:
        await bad
    assert not caught.value.retryable


async def test_a_model_that_does_not_load_fails_every_caller_with_advice() -> None:
    def load() -> FakeDecoder:
        raise RuntimeError("CUDA driver version is insufficient")

    engine = Engine(load, name="'large-v3'")
    for _ in range(2):
        with pytest.raises(APIConnectionError, match=r"large-v3.*insufficient") as caught:
            await engine.decode(job(), timeout_s=5)
        assert not caught.value.retryable
    with pytest.raises(APIConnectionError):
        await engine.wait_until_loaded()
    assert not engine.usable


async def test_requests_that_come_while_the_model_loads_are_answered_after() -> None:
    loaded = threading.Event()
    decoder = FakeDecoder()

    def load() -> FakeDecoder:
        loaded.wait(30)
        return decoder

    engine = Engine(load)
    try:
        request = asyncio.create_task(engine.decode(job("early"), timeout_s=20))
        await until(lambda: engine.statistics().depth == 1)
        loaded.set()
        assert (await request).text == "early"
    finally:
        loaded.set()
        engine.close(5)


async def test_a_model_that_hangs_while_it_loads_is_given_up() -> None:
    loaded = threading.Event()
    decoder = FakeDecoder()

    def load() -> FakeDecoder:
        loaded.wait(30)
        return decoder

    engine = Engine(load, name="'slow'", load_limit_s=0.05)
    try:
        request = asyncio.wrap_future(engine.submit(job("early")))
        with pytest.raises(APIConnectionError, match="loading"):
            await engine.wait_until_loaded(0.1)
        assert not engine.usable
        with pytest.raises(APIConnectionError, match="hangs"):
            await request
        with pytest.raises(APIConnectionError, match="hangs"):
            await engine.wait_until_loaded()
    finally:
        loaded.set()
        engine.close(5)
    assert decoder.batches == []


async def test_a_closed_engine_fails_what_waits_and_its_thread_ends(
    engine: Engine, decoder: FakeDecoder
) -> None:
    first = await blocked(engine, decoder)
    waiting = asyncio.wrap_future(engine.submit(job("second")))
    engine.close(0)
    with pytest.raises(APIConnectionError, match="closed"):
        await waiting
    decoder.gate.set()
    assert (await first).text == "first"
    engine.close(5)
    assert not engine._thread.is_alive()


def test_equal_models_share_one_engine_and_others_do_not() -> None:
    spec = ModelSpec("bundled")
    assert engine_for(spec) is engine_for(ModelSpec("bundled"))
    assert engine_for(spec) is not engine_for(ModelSpec("bundled", cpu_threads=2))


async def test_an_engine_that_failed_is_replaced_at_the_next_use() -> None:
    spec = ModelSpec("no/such-model")
    failed = engine_for(spec)
    with pytest.raises(APIConnectionError, match=r"download\('no/such-model'\)"):
        await failed.wait_until_loaded()
    assert engine_for(spec) is not failed
    assert engines._engines[spec] is not failed


def test_a_batch_never_mixes_plans_or_finals_with_partials() -> None:
    schedule: Schedule[str] = Schedule()
    for ticket, plan, is_final in (("a", 1, False), ("b", 2, True), ("c", 1, True), ("d", 2, True)):
        schedule.put(Waiting(ticket, plan, is_final))
    assert [schedule.take() for _ in range(4)] == [["b", "d"], ["c"], ["a"], []]


def test_the_recent_wait_of_finals_is_a_mean_that_forgets_and_counts_who_still_waits() -> None:
    counts = Counts()
    assert counts.recent_final_wait_s([], now=0.0) == 0.0
    counts.final_waited(0.1, now=100.0)
    counts.final_waited(0.3, now=101.0)
    assert counts.recent_final_wait_s([], now=102.0) == pytest.approx(0.2)
    assert counts.recent_final_wait_s([100.0], now=102.0) == pytest.approx(0.8)
    assert counts.recent_final_wait_s([], now=101.0 + RECENT_S) == pytest.approx(0.3)
    assert counts.recent_final_wait_s([], now=102.0 + RECENT_S) == 0.0
    assert counts.max_final_wait_s == 0.3


async def test_a_final_that_waits_for_the_model_counts_as_waiting_now(
    engine: Engine, decoder: FakeDecoder
) -> None:
    running = await blocked(engine, decoder)
    waiting = asyncio.wrap_future(engine.submit(job("second", is_final=True)))
    await until(lambda: engine.statistics().recent_final_wait_s > 0.05)
    decoder.gate.set()
    await asyncio.gather(running, waiting)
