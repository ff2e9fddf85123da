"""The process: reads messages in one thread, so that a cancel is heard while the model works."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from typing import BinaryIO, cast

from . import frames
from .model import LoadError, load
from .synthesis import Synthesis

GRACE_S = 1.0
"""How long the model may go on after the worker is gone."""


class Output:
    """Sends messages, whole, from any thread."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, header: frames.Header, payload: bytes = b"") -> None:
        """Writes one frame and flushes it. Without a worker to hear it, the process ends."""
        try:
            with self._lock:
                self._stream.write(frames.pack(header, payload))
                self._stream.flush()
        except BrokenPipeError:
            os._exit(0)


def main() -> int:
    """Runs until the input ends; returns the exit status."""
    # Libraries print to standard output, which would break the frames: it becomes the error
    # output, and the frames keep the only handle to what it was.
    output = Output(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    source = cast(BinaryIO, os.fdopen(os.dup(0), "rb", buffering=0))

    first = frames.read(source)
    if first is None:
        return 0
    try:
        model = load(first[0])
    except Exception as e:
        traceback.print_exc()
        output.send(
            {
                "type": "failed",
                "message": f"{type(e).__name__}: {e}",
                "retryable": not isinstance(e, (LoadError, FileNotFoundError)),
            }
        )
        return 1
    synthesis = Synthesis(model, output.send)
    threading.Thread(target=_listen, args=(source, synthesis), daemon=True).start()
    output.send({"type": "ready"})
    try:
        synthesis.run()
    except RuntimeError:
        traceback.print_exc()
        return 1
    return 0


def _listen(source: BinaryIO, synthesis: Synthesis) -> None:
    try:
        while (frame := frames.read(source)) is not None:
            message = frame[0]
            if message["type"] == "cancel":
                synthesis.cancel(str(message["id"]))
            else:
                synthesis.add(message)
    finally:
        synthesis.end()
        # The model may be in the middle of something that never ends; the worker is gone, and
        # nobody else would end this process.
        timer = threading.Timer(GRACE_S, os._exit, (1,))
        timer.daemon = True
        timer.start()


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # No farewells: the other thread waits in a read, and torch's own may wait for the GPU.
    os._exit(status)
