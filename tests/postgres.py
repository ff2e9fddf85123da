"""A real PostgreSQL server for tests: of this machine's package, in a folder of its own.

PostgreSQL refuses to run as root: where the tests do, as CI's container does, the server runs as
`nobody`. It listens on loopback only, and nothing of it is left.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_UP_WITHIN_S = 30.0
_PASSWORD = "swordfish"


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """Start a server and stop it at the end; gives the URL of an empty database."""
    programs = _programs()
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        folder = Path(name)
        data, log = folder / "data", folder / "log"
        key = folder / "password"
        key.write_text(_PASSWORD)
        user = _user()
        if user is not None:
            for path in (folder, key):
                os.chown(path, user.pw_uid, user.pw_gid)
        as_user = None if user is None else user.pw_uid
        group = None if user is None else user.pw_gid
        subprocess.run(
            [programs / "initdb", "--pgdata", data, "--username", "tests", "--no-sync",
             "--auth", "scram-sha-256", "--pwfile", key, "--encoding", "UTF8", "--locale", "C"],
            check=True, capture_output=True, user=as_user, group=group, cwd=folder, timeout=50,
        )  # fmt: skip
        port = _free_port()
        with log.open("wb") as opened:
            server = subprocess.Popen(
                [programs / "postgres", "-D", data, "-p", str(port), "-k", folder,
                 "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"],
                stdout=opened, stderr=opened, user=as_user, group=group, cwd=folder,
            )  # fmt: skip
        try:
            _wait_for(server, port, log)
            yield f"postgresql://tests:{_PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            # Fast shutdown: whoever is connected is cut off.
            server.send_signal(2)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _programs() -> Path:
    """The folder of the newest server, which Debian keeps off the PATH."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name)
    folders = [folder for folder in folders if (folder / "initdb").is_file()]
    assert folders, "PostgreSQL is not there: apt-get install postgresql"
    return folders[-1]


def _user() -> pwd.struct_passwd | None:
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port


def _wait_for(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _UP_WITHIN_S
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text(errors="replace")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            # It takes connections from its first second on, and says "starting up" to them.
            if "ready to accept connections" in log.read_text(errors="replace"):
                return
        time.sleep(0.05)
    raise AssertionError(log.read_text(errors="replace"))
