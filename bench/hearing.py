"""Measures hearing on real weights and people's recordings, beside plain Whisper and LiveKit's way.

    python -m bench.hearing [--json] [--clips 200] [--others 60] [--model FOLDER] [--shard 1/1]

Three listeners get the same recordings (telephone prompts, 8 kHz, five languages) with the same
weights: ours live, one stream and two at once; plain `WhisperModel.transcribe`, beam 5, on the
whole clip; LiveKit's `StreamAdapter` with silero over the same. The live ones hear in real time,
so the whole takes over an hour on two cores; `--shard 1/8` runs one part of eight, `--merge` joins
what the parts printed.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import sys
from pathlib import Path
from typing import Any

from . import real_parts
from .hearing_clips import Clip, choose_clips
from .hearing_listeners import Heard, adapter, live, plain
from .hearing_score import edits, is_doubled, lost_tail, spoken_words
from .machine import machine
from .stt_live import percentile

LISTENERS = ("ours", "plain", "stock")


def row(clip: Clip, heard: Heard, streams: int) -> dict[str, Any]:
    """Returns one clip's figures, to be added up."""
    said = spoken_words(clip.text, clip.language)
    got = spoken_words(heard.text, clip.language)
    return {
        "name": f"{clip.language}/{clip.name}",
        "language": clip.language,
        "streams": streams,
        "said": clip.text,
        "heard": heard.text,
        "words": len(said),
        "errors": edits(said, got),
        "doubled": is_doubled(said, got),
        "lost_tail": lost_tail(said, got),
        "seconds": clip.seconds,
        "cpu_s": heard.cpu_s,
        "final_delay_ms": heard.final_delay_ms,
        "first_partial_ms": heard.first_partial_ms,
        "changed_after_confirmed": heard.changed_after_confirmed,
        "finals": heard.finals,
    }


async def measure(model: Path, clips: list[Clip]) -> dict[str, list[dict[str, Any]]]:
    """Plays the first half alone and the rest two at once, to each listener in turn."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in LISTENERS}
    half = (len(clips) + 1) // 2
    groups = [[clip] for clip in clips[:half]]
    groups += [list(clips[i : i + 2]) for i in range(half, len(clips), 2)]
    async with live(model) as ours, adapter(model) as stock, plain(model) as whole:
        for done, group in enumerate(groups):
            for name, listener in (("ours", ours), ("stock", stock), ("plain", whole)):
                for clip, heard in zip(group, await listener.hear(group), strict=True):
                    rows[name].append(row(clip, heard, len(group)))
            print(f"\r{done + 1}/{len(groups)} ", end="", file=sys.stderr)
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns one listener's figures; times in ms, None where there are none."""
    found: dict[str, Any] = {"clips": len(rows), "wer": {}}
    for language in sorted({r["language"] for r in rows}):
        own = [r for r in rows if r["language"] == language]
        found["wer"][language] = sum(r["errors"] for r in own) / max(
            1, sum(r["words"] for r in own)
        )
    found["doubled"] = sum(r["doubled"] for r in rows)
    found["lost_tail"] = sum(r["lost_tail"] for r in rows)
    alone = [r for r in rows if r["streams"] == 1]
    found["cpu_per_s"] = sum(r["cpu_s"] for r in alone) / max(
        1e-9, sum(r["seconds"] for r in alone)
    )
    for streams, suffix in ((1, ""), (2, "_two_streams")):
        own = [r for r in rows if r["streams"] == streams]
        delays = [r["final_delay_ms"] for r in own if r["final_delay_ms"] is not None]
        found[f"final_delay_ms_p50{suffix}"] = percentile(delays, 0.5)
        found[f"final_delay_ms_p95{suffix}"] = percentile(delays, 0.95)
    first = [r["first_partial_ms"] for r in alone if r["first_partial_ms"] is not None]
    found["first_partial_ms_p50"] = percentile(first, 0.5)
    found["changed_after_confirmed"] = sum(r["changed_after_confirmed"] for r in rows)
    return found


def ratios(ours: dict[str, Any], plain_: dict[str, Any], stock: dict[str, Any]) -> dict[str, Any]:
    """Returns ours by plain's for what is heard, and by the adapter's for when."""

    def by(a: float | None, b: float | None) -> float | None:
        if a is None or b is None:
            return None
        return 1.0 if a == b else (a / b if b else None)

    return {
        "wer": {code: by(ours["wer"][code], plain_["wer"][code]) for code in ours["wer"]},
        "lost_tail": by(ours["lost_tail"], plain_["lost_tail"]),
        "cpu_per_s": by(ours["cpu_per_s"], plain_["cpu_per_s"]),
        "final_delay_ms_p50": by(ours["final_delay_ms_p50"], stock["final_delay_ms_p50"]),
        "final_delay_ms_p95": by(ours["final_delay_ms_p95"], stock["final_delay_ms_p95"]),
    }


def report(rows: dict[str, list[dict[str, Any]]], model: str, with_rows: bool) -> dict[str, Any]:
    """Returns all that is printed."""
    found = {name: summary(rows[name]) for name in LISTENERS}
    result: dict[str, Any] = {
        "bench": "hearing",
        "machine": machine(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "model": model,
        "clips": len(rows["ours"]),
        **found,
        "ratio": ratios(found["ours"], found["plain"], found["stock"]),
    }
    if with_rows:
        result["rows"] = rows
    return result


def table(found: dict[str, Any]) -> str:
    """Returns the figures for people."""
    where = found["machine"]
    lines = [
        f"{where['processor']}, {where['cores']} cores, Python {where['python']}, {found['date']}",
        f"model: {found['model']}; {found['clips']} recordings of people",
        "",
        f"{'':34}{'ours':>9}{'plain':>9}{'stock':>9}",
    ]
    for code in found["ours"]["wer"]:
        cells = [f"{100 * found[name]['wer'][code]:.1f} %" for name in LISTENERS]
        lines.append(f"{'words wrong, ' + code:34}" + "".join(f"{cell:>9}" for cell in cells))
    for key in found["ours"]:
        if key not in ("wer", "clips"):
            cells = [_cell(found[name][key]) for name in LISTENERS]
            lines.append(f"{key:34}" + "".join(f"{cell:>9}" for cell in cells))
    return "\n".join([*lines, "", f"ratio {json.dumps(found['ratio'])}"])


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--clips", type=int, default=200, help="English recordings")
    parser.add_argument("--others", type=int, default=60, help="of each of es, fr, it, ru")
    parser.add_argument("--model", type=Path, help="in CTranslate2's format; default Whisper base")
    parser.add_argument("--shard", default="1/1", help="run one part, such as 2/8")
    parser.add_argument("--rows", action="store_true", help="each recording's figures too")
    parser.add_argument("--merge", nargs="+", type=Path, help="files with the --rows of parts")
    arguments = parser.parse_args()
    model = arguments.model or real_parts.whisper_base()
    if arguments.merge:
        parts = [json.loads(file.read_text()) for file in arguments.merge]
        rows = {name: [r for part in parts for r in part["rows"][name]] for name in LISTENERS}
    else:
        part, _, parts_ = arguments.shard.partition("/")
        clips = choose_clips(arguments.clips, arguments.others)[int(part) - 1 :: int(parts_ or 1)]
        rows = asyncio.run(measure(model, clips))
    found = report(rows, f"Whisper {model.name}, INT8", arguments.rows)
    print(json.dumps(found) if arguments.json else table(found))


if __name__ == "__main__":
    main()
