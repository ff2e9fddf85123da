"""Which size of Whisper suits which CPU: what each costs, in processor time and memory.

    python -m bench.model_table [--json] [--sizes tiny base small]

Processor time, not the wall's, so other load on the machine matters little. Base is run on the real
weights where `bench.real_parts` has them; the other sizes have random ones, which cost the same and
say nothing about words, so they are told what they heard (see `bench.stt_engine_cost`). Each size
has a process of its own, for the memory's sake.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from livekit.plugins.faster_whisper.audio import to_float
from livekit.plugins.faster_whisper.job import Job

from .machine import machine
from .random_whisper import make_random_whisper
from .real_parts import whisper_base
from .stt_engine_cost import ScriptedDecoder, _ours, _resident_mb, write_script

SIZES = ("tiny", "base", "small")
_UTTERANCE_S = 4.0
_REPEATS = 5


def measure_size(size: str) -> dict[str, Any]:
    """One size, in this process."""
    script = write_script()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if size == "base":
            folder = whisper_base()
        else:
            # in a process of its own: what it takes to make a model must not count here
            subprocess.run([sys.executable, "-m", __spec__.name, "--make", size, name], check=True)
        before = _resident_mb()
        decoder = ScriptedDecoder(folder, script)
        start = int(0.5 * 16000)
        samples = to_float(script.pcm)[start : start + int(_UTTERANCE_S * 16000)]
        final = Job(samples)
        decoder.decode([final])
        began = time.process_time()
        for _ in range(_REPEATS):
            decoder.decode([final])
        final_s = (time.process_time() - began) / _REPEATS
        live = asyncio.run(_ours(decoder, script))
        return {
            "size": size,
            "weights": "real" if size == "base" else "random",
            "disk_mb": round((folder / "model.bin").stat().st_size / 1e6),
            "memory_mb": round(_resident_mb() - before),
            "utterance_s": _UTTERANCE_S,
            "final_cpu_s": round(final_s, 3),
            "live_cpu_per_speech_s": round(live["cpu_s_per_speech_s"], 2),
            "threads": decoder.hardware.cpu_threads,
            "compute_type": decoder.hardware.compute_type,
        }


def measure(sizes: tuple[str, ...] = SIZES) -> dict[str, Any]:
    """Every size."""
    rows = []
    for size in sizes:
        said = subprocess.run(
            [sys.executable, "-m", __spec__.name, "--one", size],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        rows.append(json.loads(said.stdout.strip().splitlines()[-1]))
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "rows": rows,
    }


def main() -> None:
    """Prints a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=SIZES)
    parser.add_argument("--one", choices=SIZES, help=argparse.SUPPRESS)
    parser.add_argument("--make", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        make_random_whisper(Path(arguments.make[1]), arguments.make[0])
    elif arguments.one:
        print(json.dumps(measure_size(arguments.one)))
    elif arguments.json:
        print(json.dumps(measure(tuple(arguments.sizes))))
    else:
        for row in measure(tuple(arguments.sizes))["rows"]:
            print("  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
