"""Which model, where its files are, and on what it runs."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BUNDLED = "bundled"
BUNDLED_DIR = Path(__file__).parent / "bundled"

MODEL_NAMES = (
    "bundled",
    "tiny",
    "tiny.en",
    "base",
    "base.en",
    "small",
    "small.en",
    "medium",
    "medium.en",
    "large-v1",
    "large-v2",
    "large-v3",
    "large",
    "large-v3-turbo",
    "turbo",
    "distil-small.en",
    "distil-medium.en",
    "distil-large-v2",
    "distil-large-v3",
    "distil-large-v3.5",
)
"""What `STT(model=...)` takes, besides a folder and a repository such as "owner/name"."""


class ModelNotFoundError(Exception):
    """The model's files are not on this machine; the message says what to do."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Names one loaded model; equal specs share one engine."""

    model: str
    """A name out of `MODEL_NAMES`, a repository "owner/name", or a folder."""
    device: str = "auto"
    """"cpu", "cuda" or "auto"."""
    compute_type: str = "auto"
    """CTranslate2's name, such as "int8" or "float16", or "auto"."""
    cpu_threads: int = 0
    """Threads per run on a CPU; 0 leaves the choice to the plugin."""
    download_dir: str | None = None
    """Where downloaded models lie; None is the hub's own cache."""

    @property
    def is_bundled(self) -> bool:
        """Whether it is the small model that comes with this package."""
        return self.model == BUNDLED

    @property
    def default_max_segment_s(self) -> float:
        """Seconds of speech that the model can be trusted with at once.

        The bundled one learnt from clips of a sentence or two and drops words in longer ones.
        """
        return 4.0 if self.is_bundled else 12.0

    @property
    def profits_from_context(self) -> bool:
        """Whether the text before a cut helps the model with what follows.

        The bundled one writes nonsense, or nothing, behind a prompt of more than two sentences.
        """
        return not self.is_bundled


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a model runs on."""

    device: str
    compute_type: str
    cpu_threads: int


def check_model_name(model: object) -> str:
    """Returns the model as a string.

    Raises:
        TypeError: It is neither a string nor a path.
        ValueError: It is neither a known name, nor "owner/name", nor a path.
    """
    if isinstance(model, os.PathLike):
        return str(os.fspath(model))
    if not isinstance(model, str):
        raise TypeError(f"model must be a name or a path, not {type(model).__name__}")
    looks_like_path = os.sep in model or "/" in model or Path(model).is_dir()
    if not model or (model not in MODEL_NAMES and not looks_like_path):
        close = difflib.get_close_matches(model, MODEL_NAMES, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise ValueError(
            f"unknown Whisper model {model!r}{hint}; use a folder, a repository 'owner/name', or "
            "one of " + ", ".join(MODEL_NAMES)
        )
    return model


def find_model(spec: ModelSpec) -> Path:
    """Returns the folder of the model's files, looking on this machine only.

    Raises:
        ModelNotFoundError: They are not there.
    """
    if spec.is_bundled:
        folder = BUNDLED_DIR
    elif Path(spec.model).is_dir():
        folder = Path(spec.model)
    elif spec.model not in MODEL_NAMES and not _may_be_repository(spec.model):
        raise ModelNotFoundError(
            f"Whisper model folder {spec.model!r} not found; name a folder that is there, a "
            "repository 'owner/name', or a size such as base"
        )
    else:
        folder = _find_in_cache(spec)
    if not (folder / "model.bin").is_file():
        raise ModelNotFoundError(
            f"Whisper model folder {str(folder)!r} has no model.bin; it must hold a model in "
            "CTranslate2's format (see ct2-transformers-converter)"
        )
    return folder


def is_available(model: str, download_dir: str | None = None) -> bool:
    """Tells whether `STT(model=model)` would find its files on this machine."""
    try:
        find_model(ModelSpec(model, download_dir=download_dir))
    except ModelNotFoundError:
        return False
    return True


def download(model: str, download_dir: str | None = None) -> Path:
    """Fetches a model from its hub, with a progress bar on stderr, and returns its folder.

    Raises:
        ValueError: There is no such model.
        ModelNotFoundError: It could not be fetched; the cause is chained.
    """
    if model == BUNDLED or Path(model).is_dir():
        return find_model(ModelSpec(model))
    import huggingface_hub

    try:
        return Path(
            huggingface_hub.snapshot_download(
                repository_of(model), cache_dir=download_dir, allow_patterns=_FILES
            )
        )
    except Exception as e:
        raise ModelNotFoundError(f"Whisper model {model!r} could not be downloaded: {e}") from e


def choose_hardware(spec: ModelSpec) -> Hardware:
    """Fills in what the spec leaves to "auto": CUDA where there is one, INT8 on a CPU.

    Whether the device really decodes is another matter: see `device_check`. ROCm devices answer to
    "cuda" in CTranslate2's ROCm build.
    """
    import ctranslate2

    device = spec.device
    if device == "auto":
        device = "cuda" if ctranslate2.get_cuda_device_count() > 0 else "cpu"
    compute_type = spec.compute_type
    if compute_type == "auto":
        supported = ctranslate2.get_supported_compute_types(device)
        wanted = ("int8", "int8_float32") if device == "cpu" else ("float16", "int8_float16")
        compute_type = next((name for name in wanted if name in supported), "default")
    threads = spec.cpu_threads
    if not threads:
        # Decoding waits for memory, not for arithmetic: a second thread made base hardly faster
        # (14 tokens, 2 cores: 90 and 140 ms of processor time), and the voice and the loop want
        # processor time as well. The bundled model is too small for more than one.
        threads = 1 if spec.is_bundled else min(8, max(1, usable_cores() // 2))
    return Hardware(device, compute_type, threads)


_FILES = ["config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*"]


def usable_cores() -> int:
    """Returns how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def _may_be_repository(model: str) -> bool:
    """Whether it is written as `owner/name`, and not as a path."""
    return model.count("/") == 1 and not model.startswith(("/", ".", "~"))


def repository_of(model: str) -> str:
    """Returns the hub's repository of a model that is named, or is one.

    Raises:
        ValueError: There is no such model.
    """
    if "/" in model:
        return model
    from faster_whisper.utils import _MODELS

    repositories: dict[str, Any] = _MODELS
    if model not in repositories:
        raise ValueError(f"unknown Whisper model {model!r}; one of " + ", ".join(MODEL_NAMES))
    return str(repositories[model])


def _find_in_cache(spec: ModelSpec) -> Path:
    import huggingface_hub

    try:
        return Path(
            huggingface_hub.snapshot_download(
                repository_of(spec.model),
                cache_dir=spec.download_dir,
                allow_patterns=_FILES,
                local_files_only=True,
            )
        )
    except Exception as e:
        raise ModelNotFoundError(
            f"Whisper model {spec.model!r} is not on this machine; fetch it with "
            f"`agent-worker download-files`, or in Python with livekit.plugins.faster_whisper."
            f"download({spec.model!r}), or use model='bundled'"
        ) from e
