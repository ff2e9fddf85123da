"""Where model files come from: the hub, a mirror of it, a folder, or a release."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

_BLOCK = 1 << 18
_TIMEOUT_S = 30.0


class HubError(Exception):
    """A file could not be fetched. The message says which, why, and what to do."""


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
            raise HubError(unreachable(self.name, e)) from e
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
        return About(commit, sha256_of(path), path.stat().st_size, str(path))

    @contextlib.contextmanager
    def read(self, about: About, start: int) -> Iterator[Opened]:
        with Path(about.place).open("rb") as content:
            content.seek(start)
            yield Opened(start, iter(lambda: content.read(_BLOCK), b""))

    def close(self) -> None:
        pass


def sha256_of(path: Path) -> str:
    """Of a file, in hexadecimal."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def unreachable(name: str, error: Exception) -> str:
    """What an error of a connection means."""
    from agent_worker.settings import proxy_for

    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    through = " through the proxy of the environment" if proxy_for(name) else ""
    return f"{name} can't be reached{through} ({said})"
