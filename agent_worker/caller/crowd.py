"""Many callers at once, in processes of their own: what is measured is the worker, not them.

`Crowd` starts processes that run this file. Each reads its errands from stdin, says that it is
ready, waits for the word, and writes a line of JSON for each turn; the end of stdin ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .client import CallerError, Pcm, SimulatedCaller

_CALLS_PER_PROCESS = 4
_FRAME_S = 0.02
"""As phones and browsers have it; half the work for the cores that are measured."""
_JOIN_S = 30.0
_ANSWER_S = 15.0
_QUIET_S = 0.6
_START_S = 60.0
_LEAVE_S = 10.0
_GO = b"go\n"


@dataclasses.dataclass(frozen=True)
class Errand:
    """One call that somebody makes."""

    token: str
    """For a room of its own."""
    turns: int
    first_line: int = 0
    """Of the lines, which then follow in turn."""
    after_s: float = 0.0
    """Pause before it, from the end of the same caller's last one."""


@dataclasses.dataclass(frozen=True)
class TurnTaken:
    """What became of one turn, or of a call that came to none."""

    at: float
    """Unix seconds, of the end of the caller's speech."""
    end_to_end_ms: float | None
    """To the first sample that came back; None: nothing came."""
    error: str = ""
    turns: int = 1
    """How many turns this stands for: of a call that nobody answered, all."""


class Crowd:
    """Callers who make their calls at the same time.

    Args:
        url: the LiveKit server.
        lines: what they say.
        callers: of each, the calls that it makes one after the other.
        on_turn: told of each turn as it is over.
    """

    def __init__(
        self,
        url: str,
        lines: Sequence[Pcm],
        callers: Sequence[Sequence[Errand]],
        *,
        on_turn: Callable[[TurnTaken], None],
    ) -> None:
        self._url = url
        self._lines = lines
        self._callers = callers
        self._on_turn = on_turn
        self._processes: list[asyncio.subprocess.Process] = []

    @property
    def pids(self) -> list[int]:
        """Its processes."""
        return [process.pid for process in self._processes]

    @contextlib.asynccontextmanager
    async def ready(self) -> AsyncIterator[None]:
        """Starts the processes, which wait for `talk`; ends them when the context ends.

        Raises:
            CallerError: one did not start.
        """
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "lines.npz"
            np.savez(file, *self._lines)
            try:
                for first in range(0, len(self._callers), _CALLS_PER_PROCESS):
                    await self._start(file, self._callers[first : first + _CALLS_PER_PROCESS])
                async with asyncio.timeout(_START_S):
                    for process in self._processes:
                        assert process.stdout is not None
                        if not await process.stdout.readline():
                            raise CallerError("a process of callers ended before it began")
                yield
            except TimeoutError:
                raise CallerError(f"the callers did not start within {_START_S:.0f} s") from None
            finally:
                await self._end()

    async def talk(self, *, timeout_s: float) -> bool:
        """Lets all make their calls; returns whether they were over in time."""
        readers = [asyncio.create_task(self._read(process)) for process in self._processes]
        try:
            for process in self._processes:
                assert process.stdin is not None
                with contextlib.suppress(ConnectionError):
                    process.stdin.write(_GO)
                    await process.stdin.drain()
            _, late = await asyncio.wait(readers, timeout=timeout_s)
            return not late
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)

    async def _start(self, file: Path, callers: Sequence[Sequence[Errand]]) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            __name__,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self._processes.append(process)
        orders = {
            "url": self._url,
            "lines": str(file),
            "callers": [[dataclasses.asdict(e) for e in errands] for errands in callers],
        }
        assert process.stdin is not None
        # tokens are no arguments: those are readable by every user of the machine
        process.stdin.write(json.dumps(orders).encode() + b"\n")
        await process.stdin.drain()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            self._on_turn(TurnTaken(**json.loads(line)))

    async def _end(self) -> None:
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
        for process in self._processes:
            try:
                await asyncio.wait_for(process.wait(), _LEAVE_S)
            except TimeoutError:
                process.kill()
                await process.wait()


# -- in a process of callers -----------------------------------------------------------------
async def _make_calls(orders: dict[str, Any], tell: Callable[[TurnTaken], None]) -> None:
    with np.load(orders["lines"]) as file:
        lines = [file[name] for name in file.files]
    callers = [[Errand(**errand) for errand in errands] for errands in orders["callers"]]
    await asyncio.gather(*(_caller(orders["url"], lines, errands, tell) for errands in callers))


async def _caller(
    url: str, lines: Sequence[Pcm], errands: Sequence[Errand], tell: Callable[[TurnTaken], None]
) -> None:
    for errand in errands:
        await asyncio.sleep(errand.after_s)
        await call(url, lines, errand, tell)


async def call(
    url: str, lines: Sequence[Pcm], errand: Errand, tell: Callable[[TurnTaken], None]
) -> None:
    """Makes one call; what goes wrong in a turn is told, and the next one tried."""
    taken = 0
    try:
        async with SimulatedCaller(url, errand.token, frame_s=_FRAME_S) as caller:
            await caller.wait_for_agent_state("listening", timeout_s=_JOIN_S)
            for turn in range(errand.turns):
                line = lines[(errand.first_line + turn) % len(lines)]
                try:
                    at, ms = await _turn(caller, line)
                    tell(TurnTaken(at, ms))
                except CallerError as e:
                    tell(TurnTaken(time.time(), None, str(e)))
                taken += 1
            await caller.silent(for_s=_QUIET_S, timeout_s=2 * _ANSWER_S)
            await _hang_up(caller)
    except Exception as e:
        # one call that fails in an unforeseen way must not take the others of its process along
        why = str(e) if isinstance(e, CallerError) else f"a call failed: {e!r}"
        tell(TurnTaken(time.time(), None, why, turns=errand.turns - taken))


async def _turn(caller: SimulatedCaller, pcm: Pcm) -> tuple[float, float]:
    await caller.silent(for_s=_QUIET_S, timeout_s=2 * _ANSWER_S)
    await caller.wait_for_agent_state("listening", timeout_s=_ANSWER_S)
    spoken = await caller.speak(pcm)
    received_at = await caller.audible_after(spoken.ended_at, timeout_s=_ANSWER_S)
    return spoken.ended_at, (received_at - spoken.ended_at) * 1000


async def _hang_up(caller: SimulatedCaller) -> None:
    # as the page's button does: the agent does not wait for a caller who will not come back
    with contextlib.suppress(CallerError):
        await caller.call_agent("end_call")


def _main() -> None:
    from agent_worker.call.native_events import address_events

    orders = json.loads(sys.stdin.buffer.readline())
    out = sys.stdout

    def tell(turn: TurnTaken) -> None:
        print(json.dumps(dataclasses.asdict(turn)), file=out, flush=True)

    # several calls of one process: see there
    address_events()
    print("ready", file=out, flush=True)
    if sys.stdin.buffer.readline() != _GO:
        os._exit(0)

    def until_left() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=until_left, daemon=True).start()
    asyncio.run(_make_calls(orders, tell))
    # past the interpreter's shutdown, in which LiveKit's native threads sometimes panic
    os._exit(0)


if __name__ == "__main__":
    _main()
