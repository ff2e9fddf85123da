from __future__ import annotations

import hashlib
import io
import os
import socket
import tarfile
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import httpx
import pytest
from livekit.protocol import rtc as rtc_protocol

from agent_worker.commands.livekit_program import (
    LiveKitServerError,
    ServerBinary,
    expected_sha256,
    find_server,
    unpack_release,
)
from agent_worker.commands.livekit_server import RunningServer, default_config, run_server
from livekit import api


def _archive(content: bytes, name: str = "livekit-server") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def test_a_release_is_unpacked_and_can_be_run(tmp_path: Path) -> None:
    archive = _archive(b"#!/bin/sh\n")
    target = tmp_path / "server"
    unpack_release(archive, hashlib.sha256(archive).hexdigest(), target)
    assert target.read_bytes() == b"#!/bin/sh\n"
    assert os.access(target, os.X_OK)


def test_a_release_with_a_wrong_sum_is_not_used(tmp_path: Path) -> None:
    with pytest.raises(LiveKitServerError, match=r"SHA-256 is .* expected 00; not used"):
        unpack_release(_archive(b"x"), "00", tmp_path / "server")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("archive", "message"),
    [(_archive(b"x", "README"), "holds no livekit-server"), (b"no tar", "can't be read")],
    # an archive holds the time at which it was made, and two processes must find the same tests
    ids=["another-program", "no-archive"],
)
def test_a_release_without_the_program_says_so(
    archive: bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(LiveKitServerError, match=message):
        unpack_release(archive, hashlib.sha256(archive).hexdigest(), tmp_path / "server")


def test_checksums_are_found_by_name() -> None:
    sums = "aa  livekit_1_linux_arm64.tar.gz\nbb *livekit_1_linux_amd64.tar.gz\n"
    assert expected_sha256(sums, "livekit_1_linux_amd64.tar.gz") == "bb"
    with pytest.raises(LiveKitServerError, match="no line for"):
        expected_sha256(sums, "livekit_1_windows.zip")


def test_a_server_on_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "livekit-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server(tmp_path) == ServerBinary(program, "PATH")


async def test_a_server_that_ends_at_once_is_reported_with_its_last_words(tmp_path: Path) -> None:
    program = tmp_path / "livekit-server"
    program.write_text("#!/bin/sh\necho no such option >&2\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(LiveKitServerError, match="ended at once: no such option"):
        async with run_server(ServerBinary(program, "test"), log_file=tmp_path / "log"):
            pytest.fail("it never started")


def test_the_real_server_answers_and_takes_a_free_port(livekit_server: RunningServer) -> None:
    assert httpx.get(livekit_server.url.replace("ws", "http", 1)).text == "OK"


def test_the_real_server_listens_on_loopback_only(livekit_server: RunningServer) -> None:
    listening = _listening_addresses(livekit_server.pid)
    assert listening
    assert {address for address, _ in listening} <= {"127.0.0.1", "::1"}


async def test_the_server_stops_and_frees_its_port(
    livekit_server: RunningServer, tmp_path: Path
) -> None:
    binary = ServerBinary(Path(f"/proc/{livekit_server.pid}/exe").resolve(), "test")
    async with run_server(binary, log_file=tmp_path / "log") as second:
        assert second.url != livekit_server.url
        port = int(second.url.rpartition(":")[2])
    with socket.socket() as s:
        s.bind(("127.0.0.1", port))
    assert not Path(f"/proc/{second.pid}").exists()


def test_the_packaged_configuration_is_for_loopback_without_turn() -> None:
    config = default_config()
    assert config["bind_addresses"] == ["127.0.0.1"]
    assert config["turn"] == {"enabled": False}
    assert all(len(secret) >= 32 for secret in config["keys"].values())


async def test_nobody_is_told_to_ask_a_server_of_others_for_their_address(
    livekit_server: RunningServer,
) -> None:
    token = api.AccessToken(livekit_server.api_key, livekit_server.api_secret)
    grants = api.VideoGrants(room_join=True, room="stun")
    query = {"access_token": token.with_identity("ann").with_grants(grants).to_jwt()}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{livekit_server.url}/rtc", params=query) as signalling,
    ):
        joined = rtc_protocol.SignalResponse.FromString(await signalling.receive_bytes()).join
    assert joined.room.name == "stun"
    urls = [url for server in joined.ice_servers for url in server.urls]
    assert urls and all(urlsplit(url).path.startswith("127.0.0.1:") for url in urls)


def _listening_addresses(pid: int) -> set[tuple[str, int]]:
    """TCP sockets in LISTEN and bound UDP sockets of a process, from Linux's /proc."""
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            link = str(fd.readlink())
        except OSError:
            continue
        if link.startswith("socket:["):
            inodes.add(link[8:-1])
    found = set()
    for table, states in (("tcp", {"0A"}), ("udp", {"07"})):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes and fields[3] in states:
                address, port = fields[1].split(":")
                packed = bytes.fromhex(address)[::-1]
                found.add((socket.inet_ntoa(packed), int(port, 16)))
        six = Path(f"/proc/{pid}/net/{table}6")
        for line in six.read_text().splitlines()[1:] if six.exists() else ():
            fields = line.split()
            if fields[9] in inodes and fields[3] in states:
                found.add((fields[1], int(fields[1].split(":")[1], 16)))
    return found
