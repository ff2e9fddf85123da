"""What the caller types in a room, as turns of the conversation.

LiveKit's session takes such messages too, but drops those whose sender it does not know yet: the
server tells of a participant who joined up to three seconds late, and a message may be there first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from livekit.agents import AgentSession, utils
from livekit.agents.types import TOPIC_CHAT

from livekit import rtc

from .flood import Allowance, Bucket

logger = logging.getLogger(__name__)

_KNOWN_WITHIN_S = 5.0
_LONGEST = 8_000
"""Characters of a message; a longer one is left out, whole: its first part may mean something
else."""
_MOST_AT_ONCE = 8
_READ_WITHIN_S = 10.0
_ANSWERED = Allowance(at_once=6, per_second=1)
"""Each one asks the model anew."""
_LOOK_EVERY_S = 0.05


class TypedMessages:
    """Takes the caller's typed messages in a room: each interrupts the agent and is answered.

    Args:
        room: of the call.
        session: in that room, started with `RoomOptions(text_input=False)`.
        on_message: told that one has come, before the agent falls silent for it.
        on_turn: told before a message is answered.
    """

    def __init__(
        self,
        room: rtc.Room,
        session: AgentSession[Any],
        *,
        on_turn: Callable[[], None],
        on_message: Callable[[], None] = lambda: None,
    ) -> None:
        self._room = room
        self._session = session
        self._on_turn = on_turn
        self._on_message = on_message
        self._tasks: set[asyncio.Task[None]] = set()
        self._allowed = Bucket(_ANSWERED, asyncio.get_running_loop().time())
        room.register_text_stream_handler(TOPIC_CHAT, self._on_stream)

    async def aclose(self) -> None:
        """Takes no more messages; safe to call twice."""
        self._room.unregister_text_stream_handler(TOPIC_CHAT)
        await utils.aio.cancel_and_wait(*self._tasks)

    def _on_stream(self, reader: rtc.TextStreamReader, identity: str) -> None:
        now = asyncio.get_running_loop().time()
        too_long = (reader.info.size or 0) > 4 * _LONGEST
        if too_long or len(self._tasks) >= _MOST_AT_ONCE or not self._allowed.take(1, now):
            logger.info("a typed message was left out: too long, or too many at once")
            reader.close()
            return
        task = asyncio.create_task(self._take(reader, identity), name="typed_messages.take")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take(self, reader: rtc.TextStreamReader, identity: str) -> None:
        text = await _read(reader)
        if not text:
            return
        if not await self._is_callers(identity):
            return
        self._on_message()
        # also where the voice of the caller may not interrupt
        await self._session.interrupt(force=True)
        self._on_turn()
        self._session.generate_reply(user_input=text)

    async def _is_callers(self, identity: str) -> bool:
        for _ in range(int(_KNOWN_WITHIN_S / _LOOK_EVERY_S)):
            caller = self._session.room_io.linked_participant
            if caller is not None:
                return bool(caller.identity == identity)
            await asyncio.sleep(_LOOK_EVERY_S)
        logger.info("a typed message from nobody who is here was left out")
        return False


async def _read(reader: rtc.TextStreamReader) -> str:
    """The whole message; empty where it is too long, too slow, or its sender is gone."""
    parts: list[str] = []
    length = 0
    try:
        async with asyncio.timeout(_READ_WITHIN_S):
            async for part in reader:
                parts.append(part)
                length += len(part)
                if length > _LONGEST:
                    logger.info("a typed message was left out: too long")
                    return ""
    except (rtc.StreamError, TimeoutError):
        return ""
    finally:
        reader.close()
    return "".join(parts)
