"""One caller at the WebSocket and one in a room, who note when what came back."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from agent_worker.caller.client import SAMPLE_RATE, CallerError, Pcm, SimulatedCaller
from agent_worker.commands.livekit_server import RunningServer
from agent_worker.commands.worker_process import room_token

STAGES = ("partial", "final", "first_token", "first_audio")
ANSWER_S = 20.0
QUIET_S = 0.6
FRAME_S = 0.02
_JOIN_S = 30.0
_AUDIBLE = 200
"""Of 32,768: what of a voice is taken for sound."""


@dataclass
class Heard:
    """What came back in one turn, each the first time: Unix seconds by stage."""

    at: dict[str, float] = field(default_factory=dict)

    def mark(self, stage: str, at: float) -> None:
        """Notes a stage the first time that it is passed."""
        self.at.setdefault(stage, at)


def turn_ms(
    heard: Mapping[str, float], *, voice_started_at: float, voice_ended_at: float
) -> dict[str, float]:
    """Milliseconds of each stage that was passed: the partial's from the beginning of the voice,
    the others' from its end."""
    start = {"partial": voice_started_at}
    return {
        stage: round((heard[stage] - start.get(stage, voice_ended_at)) * 1000, 1)
        for stage in STAGES
        if stage in heard
    }


def voiced(pcm: Pcm) -> tuple[int, int]:
    """The first and the last sample that can be heard.

    Raises:
        CallerError: there is none.
    """
    loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) >= _AUDIBLE)
    if not len(loud):
        raise CallerError("there is no voice in what the caller should say")
    return int(loud[0]), int(loud[-1])


class SocketCaller:
    """A caller at the WebSocket, with an open microphone. Use as `async with`.

    Args:
        url: the gateway, ws://…/ws/s2s.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._heard = Heard()
        self._line: Pcm = np.zeros(0, np.int16)
        self._sent_at: list[float] = []
        self._voice_at = 0.0
        self._changed = asyncio.Condition()
        self._started = asyncio.Event()
        self._error = ""
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> SocketCaller:
        try:
            self._socket: ClientConnection = await connect(self._url, max_size=None)
        except (OSError, WebSocketException) as e:
            raise CallerError(f"can't connect to {self._url}: {e}") from e
        self._tasks = [asyncio.create_task(self._listen())]
        await self._socket.send('{"type": "session_start"}')
        try:
            async with asyncio.timeout(_JOIN_S):
                await self._started.wait()
        except TimeoutError:
            await self.__aexit__()
            raise CallerError(f"no session at {self._url}: {self._error or 'no answer'}") from None
        self._tasks.append(asyncio.create_task(self._microphone()))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._socket.close()

    async def turn(self, pcm: Pcm) -> dict[str, float]:
        """Speaks in real time and waits for the first sound of the answer.

        Raises:
            CallerError: none came in time.
        """
        await self._silent()
        self._heard, self._sent_at = Heard(), []
        self._line = pcm
        heard = self._heard
        try:
            async with asyncio.timeout(len(pcm) / SAMPLE_RATE + ANSWER_S), self._changed:
                await self._changed.wait_for(lambda: "first_audio" in heard.at)
        except TimeoutError:
            said = self._error or "no voice from the agent"
            raise CallerError(f"{said} within {ANSWER_S:.0f} s") from None
        first, last = voiced(pcm)
        return turn_ms(
            heard.at, voice_started_at=self._when_sent(first), voice_ended_at=self._when_sent(last)
        )

    def _when_sent(self, sample: int) -> float:
        frame, within = divmod(sample, int(SAMPLE_RATE * FRAME_S))
        # A frame leaves when its last sample has been spoken.
        return self._sent_at[frame] - FRAME_S + within / SAMPLE_RATE

    async def _silent(self) -> None:
        deadline = time.monotonic() + 2 * ANSWER_S
        while time.time() - self._voice_at < QUIET_S:
            if time.monotonic() > deadline:
                raise CallerError("the agent does not stop speaking")
            await asyncio.sleep(FRAME_S)

    async def _microphone(self) -> None:
        length = int(SAMPLE_RATE * FRAME_S)
        started = time.monotonic()
        for tick in range(2**62):
            frame, self._line = self._line[:length], self._line[length:]
            await self._socket.send(np.pad(frame, (0, length - len(frame))).tobytes())
            if len(frame):
                self._sent_at.append(time.time())
            due = started + (tick + 1) * FRAME_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _listen(self) -> None:
        stages = {"asr_partial": "partial", "asr_final": "final", "llm_token": "first_token"}
        async for data in self._socket:
            now = time.time()
            if isinstance(data, bytes):
                # Sound of an answer that is still ending belongs to no new turn.
                if np.abs(np.frombuffer(data, np.int16).astype(np.int32)).max() >= _AUDIBLE:
                    self._voice_at = now
                    if "final" in self._heard.at:
                        self._heard.mark("first_audio", now)
            else:
                message = json.loads(data)
                match message["type"]:
                    case "session_started":
                        self._started.set()
                    case "error":
                        self._error = message["message"]
                    case kind if kind in stages:
                        self._heard.mark(stages[kind], now)
            async with self._changed:
                self._changed.notify_all()


class RoomCaller(SimulatedCaller):
    """A caller in a room of its own. Use as `async with`."""

    def __init__(self, server: RunningServer, agent_name: str) -> None:
        room = f"bench-{uuid.uuid4().hex[:8]}"
        token = room_token(server, room=room, identity="caller", agent_name=agent_name)
        super().__init__(server.url, token, frame_s=FRAME_S)

    async def turn(self, pcm: Pcm) -> dict[str, float]:
        """As `SocketCaller.turn`.

        Raises:
            CallerError: no answer came in time.
        """
        await self.wait_for_agent_state("listening", timeout_s=_JOIN_S)
        await self.silent(for_s=QUIET_S, timeout_s=2 * ANSWER_S)
        began = time.time()
        spoken = await self.speak(pcm)
        heard = Heard()
        heard.mark("first_audio", await self.audible_after(spoken.ended_at, timeout_s=ANSWER_S))
        heard.mark("partial", self._first_words(began))
        record = await self.wait_for_latency_record(began, timeout_s=ANSWER_S)
        for stage in ("final", "first_token"):
            if stage in record["at"]:
                heard.mark(stage, record["at"][stage])
        return turn_ms(heard.at, voice_started_at=spoken.started_at, voice_ended_at=spoken.ended_at)

    def _first_words(self, since: float) -> float:
        at = self._texts.first_at(self.room.local_participant.identity, since)
        if at is None:
            raise CallerError("the agent wrote down no word")
        return at
