"""What a machine's GPU does for hearing: does it decode, how fast, and what if its memory ends?

    python -m bench.gpu_check [--size turbo] [--streams 1 8 32]

Prints one JSON object. First the check that every load does, as the machine is. Where only cuBLAS
of CUDA 12 is missing and that of 13 is there, the same again in a process that finds the one under
the other's name (by a link in a temporary folder on LD_LIBRARY_PATH), and there the measurements:
Whisper of a real size with random weights, float16, which costs what the real one does.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from livekit.plugins.faster_whisper.decode import WhisperDecoder
from livekit.plugins.faster_whisper.device_check import check_device, usable_hardware
from livekit.plugins.faster_whisper.device_fallback import load_decoder
from livekit.plugins.faster_whisper.engine import Engine
from livekit.plugins.faster_whisper.job import Job
from livekit.plugins.faster_whisper.models import Hardware, ModelSpec

from .random_whisper import make_random_whisper

_ROOT = Path(__file__).resolve().parent.parent
_TOKENS_PER_S = 3.6
"""2.7 words a second, 1.35 tokens each."""
_UTTERANCE_S = 5.0
_PARTIAL_EVERY_S = 0.25
_LIVE_ROUNDS = 2
_KEPT_FREE_BYTES = 48 << 20


def check() -> dict[str, Any]:
    """The check of every load, for a device left to "auto" and for "cuda"."""
    began = time.perf_counter()
    verdict = check_device(Hardware("cuda", "float16", 1))
    outcome: dict[str, Any] = {
        "decodes": verdict.works,
        "check_s": round(time.perf_counter() - began, 2),
        "decode_s": verdict.took_s,
        "gpu": verdict.name,
        "free_gb": round(verdict.free_bytes / 1e9, 1),
        "preloaded": list(verdict.preloaded),
    }
    if verdict.fault is not None:
        outcome |= {
            "fault": verdict.fault.what,
            "cure": verdict.fault.cure,
            "library": verdict.fault.library,
        }
    for device in ("auto", "cuda"):
        try:
            hardware = usable_hardware(ModelSpec("bundled", device=device))
            outcome[device] = f"{hardware.device} {hardware.compute_type}"
        except Exception as error:
            outcome[device] = f"{type(error).__name__}: {error}"
    return outcome


def newer_cublas() -> Path | None:
    """CUDA 13's cuBLAS, wherever it lies on this machine."""
    known = subprocess.run(
        ["ldconfig", "-p"], capture_output=True, text=True, check=False
    ).stdout.splitlines()
    places = [line.rpartition("=> ")[2] for line in known if "libcublas.so.13" in line]
    for root in (*map(Path, sys.path), Path("/usr/local"), Path("/opt")):
        if root.is_dir():
            places += map(str, root.glob("nvidia/*/lib/libcublas.so.13"))
            places += map(str, root.glob("cuda*/**/libcublas.so.13"))
    return Path(places[0]) if places else None


def again_with(library: Path, arguments: list[str]) -> dict[str, Any]:
    """This program in a process that finds CUDA 13's cuBLAS under the name of CUDA 12's."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("libcublas.so", "libcublasLt.so"):
            (Path(folder) / f"{name}.12").symlink_to(library.with_name(f"{name}.13"))
        found = f"{folder}:{library.parent}"
        run = subprocess.run(
            [
                "sh",
                "-c",
                f'LD_LIBRARY_PATH="{found}:$LD_LIBRARY_PATH" exec "$@"',
                "sh",
                *(sys.executable, "-m", "bench.gpu_check", "--here", *arguments),
            ],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    try:
        outcome: dict[str, Any] = json.loads(run.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        return {"status": run.returncode, "said": (run.stdout + run.stderr)[-2000:]}
    return outcome


def measured_decoder(spec: ModelSpec, hardware: Hardware) -> WhisperDecoder:
    """A decoder of random weights that writes as many tokens as speech of the length would."""

    class Measured(WhisperDecoder):
        def _token_limit(self, duration_s: float) -> int:
            return max(1, round(_TOKENS_PER_S * duration_s))

    decoder = Measured(spec, hardware)
    # without the warmer runs that endless text would call for
    decoder._tuning = replace(decoder._tuning, temperatures=())
    return decoder


def batches(decoder: Any, counts: Sequence[int]) -> list[dict[str, Any]]:
    """One run of as many streams at once, greedy and with the GPU's beam, short and whole."""
    samples = np.random.default_rng(1).normal(0, 0.01, int(16000 * _UTTERANCE_S))
    rows = []
    for window in ("auto", "full"):
        for count in counts:
            row: dict[str, Any] = {"streams": count, "window": window}
            for name, is_final in (("partial", False), ("final", True)):
                jobs = [
                    Job(samples.astype(np.float32), audio_ctx=window, is_final=is_final)
                ] * count
                decoder.decode(jobs)
                took = []
                for _ in range(5):
                    began = time.perf_counter()
                    decoder.decode(jobs)
                    took.append(time.perf_counter() - began)
                row[f"{name}_ms"] = round(1000 * float(np.median(took)), 1)
                row[f"{name}_ms_a_stream"] = round(row[f"{name}_ms"] / count, 1)
            rows.append(row)
    return rows


async def live(decoder: Any, count: int) -> dict[str, Any]:
    """Streams that speak at once, each with its partials and a final, on one engine."""
    engine = Engine(lambda: decoder, name="measured")
    noise = np.random.default_rng(2).normal(0, 0.01, int(16000 * _UTTERANCE_S))
    samples = noise.astype(np.float32)
    partials: list[float] = []
    finals: list[float] = []
    dropped = 0

    async def speak(place: int) -> None:
        nonlocal dropped
        await asyncio.sleep(place * _UTTERANCE_S / count)
        for _ in range(_LIVE_ROUNDS):
            began = time.perf_counter()
            while (heard_s := time.perf_counter() - began) < _UTTERANCE_S:
                asked = time.perf_counter()
                window = samples[: max(4000, int(16000 * heard_s))]
                try:
                    await engine.decode(
                        Job(window, is_final=False), stream=place, timeout_s=_UTTERANCE_S
                    )
                    partials.append(time.perf_counter() - asked)
                except Exception:
                    dropped += 1
                await asyncio.sleep(max(0.0, _PARTIAL_EVERY_S - (time.perf_counter() - asked)))
            asked = time.perf_counter()
            await engine.decode(Job(samples), stream=place, timeout_s=30)
            finals.append(time.perf_counter() - asked)

    try:
        await engine.wait_until_loaded()
        await asyncio.gather(*(speak(place) for place in range(count)))
        statistics = engine.statistics()
    finally:
        engine.close(5)
    return {
        "streams": count,
        "finals": len(finals),
        "final_ms_p50": round(1000 * float(np.median(finals)), 1),
        "final_ms_p95": round(1000 * float(np.quantile(finals, 0.95)), 1),
        "partials_a_stream_and_s": round(len(partials) / (count * _LIVE_ROUNDS * _UTTERANCE_S), 2),
        "partial_ms_p50": round(1000 * float(np.median(partials)), 1) if partials else None,
        "partials_lost": dropped,
        "mean_batch": round(statistics.mean_batch_size, 1),
    }


def without_memory(folder: Path) -> dict[str, Any]:
    """What a call gets when something else takes the GPU's memory: the answer, and from where."""
    loaded: list[str] = []

    def load(spec: Any, hardware: Any) -> Any:
        loaded.append(f"{hardware.device} {hardware.compute_type}")
        return measured_decoder(spec, hardware)

    decoder = load_decoder(ModelSpec(str(folder)), load=load)
    samples = np.zeros(int(16000 * _UTTERANCE_S), np.float32)
    taken = _take_memory()
    began = time.perf_counter()
    try:
        # more than was ever decoded at once: what CTranslate2 holds in reserve does not do
        results = decoder.decode([Job(samples, audio_ctx="full")] * 16)
        outcome: dict[str, Any] = {"answered": len(results)}
    except Exception as error:
        outcome = {"error": f"{type(error).__name__}: {error}"}
    return {
        **outcome,
        "loaded": loaded,
        "memory_taken_gb": round(taken / 1e9, 1),
        "took_s": round(time.perf_counter() - began, 1),
    }


def _take_memory() -> int:
    """Takes what the GPU has left but a little; it is given back when the process ends."""
    driver = ctypes.CDLL("libcuda.so.1")
    device, context = ctypes.c_int(), ctypes.c_void_p()
    driver.cuInit(0)
    driver.cuDeviceGet(ctypes.byref(device), 0)
    driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
    driver.cuCtxSetCurrent(context)
    free, total, pointer = ctypes.c_size_t(), ctypes.c_size_t(), ctypes.c_uint64()
    taken = 0
    for block in (1 << 30, 64 << 20, 8 << 20):
        for _ in range(4096):
            driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
            if free.value < block + _KEPT_FREE_BYTES:
                break
            if driver.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(block)) != 0:
                break
            taken += block
    return taken


def measure(size: str, counts: Sequence[int]) -> dict[str, Any]:
    """Everything that needs a GPU that decodes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_random_whisper(folder, size)
        hardware = Hardware("cuda", "float16", 1)
        began = time.perf_counter()
        decoder = measured_decoder(ModelSpec(str(folder)), hardware)
        outcome: dict[str, Any] = {
            "size": size,
            "utterance_s": _UTTERANCE_S,
            "load_s": round(time.perf_counter() - began, 1),
            "batches": batches(decoder, counts),
            "live": [asyncio.run(live(decoder, count)) for count in counts],
        }
        del decoder
        outcome["out_of_memory"] = without_memory(folder)
    return outcome


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", default="turbo")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--here", action="store_true", help="change nothing in the environment")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"check": check()}
    if result["check"]["decodes"]:
        result |= measure(arguments.size, arguments.streams)
    elif not arguments.here and "libcublas" in result["check"].get("library", ""):
        newer = newer_cublas()
        result["newer_cublas"] = str(newer) if newer else None
        if newer is not None:
            same = ["--size", arguments.size, "--streams", *map(str, arguments.streams)]
            result["with_newer_cublas"] = again_with(newer, same)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
