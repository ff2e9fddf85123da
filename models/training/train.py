"""Makes the bundled model from nothing: ``uv run --with torch python -m models.training.train``.

Generates the clips, trains on two CPU cores, writes the CTranslate2 folder. Each part goes on
where it was interrupted. With the default sizes it takes about an hour on two free cores.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from pathlib import Path

import torch

from models.training.clips import write_shards
from models.training.conversion import write_model
from models.training.optimise import Plan, run

BUNDLED = Path("plugins/livekit/plugins/faster_whisper/bundled")
CLIPS = 24_000
"""In the variants that espeak-ng comes with."""
INVENTED_CLIPS = 5_000
"""In invented voices."""


def generate(folder: Path, clips: int, invented: int, processes: int, seed: int) -> None:
    """Writes the clips with several processes; the outcome depends only on ``seed``."""
    context = multiprocessing.get_context("spawn")
    # Always two seeds each, so that the number of processes does not change the data.
    parts = [(folder, seed + part, clips // 2, False) for part in (1, 2)]
    parts += [(folder, seed + part, invented // 2, True) for part in (3, 4)]
    with context.Pool(processes) as pool:
        pool.starmap(write_shards, parts)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m models.training.train")
    parser.add_argument("--work", type=Path, default=Path("build/bundled_whisper"))
    parser.add_argument("--out", type=Path, default=BUNDLED, help="where the model goes")
    parser.add_argument("--clips", type=int, default=CLIPS)
    parser.add_argument("--invented-clips", type=int, default=INVENTED_CLIPS)
    parser.add_argument("--steps", type=int, default=Plan.steps, help="of the first cycle")
    parser.add_argument("--second-steps", type=int, default=Plan.second_steps)
    parser.add_argument("--processes", type=int, default=Plan.processes)
    parser.add_argument("--seed", type=int, default=0, help="of the clips and the training")
    parser.add_argument(
        "--bfloat16", action="store_true", help="much faster where the processor has AVX512-BF16"
    )
    arguments = parser.parse_args()

    # One thread a process: two processes of one thread beat one process of two here.
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    arguments.work.mkdir(parents=True, exist_ok=True)
    clips, checkpoint = arguments.work / "clips", arguments.work / "checkpoint.pt"
    print(f"Clips in {clips}", flush=True)
    generate(
        clips,
        arguments.clips,
        arguments.invented_clips,
        arguments.processes,
        arguments.seed,
    )

    plan = Plan(
        steps=arguments.steps,
        second_steps=arguments.second_steps,
        processes=arguments.processes,
        seed=Plan.seed + arguments.seed,
        bfloat16=arguments.bfloat16,
    )
    rendezvous = (arguments.work / "rendezvous").resolve()
    rendezvous.unlink(missing_ok=True)
    print(f"Training; checkpoints in {checkpoint}", flush=True)
    torch.multiprocessing.spawn(
        run, (plan, clips, checkpoint, rendezvous.as_uri()), nprocs=plan.processes
    )
    sizes = write_model(checkpoint, arguments.out)
    print(f"{arguments.out}: {sum(sizes.values()) / 1e6:.2f} MB {sizes}")


if __name__ == "__main__":
    main()
