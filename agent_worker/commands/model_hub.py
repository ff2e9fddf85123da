"""Fetches files of the model hub, a mirror of it, a folder or a release: resumed, checked, named.

The hub's own client starts a file from the beginning after a break, and checks only its length.
Here what has come stays until the rest has, and a file gets its name once its sum is right: the one
that is known beforehand, else the one that the hub tells in its headers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Protocol

import httpx

from agent_worker.engines.house_model import hub_folder

_BLOCK = 1 << 18
_TIMEOUT_S = 30.0
_TRIES = 5
"""In a row without a byte."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")
_SPARE_BYTES = 200_000_000


class HubError(Exception):
    """A file could not be fetched. The message says which, why, and what to do."""


class CancelledDownloadError(HubError):
    """Whoever wanted the file wants it no more; what has come is kept."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a repository."""

    repository: str
    name: str
    """With its folders."""
    revision: str = "main"
    sha256: str = ""
    """What it has to be; empty = what the hub tells."""
    optional: bool = False
    """Repositories may lack it."""
    bytes: int = 0
    """Its size, where it is known beforehand; 0 = what the hub tells."""
    unless: str = ""
    """Name of a file that makes this one needless, where that was found."""


@dataclass(frozen=True, slots=True)
class About:
    """What a hub tells of a file."""

    commit: str
    etag: str
    """A file of Git LFS: its SHA-256; any other: Git's SHA-1."""
    bytes: int
    place: str
    """Where its content is."""


class Source(Protocol):
    """Where files come from."""

    name: str

    def about(self, file: HubFile) -> About | None:
        """None = there is no such file, or no such revision.

        Raises:
            HubError: it could not be asked.
        """

    def read(self, about: About, start: int) -> contextlib.AbstractContextManager[Opened]:
        """Opens the content, from `start` on where the source can do that.

        Raises:
            httpx.HTTPError, OSError: from opening or reading.
        """

    def close(self) -> None:
        """Closes its connections."""


@dataclass(frozen=True, slots=True)
class Opened:
    """Content on its way."""

    start: int
    """Where it begins."""
    blocks: Iterator[bytes]


def source_of(hub: str) -> Source:
    """The hub, a mirror or a folder, as `model_hub` of the settings names it."""
    return _Hub(hub.rstrip("/")) if hub.startswith(("http://", "https://")) else _Folder(Path(hub))


class _Http:
    """Reads content from a place that a file is known to be at."""

    def __init__(self, address: str) -> None:
        self.name = address
        self._client = httpx.Client(timeout=_TIMEOUT_S, follow_redirects=True)

    @contextlib.contextmanager
    def read(self, about: About, start: int) -> Iterator[Opened]:
        # A range counts bytes of the file, so it must not come packed.
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        with self._client.stream("GET", about.place, headers=headers) as answer:
            answer.raise_for_status()
            continues = answer.status_code == httpx.codes.PARTIAL_CONTENT
            yield Opened(start if continues else 0, answer.iter_raw())

    def close(self) -> None:
        self._client.close()


class Release(_Http):
    """Files of known size and sum beside each other at one address, which is not asked about them.

    Args:
        address: of the folder that they are in.
    """

    def about(self, file: HubFile) -> About | None:
        """What is known of it.

        Raises:
            ValueError: too little is.
        """
        if not (file.sha256 and file.bytes):
            raise ValueError(f"size and SHA-256 of {file.name} have to be known")
        return About("", file.sha256, file.bytes, f"{self.name.rstrip('/')}/{file.name}")


class _Hub(_Http):
    def about(self, file: HubFile) -> About | None:
        from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url

        url = hf_hub_url(file.repository, file.name, revision=file.revision, endpoint=self.name)
        try:
            told = get_hf_file_metadata(url, timeout=_TIMEOUT_S, endpoint=self.name)
        except (errors.RemoteEntryNotFoundError, errors.RevisionNotFoundError):
            return None
        except errors.RepositoryNotFoundError as e:
            raise HubError(f"{self.name} has no {file.repository}") from e
        except errors.OfflineModeIsEnabled as e:
            raise HubError("HF_HUB_OFFLINE is set: nothing is fetched") from e
        except errors.HfHubHTTPError as e:
            raise HubError(f"{self.name} answers with status {e.response.status_code}") from e
        except Exception as e:
            # the hub's client brings an HTTP client of its own, with errors of its own
            raise HubError(_unreachable(self.name, e)) from e
        if not told.etag or told.size is None:
            raise HubError(f"{self.name} is no model hub, nor a mirror of one")
        return About(told.commit_hash or "", told.etag, told.size, told.location)

    def close(self) -> None:
        from huggingface_hub import close_session

        super().close()
        close_session()


class _Folder:
    """A folder that holds files as OWNER/NAME/FILE, as `hf download --local-dir` writes them."""

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._folder = folder.expanduser()

    def about(self, file: HubFile) -> About | None:
        if not self._folder.is_dir():
            raise HubError(f"model_hub: no such folder: {self._folder}")
        path = self._folder / file.repository / file.name
        if not path.is_file():
            return None
        # No revision there: one that is made of the place stands in for it.
        commit = hashlib.sha1(str(path.parent.resolve()).encode()).hexdigest()
        return About(commit, _sha256(path), path.stat().st_size, str(path))

    @contextlib.contextmanager
    def read(self, about: About, start: int) -> Iterator[Opened]:
        with Path(about.place).open("rb") as content:
            content.seek(start)
            yield Opened(start, iter(lambda: content.read(_BLOCK), b""))

    def close(self) -> None:
        pass


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
            return _unreachable(self._source.name, e)
        return None

    def _check(self, file: HubFile, about: About, part: Path) -> None:
        known = file.sha256 or (about.etag if _SHA256.fullmatch(about.etag) else "")
        if part.stat().st_size != about.bytes:
            right = False
        elif known:
            right = _sha256(part) == known
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


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _git_sha1(path: Path) -> str:
    """As Git names a file that is not in LFS."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _unreachable(name: str, error: Exception) -> str:
    from agent_worker.settings import proxy_for

    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    through = " through the proxy of the environment" if proxy_for(name) else ""
    return f"{name} can't be reached{through} ({said})"
