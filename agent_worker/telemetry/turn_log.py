"""The records of turns as JSON lines in a file that stays bounded."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)

MAX_BYTES = 10_000_000
"""About 15,000 turns."""
KEPT_FILES = 3
_WAITING_LINES = 1000


class TurnLog:
    """Appends lines to a file, in a thread of its own: a slow disk must not stall a call.

    A full file becomes ``<name>.1``, that one ``<name>.2`` and so on; the oldest is dropped. The
    file is opened for each line, so another program may move it away at any time; several processes
    may write to one.
    """

    def __init__(
        self, path: Path, *, max_bytes: int = MAX_BYTES, kept_files: int = KEPT_FILES
    ) -> None:
        """Makes sure that the file can be written.

        Args:
            path: the file; its folder is made if it is not there.
            max_bytes: size from which it is put aside.
            kept_files: files put aside at most.

        Raises:
            OSError: it can't be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
        self._path = path
        self._max_bytes = max_bytes
        self._kept_files = kept_files
        self._lines: queue.Queue[str | None] = queue.Queue(_WAITING_LINES)
        self._failing = False
        self._thread = threading.Thread(target=self._work, name="turn-log", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Queues a line, from any thread. It is lost where a thousand wait for a hung disk."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._failed("the disk does not answer")

    def close(self, timeout_s: float = 5.0) -> None:
        """Writes what waits and ends; safe to call twice."""
        if self._thread.is_alive():
            try:
                self._lines.put(None, timeout=timeout_s)
            except queue.Full:
                return
            self._thread.join(timeout_s)

    def _work(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._append(f"{line}\n".encode())
                self._failing = False
            except OSError as e:
                self._failed(e.strerror or type(e).__name__)

    def _append(self, data: bytes) -> None:
        with self._locked() as file:
            if not file.tell() or file.tell() + len(data) <= self._max_bytes:
                file.write(data)
                return
            self._put_aside()
        with self._locked() as file:
            file.write(data)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[IO[bytes]]:
        """The file of this name, for one process at a time: else two put it aside at once."""
        while True:
            with self._path.open("ab") as file:
                _lock(file)
                # while this one waited, another may have put it aside
                if _is_at(file, self._path):
                    file.seek(0, os.SEEK_END)
                    yield file
                    return

    def _put_aside(self) -> None:
        names = [self._path]
        names += [Path(f"{self._path}.{number}") for number in range(1, self._kept_files + 1)]
        for number in range(self._kept_files, 0, -1):
            if names[number - 1].exists():
                names[number - 1].replace(names[number])

    def _failed(self, reason: str) -> None:
        # once, not with every turn
        if not self._failing:
            self._failing = True
            logger.warning(
                "turns can't be logged", extra={"path": str(self._path), "reason": reason}
            )


def _lock(file: IO[bytes]) -> None:
    # it is let go with the file; Windows does not rename a file that another has open
    if sys.platform != "win32":
        fcntl.flock(file, fcntl.LOCK_EX)


def _is_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
