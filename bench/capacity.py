"""How many machines for so many calls? A simulation on paper: `python -m bench.capacity`.

It multiplies what was measured (`MEASURED`, each with where) by what is assumed (`ASSUMED`), and
says what there is most of. It is as good as those: change them in the command line's words, such as
`--set call_cores=0.4`, to what `agent-worker bench rooms` says on your machine.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Measured and assumed, for one call unless said otherwise."""

    # -- measured ------------------------------------------------------------------------------
    call_cores: float = 0.19
    """Cores of a call process while a caller talks: `bench rooms --calls 1,4,8` on two call
    processes, two quiet cores, offline flow, espeak."""
    hearing_cores: float = 0.01
    """Cores of Whisper on a CPU, bundled model; likewise. Real sizes take far more."""
    server_cores: float = 0.025
    """Cores of the LiveKit server; as `call_cores`."""
    call_mib: float = 30.0
    """Memory in the call process; likewise, without what the first call brings."""
    process_mib: float = 390.0
    """Memory of a call process without a call; likewise."""
    calls_per_process: int = 4
    """That one interpreter serves well: 531 / 737 ms; with eight a third of the turns was lost."""
    streams_per_gpu: int = 32
    """Live streams of large-v3-turbo on an H100 whose finals are there within 0.3 s at p95
    (`bench.gpu_check`: 132 ms, and 3.3 partials a second; 48 streams: 114 ms and 2.6)."""
    watched_per_s: float = 50.0
    """Rooms that one watch looks at in a second: 20 in each look of 0.4 s."""
    server_notices_s: float = 20.0
    """After which LiveKit itself lets a dead participant go."""
    # -- assumed -------------------------------------------------------------------------------
    machine_cores: int = 16
    machine_gib: int = 64
    used_at_most: float = 0.6
    """Share of a machine's cores at the busiest moment: above it p95 grows before calls fail."""
    spare: int = 1
    """Machines of each kind that may be away: a fault, or a new release being rolled out."""
    talking: float = 1.0
    """Share of calls in which somebody talks; 1 = as in the benchmark, all the time."""
    turns_per_minute: float = 7.0
    answers_per_gpu_s: float = 8.0
    """Spoken answers (1,500 tokens in, 60 out) that vLLM gives in a second with an 8 B model on one
    H100 while the first token stays under 150 ms."""
    redis_operations: float = 60.0
    """Of LiveKit, for a room's life: opening, placing, joining, agent, closing."""
    call_minutes: float = 4.0
    redis_operations_per_s: float = 80_000.0
    """That one Redis does on one core without pipelining."""
    room_bytes: float = 300.0
    """Of a room in the list that a watch asks for."""
    cell_calls: int = 200
    """Calls of one LiveKit cluster with its own Redis and workers; more are more clusters."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What so many calls need."""

    calls: int
    cells: int
    """LiveKit clusters, each with a Redis, and workers that belong to it."""
    livekit_nodes: int
    worker_machines: int
    call_processes: int
    engine_processes: int
    hearing_gpus: int
    model_gpus: int
    redis: int
    redis_load: float
    """Share of one Redis that a cell's rooms use."""
    alone_for_s: float
    """Seconds until a watch has surely seen that an agent died."""
    room_list_mib_s: float
    """What a cell's watches read of lists of rooms, in a second."""

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return dataclasses.asdict(self)


def plan(calls: int, inputs: Inputs, *, gpu: bool) -> Plan:
    """What so many calls at once need.

    Args:
        calls: at the busiest moment.
        inputs: measured and assumed.
        gpu: Whisper large-v3-turbo and an 8 B model on GPUs; else the small model on the CPU and
            the offline flow.
    """
    i = inputs
    cells = math.ceil(calls / i.cell_calls)
    per_cell = math.ceil(calls / cells)
    processes = math.ceil(per_cell / i.calls_per_process)
    cores = per_cell * i.talking * (i.call_cores + (0.0 if gpu else i.hearing_cores))
    memory_gib = (processes * i.process_mib + per_cell * i.call_mib) / 1024
    machines = max(
        math.ceil(cores / (i.machine_cores * i.used_at_most)),
        math.ceil(memory_gib / (i.machine_gib * i.used_at_most)),
        # plan.process_count: one call process for two cores
        math.ceil(processes / (i.machine_cores // 2)),
    )
    nodes = math.ceil(per_cell * i.server_cores / (i.machine_cores * i.used_at_most))
    hearing = math.ceil(per_cell * i.talking / i.streams_per_gpu) if gpu else 0
    answers_s = per_cell * i.talking * i.turns_per_minute / 60
    model = math.ceil(answers_s / i.answers_per_gpu_s) if gpu else 0
    # what one machine holds is not doubled for it
    spare = i.spare if per_cell > i.calls_per_process * (i.machine_cores // 2) else 0
    # one on each machine with a GPU, or on each worker's machine
    engines = hearing or machines + spare
    operations_s = per_cell / (i.call_minutes * 60) * i.redis_operations
    look_s = max(0.4, per_cell / i.watched_per_s)
    return Plan(
        calls=calls,
        cells=cells,
        livekit_nodes=cells * (nodes + spare),
        worker_machines=cells * (machines + spare),
        call_processes=cells * processes,
        engine_processes=cells * engines,
        hearing_gpus=cells * (hearing + (spare if hearing else 0)),
        model_gpus=cells * (model + (spare if model else 0)),
        redis=cells if cells * (nodes + spare) > 1 else 0,
        redis_load=round(operations_s / i.redis_operations_per_s, 4),
        # a beat that stands still is seen at a second look; by then the server may have seen it
        alone_for_s=round(min(2.4 + 2 * look_s, i.server_notices_s + look_s), 1),
        room_list_mib_s=round(processes * per_cell * i.room_bytes / 0.4 / 2**20, 1),
    )


def table(plans: Sequence[Plan]) -> str:
    """Markdown, a column for each number of calls."""
    rows = {
        "calls at once": "calls",
        "LiveKit clusters, each with its Redis": "cells",
        "LiveKit nodes": "livekit_nodes",
        "worker machines": "worker_machines",
        "call processes": "call_processes",
        "engine processes": "engine_processes",
        "GPUs for hearing": "hearing_gpus",
        "GPUs for the model": "model_gpus",
        "Redis": "redis",
        "load of one Redis": "redis_load",
        "a caller is alone for at most, s": "alone_for_s",
        "room lists read in a cluster, MiB/s": "room_list_mib_s",
    }
    lines = []
    for number, (name, key) in enumerate(rows.items()):
        cells = [f"{getattr(p, key):,}" for p in plans]
        lines.append(f"| {name} | {' | '.join(cells)} |")
        if number == 0:
            lines.append("| --- " + "| ---: " * len(plans) + "|")
    return "\n".join(lines)


def arguments(argv: Sequence[str] | None = None) -> tuple[list[int], Inputs, bool]:
    """The command line's: numbers of calls, inputs, and whether to print JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.capacity", description=__doc__)
    parser.add_argument("--calls", default="10,1000,100000")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=NUMBER")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    fields = {field.name: field for field in dataclasses.fields(Inputs)}
    changes: dict[str, Any] = {}
    for text in options.set:
        name, _, value = text.partition("=")
        if name not in fields:
            parser.error(f"{name!r} is none of {', '.join(fields)}")
        try:
            number = float(value)
        except ValueError:
            parser.error(f"{text!r} is no NAME=NUMBER")
        if number < 0 or (number == 0 and name != "spare"):
            parser.error(f"{name} must be above 0")
        changes[name] = int(number) if isinstance(fields[name].default, int) else number
    try:
        calls = [int(part) for part in options.calls.split(",")]
    except ValueError:
        parser.error("--calls takes numbers with commas")
    if min(calls) < 1:
        parser.error("--calls must be above 0")
    return calls, Inputs(**changes), options.json


def main() -> int:
    """Prints the tables. Returns the exit status."""
    calls, inputs, as_json = arguments()
    plans = {gpu: [plan(number, inputs, gpu=gpu) for number in calls] for gpu in (False, True)}
    if as_json:
        out = {
            "inputs": dataclasses.asdict(inputs),
            "cpu": [p.to_dict() for p in plans[False]],
            "gpu": [p.to_dict() for p in plans[True]],
        }
        print(json.dumps(out))
        return 0
    print("On CPUs, the bundled Whisper, the offline flow:\n")
    print(table(plans[False]))
    print("\nWith GPUs, Whisper large-v3-turbo, an 8 B model:\n")
    print(table(plans[True]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
