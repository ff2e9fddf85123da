"""What a device's failure means, and what cures it: read from what CTranslate2 says."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LIBRARY = re.compile(
    r"\b(?:lib)?(cublasLt|cublas|cudnn|cudart|nvrtc)[A-Za-z_]*(?:64_|\.so\.)(\d+)"
)
_ROCM_LIBRARY = re.compile(r"\blib(?:hipblas|rocblas|amdhip64|hiprand|MIOpen)\S*")
_DEVICE_WORDS = re.compile(r"CUDA|cuBLAS|cublas|cuDNN|cudnn|\bHIP\b|hipblas|rocblas|libcuda")
_PACKAGES = {"cublasLt": "cublas", "cudart": "cuda-runtime", "nvrtc": "cuda-nvrtc"}


@dataclass(frozen=True, slots=True)
class DeviceFault:
    """Why a device can't decode."""

    what: str
    """In a line."""
    cure: str
    """What to do about it."""
    library: str = ""
    """The file that is missing, if that is it."""
    out_of_memory: bool = False

    def __str__(self) -> str:
        return f"{self.what}; {self.cure}"


class DeviceError(Exception):
    """A device can't run Whisper; the message says why, and what cures it."""

    def __init__(self, device: str, fault: DeviceFault) -> None:
        """
        Args:
            device: That was asked for.
            fault: What is wrong with it.
        """
        super().__init__(f"it can't run on {device}: {fault}")
        self.fault = fault


def fault_of(error: BaseException | str) -> DeviceFault | None:
    """Reads an error; None means that the device is not to blame.

    Args:
        error: What was raised, or what a process wrote before it ended.
    """
    text = str(error).strip()
    if library := _LIBRARY.search(text):
        return _missing(library)
    if library := _ROCM_LIBRARY.search(text):
        return DeviceFault(
            f"the library {library[0]} is missing",
            "install ROCm in the version that this build of CTranslate2 was made for",
            library[0],
        )
    if "out of memory" in text:
        return DeviceFault(
            "the GPU has too little memory left",
            "leave it more (vLLM: a lower --gpu-memory-utilization), take a smaller stt_model, or "
            'set stt_compute_type to "int8_float16"',
            out_of_memory=True,
        )
    if "driver version is insufficient" in text or "no CUDA-capable device" in text:
        return DeviceFault(
            "no GPU with a driver that is new enough can be seen",
            "see that `nvidia-smi` lists it, update the driver, and in a container pass it on "
            "(`docker run --gpus all`)",
        )
    if "not compiled with CUDA" in text:
        return DeviceFault(
            "this build of CTranslate2 knows no GPU",
            "reinstall it from PyPI's wheel (`pip install --force-reinstall ctranslate2`)",
        )
    if "no kernel image" in text:
        return DeviceFault(
            "this build of CTranslate2 has no code for this GPU",
            "update CTranslate2 (`pip install --upgrade ctranslate2`) for a new card; a very old "
            "one is not served any more",
        )
    if "do not support efficient" in text:
        return DeviceFault(
            "the device can't compute in that type",
            "leave stt_compute_type empty, so that one is chosen that it can",
        )
    if _DEVICE_WORDS.search(text):
        return DeviceFault(
            f"the GPU failed ({text.splitlines()[-1][:200]})",
            "see that `nvidia-smi` works, and restart the worker",
        )
    return None


def _missing(library: re.Match[str]) -> DeviceFault:
    name, version = library[1], int(library[2])
    package = f"nvidia-{_PACKAGES.get(name, name)}"
    # cuDNN 8 and 9 and cuBLAS 12 are CUDA 12's; from 13 on the packages carry no suffix.
    suffix = "-cu12" if name == "cudnn" or version < 13 else ""
    packages = {f"{package}{suffix}": None, f"nvidia-cublas{suffix}": None}
    return DeviceFault(
        f"the library {library[0]} is missing",
        f"`pip install {' '.join(packages)}` brings it (a newer CUDA's does not serve), and it is "
        "found there without further ado",
        library[0],
    )
