"""What one caller may cost the others, and what a call may leave behind, on a real worker."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from agent_worker.commands.livekit_server import RunningServer
from tests.integration.test_call import TIMEOUT_S, ask, greeted
from tests.integration.test_rejoin import Line

pytestmark = pytest.mark.timeout(180)

CALLS = 5


def _status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise AssertionError(f"no {field} of process {pid}")


async def test_one_who_floods_the_agent_takes_nothing_from_another_caller(
    livekit_server: RunningServer, worker_pid: int
) -> None:
    flooded, other = Line(livekit_server), Line(livekit_server)
    async with flooded.caller() as ann, other.caller() as bob:
        await asyncio.gather(greeted(ann), greeted(bob))
        before_kb = _status(worker_pid, "VmRSS")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.flooder", livekit_server.url),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(flooded.token("flooder").encode() + b"\n")
        assert await process.stdout.readline() == b"flooding\n"
        answer = await ask(bob, "what is two plus three")
        assert "five" in answer.lower(), f"answered {answer!r} to {bob.heard(0.0)!r}"
        said, sent = (await process.stdout.readline()).split()
        assert said == b"sent" and int(sent) > 100
        assert await process.wait() == 0
        answer = await ask(bob, "what is three plus four")
        assert "seven" in answer.lower(), f"answered {answer!r} to {bob.heard(0.0)!r}"
        assert _status(worker_pid, "VmRSS") - before_kb < 150_000


async def test_a_call_that_ends_leaves_no_native_thread(
    livekit_server: RunningServer, worker_pid: int
) -> None:
    async def one_call() -> None:
        line = Line(livekit_server)
        async with line.caller() as caller:
            await greeted(caller)
            await caller.call_agent("end_call")
            await caller.wait_for_agent_to_leave(timeout_s=TIMEOUT_S)
        async with asyncio.timeout(TIMEOUT_S):
            while await line.is_open():
                await asyncio.sleep(0.05)

    def threads() -> list[str]:
        tasks = Path(f"/proc/{worker_pid}/task").glob("*/comm")
        return [task.read_text().strip() for task in tasks]

    async def settled() -> list[str]:
        """The native threads, when no call's are among them any more."""
        await asyncio.sleep(3)
        return sorted(name for name in threads() if name not in ("python", "python3"))

    for _ in range(2):
        await one_call()
    before = await settled()
    for _ in range(CALLS):
        await one_call()
    after = await settled()
    assert len(after) - len(before) <= 1, (before, after)
