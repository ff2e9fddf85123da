"""Does the process of an agent still live? Known for certain where it is one of this worker's own.

An agent's beat goes through the LiveKit server and two event loops; on a machine that is short of
cores it is late, as all else is. Of a process on this machine the kernel knows better: a watch that
went by the beat alone took living agents out of their calls just when the machine was busy, and
noticed a killed one only after its beat had been missed.
"""

from __future__ import annotations

import os
import platform
import uuid
from contextlib import suppress

import psutil


class Kin:
    """The processes of one worker, which share a machine; each of them makes the same.

    Args:
        root: id of the process under which all of them are.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        with suppress(psutil.NoSuchProcess):
            # another machine, or another worker here later, has another name
            began = psutil.Process(root).create_time()
            name = f"{platform.node()}/{uuid.getnode()}/{root}/{began}"
            self._name = uuid.uuid5(uuid.NAMESPACE_OID, name).hex[:12]
            return
        self._name = uuid.uuid4().hex[:12]

    @property
    def mark(self) -> str:
        """By which this very process is known to the others."""
        return f"{self._name}/{os.getpid()}"

    def count(self) -> int:
        """How many there are at most, those that serve no calls among them; 1 = this one alone."""
        if self._root == os.getpid():
            return 1
        with suppress(psutil.NoSuchProcess):
            return max(len(psutil.Process(self._root).children()), 1)
        return 1

    def lives(self, mark: str) -> bool | None:
        """Whether the process with that mark lives; None: it is of another worker."""
        name, _, process = mark.rpartition("/")
        if name != self._name or not process.isdigit():
            return None
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(int(process)).status() != psutil.STATUS_ZOMBIE
        return False
