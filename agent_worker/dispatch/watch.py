"""Looks for callers who are alone in rooms that called this agent, and calls it again.

Each worker runs one. What they do is decided in `dispatch_plan`; here are the requests to the
LiveKit server, few of them: one for the list of rooms, one for each room that is looked at, and a
second one only for a room without a living agent.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import aiohttp
from livekit.agents import AgentServer, utils
from livekit.agents.job import DEFAULT_PARTICIPANT_KINDS
from livekit.agents.types import ATTRIBUTE_AGENT_NAME
from livekit.protocol.agent import Job, JobStatus
from livekit.protocol.agent_dispatch import AgentDispatch
from livekit.protocol.models import ParticipantInfo

from agent_worker.settings import Settings
from livekit import api

from .kin import Kin
from .plan import AgentView, CallAgain, DispatchPlan, DispatchView, JobView, RoomView

logger = logging.getLogger(__name__)

BEAT_ATTRIBUTE = "agent.beat"
"""Participant attribute of the agent that changes as long as the agent lives."""
PROCESS_ATTRIBUTE = "agent.process"
"""Likewise, by which the processes of its worker know its own; see `kin`."""
AGAIN_ATTRIBUTE = "agent.again"
"""Attribute of a dispatch, and so of its job, made here: "took-over" or "first"."""
TOOK_OVER = "took-over"
FIRST = "first"
BUSY_TOPIC = "agent.busy"
"""Topic of the data message, JSON with `text`, sent into a room that waits for an agent."""

_LOOK_EVERY_S = 0.4
_HEALTHY_EVERY_S = 1.0
_ROOMS_A_LOOK = 20
"""With more, each is looked at less often, and other workers look too."""
_AFTER_TROUBLE_S = 1.0
_JITTER_S = 0.25
"""Two watchers that saw the same need not act at the same moment; the second looks once more.
Of many, each waits up to so long for each of them: the first comes as soon, and is done in time."""
_REQUEST_S = 4.0
_COUNTED_AFTER_S = 8.0
"""Seconds after which a room's number of participants is to be believed: the server writes it down
every 5 s, and a room that has just opened has none."""
_CALLERS = frozenset(int(kind) for kind in DEFAULT_PARTICIPANT_KINDS)
_ENDED = frozenset({JobStatus.JS_SUCCESS, JobStatus.JS_FAILED})


class Rooms(Protocol):
    """What the watch asks of a LiveKit server; `ServerRooms` is the real one."""

    async def names(self) -> Sequence[str]:
        """Rooms with somebody in them."""

    async def view(self, name: str) -> RoomView | None:
        """One room without its dispatches; None: it is gone."""

    async def dispatches(self, name: str) -> Sequence[DispatchView]:
        """This agent's dispatches in a room."""

    async def call(self, name: str, what: CallAgain) -> None:
        """Carries the decision out."""


class DispatchWatch:
    """Looks at the rooms of a server again and again.

    Args:
        rooms: of the server.
        may_call: whether this worker calls agents now; not while it drains.
        every_room: see `DispatchPlan`.
        lives: likewise.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        rooms: Rooms,
        *,
        may_call: Callable[[], bool] = lambda: True,
        every_room: bool = False,
        lives: Callable[[str], bool | None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rooms = rooms
        self._may_call = may_call
        self._plan = DispatchPlan(every_room=every_room, lives=lives)
        self._clock = clock
        self._looked_at: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to look, in the running event loop."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="dispatch_watch")

    async def aclose(self) -> None:
        """Stops looking; safe to call twice."""
        if self._task is not None:
            await utils.aio.cancel_and_wait(self._task)

    def agent_died(self, room: str, identity: str) -> None:
        """Tells that the process of an agent is gone, so that its caller is served at once."""
        self._plan.agent_died(room, identity)
        self._looked_at.pop(room, None)

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except (aiohttp.ClientError, api.TwirpError, TimeoutError) as e:
                # also while the server restarts: then the worker's own connection says so
                logger.debug("the rooms can't be looked at", extra={"cause": type(e).__name__})
                await asyncio.sleep(_AFTER_TROUBLE_S)
            except Exception:
                logger.exception("the watch over the rooms failed, and goes on")
                await asyncio.sleep(_AFTER_TROUBLE_S)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def look(self) -> None:
        """Looks once at the rooms that are due."""
        names = await self._rooms.names()
        now = self._clock()
        self._plan.forget_closed(names, now)
        self._looked_at = {n: at for n, at in self._looked_at.items() if n in set(names)}
        due = sorted(
            (self._looked_at.get(name, float("-inf")), name)
            for name in names
            if self._plan.suspicious(name)
            or now - self._looked_at.get(name, float("-inf")) >= _HEALTHY_EVERY_S
        )[:_ROOMS_A_LOOK]
        await asyncio.gather(*(self._look_at(name) for _, name in due))

    async def _look_at(self, name: str) -> None:
        what = await self._decide(name)
        self._looked_at[name] = self._clock()
        if what is None or not self._may_call():
            return
        await self._rooms.call(name, what)

    async def _decide(self, name: str) -> CallAgain | None:
        view = await self._rooms.view(name)
        if view is None:
            return None
        now = self._clock()
        if self._plan.needs_dispatches(view, now):
            dispatches = tuple(await self._rooms.dispatches(name))
            view = RoomView(view.name, view.sid, view.callers, view.agents, dispatches)
        return self._plan.decide(view, now)


class ServerRooms:
    """The rooms of a LiveKit server.

    Args:
        settings: name the server and the agent.
        busy_text: what those who wait are told; empty = nothing.
        watchers: how many there are beside this one and with it, as far as it knows.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        busy_text: str = "",
        watchers: Callable[[], int] = lambda: 1,
    ) -> None:
        self._settings = settings
        self._watchers = watchers
        self._agent_name = settings.agent_name
        self._busy_text = busy_text
        self._api: api.LiveKitAPI | None = None
        self._sids: dict[str, str] = {}
        self._seen: dict[str, float] = {}

    def _server(self) -> api.LiveKitAPI:
        if self._api is None:
            self._api = api.LiveKitAPI(
                self._settings.livekit_url,
                self._settings.livekit_api_key,
                self._settings.livekit_api_secret.get_secret_value(),
                timeout=aiohttp.ClientTimeout(total=_REQUEST_S),
            )
        return self._api

    async def aclose(self) -> None:
        """Closes the connections; safe to call twice."""
        if self._api is not None:
            server, self._api = self._api, None
            await server.aclose()

    async def names(self) -> Sequence[str]:
        """Rooms with somebody in them."""
        rooms = (await self._server().room.list_rooms(api.ListRoomsRequest())).rooms
        now = time.monotonic()
        self._sids = {room.name: room.sid for room in rooms}
        self._seen = {room.sid: self._seen.get(room.sid, now) for room in rooms}
        return [
            room.name
            for room in rooms
            if room.num_participants > 0 or now - self._seen[room.sid] < _COUNTED_AFTER_S
        ]

    async def view(self, name: str) -> RoomView | None:
        """One room without its dispatches; None: it is gone."""
        try:
            listed = await self._server().room.list_participants(
                api.ListParticipantsRequest(room=name)
            )
        except api.TwirpError as e:
            if e.code == api.TwirpErrorCode.NOT_FOUND:
                return None
            raise
        return RoomView(
            name=name,
            sid=self._sids.get(name, ""),
            callers=sum(_is_caller(who) for who in listed.participants),
            agents=tuple(
                AgentView(
                    who.identity,
                    who.attributes.get(BEAT_ATTRIBUTE, ""),
                    who.attributes.get(PROCESS_ATTRIBUTE, ""),
                )
                for who in listed.participants
                if who.kind == ParticipantInfo.AGENT
                and who.attributes.get(ATTRIBUTE_AGENT_NAME) == self._agent_name
            ),
            dispatches=None,
        )

    async def dispatches(self, name: str) -> Sequence[DispatchView]:
        """This agent's dispatches in a room."""
        return [
            DispatchView(
                dispatch.id,
                tuple(
                    JobView(
                        job.id,
                        job.state.participant_identity,
                        max(time.time() - job.state.started_at / 1e9, 0.0),
                    )
                    for job in _running(dispatch)
                ),
            )
            for dispatch in await self._server().agent_dispatch.list_dispatch(name)
            if dispatch.agent_name == self._agent_name
        ]

    async def call(self, name: str, what: CallAgain) -> None:
        """Throws dead agents out, calls the agent, and takes back what called it before."""
        server = self._server()
        if what.tell_busy:
            await self._tell_busy(name)
        await asyncio.sleep(random.uniform(0.0, _JITTER_S * self._watchers()))
        before = [
            dispatch
            for dispatch in await server.agent_dispatch.list_dispatch(name)
            if dispatch.agent_name == self._agent_name
        ]
        if {dispatch.id for dispatch in before} != set(what.replace):
            logger.debug("another worker has called the agent", extra={"room": name})
            return
        if any(job.id not in what.jobs for dispatch in before for job in _running(dispatch)):
            logger.debug("the agent is on its way after all", extra={"room": name})
            return
        here = await self.view(name)
        if here is None or any(agent.identity not in what.remove for agent in here.agents):
            # it came while this was decided: the server tells of its job later than it is there
            logger.debug("the agent has come after all", extra={"room": name})
            return
        for identity in what.remove:
            await self._remove(name, identity)
        oldest = min(before, key=lambda dispatch: dispatch.state.created_at, default=None)
        request = api.CreateAgentDispatchRequest(
            agent_name=self._agent_name,
            room=name,
            # the caller's wishes
            metadata=oldest.metadata if oldest is not None else "",
            attributes={
                **(dict(oldest.attributes) if oldest is not None else {}),
                AGAIN_ATTRIBUTE: TOOK_OVER if what.took_over else FIRST,
            },
        )
        await server.agent_dispatch.create_dispatch(request)
        logger.warning(
            "a caller was alone; the agent is called again",
            extra={"room": name, "took_over": what.took_over, "removed": len(what.remove)},
        )
        for dispatch in before:
            await _if_there(server.agent_dispatch.delete_dispatch(dispatch.id, name))

    async def _remove(self, name: str, identity: str) -> None:
        await _if_there(
            self._server().room.remove_participant(
                api.RoomParticipantIdentity(room=name, identity=identity)
            )
        )

    async def _tell_busy(self, name: str) -> None:
        if not self._busy_text:
            return
        message = json.dumps({"text": self._busy_text}, ensure_ascii=False)
        await _if_there(
            self._server().room.send_data(
                api.SendDataRequest(room=name, data=message.encode(), topic=BUSY_TOPIC)
            )
        )


def _running(dispatch: AgentDispatch) -> list[Job]:
    """Jobs that a worker took and that are not known to have ended."""
    return [
        job
        for job in dispatch.state.jobs
        if job.state.participant_identity and job.state.status not in _ENDED
    ]


def _is_caller(who: ParticipantInfo) -> bool:
    return (
        who.kind in _CALLERS
        and not who.permission.hidden
        and who.state != ParticipantInfo.DISCONNECTED
    )


async def _if_there(request: Awaitable[object]) -> None:
    try:
        await request
    except api.TwirpError as e:
        if e.code != api.TwirpErrorCode.NOT_FOUND:
            raise


def watch_rooms(
    server: AgentServer, settings: Settings, *, kin: Kin, busy_text: str = ""
) -> DispatchWatch:
    """Has a worker look after the rooms of its server, from when it starts until its loop ends."""
    rooms = ServerRooms(settings, busy_text=busy_text, watchers=kin.count)
    watch = DispatchWatch(
        rooms,
        may_call=lambda: not server.draining,
        every_room=settings.call_agent_to == "every_room",
        lives=kin.lives,
    )
    if settings.call_agent_to != "off":
        server.on("worker_started", watch.start)
    return watch
