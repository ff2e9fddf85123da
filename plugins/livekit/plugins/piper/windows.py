"""Which stretches of a sentence's frames are decoded one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

FIRST_FRAMES = 8
"""93 ms at 22,050 Hz: one 4 KB chunk, the least that is worth handing over."""

MOST_FRAMES = 120
"""1.4 s. Long windows waste less on context; short ones stop sooner and let other rooms in."""


@dataclass(frozen=True)
class Window:
    """Frames `start` to `end` are wanted; those from `first` to `last` are decoded for them."""

    start: int
    end: int
    first: int
    last: int


def plan_windows(frames: int, context: int) -> Iterator[Window]:
    """Yields windows that double in size and cover `frames` without gap or overlap.

    A rest that would be shorter than the context around it joins the window before it.
    """
    start, size = 0, FIRST_FRAMES
    while start < frames:
        end = start + size
        if frames - end < context:
            end = frames
        yield Window(start, end, max(0, start - context), min(frames, end + context))
        start, size = end, min(size * 2, MOST_FRAMES)
