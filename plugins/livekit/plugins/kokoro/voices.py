"""Kokoro's files on this machine: one graph, and a pack with the styles of all its voices."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

MODEL_FILES = ("kokoro-v1.0.int8.onnx", "kokoro-v1.0.onnx")
"""In a quarter of the memory, and in full; the first that is there is taken."""
VOICES_FILE = "voices-v1.0.bin"


class VoiceNotFoundError(FileNotFoundError):
    """Kokoro's files are not on this machine, or have no such voice."""


class VoicePackError(ValueError):
    """A file is no pack of Kokoro voices."""


@dataclass(frozen=True)
class KokoroFiles:
    """The two files that all voices share."""

    model: Path
    voices: Path

    def voice_names(self) -> tuple[str, ...]:
        """Names of all voices, sorted, such as "af_heart"; their styles are not read for it.

        Raises:
            VoicePackError: It is no such pack.
        """
        try:
            with zipfile.ZipFile(self.voices) as pack:
                names = sorted(name.removesuffix(".npy") for name in pack.namelist())
        except (OSError, zipfile.BadZipFile) as e:
            raise VoicePackError(f"{self.voices} is not a pack of Kokoro voices") from e
        if not names:
            raise VoicePackError(f"{self.voices} holds no voice")
        return tuple(names)


def default_models_dir() -> Path:
    """Returns the folder of the files where none is named; it need not exist."""
    return Path.home() / ".cache" / "livekit-agent-worker" / "voices" / "kokoro"


def find_files(models_dir: str | PathLike[str] | None = None) -> KokoroFiles:
    """Finds both files in a folder.

    Raises:
        VoiceNotFoundError: One of them is not there.
    """
    folder = default_models_dir() if models_dir is None else Path(models_dir)
    model = next((folder / name for name in MODEL_FILES if (folder / name).is_file()), None)
    voices = folder / VOICES_FILE
    if model is None or not voices.is_file():
        missing = " or ".join(MODEL_FILES) if model is None else VOICES_FILE
        raise VoiceNotFoundError(
            f"Kokoro needs {missing} in {folder}; fetch it with "
            "livekit.plugins.kokoro.download_kokoro() or `agent-worker download-files`"
        )
    return KokoroFiles(model, voices)
