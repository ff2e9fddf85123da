"""The check for every commit: what needs no server, no model and no real time.

    uv run --group dev python -m tests.fast           (--tests: those alone, in this very Python)

Formatting, lint, types, import rules, declared dependencies, and the tests that decide without
waiting. `.ci/run` does all of it again, and the rest.
"""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]

TYPED = (
    "agent_worker",
    "bounded_http",
    "flows",
    "graph_speech",
    "local_tts",
    "plugins",
    "bench",
    "models",
    "examples",
    "tests",
)

TESTS = (
    "test_backchannel",
    "test_chinese",
    "test_dispatch_plan",
    "test_dispatch_watch",
    "test_end_of_turn_bench",
    "test_event_stream",
    "test_examples_native",
    "test_flows_turns",
    "test_gateway_protocol",
    "test_higgs_tts",
    "test_langgraph_history",
    "test_latency",
    "test_leaked_calls",
    "test_livekit_private",
    "test_local_tts",
    "test_loudness",
    "test_native_events",
    "test_overlap_watch",
    "test_pacing",
    "test_patience",
    "test_pauses_bench",
    "test_piper_alignment",
    "test_read_aloud",
    "test_registration",
    "test_settings",
    "test_speech_api_audio",
    "test_streaming_buffer",
    "test_stt_decode",
    "test_stt_devices",
    "test_stt_engine",
    "test_stt_failures",
    "test_stt_language",
    "test_stt_soundness",
    "test_stt_voice",
    "test_tokens",
    "test_turns",
    "test_turns_scripted",
    "test_web",
    "test_xtts_process",
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
    if sys.argv[1:] == ["--tests"]:
        # without uv, which would take the checkout's own environment
        return subprocess.run([sys.executable, "-m", *CHECKS["tests"]], cwd=ROOT).returncode
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
