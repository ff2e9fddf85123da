"""Whether an agent's process lives, asked of the kernel."""

from __future__ import annotations

import os
import subprocess
import sys

from agent_worker.dispatch.kin import Kin


def test_processes_of_one_worker_know_whether_the_others_live() -> None:
    ours = Kin(os.getpid())
    # as a call process makes it, which has its parent for a root
    mark = "import os; from agent_worker.dispatch.kin import Kin; print(Kin(os.getppid()).mark)"
    child = subprocess.Popen(
        [sys.executable, "-c", f"{mark}\ninput()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    said = child.stdout.readline().strip()
    assert ours.lives(said) is True
    child.kill()
    while os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT) is None:
        pass
    assert ours.lives(said) is False, "one that nobody has asked for its end yet"
    child.communicate()
    assert ours.lives(said) is False


def test_of_another_worker_nothing_is_known() -> None:
    ours = Kin(os.getpid())
    assert ours.lives(ours.mark) is True
    for mark in ("", "1", f"another/{os.getpid()}", f"{ours.mark.split('/')[0]}/x"):
        assert ours.lives(mark) is None
