"""A GPU that can't be had here: a stand-in for CTranslate2 that a child process imports instead."""

from __future__ import annotations

import sys
from pathlib import Path

_MODULE = """
import os, sys, time

class StorageView:
    from_array = staticmethod(lambda array: array)

class _Whisper:
    n_mels = 80

    def __init__(self, model, device, compute_type):
        pass

    def encode(self, features):
        assert features.shape == (2, 80, 600)
        {on_decode}
        return features

    def generate(self, encoded, prompts, **options):
        return [None for _ in prompts]

class models:
    Whisper = _Whisper
"""


def fake_ctranslate2(folder: Path, on_decode: str) -> list[str]:
    """Writes a CTranslate2 that loads everything, and whose first decode runs one line of Python.

    Returns:
        The path under which a child process finds it.
    """
    (folder / "ctranslate2.py").write_text(_MODULE.format(on_decode=on_decode))
    return [str(folder), *sys.path]
