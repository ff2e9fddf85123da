"""The log of a command at a terminal: what is amiss, and nothing else."""

from __future__ import annotations

import logging
import sys

_USUAL = (
    "preemptive generation invalidated",
    "skipping user input, speech scheduling is paused",
    "_SegmentSynchronizerImpl.playback_finished called before text/audio input is done",
)
"""What LiveKit warns of in calls in which nothing is amiss: somebody interrupted, or hung up."""


def quiet_logs() -> None:
    """Shows warnings on stderr, without those that LiveKit gives in any call."""
    handler = logging.StreamHandler(sys.stderr)
    # who talks at a terminal can do nothing about the others; a worker's log keeps them
    handler.addFilter(tells_of_trouble)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], format="%(name)s: %(message)s")


def tells_of_trouble(record: logging.LogRecord) -> bool:
    """Whether somebody at a terminal should see it."""
    usual = record.levelno <= logging.WARNING and record.getMessage().startswith(_USUAL)
    return not (record.name == "livekit.agents" and usual)
