"""Fetches official voices, when asked to. Nothing else in this package uses the network."""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path

import httpx

from local_tts.fetch import DownloadError, Progress, RemoteFile, fetch_file, show_bar

from .voices import DEFAULT_VOICE, VoiceFiles, default_models_dir, find_voice

HUB_URL = "https://huggingface.co/rhasspy/piper-voices/resolve/main"
"""Where the official voices are: an index, `voices.json`, and the files that it names."""

_NAME = re.compile(r"[a-z]{2,3}_[A-Z]{2}-[\w+]+-(?:x_low|low|medium|high)")


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
                about = wanted[path]
                # The index has no other digest; it guards against accidents, not attackers.
                remote = RemoteFile(int(about["size_bytes"]), "md5", str(about["md5_digest"]))
                fetch_file(client, f"{base_url}/{path}", target, remote, told)
    except httpx.HTTPError as e:
        raise DownloadError(f"voice {name!r} could not be fetched from {base_url}: {e}") from e
    except (ValueError, KeyError, AttributeError, TypeError) as e:
        raise DownloadError(f"{base_url}/voices.json is not an index of Piper voices") from e
    except OSError as e:
        raise DownloadError(f"voice {name!r} could not be written to {folder}: {e}") from e
    return find_voice(name, folder)
