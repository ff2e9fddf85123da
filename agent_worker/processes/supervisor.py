"""The parent of several call processes, each of them a worker: starts, replaces and drains them.

Every call process registers with LiveKit under the one name of the agent; LiveKit gives each call
to one that has room. What they share is here: the engines' processes, and one health endpoint.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import pickle
import secrets
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import psutil
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from agent_worker.engines.chosen import Choices
from agent_worker.machine_limits import free_memory_mib
from agent_worker.settings import Settings, export_environment
from agent_worker.telemetry.merged_metrics import Figures
from livekit.plugins.faster_whisper.engine_process import EngineProcesses, Meeting

from .plan import pause_s, shares
from .pulse import BEAT_EVERY_S, Listener, Patient, Pulse, listen

logger = logging.getLogger(__name__)

_LONG_LIFE_S = 30.0
_GRACE_S = 15.0
"""After the drain's own limit."""
_ASK_S = 2.0
_SPARE_AFTER_S = 20.0
"""A spare is begun when the others have begun: it would only hold them up."""
_SPARE_MIB = 1000.0
"""Free memory without which there is none: it takes 200."""


@dataclass(frozen=True)
class Orders:
    """What a call process is told on its stdin, as a pickle; the end of it ends the process."""

    choices: Choices
    engines: Meeting
    max_sessions: int
    command: str
    rest: tuple[str, ...]
    health_port: int
    metrics_port: int | None
    pulse: Pulse


class Supervisor:
    """Runs `count` call processes until it is told to stop."""

    def __init__(
        self, settings: Settings, choices: Choices, *, count: int, command: str, rest: list[str]
    ) -> None:
        """
        Args:
            settings: of the worker as a whole; `max_sessions` is shared out.
            choices: made once, for all of them.
            count: of call processes, two or more.
            command: LiveKit's, such as start.
            rest: its arguments.
        """
        self._settings = settings
        self._choices = choices
        self._shares = shares(settings.max_sessions, count)
        self._command = command
        self._rest = tuple(rest)
        self._stopping = asyncio.Event()
        self._ports = _free_ports(len(self._shares))
        self._metrics_ports = _free_ports(len(self._shares))
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._figures = Figures()
        self._spare: asyncio.subprocess.Process | None = None
        """Has everything imported, and waits for orders."""

    def stop(self) -> None:
        """Lets calls end, for `drain_timeout_s`, and then everything."""
        self._stopping.set()
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()

    async def run(self) -> int:
        """Runs until stopped. Returns the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        with contextlib.closing(EngineProcesses()) as engines:
            transport, listener, port = await listen()
            with contextlib.closing(transport):
                async with self._pages():
                    sparing = asyncio.create_task(self._keep_spare())
                    try:
                        await asyncio.gather(
                            *(
                                self._keep(i, engines.meeting, listener, port)
                                for i in range(len(self._shares))
                            )
                        )
                    finally:
                        sparing.cancel()
                        await asyncio.gather(sparing, return_exceptions=True)
                        await self._end_spare()
        return 0

    async def _keep_spare(self) -> None:
        while not self._stopping.is_set():
            await asyncio.sleep(_SPARE_AFTER_S)
            if self._spare is not None and self._spare.returncode is not None:
                await self._end_spare()
            if self._spare is None and free_memory_mib() > _SPARE_MIB:
                self._spare = await self._spawn()

    async def _end_spare(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None:
            with contextlib.suppress(ProcessLookupError):
                spare.kill()
            await spare.wait()

    async def _keep(self, index: int, engines: Meeting, listener: Listener, port: int) -> None:
        """Runs one call process, and a new one whenever it ends by itself, or hangs."""
        failures = 0
        while not self._stopping.is_set():
            started_at = time.monotonic()
            pulse, patient = Pulse(port, secrets.token_bytes(16)), Patient()
            listener.expect(pulse.secret, patient)
            process = await self._start(index, engines, pulse)
            try:
                await self._wait(process, patient)
            finally:
                listener.forget(pulse.secret)
                del self._running[index]
                if process.returncode is None:
                    process.kill()
                    await process.wait()
                self._figures.ended(index)
            if self._stopping.is_set():
                return
            failures = failures + 1 if time.monotonic() - started_at < _LONG_LIFE_S else 1
            logger.error(
                "a call process has ended and is started again",
                extra={"index": index, "status": process.returncode},
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s(failures))

    async def _start(
        self, index: int, engines: Meeting, pulse: Pulse
    ) -> asyncio.subprocess.Process:
        process, self._spare = self._spare, None
        if process is None or process.returncode is not None:
            process = await self._spawn()
        self._running[index] = process
        orders = Orders(
            self._choices,
            engines,
            self._shares[index],
            self._command,
            self._rest,
            self._ports[index],
            None if self._settings.metrics_port is None else self._metrics_ports[index],
            pulse,
        )
        await _tell(process, orders)
        if self._stopping.is_set():
            process.terminate()
        return process

    async def _spawn(self) -> asyncio.subprocess.Process:
        # from the loop's own thread, which stays: see `lifeline`
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "agent_worker",
            "call-process",
            env=export_environment(self._settings, inherit=True),
            stdin=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        await _tell(process, self._choices)
        return process

    async def _wait(self, process: asyncio.subprocess.Process, patient: Patient) -> None:
        """Waits until it has ended, hangs, or had its time after the order to stop."""
        ended = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(self._stopping.wait())
        watching = asyncio.create_task(_until_it_hangs(process, patient))
        first = (ended, stopping, watching)
        try:
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done() and not ended.done():
                await asyncio.wait({ended}, timeout=self._settings.drain_timeout_s + _GRACE_S)
        finally:
            for task in first:
                task.cancel()
            await asyncio.gather(*first, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def _pages(self) -> AsyncIterator[None]:
        """The endpoints of the worker as a whole."""
        health = [web.get("/", self._healthy), web.get("/worker", self._worker)]
        ports: list[tuple[int, list[web.RouteDef]]] = [(self._settings.health_port, health)]
        if self._settings.metrics_port is not None:
            ports.append((self._settings.metrics_port, [web.get("/metrics", self._metrics)]))
        async with contextlib.AsyncExitStack() as stack:
            for port, routes in ports:
                app = web.Application()
                app.add_routes(routes)
                runner = web.AppRunner(app, access_log=None)
                await runner.setup()
                stack.push_async_callback(runner.cleanup)
                await web.TCPSite(runner, self._settings.health_host, port).start()
            yield

    async def _metrics(self, _: web.Request) -> web.Response:
        pages = await asyncio.gather(*(_ask(port, "/metrics") for port in self._metrics_ports))
        body = self._figures.page(dict(enumerate(pages)))
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _healthy(self, _: web.Request) -> web.Response:
        """Well while any of them takes calls."""
        answers = await asyncio.gather(*(_ask(port, "/") for port in self._ports))
        well = sum(answer == "OK" for answer in answers)
        if well:
            return web.Response(text="OK")
        return web.Response(status=503, text="no call process is connected to LiveKit")

    async def _worker(self, _: web.Request) -> web.Response:
        answers = await asyncio.gather(*(_ask(port, "/worker") for port in self._ports))
        infos = [json.loads(answer) for answer in answers if answer]
        return web.json_response(
            {
                "agent_name": self._settings.agent_name,
                "active_jobs": sum(int(info.get("active_jobs", 0)) for info in infos),
                "worker_load": min(
                    (float(info.get("worker_load", 0.0)) for info in infos), default=1.0
                ),
                "call_processes": [
                    {"pid": p.pid, "rss_mib": round(_rss_mib(p.pid), 1)}
                    for _, p in sorted(self._running.items())
                ],
            }
        )


async def _tell(process: asyncio.subprocess.Process, what: Choices | Orders) -> None:
    if process.stdin is not None:
        # one that has just ended is noticed where it is waited for
        with contextlib.suppress(ConnectionError):
            process.stdin.write(pickle.dumps(what))
            await process.stdin.drain()


async def _until_it_hangs(process: asyncio.subprocess.Process, patient: Patient) -> None:
    late_s = 0.0
    while not patient.hangs(late_s):
        due = time.monotonic() + BEAT_EVERY_S
        await asyncio.sleep(BEAT_EVERY_S)
        late_s = time.monotonic() - due
    logger.error("a call process hangs and is ended", extra={"pid": process.pid})


def _rss_mib(pid: int) -> float:
    try:
        return float(psutil.Process(pid).memory_info().rss) / 2**20
    except psutil.NoSuchProcess:
        return 0.0


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(count):
            taken = stack.enter_context(socket.socket())
            taken.bind(("127.0.0.1", 0))
            ports.append(int(taken.getsockname()[1]))
    return ports


async def _ask(port: int, path: str) -> str | None:
    timeout = aiohttp.ClientTimeout(total=_ASK_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"http://127.0.0.1:{port}{path}") as answer,
        ):
            return await answer.text() if answer.status == 200 else None
    except (aiohttp.ClientError, TimeoutError):
        return None
