"""Measures the recogniser: live, beside LiveKit's StreamAdapter; on sounds without words; its cost.

    python -m bench.stt [--json] [--model bundled] [--sentences 12]
    python -m bench.stt --scorecard [--json] [--model real]
    python -m bench.stt --engine-cost [--size base] [--json]

The first takes about two minutes, in real time; the second seconds; the third some minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import sys
from typing import Any

from . import real_parts
from .machine import machine
from .random_whisper import SHAPES
from .stt_engine_cost import measure_engine_cost
from .stt_live import measure_live, summary
from .stt_scorecard import measure_real_scorecard, measure_scorecard


def _ratio(ours: dict[str, Any], stock: dict[str, Any], key: str) -> float | None:
    if ours[key] is None or stock[key] is None:
        return None
    if ours[key] == stock[key]:
        return 1.0
    if not stock[key]:
        return None
    return float(ours[key] / stock[key])


async def live(model: str, sentences: int) -> dict[str, Any]:
    """Runs the live comparison and the scorecard."""
    print("playing sentences in real time ...", file=sys.stderr)
    ours_runs, stock_runs = await measure_live(model, sentences)
    print("playing sounds without words ...", file=sys.stderr)
    card = await measure_scorecard(model)
    ours, stock = summary(ours_runs), summary(stock_runs)
    ours["false_finals"] = card.false_finals
    for key in ("changed_after_confirmed", "confirmed_before_end", "first_word_delay_ms_p50"):
        # The adapter has no partials to tell of.
        del stock[key]
    keys = ("final_delay_ms_p50", "final_delay_ms_p95", "partial_every_ms_p50", "wer_final")
    return {
        "ours": ours,
        "stock": stock,
        "ratio": {key: _ratio(ours, stock, key) for key in keys},
        "scorecard": card.as_dict(),
    }


def table(found: dict[str, Any]) -> str:
    """Returns the figures for people."""
    where = found["machine"]
    lines = [
        f"{where['processor']}, {where['cores']} cores, Python {where['python']}, {found['date']}",
        f"model: {found['model']}",
    ]
    if "ours" in found:
        ours, stock, ratio = found["ours"], found["stock"], found["ratio"]
        lines += ["", f"{'':28}{'ours':>10}{'stock':>10}{'ratio':>8}"]
        for key in ours:
            cells = [_cell(ours[key]), _cell(stock.get(key)), _cell(ratio.get(key))]
            lines.append(f"{key:28}{cells[0]:>10}{cells[1]:>10}{cells[2]:>8}")
    if "scorecard" in found:
        lines.append("")
        lines += [
            f"{key:28}{_cell(value):>10}"
            for key, value in found["scorecard"].items()
            if not isinstance(value, list)
        ]
    for key in ("partials", "streams"):
        for row in found.get("engine_cost", {}).get(key, []):
            lines.append("  ".join(f"{name} {_cell(value)}" for name, value in row.items()))
    if "engine_cost" in found:
        lines.append(f"ratio {_cell(found['engine_cost']['ratio'])}")
    return "\n".join(lines)


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
    parser.add_argument("--model", default="bundled", help="as STT takes it, or real")
    parser.add_argument("--sentences", type=int, default=12)
    parser.add_argument("--scorecard", action="store_true", help="only sounds without words")
    parser.add_argument("--engine-cost", action="store_true", help="cost at real model sizes")
    parser.add_argument("--size", choices=SHAPES, default="base", help="for --engine-cost")
    arguments = parser.parse_args()
    found: dict[str, Any] = {
        "bench": "stt",
        "machine": machine(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "model": arguments.model,
    }
    if arguments.engine_cost:
        found["model"] = f"Whisper {arguments.size}, random weights, INT8"
        found["engine_cost"] = asyncio.run(measure_engine_cost(arguments.size))
    elif arguments.scorecard:
        if arguments.model == "real":
            card = asyncio.run(measure_real_scorecard(str(real_parts.whisper_base())))
        else:
            card = asyncio.run(measure_scorecard(arguments.model))
        found["scorecard"] = card.as_dict()
    else:
        found |= asyncio.run(live(arguments.model, arguments.sentences))
    print(json.dumps(found) if arguments.json else table(found))


if __name__ == "__main__":
    main()
