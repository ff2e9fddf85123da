"""The check for every commit: what needs no server, no model and no real time.

    uv run python -m tests.fast

Formatting, lint, types, import rules, declared dependencies, and the tests that decide without
waiting. `.ci/run` does all of it again, and the rest.
"""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]

TYPED = ("agent_worker", "flows", "graph_speech", "plugins", "bench", "models", "examples", "tests")

TESTS = (
    "test_backchannel",
)
"""Modules of tests, each of which takes a second or two."""

CHECKS = {
    "formatting": ("ruff", "format", "--check", "."),
    "lint": ("ruff", "check", "."),
    "import rules": ("lint-imports",),
    "declared dependencies": ("deptry", "."),
    "types": ("mypy", *TYPED),
    "tests": ("pytest", "-q", *(f"tests/{name}.py" for name in TESTS)),
}


def run(name: str) -> tuple[str, bool, str]:
    """One check: whether it holds, and what it says."""
    command = ["uv", "run", *CHECKS[name]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return name, done.returncode == 0, (done.stdout + done.stderr).strip()


def main() -> int:
    """Runs them side by side. Gives the exit status."""
    failed = 0
    with ThreadPoolExecutor(2) as pool:
        # the long ones first
        for name, holds, said in pool.map(run, reversed(CHECKS)):
            print(f"{'ok  ' if holds else 'FAIL'} {name}", flush=True)
            if not holds:
                failed += 1
                print(said, flush=True)
            elif name == "tests":
                print(said.splitlines()[-1], flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
