"""Does this device really decode? Asked once in a process for each device and compute type.

A GPU whose libraries are missing loads every model, and fails at the first decode of a call. So one
real decode is done first, by the bundled model and in a child process, since some of the libraries
end the process where others raise.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .device_faults import DeviceError, DeviceFault, fault_of
from .device_probe import preload_libraries
from .log import logger
from .models import BUNDLED_DIR, Hardware, ModelSpec, choose_hardware

PROBE = Path(__file__).with_name("device_probe.py")
CHECK_LIMIT_S = 60.0
"""A first use of a GPU may compile for seconds; more than this hangs."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one decode on a device told."""

    fault: DeviceFault | None = None
    """None: it decodes."""
    took_s: float = 0.0
    """Seconds from the import to the text."""
    name: str = ""
    """The GPU's own name, where its driver tells it."""
    free_bytes: int = 0
    """Memory that was free on the GPU beside the check."""
    preloaded: tuple[str, ...] = ()
    """Libraries that were opened out of NVIDIA's wheels."""

    @property
    def works(self) -> bool:
        """Whether it decodes."""
        return self.fault is None


Check = Callable[[Hardware], Verdict]

_verdicts: dict[tuple[str, str], Verdict] = {}
_verdicts_lock = threading.Lock()
_said: set[str] = set()


def check_device(hardware: Hardware) -> Verdict:
    """Returns whether a decode on a device succeeds; the first call takes seconds."""
    key = (hardware.device, hardware.compute_type)
    with _verdicts_lock:
        if key not in _verdicts:
            _verdicts[key] = decode_in_child(hardware)
        return _verdicts[key]


def find_hardware(
    spec: ModelSpec, *, check: Check = check_device
) -> tuple[Hardware, DeviceFault | None]:
    """Fills in what the spec leaves to "auto" with what really decodes here.

    Returns:
        The hardware, and what is wrong with the GPU that the CPU stands in for, if it does.

    Raises:
        DeviceError: The device that the spec names can't decode; the message has the cure.
    """
    fault: DeviceFault | None
    try:
        hardware = choose_hardware(spec)
    except (RuntimeError, ValueError) as e:
        fault = fault_of(e) or DeviceFault(str(e), "leave stt_device to auto")
    else:
        fault = None if hardware.device == "cpu" else check(hardware).fault
        if fault is None:
            return hardware, None
    if spec.device != "auto":
        raise DeviceError(spec.device, fault)
    return cpu_hardware(spec), fault


def usable_hardware(spec: ModelSpec, *, check: Check = check_device) -> Hardware:
    """The same for a model that is about to be loaded: a GPU's fault is logged, once.

    Raises:
        DeviceError: As in `find_hardware`.
    """
    hardware, fault = find_hardware(spec, check=check)
    if fault is not None:
        _say(fault)
    elif hardware.device != "cpu":
        # this process opens the libraries as the child did
        preload_libraries()
    return hardware


def instead_of(spec: ModelSpec, fault: DeviceFault, cause: BaseException) -> Hardware:
    """Returns the CPU for a model that the GPU could not load or decode after all.

    Raises:
        DeviceError: The spec asks for that device and no other.
    """
    if spec.device != "auto":
        raise DeviceError(spec.device, fault) from cause
    _say(fault)
    return cpu_hardware(spec)


def _say(fault: DeviceFault) -> None:
    if fault.what not in _said:
        _said.add(fault.what)
        logger.warning(
            "hearing runs on the CPU, since the GPU can't decode",
            extra={"cause": fault.what, "cure": fault.cure},
        )


def cpu_hardware(spec: ModelSpec) -> Hardware:
    """Returns the CPU with a compute type that it knows."""
    import ctranslate2

    known = spec.compute_type in ctranslate2.get_supported_compute_types("cpu")
    compute_type = spec.compute_type if known else "auto"
    return choose_hardware(replace(spec, device="cpu", compute_type=compute_type))


def decode_in_child(
    hardware: Hardware, *, path: list[str] | None = None, limit_s: float = CHECK_LIMIT_S
) -> Verdict:
    """Decodes once in a process of its own, whatever was found before.

    Args:
        hardware: Where.
        path: Where the child finds its packages; None is where this process does.
        limit_s: Seconds after which it is taken for hung.
    """
    if getattr(sys, "frozen", False) or not sys.executable:
        # A frozen program would start itself; the first decode after loading tells then.
        return Verdict()
    asked = {
        "path": sys.path if path is None else path,
        "model": str(BUNDLED_DIR),
        "device": hardware.device,
        "compute_type": hardware.compute_type,
    }
    try:
        # -P: modules beside the script are named like Python's own
        child = subprocess.run(
            [sys.executable, "-P", str(PROBE)],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Verdict(
            DeviceFault(
                f"a decode hung for over {limit_s:g} s", "see that `nvidia-smi` answers at once"
            )
        )
    except OSError as e:
        logger.warning("the device could not be checked beforehand", exc_info=e)
        return Verdict()
    return _verdict(child.returncode, child.stdout, child.stderr)


def _verdict(status: int, stdout: str, stderr: str) -> Verdict:
    last = (stdout.strip().splitlines() or [""])[-1]
    try:
        outcome: dict[str, Any] = json.loads(last)
    except ValueError:
        return Verdict(_death(status, stdout + stderr))
    if not outcome["works"]:
        error = str(outcome["error"])
        return Verdict(fault_of(error) or DeviceFault(error, "leave stt_device to auto, or cpu"))
    return Verdict(
        took_s=float(outcome["took_s"]),
        name=str(outcome.get("name", "")),
        free_bytes=int(outcome.get("free_bytes", 0)),
        preloaded=tuple(outcome.get("preloaded", ())),
    )


def _death(status: int, said: str) -> DeviceFault:
    if fault := fault_of(said):
        return fault
    try:
        ending = signal.Signals(-status).name
    except ValueError:
        ending = f"status {status}"
    return DeviceFault(
        f"a decode ended its process ({ending})",
        "`pip install nvidia-cublas-cu12 nvidia-cudnn-cu12` brings the libraries that most often "
        "are the reason",
    )
