"""Piper voices on this machine: by path, or by name in a folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

DEFAULT_VOICE = "en_US-ljspeech-medium"
"""Trained on LJ Speech, which is in the public domain."""


class VoiceNotFoundError(FileNotFoundError):
    """There is no such voice on this machine."""


class VoiceConfigError(ValueError):
    """A voice's JSON file is not one that Piper writes."""


@dataclass(frozen=True)
class VoiceFiles:
    """The two files of a voice."""

    model: Path
    config: Path

    @property
    def name(self) -> str:
        """As "en_US-ljspeech-medium"."""
        return self.model.name.removesuffix(".onnx")

    def read_config(self) -> dict[str, Any]:
        """Reads the JSON file and checks what the plugin needs of it.

        Raises:
            VoiceConfigError: It is no JSON, or lacks a field.
        """
        try:
            config: dict[str, Any] = json.loads(self.config.read_text(encoding="utf-8"))
            rate = config["audio"]["sample_rate"]
            if not (isinstance(rate, int) and rate > 0 and config["phoneme_id_map"]):
                raise VoiceConfigError(f"{self.config} names no sample rate or no phonemes")
            config["num_symbols"], config["num_speakers"], config["espeak"]["voice"]
        except (ValueError, KeyError, TypeError) as e:
            raise VoiceConfigError(f"{self.config} is not the JSON file of a Piper voice") from e
        return config


def default_models_dir() -> Path:
    """Returns the folder of voices where none is named; it need not exist."""
    return Path.home() / ".cache" / "livekit-agent-worker" / "voices"


def local_voices(models_dir: str | PathLike[str] | None = None) -> list[str]:
    """Returns the names of the voices in a folder, sorted; both files of each are there."""
    folder = default_models_dir() if models_dir is None else Path(models_dir)
    return sorted(
        model.name.removesuffix(".onnx")
        for model in folder.glob("*.onnx")
        if _config_of(model).is_file()
    )


def find_voice(
    model: str | PathLike[str], models_dir: str | PathLike[str] | None = None
) -> VoiceFiles:
    """Finds a voice by the path of its .onnx file, or by name in `models_dir`.

    Raises:
        VoiceNotFoundError: Neither is there, or the JSON file beside it is not.
    """
    folder = default_models_dir() if models_dir is None else Path(models_dir)
    path = Path(model).expanduser()
    if path.suffix != ".onnx":
        if not path.name or path.name != str(model):
            raise VoiceNotFoundError(f"Piper voice {str(model)!r} is neither a name nor a file")
        path = folder / f"{model}.onnx"
    if not path.is_file():
        raise VoiceNotFoundError(
            f"Piper voice {str(model)!r} not found at {path}; fetch an official one with "
            f"livekit.plugins.piper.download_voice({path.name.removesuffix('.onnx')!r}) or "
            "`agent-worker download-files`"
        )
    config = _config_of(path)
    if not config.is_file():
        raise VoiceNotFoundError(f"Piper voice {path} lacks its JSON file {config.name}")
    return VoiceFiles(path, config)


def _config_of(model: Path) -> Path:
    return model.with_name(model.name + ".json")
