"""The waterfall of turns as text and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from .latency import summary

STAGES = (
    ("preflight", "preflight"),
    ("final", "final"),
    ("committed", "committed"),
    ("first_token", "first_token"),
    ("first_speakable", "first_speakable"),
    ("first_phrase", "first_phrase"),
    ("first_audio_sent", "first_audio_out"),
)
"""Name of each stage in the demo's result, and in the worker's record of a turn."""

COLUMNS = (*(name for name, _ in STAGES), "first_audio_received")
_COLOURS = (
    "#9ecae9",
    "#4c78a8",
    "#72b7b2",
    "#f58518",
    "#ffbf79",
    "#54a24b",
    "#b279a2",
    "#e45756",
)
_LEGEND_COLUMNS = 4

Row = tuple[str, dict[str, float]]
"""What the caller said, and milliseconds from the end of it to each stage."""


def stages_text(stages: Mapping[str, float]) -> str:
    """One turn in a line, its stages in the order of time.

    Args:
        stages: milliseconds by name. A reply that was begun early has its first token before the
            turn was committed.
    """
    order = {name: place for place, name in enumerate(COLUMNS)}
    passed = sorted(stages.items(), key=lambda stage: (stage[1], order.get(stage[0], len(order))))
    return " → ".join(f"{name} {ms:.0f}" for name, ms in passed) + " ms"


def waterfall_text(rows: Sequence[Row]) -> str:
    """A table: one line for each turn, then p50 and p95. Milliseconds since the end of speech.

    Its columns stand in the order of their p50.
    """
    figures = {column: [s[column] for _, s in rows if column in s] for column in COLUMNS}
    passed = [column for column in COLUMNS if figures[column]]
    in_time = iter(sorted(passed, key=lambda column: summary(figures[column])["p50"] or 0.0))
    order = [next(in_time) if figures[column] else column for column in COLUMNS]
    width = max(len(said) for said, _ in rows)
    head = f"{'ms after the end of speech':<{width}}  " + "  ".join(order)
    lines = [head, "-" * len(head)]
    table = [(said, [stages.get(column) for column in order]) for said, stages in rows]
    for name in ("p50", "p95"):
        table.append((name, [summary(figures[column])[name] for column in order]))
    for said, values in table:
        cells = (
            f"{'-' if value is None else format(value, '.0f'):>{len(column)}}"
            for column, value in zip(order, values, strict=True)
        )
        lines.append(f"{said:<{width}}  " + "  ".join(cells))
    lines.insert(len(rows) + 2, "-" * len(head))
    return "\n".join(lines)


def waterfall_svg(rows: Sequence[Row]) -> str:
    """A picture: a bar for each turn, a colour for each stage."""
    left, right, bar, gap, top = 250, 900, 18, 10, 84
    longest = max((max(stages.values(), default=0) for _, stages in rows), default=0) or 1
    scale = (right - left) / longest
    height = top + len(rows) * (bar + gap) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 {height}" '
        'font-family="system-ui, sans-serif" font-size="13" role="img" '
        'aria-label="Latency of each turn in milliseconds">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        '<text x="16" y="24" font-size="15" fill="#222">'
        "From the end of speech to the agent's voice at the caller, ms</text>",
    ]
    for index, column in enumerate(COLUMNS):
        x = 16 + index % _LEGEND_COLUMNS * 220
        y = 36 + index // _LEGEND_COLUMNS * 20
        parts.append(f'<rect x="{x}" y="{y}" width="11" height="11" fill="{_COLOURS[index]}"/>')
        label = column.replace("_", " ")
        parts.append(f'<text x="{x + 16}" y="{y + 10}" fill="#222">{label}</text>')
    for number, (said, stages) in enumerate(rows):
        y = top + number * (bar + gap)
        parts.append(f'<text x="16" y="{y + 14}" fill="#222">{escape(said)}</text>')
        # stages overlap when a reply was begun before the turn was final: each bar ends where
        # its stage was passed, drawn in the order of time
        begin = 0.0
        passed = sorted((stages[c], i) for i, c in enumerate(COLUMNS) if c in stages)
        for end, colour in passed:
            width = max(end - max(begin, 0.0), 0.0) * scale
            parts.append(
                f'<rect x="{left + max(begin, 0.0) * scale:.1f}" y="{y}" width="{width:.1f}" '
                f'height="{bar}" fill="{_COLOURS[colour]}"/>'
            )
            begin = max(begin, end)
        parts.append(
            f'<text x="{left + begin * scale + 6:.1f}" y="{y + 14}" fill="#222">{begin:.0f}</text>'
        )
    parts.append("</svg>")
    return "\n".join(parts)
