"""An engine's process with a decoder that does what its jobs' prompts say; see `COMMAND`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from livekit.plugins.faster_whisper.engine_process.host import serve
from livekit.plugins.faster_whisper.job import Decoded, Job, Plan
from livekit.plugins.faster_whisper.models import ModelSpec

from .fake_stt_decoder import decoded

COMMAND = (sys.executable, "-m", "tests.fake_engine_process")


class ObedientDecoder:
    """Answers with the prompt and its process's number, after what the prompt asks for.

    ``wait N`` takes N seconds, ``once FILE`` ends the process if the file isn't there yet, ``die``
    always, ``hang once FILE`` and ``freeze once FILE`` never come back, the latter not even to
    Python. A model called ``absent`` can't be loaded.
    """

    def __init__(self, spec: ModelSpec) -> None:
        if spec.model == "absent":
            raise ValueError("there is no such model")
        self.batches: list[list[str]] = []

    def plan(self, job: Job) -> Plan:
        return Plan(600, job.language, 0, 1)

    def decode(self, jobs: Sequence[Job]) -> list[Decoded]:
        self.batches.append([job.prompt for job in jobs])
        for job in jobs:
            self._obey(job.prompt)
        return [
            decoded(f"{job.prompt} pid {os.getpid()} beside {len(jobs)} samples {len(job.samples)}")
            for job in jobs
        ]

    def _obey(self, prompt: str) -> None:
        match prompt.split():
            case ["wait", seconds, *_]:
                time.sleep(float(seconds))
            case ["die"]:
                os._exit(9)
            case ["once", file] if _first(file):
                os._exit(9)
            case ["hang", "once", file] if _first(file):
                time.sleep(60)
            case ["freeze", "once", file] if _first(file):
                os.kill(os.getpid(), 19)
                # another thread may be the one that the signal stops first
                time.sleep(60)
            case _:
                pass


def _first(file: str) -> bool:
    path = Path(file)
    if path.exists():
        return False
    path.touch()
    return True


if __name__ == "__main__":
    serve(ObedientDecoder)
