"""A process that never outlives its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from typing import BinaryIO

_PR_SET_PDEATHSIG = 1


def end_with_parent(pipe: BinaryIO) -> None:
    """Ends this process when the parent is gone, however that ended.

    On Linux the kernel kills it, even when its interpreter hangs in native code; that holds for as
    long as the parent's *thread* lives that started it, so the parent uses one that stays. On any
    system the end of the pipe ends it.

    Args:
        pipe: Whose other end only the parent has.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_wait, args=(pipe,), name="lifeline", daemon=True).start()


def _wait(pipe: BinaryIO) -> None:
    try:
        while pipe.read(4096):
            pass
    finally:
        os._exit(0)
