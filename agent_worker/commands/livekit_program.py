"""The program of the LiveKit server: found on this machine, or installed.

Order of the search: ``livekit-server`` on PATH, our own cache, ``go install`` of the module at a
fixed version, the release archive with its checksum. Nothing but the last two touches the network.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import io
import os
import platform
import secrets
import shutil
import signal
import stat
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from .stop_process import signal_group

VERSION = "1.13.5"
GO_MODULE = "github.com/livekit/livekit-server/cmd/server"
RELEASES = "https://github.com/livekit/livekit/releases/download"
_INSTALL_TIMEOUT_S = 1800.0

Progress = Callable[[str], None]


class LiveKitServerError(Exception):
    """The server could not be found, installed or started. The message says what to do."""


@dataclasses.dataclass(frozen=True)
class ServerBinary:
    """A LiveKit server on this machine."""

    path: Path
    source: str
    """Where it came from, for people: "PATH", "cache", "go install", "release archive"."""


def find_server(cache_dir: Path) -> ServerBinary | None:
    """The server on PATH or in our cache, without any network."""
    on_path = shutil.which("livekit-server")
    if on_path:
        return ServerBinary(Path(on_path), "PATH")
    cached = _cached(cache_dir)
    return ServerBinary(cached, "cache") if cached.is_file() else None


def _cached(cache_dir: Path) -> Path:
    suffix = ".exe" if sys.platform == "win32" else ""
    return cache_dir / "bin" / f"livekit-server-{VERSION}{suffix}"


async def find_or_install_server(cache_dir: Path, progress: Progress) -> ServerBinary:
    """Finds the server, else installs it into `cache_dir`.

    Raises:
        LiveKitServerError: with each way that was tried and why it failed.
    """
    if found := find_server(cache_dir):
        return found
    target = _cached(cache_dir)
    target.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    for name, install in (("go install", _go_install), ("release archive", _download_release)):
        try:
            await install(target, progress)
            return ServerBinary(target, name)
        except LiveKitServerError as e:
            failures.append(f"  {name}: {e}")
    raise LiveKitServerError(
        "No LiveKit server. Tried PATH (livekit-server), the cache, and:\n"
        + "\n".join(failures)
        + "\nInstall Go, or the server: https://docs.livekit.io/transport/self-hosting/local/"
    )


async def _go_install(target: Path, progress: Progress) -> None:
    go = shutil.which("go")
    if go is None:
        raise LiveKitServerError("no Go on PATH")
    progress(f"Building the LiveKit server {VERSION} with Go, once (about 3 minutes) …")
    with tempfile.TemporaryDirectory(dir=target.parent) as bin_dir:
        process = await asyncio.create_subprocess_exec(
            go,
            "install",
            f"{GO_MODULE}@v{VERSION}",
            env={**_environment(), "GOBIN": bin_dir},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        started = time.monotonic()
        output = asyncio.create_task(process.communicate())
        try:
            while not output.done():
                if time.monotonic() - started > _INSTALL_TIMEOUT_S:
                    raise LiveKitServerError(f"not done after {_INSTALL_TIMEOUT_S:.0f} s")
                await asyncio.wait([output], timeout=15)
                if not output.done():
                    progress(f"  still building, {time.monotonic() - started:.0f} s …")
        finally:
            if process.returncode is None:
                signal_group(process.pid, signal.SIGKILL)
            text = (await output)[0].decode(errors="replace").strip()
        if process.returncode != 0:
            raise LiveKitServerError(text.splitlines()[-1] if text else "failed without a word")
        built = next(Path(bin_dir).iterdir())
        # a rename within one folder: another process never sees half a program
        built.replace(target)


async def _download_release(target: Path, progress: Progress) -> None:
    name = _archive_name(platform.system(), platform.machine())
    progress(f"Downloading the LiveKit server {VERSION} …")
    try:
        async with httpx.AsyncClient(follow_redirects=True, timeout=30) as client:
            sums = (await client.get(f"{RELEASES}/v{VERSION}/checksums.txt")).raise_for_status()
            archive = (await client.get(f"{RELEASES}/v{VERSION}/{name}")).raise_for_status()
    except httpx.HTTPError as e:
        raise LiveKitServerError(f"download failed: {e or type(e).__name__}") from e
    unpack_release(archive.content, expected_sha256(sums.text, name), target)


def _archive_name(system: str, machine: str) -> str:
    arch = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}.get(
        machine.lower()
    )
    if system != "Linux" or arch is None:
        raise LiveKitServerError(f"no release archive for {system} on {machine}")
    return f"livekit_{VERSION}_linux_{arch}.tar.gz"


def expected_sha256(checksums: str, name: str) -> str:
    """The line of `name` in a release's ``checksums.txt``.

    Raises:
        LiveKitServerError: there is none.
    """
    for line in checksums.splitlines():
        digest, _, file = line.strip().partition(" ")
        if file.strip().lstrip("*") == name:
            return digest
    raise LiveKitServerError(f"checksums.txt has no line for {name}")


def unpack_release(archive: bytes, sha256: str, target: Path) -> None:
    """Writes the program inside a release archive to `target`, after checking the sum.

    Raises:
        LiveKitServerError: the sum differs, or the archive holds no ``livekit-server``.
    """
    digest = hashlib.sha256(archive).hexdigest()
    if not secrets.compare_digest(digest, sha256.lower()):
        raise LiveKitServerError(f"the archive's SHA-256 is {digest}, expected {sha256}; not used")
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
            member = next((m for m in tar if Path(m.name).name == "livekit-server"), None)
            file = tar.extractfile(member) if member is not None else None
            if file is None:
                raise LiveKitServerError("the archive holds no livekit-server")
            part = target.with_suffix(".part")
            part.write_bytes(file.read())
    except tarfile.TarError as e:
        raise LiveKitServerError(f"the archive can't be read: {e}") from e
    part.chmod(part.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    part.replace(target)


def _environment() -> dict[str, str]:
    return dict(os.environ)  # noqa: TID251 - handed on to a child process, not read
