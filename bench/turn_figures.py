"""From the moments at which a caller heard the agent to the figures of the turn benchmark. No I/O.

All times are Unix seconds at the caller; `voice` is sorted and has one moment for each 10 ms of
the agent's voice.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from agent_worker.telemetry.latency import summary

from .hearing_score import edits, spoken_words

TOO_EARLY_S = 0.1
"""Who is heard sooner than this after the last word had begun to answer before it."""
VOICED_S = 0.2
"""Of the caller's voice, from whose end a barge-in is timed."""
SILENCE_S = 0.3
"""Without the agent's voice, from which it counts as silent."""
GAP_S = 0.1
"""Without the agent's voice, right before the answer to an interruption, from which it counts as
silent: a word has no such pause inside."""
_WAY_S = 0.2
"""Most that a voice takes from the worker to the caller."""
STOPPED_S = 1.0
"""Without the agent's voice, from which it counts as stopped and not as pausing for breath."""


@dataclass(frozen=True)
class Turn:
    """One sentence and what followed; no `end_to_end_ms` where nothing was heard in time."""

    said: str
    paused: bool
    cut_off: bool
    end_to_end_ms: float | None
    heard: str


def cut_off(voice: Sequence[float], started_at: float, ended_at: float) -> bool:
    """Whether the agent was heard before the caller's sentence was complete."""
    return bisect_right(voice, ended_at + TOO_EARLY_S) > bisect_left(voice, started_at)


def silent_from(
    voice: Sequence[float], after: float, until: float, *, silence_s: float = SILENCE_S
) -> float | None:
    """When the agent's voice ended for at least `silence_s`, at or after `after`; else None."""
    last = after
    for moment in voice[bisect_right(voice, after) :]:
        if moment >= until or moment - last >= silence_s:
            break
        last = moment
    else:
        moment = until
    return last if min(moment, until) - last >= silence_s else None


def silent_until_reply(
    voice: Sequence[float], after: float, until: float, record: Mapping[str, Any] | None
) -> float | None:
    """When an agent that was interrupted fell silent, at or after `after`; None = it went on.

    A quick agent answers the interruption before it was silent for `SILENCE_S`. Where the worker's
    record of the turn that the interruption became tells when its answer went out, the longest gap
    around that moment is the silence between the old voice and the new one.
    """
    silent_at = silent_from(voice, after, until)
    out = record["at"].get("first_audio_out") if record else None
    if silent_at is not None or out is None:
        return silent_at
    inside = [after, *voice[bisect_right(voice, after) : bisect_right(voice, until)]]
    around = [
        (later - sooner, sooner)
        for sooner, later in pairwise(inside)
        if sooner <= out + _WAY_S and later >= out
    ]
    longest, last = max(around, default=(0.0, 0.0))
    return last if longest >= GAP_S else None


def stops(voice: Sequence[float], start: float, end: float) -> int:
    """How often the agent fell silent for a second or more between two moments."""
    return sum(gap >= STOPPED_S for gap in gaps(voice, start, end))


def longest_gap_ms(voice: Sequence[float], start: float, end: float) -> float:
    """Milliseconds of the longest silence between two moments."""
    return round(max(gaps(voice, start, end)) * 1000, 1)


def gaps(voice: Sequence[float], start: float, end: float) -> list[float]:
    """Seconds between one 10 ms of voice and the next, from `start` to `end`."""
    inside = [start, *voice[bisect_left(voice, start) : bisect_right(voice, end)], end]
    return [later - sooner for sooner, later in pairwise(inside)]


def rate(hits: int, of: int) -> float | None:
    """A share, or None of nothing."""
    return round(hits / of, 3) if of else None


def of_turns(turns: Sequence[Turn]) -> dict[str, Any]:
    """The figures of one pipeline. An answer to half a sentence has no meaningful delay."""
    timed = [t for t in turns if t.end_to_end_ms is not None and not t.cut_off]
    times = summary([t.end_to_end_ms for t in timed if t.end_to_end_ms is not None])
    paused = [t for t in turns if t.paused]
    return {
        "end_to_end_ms_p50": times["p50"],
        "end_to_end_ms_p95": times["p95"],
        "cut_off_rate": rate(sum(t.cut_off for t in paused), len(paused)),
        "word_error_rate": _wrong(turns),
    }


def _wrong(turns: Sequence[Turn]) -> float | None:
    """Word errors over words said; a turn that was cut off was heard in pieces."""
    whole = [t for t in turns if not t.cut_off]
    words = sum(len(spoken_words(t.said, "en")) for t in whole)
    return round(sum(map(_errors, whole)) / words, 3) if words else None


def _errors(turn: Turn) -> int:
    return edits(spoken_words(turn.said, "en"), spoken_words(turn.heard, "en"))


def detail(turns: Sequence[Turn]) -> dict[str, Any]:
    """What stands behind `of_turns`."""
    return {
        "plain": _times([t for t in turns if not t.paused]),
        "paused": _times([t for t in turns if t.paused]),
        "cut_off": [t.said for t in turns if t.cut_off],
        "unanswered": [t.said for t in turns if t.end_to_end_ms is None],
        "misheard": {t.said: t.heard for t in turns if _errors(t) and not t.cut_off},
    }


def stages_ms_p50(
    spans: Sequence[tuple[float, float]], records: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """When the worker passed each stage, from the caller's last voiced sample; medians.

    Args:
        spans: of the caller's sentences: first and last voiced sample.
        records: as the worker publishes them, see `agent_worker.telemetry.latency`.
    """
    times: dict[str, list[float]] = {}
    for started_at, ended_at in spans:
        own = [r for r in records if started_at < r["speech_ended_at"] < ended_at + 1.0]
        for stage, at in own[-1]["at"].items() if own else ():
            times.setdefault(stage, []).append((at - ended_at) * 1000)
    medians = {stage: float(summary(values)["p50"]) for stage, values in times.items()}
    return dict(sorted(medians.items(), key=lambda item: item[1]))


def _times(turns: Sequence[Turn]) -> dict[str, Any]:
    times = [t.end_to_end_ms for t in turns if t.end_to_end_ms is not None and not t.cut_off]
    return {"turns": len(turns), **summary(times)}


def ratio(ours: float | None, stock: float | None) -> float | None:
    """Ours over stock."""
    return round(ours / stock, 3) if ours is not None and stock else None
