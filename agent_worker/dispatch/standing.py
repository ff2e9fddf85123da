"""One agent's place in its room: that it is the only one, that it lives, and how it goes.

Of two agents of one name only one answers: the server lets participants in one after the other, so
the second to join sees the first, and leaves. Unless the first is dead: a participant whose process
was killed stays for 20 s, but its beat stands still.

An agent that goes of its own accord takes its dispatch along, so that nobody calls another one for
a call that has ended; one that a fault takes leaves it behind (see `dispatch_plan`). It unpublishes
its voice before it goes (LiveKit's native library loses a thread with each room that closes over
a published track), and deletes a room only when it is still the one that it was in: after a restart
of the server another call may go on under the same name.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import aiohttp
from livekit.agents import JobContext, utils
from livekit.agents.types import ATTRIBUTE_AGENT_NAME

from livekit import api, rtc

from .plan import DEAD_AFTER_S
from .watch import AGAIN_ATTRIBUTE, BEAT_ATTRIBUTE, PROCESS_ATTRIBUTE, TOOK_OVER

logger = logging.getLogger(__name__)

BEAT_EVERY_S = 0.7
BEAT_LOST_AFTER_S = 1.0
"""Seconds after which a beat is given up for the next one. Were one whose receipt never comes
waited for as long as any request, the watch would take a living agent for dead."""
_LOOK_EVERY_S = 0.1
_REQUEST_S = 3.0
_CALLED_OFF_S = 12.0
"""Seconds in which an agent whose job the server ends has left; it may finish its sentence."""
_SETTLES_S = 0.3
"""Seconds after which one who joined again knows who is in the room."""


class Standing:
    """The place of the agent of one job.

    Args:
        ctx: of the job.
        agent_name: under which it is dispatched.
        process: mark of this process, see `kin`.
    """

    def __init__(self, ctx: JobContext, *, agent_name: str, process: str = "") -> None:
        self._ctx = ctx
        self._process = process
        self._agent_name = agent_name
        self._beating: asyncio.Task[None] | None = None
        self._going: asyncio.Task[None] | None = None
        self._after: Callable[[], Awaitable[None]] | None = None
        self.over = False
        """Whether the call has ended, and nobody takes it over."""
        self._ends: Callable[[], bool] = lambda: False
        self._reconnecting: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[bool] | None = None
        ctx.room.on("disconnected", self._on_disconnected)
        ctx.room.on("reconnecting", self._on_reconnecting)
        ctx.room.on("reconnected", self._on_reconnected)

    @property
    def took_over(self) -> bool:
        """Whether a fault took the agent that had served the caller before."""
        return self._ctx.job.attributes.get(AGAIN_ATTRIBUTE) == TOOK_OVER

    async def may_be_second(self) -> bool:
        """Whether another agent of this name is in the room, dead or alive; asked of the server.

        Then `is_free` is to be asked before anything is said.
        """
        there = False

        async def ask() -> None:
            nonlocal there
            room = self._ctx.job.room.name
            listed = await self._ctx.api.room.list_participants(
                api.ListParticipantsRequest(room=room)
            )
            there = any(
                who.attributes.get(ATTRIBUTE_AGENT_NAME) == self._agent_name
                for who in listed.participants
            )

        await self._ask("participants", ask)
        return there

    async def is_free(self) -> bool:
        """Whether this agent is to serve the room; if not it is on its way out.

        Call it when the room is connected. It begins to beat.
        """
        room = self._ctx.room
        if self._beating is None:
            self._beating = asyncio.create_task(self._beat(room), name="standing.beat")
        for rival in self._rivals():
            if await lives(room, rival) and not await self._goes_soon(rival):
                logger.info("another agent serves this room; this one leaves")
                await self._ask("dispatch", self._delete_dispatch)
                self._ctx.shutdown("another agent serves this room")
                return False
            if rival.identity not in room.remote_participants:
                continue
            logger.warning("an agent that was left behind is thrown out")
            await self._ask("participant", lambda who=rival: self._remove(who))  # type: ignore[misc]
        return True

    async def _goes_soon(self, rival: rtc.RemoteParticipant) -> bool:
        """Whether another's dispatch was taken back, and it is gone or dead within a while.

        The server ends the job of a dispatch that is deleted. A watch that called this agent took
        back what had called the other, which may have come all the same; were this one to leave
        before it, with its own dispatch, nobody would serve the room, and nobody would know.
        """
        called: list[str] | None = None

        async def ask() -> None:
            nonlocal called
            dispatches = await self._ctx.api.agent_dispatch.list_dispatch(self._ctx.job.room.name)
            called = [
                job.state.participant_identity
                for dispatch in dispatches
                if dispatch.agent_name == self._agent_name
                and dispatch.id != self._ctx.job.dispatch_id
                for job in dispatch.state.jobs
            ]

        await self._ask("dispatches", ask)
        if called is None or rival.identity in called:
            return False
        logger.info("the agent in this room is called off; this one waits for its place")
        loop = asyncio.get_running_loop()
        until = loop.time() + _CALLED_OFF_S
        while loop.time() < until:
            if not await lives(self._ctx.room, rival):
                return True
            await asyncio.sleep(_LOOK_EVERY_S)
        # after a server's restart it serves on, without a dispatch
        return False

    def ends_when(self, over: Callable[[], bool]) -> None:
        """Tells how to know that the call is ending: then its connection is not made again.

        A call that the server's end takes would else open its room anew, with a token that calls
        no agent, and the caller who comes back would find nobody.
        """
        self._ends = over

    def leave(self, *, over: bool, alone: bool) -> None:
        """Goes, in the background; the job ends with it.

        Args:
            over: the call has ended; False: a fault, or the worker's end, and it may go on with
                another agent.
            alone: nobody but the caller is in the room.
        """
        if self._going is None:
            self.over = over
            self._going = asyncio.create_task(self._leave(over, alone), name="standing.leave")

    async def aclose(self) -> None:
        """Finishes what `leave` began, when the room is disconnected; safe to call twice."""
        for task in (self._beating, self._reconnecting, self._looking):
            if task is not None:
                await utils.aio.cancel_and_wait(task)
        if self._going is not None:
            await asyncio.gather(self._going, return_exceptions=True)
        after, self._after = self._after, None
        if after is not None:
            await after()

    async def _leave(self, over: bool, alone: bool) -> None:
        room = self._ctx.room
        # of a room that is left, what is known of it is known already
        sid = await _sid(room, within_s=_REQUEST_S if room.isconnected() else 0)
        if over and alone:
            # after the disconnect, which the job's end brings: an engine that is still there
            # would join again with its old token, and open the room anew
            self._after = lambda: self._ask("room", lambda: self._delete_room(sid))
        elif over:
            await self._ask("dispatch", self._delete_dispatch)
        await unpublish(room)
        await disconnect(room)
        self._ctx.shutdown("the call has ended")

    def _rivals(self) -> list[rtc.RemoteParticipant]:
        return [
            who
            for who in self._ctx.room.remote_participants.values()
            if who.kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT
            and who.attributes.get(ATTRIBUTE_AGENT_NAME) == self._agent_name
        ]

    async def _beat(self, room: rtc.Room) -> None:
        clock = asyncio.get_running_loop().time
        for count in range(2**62):
            due = clock() + BEAT_EVERY_S
            if room.isconnected():
                try:
                    async with asyncio.timeout(BEAT_LOST_AFTER_S):
                        await room.local_participant.set_attributes(
                            {BEAT_ATTRIBUTE: str(count), PROCESS_ATTRIBUTE: self._process}
                        )
                except Exception as e:
                    # while the connection is made again; or there is none any more
                    logger.debug("a beat was lost", extra={"cause": type(e).__name__})
            await asyncio.sleep(max(due - clock(), 0.0))

    def _on_reconnecting(self) -> None:
        if self._reconnecting is None or self._reconnecting.done():
            self._reconnecting = asyncio.create_task(
                self._let_go(self._ctx.room), name="standing.let_go"
            )

    def _on_reconnected(self) -> None:
        # after a server's restart the room is another one, and may have an agent already
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_again(), name="standing.look_again")

    async def _look_again(self) -> bool:
        await asyncio.sleep(_SETTLES_S)
        return await self.is_free()

    async def _let_go(self, room: rtc.Room) -> None:
        while room.connection_state == rtc.ConnectionState.CONN_RECONNECTING:
            if self._ends() or self.over:
                await disconnect(room)
                return
            await asyncio.sleep(_LOOK_EVERY_S)

    def _on_disconnected(self, reason: object) -> None:
        if reason == rtc.DisconnectReason.PARTICIPANT_REMOVED and self._going is None:
            # Whoever threw it out does not want it back. (A watch that took it for dead has called
            # another by a dispatch of its own.)
            self._going = asyncio.create_task(
                self._ask("dispatch", self._delete_dispatch), name="standing.thrown_out"
            )

    async def _ask(self, what: str, request: Callable[[], Awaitable[object]]) -> None:
        try:
            async with asyncio.timeout(_REQUEST_S):
                await request()
        except api.TwirpError as e:
            if e.code != api.TwirpErrorCode.NOT_FOUND:
                logger.warning("the server refuses", extra={"what": what, "code": e.code})
        except (aiohttp.ClientError, TimeoutError) as e:
            logger.warning(
                "the server does not answer", extra={"what": what, "cause": type(e).__name__}
            )

    async def _delete_dispatch(self) -> None:
        job = self._ctx.job
        if job.dispatch_id:
            await self._ctx.api.agent_dispatch.delete_dispatch(job.dispatch_id, job.room.name)

    async def _delete_room(self, sid: str) -> None:
        name = self._ctx.job.room.name
        rooms = self._ctx.api.room
        found = (await rooms.list_rooms(api.ListRoomsRequest(names=[name]))).rooms
        if is_ours([(room.name, room.sid) for room in found], name, sid):
            await rooms.delete_room(api.DeleteRoomRequest(room=name))

    async def _remove(self, who: rtc.RemoteParticipant) -> None:
        await self._ctx.api.room.remove_participant(
            api.RoomParticipantIdentity(room=self._ctx.job.room.name, identity=who.identity)
        )


def is_ours(rooms: list[tuple[str, str]], name: str, sid: str) -> bool:
    """Whether the room under that name is the one with that id; not one that opened since."""
    return bool(sid) and (name, sid) in rooms


async def lives(room: rtc.Room, who: rtc.RemoteParticipant) -> bool:
    """Whether an agent in the room beats; one that never did is of another make, and lives."""
    first = who.attributes.get(BEAT_ATTRIBUTE, "")
    if not first:
        return True
    loop = asyncio.get_running_loop()
    until = loop.time() + DEAD_AFTER_S
    while loop.time() < until:
        await asyncio.sleep(_LOOK_EVERY_S)
        here = room.remote_participants.get(who.identity)
        if here is None:
            return False
        if here.attributes.get(BEAT_ATTRIBUTE, "") != first:
            return True
    return False


async def unpublish(room: rtc.Room) -> None:
    """Takes the agent's tracks out of a room; what fails is left as it is."""
    if room.connection_state != rtc.ConnectionState.CONN_CONNECTED:
        return
    for sid in list(room.local_participant.track_publications):
        try:
            async with asyncio.timeout(_REQUEST_S):
                await room.local_participant.unpublish_track(sid)
        except Exception as e:
            logger.debug("a track stays published", extra={"cause": type(e).__name__})


async def disconnect(room: rtc.Room) -> None:
    """Closes the connection; safe to call twice."""
    try:
        async with asyncio.timeout(_REQUEST_S):
            await room.disconnect()
    except TimeoutError:
        logger.warning("the connection to the room does not close")


async def _sid(room: rtc.Room, *, within_s: float) -> str:
    try:
        async with asyncio.timeout(within_s):
            return str(await room.sid)
    except TimeoutError:
        return ""
