"""Fetches a file of known size and digest, for who uses a plugin without the worker.

Used only by what a user asked to download. The worker has a downloader of its own, which asks hubs,
mirrors and folders too; neither may know the other: no plugin knows the worker, and what the voices
share is nothing to it.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

Progress = Callable[[str, int, int], None]
"""Called with the file's name, the bytes that are there, and the bytes in all."""


@dataclass(frozen=True)
class RemoteFile:
    """What a file has to be."""

    size: int
    """Bytes."""
    algorithm: str
    """Of its digest, as hashlib names it."""
    digest: str
    """In hexadecimal."""


class DownloadError(RuntimeError):
    """A file could not be fetched; nothing half-written is taken for one."""


def show_bar(name: str, done: int, total: int) -> None:
    """Draws one line on stderr, over and over."""
    share = done / total if total else 1.0
    end = "\n" if done >= total else ""
    sys.stderr.write(
        f"\r{name} [{'#' * int(share * 30):30}] {done / 1e6:.1f} of {total / 1e6:.1f} MB{end}"
    )
    sys.stderr.flush()


def fetch_file(
    client: httpx.Client, url: str, target: Path, about: RemoteFile, told: Progress
) -> None:
    """Fetches a file unless it is there whole; blocks.

    One that was cut off is continued where it ended, and it gets its name only after its size and
    its digest were found right.

    Raises:
        DownloadError: It came broken.
        httpx.HTTPError: The host cannot be reached, or has no such file.
        OSError: It could not be written.
    """
    if _is_whole(target, about):
        return
    partial = target.with_name(target.name + ".part")
    done = partial.stat().st_size if partial.is_file() else 0
    if done > about.size:
        partial.unlink()
        done = 0
    if done < about.size:
        # A range counts bytes of the file, so it must not come packed.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
        with client.stream("GET", url, headers=headers) as response:
            response.raise_for_status()
            if response.status_code != httpx.codes.PARTIAL_CONTENT:
                done = 0
            with partial.open("ab" if done else "wb") as out:
                for block in response.iter_raw():
                    out.write(block)
                    done += len(block)
                    told(target.name, done, max(about.size, done))
    if not _is_whole(partial, about):
        short = partial.stat().st_size < about.size
        if not short:
            partial.unlink()
        raise DownloadError(
            f"{url} {'ended early' if short else 'came with the wrong checksum'}; try again"
        )
    partial.replace(target)


def _is_whole(file: Path, about: RemoteFile) -> bool:
    if not file.is_file() or file.stat().st_size != about.size:
        return False

    def digest() -> hashlib._Hash:
        return hashlib.new(about.algorithm, usedforsecurity=False)

    with file.open("rb") as data:
        return hashlib.file_digest(data, digest).hexdigest() == about.digest
