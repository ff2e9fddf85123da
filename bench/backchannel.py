"""How often speech over the agent's is taken for what it is not.

    python -m bench.backchannel [--json]

Plays the labelled set in `bench/data/backchannels.json` against `BargeInPolicy` on a virtual
clock, and beside it the two rules that a stock pipeline offers: half a second of voice, or two
words. A false stop: the agent stopped for a backchannel, a noise or its own echo. A missed stop:
it went on although the caller took the floor. Recognition is given, so this measures decisions.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent_worker.hearing.backchannel import BargeInPolicy, Overlap
from agent_worker.hearing.completeness import split_words

DATA = Path(__file__).parent / "data" / "backchannels.json"
STEP_S = 0.01
PATIENCE_S = 1.5
"""Seconds after the last event for which a case is played."""


@dataclass(frozen=True)
class Case:
    """One stretch of speech over the agent's."""

    agent: str
    language: str | None
    voiced_s: float
    heard: list[tuple[float, str]]
    """Seconds from the onset of the voice, and the transcript; the last one is the final."""
    expect_stop: bool


@dataclass(frozen=True)
class Outcome:
    """What a rule did with a case."""

    stopped_at_s: float | None
    """Seconds from the onset of the voice."""
    silent_at_s: float | None = None
    """When the voice was first held or stopped."""
    held_s: float = 0.0
    """Seconds for which the voice was held without being stopped."""


def load() -> list[Case]:
    """Reads the labelled set."""
    cases = json.loads(DATA.read_text(encoding="utf-8"))["cases"]
    return [
        Case(
            agent=case["agent"],
            language=case["language"],
            voiced_s=case["voiced_s"],
            heard=[(float(at), text) for at, text in case["heard"]],
            expect_stop=case["expect"] == "stop",
        )
        for case in cases
    ]


def ours(case: Case) -> Outcome:
    """Plays a case against the policy, in steps of 10 ms."""
    now_s = 0.0
    policy = BargeInPolicy(clock=lambda: now_s)
    policy.agent_says(case.agent)
    policy.speech_started()
    events = list(case.heard)
    end_s = max([case.voiced_s, *(at for at, _ in events)]) + PATIENCE_S
    silent_at_s: float | None = None
    held_s, over = 0.0, False
    while now_s < end_s:
        if now_s >= case.voiced_s and not over:
            policy.speech_ended(case.voiced_s)
            over = True
        if events and now_s >= events[0][0]:
            _, text = events.pop(0)
            policy.heard(text, is_final=not events, language=case.language)
        decision = policy.decide()
        if decision in (Overlap.STOP, Overlap.PAUSE) and silent_at_s is None:
            silent_at_s = round(now_s, 2)
        if decision is Overlap.STOP:
            return Outcome(round(now_s, 2), silent_at_s)
        held_s += STEP_S if decision is Overlap.PAUSE else 0.0
        now_s += STEP_S
    return Outcome(None, silent_at_s, round(held_s, 2))


def half_a_second(case: Case) -> Outcome:
    """Any voice of half a second stops the agent; so does any final transcript."""
    if case.voiced_s >= 0.5:
        return Outcome(0.5, 0.5)
    return two_words(case, at_least=1)


def two_words(case: Case, at_least: int = 2) -> Outcome:
    """Two words stop the agent."""
    for at, text in case.heard:
        if len(split_words(text)) >= at_least:
            return Outcome(at, at)
    return Outcome(None)


def rates(cases: list[Case], rule: Callable[[Case], Outcome]) -> dict[str, Any]:
    """False and missed stops of one rule, and how fast it stops."""
    outcomes = [(case, rule(case)) for case in cases]
    go_on = [outcome for case, outcome in outcomes if not case.expect_stop]
    stop = [outcome for case, outcome in outcomes if case.expect_stop]
    false_stops = [outcome for outcome in go_on if outcome.stopped_at_s is not None]
    missed = [outcome for outcome in stop if outcome.stopped_at_s is None]
    times = [outcome.stopped_at_s for outcome in stop if outcome.stopped_at_s is not None]
    silent = [outcome.silent_at_s for outcome in stop if outcome.silent_at_s is not None]
    return {
        "false_stop_rate": round(len(false_stops) / len(go_on), 4),
        "missed_stop_rate": round(len(missed) / len(stop), 4),
        "stopped_after_ms_p50": round(1000 * statistics.median(times)),
        "silent_after_ms_p50": round(1000 * statistics.median(silent)),
        "held_ms_mean": round(1000 * statistics.mean(outcome.held_s for outcome in go_on)),
        "wrong": [
            {"agent": case.agent, "heard": case.heard, "expect_stop": case.expect_stop}
            for case, outcome in outcomes
            if case.expect_stop != (outcome.stopped_at_s is not None)
        ],
    }


def measure() -> dict[str, Any]:
    """Runs the whole set under each rule."""
    cases = load()
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}; virtual clock",
        "cases": len(cases),
        "backchannels": sum(not case.expect_stop for case in cases),
        "languages": len({case.language for case in cases if case.language}),
        **rates(cases, ours),
        "stock_half_a_second": rates(cases, half_a_second),
        "stock_two_words": rates(cases, two_words),
    }


def main() -> None:
    """Prints a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    result = measure()
    if arguments.json:
        json.dump(result, sys.stdout, ensure_ascii=False)
        print()
        return
    print(f"{result['cases']} cases, {result['languages']} languages, {result['date']}")
    print(
        f"{'rule':<24}{'false stops':>12}{'missed stops':>14}{'silent after':>15}"
        f"{'stopped after':>15}"
    )
    rows = [("this policy", result)]
    rows += [("0.5 s of voice", result["stock_half_a_second"])]
    rows += [("two words", result["stock_two_words"])]
    for name, row in rows:
        print(
            f"{name:<24}{row['false_stop_rate']:>12.1%}{row['missed_stop_rate']:>14.1%}"
            f"{row['silent_after_ms_p50']:>12} ms{row['stopped_after_ms_p50']:>12} ms"
        )


if __name__ == "__main__":
    main()
