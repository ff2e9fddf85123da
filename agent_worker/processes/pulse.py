"""Does a call process still live? It sends a beat; one that sends none hangs, and is ended.

A process that is stopped, or held by native code that never gives the interpreter back, still has
its connections: LiveKit goes on giving it calls. Its own callers are heard again by another once it
is gone (see `dispatch.watch`). The beats are datagrams on the loopback interface, so that neither
side ever waits for the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import socket
import threading
import time
from dataclasses import dataclass, field

BEAT_EVERY_S = 0.25
_MISSED = 12
"""Looks without a beat after which a process hangs: 3 s, in which nobody is heard."""
_MISSED_AT_START = 480
"""Likewise before its first one: it imports, which may hold everything else up."""


@dataclass(frozen=True)
class Pulse:
    """Where a process is to send its beats."""

    port: int
    secret: bytes = field(repr=False)
    """Nobody else keeps a process alive that hangs."""


class Patient:
    """One process, as it is looked at every `BEAT_EVERY_S`; without I/O or a clock.

    Looks are counted, not seconds: where the one who looks is held up itself, because the machine
    is short of cores or was suspended, nobody is taken for dead.
    """

    def __init__(self) -> None:
        self._heard = False
        self._beat = False
        self._missed = 0.0

    def beat(self) -> None:
        """It lives."""
        self._beat = True

    def hangs(self, late_s: float = 0.0) -> bool:
        """Looks once.

        Args:
            late_s: by how much the look came later than it should: the cores are wanted by others,
                and a beat may be as late.
        """
        if self._beat:
            self._heard, self._beat, self._missed = True, False, 0.0
            return False
        self._missed += 1.0 if late_s < BEAT_EVERY_S / 5 else 0.25
        return self._missed >= (_MISSED if self._heard else _MISSED_AT_START)


class Listener(asyncio.DatagramProtocol):
    """Hears the beats of several processes."""

    def __init__(self) -> None:
        self._patients: dict[bytes, Patient] = {}

    def expect(self, secret: bytes, patient: Patient) -> None:
        """Whose beats carry this secret."""
        self._patients[secret] = patient

    def forget(self, secret: bytes) -> None:
        """It has ended."""
        self._patients.pop(secret, None)

    def datagram_received(self, data: bytes, addr: object) -> None:
        """A beat, or somebody else's noise."""
        for secret, patient in self._patients.items():
            if hmac.compare_digest(secret, data):
                patient.beat()


async def listen() -> tuple[asyncio.DatagramTransport, Listener, int]:
    """Opens a port of the loopback interface for beats. Gives its number as the third."""
    loop = asyncio.get_running_loop()
    transport, listener = await loop.create_datagram_endpoint(Listener, local_addr=("127.0.0.1", 0))
    return transport, listener, int(transport.get_extra_info("sockname")[1])


def keep_beating(pulse: Pulse) -> None:
    """Sends beats from a thread of its own until this process ends.

    It needs no more than the interpreter for a moment, which is what a hung process does not have.
    """

    def beat() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            while True:
                # where nobody listens any more, the parent's end ends this process by other means
                with contextlib.suppress(OSError):
                    out.sendto(pulse.secret, ("127.0.0.1", pulse.port))
                time.sleep(BEAT_EVERY_S)

    threading.Thread(target=beat, name="pulse", daemon=True).start()
