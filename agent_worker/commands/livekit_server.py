"""A self-hosted LiveKit server, run on loopback for as long as somebody needs it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import httpx
import yaml

from .livekit_program import LiveKitServerError, ServerBinary
from .stop_process import stop_process

_START_TIMEOUT_S = 30.0


def default_config() -> dict[str, Any]:
    """The repository's ``livekit.yaml`` (package data in a wheel)."""
    checkout = Path(__file__).parents[2] / "livekit.yaml"
    text = (
        checkout.read_text(encoding="utf-8")
        if checkout.is_file()
        else resources.files("agent_worker").joinpath("data/livekit.yaml").read_text("utf-8")
    )
    config: dict[str, Any] = yaml.safe_load(text)
    return config


@dataclasses.dataclass(frozen=True)
class RunningServer:
    """A server that we started."""

    url: str
    api_key: str
    api_secret: str = dataclasses.field(repr=False)
    pid: int
    log_file: Path


@contextlib.asynccontextmanager
async def run_server(
    binary: ServerBinary,
    *,
    log_file: Path,
    port: int | None = None,
    udp_port: int | None = None,
    extra_config: Mapping[str, Any] | None = None,
) -> AsyncIterator[RunningServer]:
    """Runs the server with ``livekit.yaml`` until the context ends.

    Args:
        port: signalling port; None = the file's, or a free one where that is taken.
        udp_port: media port; likewise.
        extra_config: keys laid over the file's, such as ``redis``.

    Raises:
        LiveKitServerError: it ended at once or did not answer within 30 s.
    """
    config = {**default_config(), **(extra_config or {})}
    config["port"] = port or _free_or(config["port"], socket.SOCK_STREAM)
    config["rtc"] = {
        **config["rtc"],
        "udp_port": udp_port or _free_or(config["rtc"]["udp_port"], socket.SOCK_DGRAM),
    }
    (api_key, api_secret), *_ = config["keys"].items()
    with tempfile.TemporaryDirectory() as folder:
        # a file, not an argument: arguments are readable by every user of the machine
        config_file = Path(folder) / "livekit.yaml"
        config_file.touch(mode=0o600)
        config_file.write_text(yaml.safe_dump(config), encoding="utf-8")
        with log_file.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                binary.path,
                "--config",
                config_file,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            await _wait_until_up(process, config["port"], log_file)
            yield RunningServer(
                f"ws://127.0.0.1:{config['port']}", api_key, api_secret, process.pid, log_file
            )
        finally:
            await stop_process(process)


async def _wait_until_up(process: asyncio.subprocess.Process, port: int, log_file: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    async with httpx.AsyncClient(trust_env=False) as client:
        while time.monotonic() < deadline:
            if process.returncode is not None:
                last = log_file.read_text(errors="replace").strip().splitlines()[-1:]
                raise LiveKitServerError(
                    f"the LiveKit server ended at once: {' '.join(last) or 'no output'}"
                )
            with contextlib.suppress(httpx.HTTPError):
                if (await client.get(f"http://127.0.0.1:{port}/")).status_code == 200:
                    return
            await asyncio.sleep(0.05)
    raise LiveKitServerError(
        f"no answer on port {port} after {_START_TIMEOUT_S:.0f} s; see {log_file}"
    )


def is_free(port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> bool:
    """Whether a port on 127.0.0.1 can be listened on."""
    return _bindable(port, kind) is not None


def _free_or(port: int, kind: socket.SocketKind) -> int:
    for candidate in (port, 0):
        if (free := _bindable(candidate, kind)) is not None:
            return free
    raise LiveKitServerError("no free port on 127.0.0.1")


def _bindable(port: int, kind: socket.SocketKind) -> int | None:
    with socket.socket(socket.AF_INET, kind) as s:
        if kind == socket.SOCK_STREAM:
            # else a port in TIME_WAIT after the last run looks taken
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return None
        return int(s.getsockname()[1])
