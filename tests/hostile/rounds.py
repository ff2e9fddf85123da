"""All attacks, and whether anything was left of them."""

from __future__ import annotations

import asyncio
import random
import time

from .flows import attack_flows
from .gateway import attack_gateway
from .report import Report, resident_mb, stalls_measured
from .wire import NotCutError

MAX_KEPT_MB = 100.0
"""Memory that may stay with the allocator."""

MIN_FOR_TWO_ROUNDS = 2000


async def attack(count: int, *, seed: int = 1) -> Report:
    """Attacks a gateway, a token endpoint and a flow server of its own.

    Args:
        count: messages in all.
        seed: of what is sent.
    """
    report = Report()
    rng = random.Random(seed)
    started = time.monotonic()
    before = asyncio.all_tasks()
    # The first round makes what stays for good: imports, caches, the allocator's arenas.
    first = count // 5 if count >= MIN_FOR_TWO_ROUNDS else 0
    if first:
        await _round(first, rng, Report())
    memory_mb = resident_mb()
    async with stalls_measured(report):
        try:
            await _round(count - first, rng, report)
        except* NotCutError as kept:
            report.fault(str(kept.exceptions))
    report.sent += first
    await asyncio.sleep(0.2)
    report.megabytes_kept = resident_mb() - memory_mb
    left = [task for task in asyncio.all_tasks() - before if not task.done()]
    report.tasks_left = len(left)
    report.seconds = time.monotonic() - started
    if left:
        report.fault(f"tasks were left: {left}")
    if report.megabytes_kept > MAX_KEPT_MB:
        report.fault(f"{report.megabytes_kept:.0f} MB of memory were kept")
    return report


async def _round(count: int, rng: random.Random, report: Report) -> None:
    await attack_gateway(count * 6 // 10, rng, report)
    await attack_flows(count - count * 6 // 10, rng, report)
