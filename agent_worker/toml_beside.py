"""Words, patterns and figures that lie as TOML beside the file that reads them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any


def toml_beside(module: str, name: str) -> dict[str, Any]:
    """Reads a TOML file.

    Args:
        module: `__file__` of whoever asks.
        name: of the file in the same folder.
    """
    return tomllib.loads(Path(module).with_name(name).read_text(encoding="utf-8"))
