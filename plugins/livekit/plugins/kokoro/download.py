"""Fetches Kokoro, when asked to. Nothing else in this package uses the network."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import httpx

from local_tts.fetch import DownloadError, Progress, RemoteFile, fetch_file, show_bar

from .voices import MODEL_FILES, VOICES_FILE, KokoroFiles, default_models_dir, find_files

RELEASE_URL = "https://github.com/thewh1teagle/kokoro-onnx/releases/download/model-files-v1.0"
"""The ONNX export of hexgrad's Kokoro-82M (Apache-2.0); its names are those of the files."""

HUB_REPOSITORY = "fastrtc/kokoro-onnx"
"""On Hugging Face: the same `kokoro-v1.0.onnx` and `voices-v1.0.bin`, by their sums."""

RELEASE = {
    "kokoro-v1.0.int8.onnx": RemoteFile(
        92_361_271, "sha256", "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
    ),
    "kokoro-v1.0.onnx": RemoteFile(
        325_532_387, "sha256", "7d5df8ecf7d4b1878015a32686053fd0eebe2bc377234608764cc0ef3636a6c5"
    ),
    "voices-v1.0.bin": RemoteFile(
        28_214_398, "sha256", "bca610b8308e8d99f32e6fe4197e7ec01679264efed0cac9140fe9c29f1fbf7d"
    ),
}
"""By a file's name what it has to be."""


def download_kokoro(
    model: str = MODEL_FILES[0],
    *,
    models_dir: str | PathLike[str] | None = None,
    base_url: str = RELEASE_URL,
    progress: Progress | None = None,
    timeout_s: float = 30.0,
) -> KokoroFiles:
    """Fetches the graph and the pack of all voices, if they are not there whole; blocks.

    A file that was cut off is continued where it ended, and gets its name only after its size
    and its SHA-256 were found right.

    Args:
        model: Of `MODEL_FILES`: 92 MB in 8 bits, or 326 MB. The voices are 28 MB.
        models_dir: Folder to put them in; by default the one where `kokoro.TTS` looks.
        base_url: The release, or a mirror of it.
        progress: Told of each block; by default a bar on stderr.
        timeout_s: Of connecting, and of waiting for the next block.

    Raises:
        DownloadError: There is no such file, the host cannot be reached, or a file came broken.
    """
    if model not in MODEL_FILES:
        raise DownloadError(f"{model!r} is none of Kokoro's graphs: {', '.join(MODEL_FILES)}")
    folder = default_models_dir() if models_dir is None else Path(models_dir)
    told = progress or show_bar
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with httpx.Client(timeout=timeout_s, follow_redirects=True) as client:
            for name in (model, VOICES_FILE):
                fetch_file(client, f"{base_url}/{name}", folder / name, RELEASE[name], told)
    except httpx.HTTPError as e:
        raise DownloadError(f"Kokoro could not be fetched from {base_url}: {e}") from e
    except OSError as e:
        raise DownloadError(f"Kokoro could not be written to {folder}: {e}") from e
    return find_files(folder)
