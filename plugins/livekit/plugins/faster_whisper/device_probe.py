"""Decodes once on a device, in a process of its own, and says how it went.

A missing library shows only when something is decoded, and cuDNN ends the process then instead of
raising. So this file is run as a script, which imports nothing of the package: see `device_check`.
It reads one JSON object from stdin and writes one as its last line.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_LIBRARIES = ("libcublasLt", "libcublas", "libcudnn")
"""What CTranslate2 opens by name when it first needs it; cuBLASLt comes before cuBLAS."""
_SYSTEM_FOLDERS = (("/usr/local", "cuda*/lib64"), ("/opt", "cuda/lib64"))
_RTLD_GLOBAL = 0x100


def preload_libraries() -> list[str]:
    """Opens CUDA's libraries out of NVIDIA's wheels, where the system's loader can't find them.

    What is in the process already is taken by whoever asks for it by name, so neither
    LD_LIBRARY_PATH nor a link is needed. Does nothing elsewhere than on Linux.

    Returns:
        The files that were opened.
    """
    if sys.platform != "linux":
        return []
    opened = []
    for name in _LIBRARIES:
        for file in _files(name):
            soname = file.rpartition("/")[2]
            # whatever the system would take comes first
            if not _opens(soname) and _opens(file):
                opened.append(file)
    return opened


def _files(name: str) -> list[str]:
    places = [(Path(folder), pattern) for folder, pattern in _SYSTEM_FOLDERS]
    with contextlib.suppress(ImportError, ValueError):
        spec = find_spec("nvidia")
        wheels = list(spec.submodule_search_locations or ()) if spec is not None else []
        places = [(Path(wheel), "*/lib") for wheel in wheels] + places
    # programs ask for the name with one number
    return [
        str(file)
        for folder, pattern in places
        for file in sorted(folder.glob(f"{pattern}/{name}.so.[0-9]*"))
        if file.name.rpartition(".so.")[2].isdigit()
    ]


def _opens(name: str) -> bool:
    try:
        ctypes.CDLL(name, mode=_RTLD_GLOBAL)
    except OSError:
        return False
    return True


def decode_once(model: str, device: str, compute_type: str) -> None:
    """Loads a model and decodes a second of silence with it, as a call would.

    Raises:
        RuntimeError, ValueError: The device can't.
    """
    import ctranslate2
    import numpy as np

    whisper = ctranslate2.models.Whisper(model, device=device, compute_type=compute_type)
    features = np.zeros((2, whisper.n_mels, 600), np.float32)
    encoded = whisper.encode(ctranslate2.StorageView.from_array(features))
    prompt = ["<|startoftranscript|>"]
    whisper.generate(encoded, [prompt, prompt], beam_size=2, max_length=8)


def device_of() -> dict[str, Any]:
    """The name and the memory, in bytes, of the GPU in use; empty where CUDA's driver isn't there.

    From the driver itself (CUDA driver API, `cuDeviceGetName`, `cuMemGetInfo`).
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1" if sys.platform != "win32" else "nvcuda.dll")
        device, context = ctypes.c_int(), ctypes.c_void_p()
        name = ctypes.create_string_buffer(128)
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        for done in (
            driver.cuInit(0),
            driver.cuDeviceGet(ctypes.byref(device), 0),
            driver.cuDeviceGetName(name, len(name), device),
            driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device),
            driver.cuCtxSetCurrent(context),
            driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)),
        ):
            if done != 0:
                return {}
    except (OSError, AttributeError):
        return {}
    return {
        "name": name.value.decode(errors="replace"),
        "free_bytes": free.value,
        "total_bytes": total.value,
    }


def main() -> None:
    """Does what stdin asks, and writes the outcome."""
    asked = json.load(sys.stdin)
    # the asking process may have found its packages elsewhere than a fresh one would
    sys.path[:] = asked["path"]
    began = time.perf_counter()
    outcome: dict[str, Any] = {"works": True, "error": ""}
    try:
        if asked["device"] != "cpu":
            outcome["preloaded"] = preload_libraries()
        decode_once(asked["model"], asked["device"], asked["compute_type"])
    except Exception as e:
        outcome |= {"works": False, "error": f"{type(e).__name__}: {e}"}
    else:
        outcome["took_s"] = round(time.perf_counter() - began, 3)
        if asked["device"] != "cpu":
            outcome |= device_of()
    sys.stdout.write(json.dumps(outcome) + "\n")


if __name__ == "__main__":
    main()
