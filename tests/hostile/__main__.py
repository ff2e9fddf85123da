"""Sends malformed and hostile messages to the servers, and tells how they took it.

    python -m tests.hostile            # 10,000 messages
    python -m tests.hostile --count 400

A well-behaved caller talks to each server all the time. Exits with 1 if a server crashed, a refusal
was unclear, such a caller was disturbed, or tasks or memory were left behind.
"""

import argparse
import asyncio
import logging
import sys

from .rounds import attack


def say(line: str) -> None:
    """Prints a line for people."""
    sys.stdout.write(line + "\n")


def main() -> int:
    """Runs the attack and prints what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    # Each bad request line is a warning of the HTTP server's.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    report = asyncio.run(attack(options.count, seed=options.seed))
    say(f"{report.sent} messages in {report.seconds:.0f} s")
    for answer, times in sorted(report.answers.items()):
        say(f"  {times:6} {answer}")
    for beside in report.beside:
        say(f"another caller of {beside.of}: {beside.summary()}")
    say(f"longest stall of the event loop: {report.stall_s * 1000:.0f} ms")
    say(f"tasks left: {report.tasks_left}; memory kept: {report.megabytes_kept:.0f} MB")
    for fault in report.faults:
        say(f"FAULT: {fault}")
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
