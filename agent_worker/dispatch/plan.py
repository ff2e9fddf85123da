"""Is a caller alone in a room that has called this agent? The decision, without I/O.

LiveKit calls an agent once, as a room opens. When that job dies with its worker, or no worker was
there, nobody is called again. What is known from outside is enough to see it:

* A *dispatch* of this agent's name is in the room: the room wants this agent. An agent that ends a
  call of its own accord takes its dispatch along, so one that is left behind was never served, or
  lost its agent to a fault.
* Each agent *beats*: an attribute of its participant changes about once a second. The participant
  of a process that was killed stays in the room for 20 s more, but its beat stands still. How long
  it stands still is measured by the watcher's own clock, so that two machines' clocks need not
  agree.

Two watchers may decide alike at the same moment; that two agents never answer is not held here but
by the agent, which leaves a room in which it finds another: see `standing`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

DEAD_AFTER_S = 2.4
"""Seconds in which a beat stands still; an event loop that is held up for longer serves nobody."""
_LIVING_DEAD_AFTER_S = 12.0
"""Likewise where its process is known to live: its beat may be late, as all else is."""
_STARTING_S = 5.0
"""Seconds that a job gets from its assignment until its agent is in the room."""
_GRACE_S = 0.9
"""Seconds for which a caller is alone before that means something: dispatching takes a moment."""
_RETRY_S = (3.0, 5.0, 8.0, 12.0)
"""Seconds between attempts: without a free worker a dispatch comes to nothing."""
_BUSY_AFTER = 1
"""Attempts that came to nothing, after which the callers are told that all are busy."""
_REMEMBERED_S = 60.0
"""A room that opens again under its old name, with its caller, within this time still wants one."""


@dataclasses.dataclass(frozen=True)
class AgentView:
    """A participant that says it is this agent."""

    identity: str
    beat: str
    """Its last beat; empty: it is of a release that does not beat, and taken for alive."""
    process: str = ""
    """What its process is known by, see `kin`; empty: nothing."""


@dataclasses.dataclass(frozen=True)
class JobView:
    """A job that a worker took."""

    id: str
    identity: str
    """Of its agent in the room."""
    age_s: float = 0.0
    """Since it was assigned, as far as two machines' clocks can tell."""


@dataclasses.dataclass(frozen=True)
class DispatchView:
    """A dispatch of this agent's name."""

    id: str
    jobs: tuple[JobView, ...] = ()
    """Those that were assigned and are not known to have ended."""


@dataclasses.dataclass(frozen=True)
class RoomView:
    """A room at one moment."""

    name: str
    sid: str
    callers: int
    """People in it, telephones too."""
    agents: tuple[AgentView, ...] = ()
    dispatches: tuple[DispatchView, ...] | None = ()
    """None: not asked for, since an agent is there."""


@dataclasses.dataclass(frozen=True)
class CallAgain:
    """What to do about a caller who is alone."""

    remove: tuple[str, ...]
    """Agents that are dead: thrown out first, so that none of them comes back beside the new."""
    replace: tuple[str, ...]
    """Dispatches that the new one replaces."""
    took_over: bool
    """Whether an agent had served the caller before."""
    tell_busy: bool
    """Whether to tell that all agents are busy."""
    jobs: tuple[str, ...] = ()
    """Jobs that were known; with any other an agent is on its way after all."""


@dataclasses.dataclass
class _Room:
    sid: str
    wanted_at: float
    beats: dict[str, tuple[str, float]] = dataclasses.field(default_factory=dict)
    dead: set[str] = dataclasses.field(default_factory=set)
    jobs: dict[str, float] = dataclasses.field(default_factory=dict)
    seen: set[str] = dataclasses.field(default_factory=set)
    awaited: set[str] = dataclasses.field(default_factory=set)
    served: bool = False
    alone_since: float | None = None
    attempts: int = 0
    tried_at: float = 0.0


class DispatchPlan:
    """Remembers rooms between two looks, and says which of them need an agent.

    Args:
        every_room: every room with a caller wants this agent, dispatched or not.
        lives: tells of an agent's process whether it lives; None: nobody here knows.
    """

    def __init__(
        self, *, every_room: bool = False, lives: Callable[[str], bool | None] = lambda _: None
    ) -> None:
        self._every_room = every_room
        self._lives = lives
        self._rooms: dict[str, _Room] = {}

    def agent_died(self, room: str, identity: str) -> None:
        """The agent's process is known to be gone: nobody waits for its beat any more."""
        known = self._rooms.get(room)
        if known is not None:
            known.dead.add(identity)

    def forget_closed(self, open_rooms: Sequence[str], now: float) -> None:
        """Tells which rooms there are; of others is forgotten what is old."""
        there = set(open_rooms)
        self._rooms = {
            name: room
            for name, room in self._rooms.items()
            if name in there or now - room.wanted_at < _REMEMBERED_S
        }

    def suspicious(self, room: str) -> bool:
        """Whether to look at it again soon."""
        known = self._rooms.get(room)
        return known is None or known.alone_since is not None

    def needs_dispatches(self, view: RoomView, now: float) -> bool:
        """Whether `decide` needs to know the room's dispatches: no living agent is in it."""
        if view.callers == 0:
            return False
        return not self._living(self._room(view, now), view, now)

    def decide(self, view: RoomView, now: float) -> CallAgain | None:
        """Whether an agent is to be called into the room.

        Args:
            view: what is known of the room.
            now: seconds on the watcher's own clock, which never jumps.
        """
        if view.callers == 0:
            known = self._rooms.get(view.name)
            if known is not None and known.sid == view.sid:
                # who comes back has an agent or a token that calls one
                del self._rooms[view.name]
            return None
        room = self._room(view, now)
        alive = self._living(room, view, now)
        room.seen |= {agent.identity for agent in view.agents}
        if alive:
            room.served, room.alone_since, room.attempts = True, None, 0
            room.wanted_at = now
            return None
        dispatches = view.dispatches or ()
        recreated = room.sid != view.sid
        if dispatches:
            room.sid = view.sid
        elif not self._every_room and not (recreated and now - room.wanted_at < _REMEMBERED_S):
            self._rooms.pop(view.name, None)
            return None
        if dispatches or not recreated:
            room.wanted_at = now
        if room.alone_since is None:
            room.alone_since = now
        dead = tuple(agent.identity for agent in view.agents)
        if self._starting(room, dispatches, now):
            return None
        # a job that was taken long ago has served, though this watcher did not see it; one that was
        # seen to start and never came has not
        jobs = (job for dispatch in dispatches for job in dispatch.jobs)
        room.served = room.served or any(job.id not in room.awaited for job in jobs)
        if not dead and now - room.alone_since < _GRACE_S:
            return None
        if room.attempts:
            wait_s = _RETRY_S[min(room.attempts, len(_RETRY_S)) - 1]
            if now - room.tried_at < wait_s:
                return None
        room.attempts += 1
        room.tried_at = now
        return CallAgain(
            remove=dead,
            replace=tuple(dispatch.id for dispatch in dispatches),
            took_over=room.served,
            tell_busy=room.attempts > _BUSY_AFTER,
            jobs=tuple(job.id for dispatch in dispatches for job in dispatch.jobs),
        )

    def _room(self, view: RoomView, now: float) -> _Room:
        room = self._rooms.get(view.name)
        if room is None:
            # of a room that was never seen wanted, a wish can't be remembered
            room = _Room(sid=view.sid, wanted_at=float("-inf"))
            self._rooms[view.name] = room
        return room

    def _living(self, room: _Room, view: RoomView, now: float) -> bool:
        living = False
        here = set()
        for agent in view.agents:
            here.add(agent.identity)
            beat, since = room.beats.get(agent.identity, ("", now))
            if agent.beat != beat:
                since = now
            room.beats[agent.identity] = (agent.beat, since)
            known = self._lives(agent.process)
            patience_s = _LIVING_DEAD_AFTER_S if known else DEAD_AFTER_S
            beats = known is not False and (not agent.beat or now - since < patience_s)
            living = living or (beats and agent.identity not in room.dead)
        for gone in room.beats.keys() - here:
            del room.beats[gone]
        if living:
            room.sid = view.sid
        return living

    @staticmethod
    def _starting(room: _Room, dispatches: Sequence[DispatchView], now: float) -> bool:
        """Whether a job was assigned so recently that its agent may be on its way."""
        starting = False
        jobs = {}
        for dispatch in dispatches:
            for job in dispatch.jobs:
                jobs[job.id] = room.jobs.get(job.id, now - job.age_s)
                gone = job.identity in room.seen or job.identity in room.dead
                if not gone and now - jobs[job.id] < _STARTING_S:
                    starting = True
                    room.awaited.add(job.id)
        room.jobs = jobs
        return starting
