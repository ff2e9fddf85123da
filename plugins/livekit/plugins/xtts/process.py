"""The process with the model, seen from outside: started, spoken to, listened to, ended."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from .log import logger
from .xtts_process import frames

# The process gets its code by path, not by import: its Python need not have LiveKit. The path is
# appended, so that nothing in it can shadow what that Python has.
_BOOTSTRAP = (
    "import sys, runpy; sys.path.remove(''); sys.path.append(sys.argv[1]); "
    "runpy.run_module('xtts_process', run_name='__main__', alter_sys=True)"
)

END_TIMEOUT_S = 2.0
"""How long the process may take to end when its input ends, before it is killed."""

_ERROR_LINE = re.compile(r"^[\w.]*(Error|Exception|Interrupt)\b.*")


class ModelProcess:
    """One process, from its start to its end.

    Args:
        python: The interpreter that has torch.
        on_message: Told of each message, in a thread of its own.
        on_exit: Told once, in that thread, when nothing more will come, and why.

    Raises:
        OSError: The interpreter cannot be started.
    """

    def __init__(
        self,
        python: str,
        *,
        on_message: Callable[[ModelProcess, frames.Header, bytes], None],
        on_exit: Callable[[ModelProcess, str], None],
    ) -> None:
        self._on_message = on_message
        self._on_exit = on_exit
        self._last_lines: deque[str] = deque(maxlen=20)
        self._popen = subprocess.Popen(
            [python, "-u", "-c", _BOOTSTRAP, str(Path(__file__).parent)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            # A Ctrl-C in the terminal is for the worker, which may still want to drain.
            start_new_session=True,
        )
        # A process that does not read must not hold up the event loop, which writes to it.
        os.set_blocking(self._stdin.fileno(), False)
        self._write_lock = threading.Lock()
        self._stderr_thread = threading.Thread(
            target=self._read_stderr, name="xtts.stderr", daemon=True
        )
        self._stdout_thread = threading.Thread(
            target=self._read_stdout, name="xtts.stdout", daemon=True
        )
        self._stderr_thread.start()
        self._stdout_thread.start()

    @property
    def pid(self) -> int:
        """Of the operating system."""
        return self._popen.pid

    @property
    def _stdin(self) -> BinaryIO:
        return cast(BinaryIO, self._popen.stdin)

    def send(self, header: frames.Header) -> bool:
        """Sends a message.

        Returns:
            Whether it went out whole. If not, the process is gone or does not listen, and was
            killed; `on_exit` follows.
        """
        data = frames.pack(header)
        try:
            with self._write_lock:
                written = os.write(self._stdin.fileno(), data)
        except (OSError, ValueError):
            written = 0
        if written < len(data):
            self.kill()
        return written == len(data)

    def kill(self) -> None:
        """Ends it at once."""
        with contextlib.suppress(ProcessLookupError):
            self._popen.kill()

    def close(self) -> None:
        """Ends it, with a moment to end itself, and waits until nothing of it is left. Blocks."""
        with self._write_lock, contextlib.suppress(OSError):
            self._stdin.close()
        try:
            self._popen.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            self._popen.wait()
        if threading.current_thread() is not self._stdout_thread:
            self._stdout_thread.join()
            self._stderr_thread.join()

    def _read_stdout(self) -> None:
        stream = cast(BinaryIO, self._popen.stdout)
        why = ""
        try:
            while (frame := frames.read(stream)) is not None:
                self._on_message(self, *frame)
        except frames.FrameError as e:
            why = f": {e}"
            self.kill()
        finally:
            # Its output has ended, so its end is near; if not, it is of no use any more.
            self.close()
            stream.close()
            self._stderr_thread.join()
            self._on_exit(self, f"{_how_it_ended(self._popen.returncode)}{why}{self._last_error()}")

    def _read_stderr(self) -> None:
        # Unbuffered as the pipe is, its lines would be read a byte at a time.
        with io.BufferedReader(cast(io.RawIOBase, self._popen.stderr)) as stream:
            for raw in stream:
                line = raw.decode("utf-8", "replace").rstrip()
                self._last_lines.append(line)
                # Libraries print the text that they speak: never above DEBUG.
                logger.debug("xtts process: %s", line)

    def _last_error(self) -> str:
        """The last line that names an exception, without its message, which may hold the text."""
        for line in reversed(self._last_lines):
            if found := _ERROR_LINE.match(line):
                return f" ({found[0].partition(':')[0]}; the DEBUG log has the rest)"
        return ""


def _how_it_ended(returncode: int) -> str:
    if returncode < 0:
        return f"the XTTS process was killed by signal {-returncode}"
    return f"the XTTS process ended with status {returncode}"
