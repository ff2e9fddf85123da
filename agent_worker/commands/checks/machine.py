"""Is there room on the disk, are the ports free, may browsers use the page?"""

from __future__ import annotations

import errno
import shutil
import socket
from pathlib import Path
from urllib.parse import urlsplit

from agent_worker.serving.exposure import is_loopback
from agent_worker.settings import Settings

from .finding import Finding, State

_DISK_DOUBTFUL = 2_000_000_000
"""Bytes: a Whisper of size small and a voice."""
_DISK_BROKEN = 50_000_000


def look_at_machine(settings: Settings) -> list[Finding]:
    """Looks; changes nothing. Blocks."""
    free = shutil.disk_usage(_there(settings.cache_dir)).free
    ports = {
        "health_port": (settings.health_host, settings.health_port),
        "web_port": (settings.web_host, settings.web_port),
    }
    if settings.metrics_port is not None:
        ports["metrics_port"] = (settings.health_host, settings.metrics_port)
    return [
        disk_finding(free, settings.cache_dir),
        *(port_finding(name, *place) for name, place in ports.items()),
        *page_findings(settings),
    ]


def _there(path: Path) -> Path:
    return next((p for p in (path, *path.parents) if p.exists()), Path("/"))


def disk_finding(free: int, folder: Path) -> Finding:
    """Judges the bytes that are free where models are kept."""
    said = f"{free / 1e9:.1f} GB free at {folder}"
    if free >= _DISK_DOUBTFUL:
        return Finding("disk", "ok", said)
    state: State = "broken" if free < _DISK_BROKEN else "doubtful"
    return Finding("disk", state, said, "make room, or set cache_dir to another disk")


def port_finding(name: str, host: str, port: int) -> Finding:
    """Tries whether a port can be had; it may be a worker of ours that has it."""
    place = f"{name} {host}:{port}"
    if port == 0:
        return Finding("ports", "ok", f"{name}: any free one")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
    except OSError as e:
        if e.errno == errno.EADDRINUSE:
            said = f"{place} is in use"
            return Finding("ports", "doubtful", said, f"if not by this worker, set {name}")
        said = f"{place} can't be had ({e.strerror})"
        return Finding("ports", "broken", said, f"set {name} to another one")
    return Finding("ports", "ok", f"{place} is free")


def page_findings(settings: Settings) -> list[Finding]:
    """Whether browsers that open the page would get a microphone, and reach the server."""
    told = settings.web_livekit_url or settings.livekit_url
    server = urlsplit(told).hostname or ""
    if not is_loopback(settings.web_host) and is_loopback(server):
        said = f"browsers elsewhere are told that the LiveKit server is at {told}"
        advice = "set web_livekit_url to its address as they reach it, wss://…"
        return [Finding("origins", "doubtful", said, advice)]
    if not is_loopback(server) and told.startswith(("ws://", "http://")):
        said = f"{told} has no TLS: browsers give the microphone to https and localhost alone"
        return [Finding("origins", "doubtful", said, "put a proxy with TLS before both")]
    return [Finding("origins", "ok", f"the page's callers are sent to {told}")]
