"""Fetches official voices, when asked to. Nothing else in this package uses the network."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import httpx

from .voices import DEFAULT_VOICE, VoiceFiles, default_models_dir, find_voice

HUB_URL = "https://huggingface.co/rhasspy/piper-voices/resolve/main"
"""Where the official voices are: an index, `voices.json`, and the files that it names."""

Progress = Callable[[str, int, int], None]
"""Called with the file's name, the bytes that are there, and the bytes in all."""

_NAME = re.compile(r"[a-z]{2,3}_[A-Z]{2}-[\w+]+-(?:x_low|low|medium|high)")


class DownloadError(RuntimeError):
    """A voice could not be fetched; nothing half-written is taken for a voice."""


def download_voice(
    name: str = DEFAULT_VOICE,
    *,
    models_dir: str | PathLike[str] | None = None,
    base_url: str = HUB_URL,
    progress: Progress | None = None,
    timeout_s: float = 30.0,
) -> VoiceFiles:
    """Fetches a voice's two files, if they are not there whole already; blocks.

    A file that was cut off is continued where it ended. A file gets its name only after its size
    and its checksum (of the index) were found right.

    Args:
        name: As "en_US-ljspeech-medium".
        models_dir: Folder to put them in; by default the one where `piper.TTS` looks.
        base_url: The hub, or a mirror of it.
        progress: Told of each block; by default a bar on stderr.
        timeout_s: Of connecting, and of waiting for the next block.

    Raises:
        DownloadError: There is no such voice, the hub cannot be reached, or a file came broken.
    """
    if not _NAME.fullmatch(name):
        raise DownloadError(f"{name!r} is not a voice's name, as {DEFAULT_VOICE!r} is")
    folder = default_models_dir() if models_dir is None else Path(models_dir)
    told = progress or show_bar
    try:
        with httpx.Client(timeout=timeout_s, follow_redirects=True) as client:
            index = client.get(f"{base_url}/voices.json").raise_for_status().json()
            entry = index.get(name)
            if entry is None:
                raise DownloadError(
                    f"the hub has no voice {name!r}; {base_url}/voices.json lists all"
                )
            wanted = {
                path: about
                for path, about in entry["files"].items()
                if path.endswith((".onnx", ".onnx.json"))
            }
            folder.mkdir(parents=True, exist_ok=True)
            # The small file last: a voice counts as here when both are.
            for path in sorted(wanted, key=len):
                target = folder / path.rsplit("/", 1)[-1]
                if not _is_whole(target, wanted[path]):
                    _fetch(client, f"{base_url}/{path}", target, wanted[path], told)
    except httpx.HTTPError as e:
        raise DownloadError(f"voice {name!r} could not be fetched from {base_url}: {e}") from e
    except (ValueError, KeyError, AttributeError, TypeError) as e:
        raise DownloadError(f"{base_url}/voices.json is not an index of Piper voices") from e
    except OSError as e:
        raise DownloadError(f"voice {name!r} could not be written to {folder}: {e}") from e
    return find_voice(name, folder)


def show_bar(name: str, done: int, total: int) -> None:
    """Draws one line on stderr, over and over."""
    share = done / total if total else 1.0
    end = "\n" if done >= total else ""
    sys.stderr.write(
        f"\r{name} [{'#' * int(share * 30):30}] {done / 1e6:.1f} of {total / 1e6:.1f} MB{end}"
    )
    sys.stderr.flush()


def _is_whole(file: Path, about: dict[str, Any]) -> bool:
    if not file.is_file() or file.stat().st_size != int(about["size_bytes"]):
        return False
    return _md5(file) == str(about["md5_digest"])


def _md5(file: Path) -> str:
    with file.open("rb") as data:
        # The index has no other digest; it guards against accidents, not against an attacker.
        return hashlib.file_digest(data, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _fetch(
    client: httpx.Client, url: str, target: Path, about: dict[str, Any], told: Progress
) -> None:
    total = int(about["size_bytes"])
    partial = target.with_name(target.name + ".part")
    done = partial.stat().st_size if partial.is_file() else 0
    if done > total:
        partial.unlink()
        done = 0
    if done < total:
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
                    told(target.name, done, max(total, done))
    if not _is_whole(partial, about):
        short = partial.stat().st_size < total
        if not short:
            partial.unlink()
        raise DownloadError(
            f"{url} {'ended early' if short else 'came with the wrong checksum'}; try again"
        )
    partial.replace(target)
