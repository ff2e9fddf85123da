"""Fetches model files from wherever they are: resumed, checked, then named.

The hub's own client starts a file from the beginning after a break, and checks only its length.
Here what has come stays until the rest has, and a file gets its name once its sum is right: the one
that is known beforehand, else the one that the hub tells in its headers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Event

import httpx

from agent_worker.engines.house_model import hub_folder

from .model_sources import About, HubError, HubFile, Source, sha256_of, unreachable

_TRIES = 5
"""In a row without a byte."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")
_SPARE_BYTES = 200_000_000


class CancelledDownloadError(HubError):
    """Whoever wanted the file wants it no more; what has come is kept."""


Told = Callable[[int], None]
"""Called with the bytes of a file that are there, again and again."""


class Fetcher:
    """Fetches files, one after the other. Blocks: for a thread of its own."""

    def __init__(self, source: Source, parts: Path, *, cancelled: Event | None = None) -> None:
        """
        Args:
            source: where from.
            parts: folder for what has come of files that are not whole yet.
            cancelled: set to stop; what has come is kept.
        """
        self._source = source
        self._parts = parts
        self._cancelled = cancelled or Event()

    def close(self) -> None:
        """Closes the connections to the source."""
        self._source.close()

    def look(self, file: HubFile) -> tuple[HubFile, About] | None:
        """What there is of a file, and under which revision; None = nothing.

        A mirror may know the newest revision alone, and the file is checked by its sum anyway.

        Raises:
            HubError: it could not be asked, or has another file under that name.
        """
        for revision in dict.fromkeys((file.revision, "main")):
            wanted = dataclasses.replace(file, revision=revision)
            about = self._source.about(wanted)
            if about is None:
                continue
            if file.sha256 and _SHA256.fullmatch(about.etag) and about.etag != file.sha256:
                raise HubError(
                    f"{file.name} of {self._source.name} is not the file that is known here "
                    f"(SHA-256 {about.etag[:12]}…, not {file.sha256[:12]}…): not taken"
                )
            return wanted, about
        if file.optional:
            return None
        raise HubError(f"{self._source.name} has no {file.repository}/{file.name}")

    def fetch(self, file: HubFile, about: About, target: Path, told: Told) -> None:
        """Brings a file to its place, unless it is there already.

        Raises:
            HubError: it did not come, or came wrong.
        """
        if target.is_file() and target.stat().st_size == about.bytes:
            told(about.bytes)
            return
        try:
            self._parts.mkdir(parents=True, exist_ok=True)
            # named by its content: a part of an older version is never continued with a newer one
            part = self._parts / f"{hashlib.sha256(about.etag.encode()).hexdigest()[:32]}.part"
            self._check_room(about, part)
            self._fill(file, about, part, told)
            self._check(file, about, part)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(part, target)
        except OSError as e:
            raise HubError(f"{file.name} can't be written: {e.strerror or e}") from e

    def _fill(self, file: HubFile, about: About, part: Path, told: Told) -> None:
        tries = 0
        while (done := part.stat().st_size if part.is_file() else 0) < about.bytes:
            fault = self._continue(about, part, done, told)
            if part.is_file() and part.stat().st_size > done:
                tries = 0
            tries += 1
            if fault is None and part.stat().st_size < about.bytes:
                fault = "it ended early"
            if fault is not None and tries >= _TRIES:
                raise HubError(f"{file.name} from {self._source.name}: {fault}")
            if fault is not None and self._cancelled.wait(min(0.2 * 2**tries, 5.0)):
                raise CancelledDownloadError("the download was stopped")

    def _continue(self, about: About, part: Path, done: int, told: Told) -> str | None:
        """Reads on to the end. Returns what broke it, if anything that may pass did."""
        try:
            with (
                self._source.read(about, done) as content,
                part.open("r+b" if part.is_file() else "w+b") as out,
            ):
                out.truncate(content.start)
                out.seek(content.start)
                done = content.start
                for block in content.blocks:
                    out.write(block)
                    # a program that is killed loses nothing of it
                    out.flush()
                    done += len(block)
                    told(done)
                    if self._cancelled.is_set():
                        raise CancelledDownloadError("the download was stopped")
        except httpx.HTTPStatusError as e:
            if e.response.status_code < 500 and e.response.status_code not in (408, 429):
                raise HubError(f"{about.place}: status {e.response.status_code}") from e
            return f"status {e.response.status_code}"
        except httpx.HTTPError as e:
            return unreachable(self._source.name, e)
        return None

    def _check(self, file: HubFile, about: About, part: Path) -> None:
        known = file.sha256 or (about.etag if _SHA256.fullmatch(about.etag) else "")
        if part.stat().st_size != about.bytes:
            right = False
        elif known:
            right = sha256_of(part) == known
        elif _SHA1.fullmatch(about.etag):
            right = _git_sha1(part) == about.etag
        else:
            # a mirror that tells no sum: its length is all there is to go by
            right = True
        if not right:
            part.unlink()
            raise HubError(
                f"{file.name} from {self._source.name} came with the wrong sum, and was thrown "
                "away: try again, or another model_hub"
            )

    def _check_room(self, about: About, part: Path) -> None:
        missing = about.bytes - (part.stat().st_size if part.is_file() else 0)
        free = shutil.disk_usage(part.parent).free
        if missing + _SPARE_BYTES > free:
            raise HubError(
                f"{missing / 1e6:.0f} MB have to be fetched, and {free / 1e6:.0f} MB are free in "
                f"{part.parent}"
            )


def cache_target(file: HubFile, about: About) -> Path:
    """Where a file lies in the hub's cache: every program of this user finds it there."""
    return hub_folder(file.repository) / "snapshots" / (about.commit or "0" * 40) / file.name


def name_revision(file: HubFile, about: About) -> None:
    """Notes in the hub's cache which commit a revision is, as the hub's client does."""
    snapshot = cache_target(file, about).parents[file.name.count("/")]
    if file.revision == snapshot.name:
        return
    ref = snapshot.parents[1] / "refs" / file.revision
    ref.parent.mkdir(parents=True, exist_ok=True)
    written = ref.with_name(f"{ref.name}.{os.getpid()}")
    written.write_text(snapshot.name, encoding="utf-8")
    written.replace(ref)


def _git_sha1(path: Path) -> str:
    """As Git names a file that is not in LFS."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
