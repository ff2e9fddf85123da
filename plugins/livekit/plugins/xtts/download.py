"""Where the weights of XTTS are, and how they get there: only when asked for."""

from __future__ import annotations

import sys
from pathlib import Path

from .engine import MODEL_FILES
from .licence import require_acceptance

REPOSITORY = "coqui/XTTS-v2"
"""On Hugging Face; about 1.9 GB of it are needed."""

_FOLDER = "tts_models--multilingual--multi-dataset--xtts_v2"


def default_model_dir() -> Path:
    """The folder in which coqui-tts keeps the model, so that it is found if it is there."""
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "tts" / _FOLDER
    return home / ".local" / "share" / "tts" / _FOLDER


def download_model(*, accept_license: bool = False, model_dir: str | Path | None = None) -> Path:
    """Fetches the weights, with a bar, and says where they are. What is there is not fetched again.

    Args:
        accept_license: That you accept the terms in `LICENSE_TERMS`.
        model_dir: Where to; by default `default_model_dir()`.

    Raises:
        LicenseNotAcceptedError: The terms were not accepted.
    """
    require_acceptance(accept_license)
    import huggingface_hub

    folder = Path(model_dir) if model_dir is not None else default_model_dir()
    huggingface_hub.snapshot_download(
        REPOSITORY, local_dir=folder, allow_patterns=[*MODEL_FILES, "speakers_xtts.pth"]
    )
    return folder
