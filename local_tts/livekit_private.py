"""The one private name of livekit-agents that the voices lean on, and what is lost without it."""

from __future__ import annotations

from livekit.agents import APIConnectOptions


def pause_before_retry_s(options: APIConnectOptions, attempt: int) -> float:
    """Seconds that LiveKit itself waits after that many attempts, from 0.

    `APIConnectOptions._interval_for_retry`: without it, also the first attempt after a failure
    waits for the whole interval.
    """
    interval = getattr(options, "_interval_for_retry", None)
    return options.retry_interval if interval is None else float(interval(attempt))
