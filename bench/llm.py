"""What the LangGraph plugin adds to a model's tokens: python -m bench.llm [--json].

A scripted model server, a flow server and llama.cpp's own server with a tiny real model run in
processes of their own. Each contender asks the
same scripted questions in turns within one run, so the ratios hold even where the machine is
busy. CPU is this process's own, the worker's share, and the least of the rounds, since whatever
else the machine does only adds to it; the flow server's share is told beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import httpx

from .llm_contenders import Tokens, contenders
from .llm_real import measure_real

_BURST = 1000
_STREAMS = 20
_PACED = 100
_TOKENS_PER_SECOND = 50


@contextmanager
def process(*arguments: str) -> Iterator[tuple[dict[str, Any], int]]:
    """A server in a process of its own: the JSON line that it prints first, and its id."""
    quiet = subprocess.DEVNULL if "bench.llama_server" in arguments else None
    child = subprocess.Popen(
        [sys.executable, "-m", *arguments], stdout=subprocess.PIPE, stderr=quiet
    )
    try:
        assert child.stdout is not None
        yield json.loads(child.stdout.readline()), child.pid
    finally:
        child.terminate()
        child.wait()


def cpu_of(pid: int) -> float:
    """CPU seconds that a process has used, by Linux's count of ticks."""
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def prompt(**settings: float) -> str:
    """What the scripted server is to answer."""
    return json.dumps(settings)


async def drain(tokens: Tokens, question: str) -> int:
    """How many tokens came."""
    return sum([1 async for _ in tokens(question)])


async def first_token_ms(tokens: Tokens) -> float:
    """Milliseconds from the call to the first token."""
    began = time.perf_counter()
    stream: AsyncIterator[str] = tokens(prompt(tokens=3, tokens_per_second=_TOKENS_PER_SECOND))
    async with aclosing(stream):  # type: ignore[type-var]  # it is a generator
        await anext(stream)
        taken = time.perf_counter() - began
        async for _ in stream:
            pass
    return taken * 1000


async def cancel_ms(tokens: Tokens, stats: httpx.AsyncClient) -> float:
    """Milliseconds from the close of the stream to its end at the model server."""
    stream: AsyncIterator[str] = tokens(prompt(tokens=5000, tokens_per_second=100))
    for _ in range(3):
        await anext(stream)
    closed_at = time.monotonic()
    await stream.aclose()  # type: ignore[attr-defined]  # it is a generator
    while True:
        last = (await stats.get("/stats")).json()[-1]
        if last["outcome"] != "open":
            break
        await asyncio.sleep(0.01)
    if last["outcome"] != "cancelled":
        raise RuntimeError(f"the request ended as {last['outcome']}, not by the cancellation")
    # both processes read the machine's one monotonic clock
    return float(last["ended_at"] - closed_at) * 1000


async def cpu_us(tokens: Tokens, streams: int, pid: int) -> tuple[float, float]:
    """CPU microseconds per token, here and in the process `pid`."""
    question = (
        prompt(tokens=_BURST)
        if streams == 1
        else prompt(tokens=_PACED, tokens_per_second=_TOKENS_PER_SECOND)
    )
    there, here = cpu_of(pid), time.process_time()
    counts = await asyncio.gather(*(drain(tokens, question) for _ in range(streams)))
    spent_here, spent_there = time.process_time() - here, cpu_of(pid) - there
    total = sum(counts)
    if total != (_BURST if streams == 1 else _PACED * streams):
        raise RuntimeError(f"{total} tokens came")
    return spent_here / total * 1e6, spent_there / total * 1e6


async def measure(rounds: int) -> dict[str, Any]:
    """Runs everything in turns and returns the figures."""
    async with AsyncExitStack() as stack:
        model_server, _ = stack.enter_context(process("tests.fake_openai_server"))
        model_url = f"http://127.0.0.1:{model_server['port']}/v1"
        flows, flows_pid = stack.enter_context(process("bench.llm_flow_server", model_url))
        stats = await stack.enter_async_context(
            httpx.AsyncClient(base_url=model_url.removesuffix("/v1"), trust_env=False)
        )
        ways = await contenders(model_url, flows["url"], stack)
        for tokens in ways.values():
            await drain(tokens, prompt(tokens=50))
        first: dict[str, list[float]] = {name: [] for name in ways}
        cpu_1: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        cpu_20: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        cancel: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, tokens in ways.items():
                first[name] += [await first_token_ms(tokens) for _ in range(10)]
                cpu_1[name] += [await cpu_us(tokens, 1, flows_pid) for _ in range(4)]
                cpu_20[name] += [await cpu_us(tokens, _STREAMS, flows_pid) for _ in range(2)]
                cancel[name] += [await cancel_ms(tokens, stats) for _ in range(4)]
    result: dict[str, Any] = {}
    for name in ways:
        result[name] = {
            "first_token_ms_p50": round(statistics.median(first[name]), 2),
            "cpu_us_per_token_1": round(min(here for here, _ in cpu_1[name]), 1),
            "cpu_us_per_token_20": round(min(here for here, _ in cpu_20[name]), 1),
            "cancel_ms_max": round(max(cancel[name]), 1),
        }
    result["remote"]["server_cpu_us_per_token_1"] = round(
        min(there for _, there in cpu_1["remote"]), 1
    )
    result["remote"]["server_cpu_us_per_token_20"] = round(
        min(there for _, there in cpu_20["remote"]), 1
    )
    result["cancel_ms_max"] = max(result[name]["cancel_ms_max"] for name in ("ours", "remote"))
    return result


async def measure_on_llama_cpp(rounds: int) -> dict[str, Any]:
    """The same ways on the real server."""
    with (
        process("bench.llama_server") as (server, _),
        process("bench.llm_flow_server", server["url"]) as (flows, _),
    ):
        return await measure_real(server["url"], flows["url"], rounds)


def conditions(rounds: int) -> dict[str, Any]:
    """Where and with what it was measured."""
    packages: tuple[str, ...] = (
        "livekit-agents",
        "livekit-plugins-langchain",
        "langgraph",
        "langchain-openai",
    )
    packages += ("xllamacpp",)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}",
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "model": "scripted, on 127.0.0.1; llama.cpp: SmolLM2 135M Q4_1, one thread",
        "versions": {name: version(name) for name in packages},
        "rounds": rounds,
    }


def main() -> None:
    """Measures, and prints a table or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    before = conditions(options.rounds)
    result = asyncio.run(measure(options.rounds))
    real = asyncio.run(measure_on_llama_cpp(options.rounds))
    if options.json:
        print(json.dumps({**result, "llama_cpp": real, "measured": before}))
        return
    print(f"{'':12} {'first token':>12} {'CPU/token, 1':>13} {'20 streams':>11} {'cancel max':>11}")
    for name, figures in result.items():
        if isinstance(figures, dict):
            print(
                f"{name:12} {figures['first_token_ms_p50']:9.2f} ms "
                f"{figures['cpu_us_per_token_1']:10.1f} us {figures['cpu_us_per_token_20']:8.1f} us"
                f" {figures['cancel_ms_max']:8.1f} ms"
            )
    print(
        f"{'llama.cpp':12} {'first token':>12} {'over bare':>13} {'slot free, p50':>18} {'max':>11}"
    )
    for name, figures in real.items():
        print(
            f"{name:12} {figures['first_token_ms_p50']:9.2f} ms "
            f"{figures['over_the_bare_server_ms']:10.2f} ms "
            f"{figures['cancel_to_free_slot_ms_p50']:15.1f} ms "
            f"{figures['cancel_to_free_slot_ms_max']:8.1f} ms"
        )
    print(json.dumps(before))


if __name__ == "__main__":
    main()
