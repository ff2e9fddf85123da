"""Someone who sends a room far too much, in a process of their own: ``python -m tests.flooder``."""

from __future__ import annotations

import asyncio
import os
import sys
import time

from livekit import rtc

HUGE = 4_000_000
SMALL = 1500
LIMIT_S = 20.0


async def flood(url: str, token: str) -> None:
    """Sends one huge message and many small ones, and says when it begins and how many it sent."""
    room = rtc.Room()
    await room.connect(url, token)
    print("flooding", flush=True)
    until = time.monotonic() + LIMIT_S
    sent = 0
    for number in range(SMALL):
        await room.local_participant.send_text(f"message {number}", topic="lk.chat")
        sent += 1
        if time.monotonic() > until:
            break
    await room.local_participant.send_text("a" * HUGE, topic="lk.chat")
    print("sent", sent, flush=True)
    await room.disconnect()


if __name__ == "__main__":
    # Whoever floods does it from a machine of their own: what it computes to send must not take the
    # cores that the other caller here speaks with.
    os.nice(19)
    asyncio.run(flood(sys.argv[1], sys.stdin.readline().strip()))
