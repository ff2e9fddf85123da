"""What a call costs the language model: tokens of each turn, and of the whole call.

    uv run python -m bench.call_cost [--url http://127.0.0.1:8000/v1] [--economy] [--json FILE]

Six turns of a caller who asks for the time, a sum, a timer and some talk, written instead of
spoken, to the assistant flow. Without `--url` the model is SmolLM2 135M on llama.cpp's own server:
its tokens are counted for real, the tools laid out as Qwen3's template does; but what it says is
not what a larger model would say, nor does it use tools as one would. With prices in the settings
(`llm_price_prompt` and so on) the cost is told too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent_worker.engines.build import build_engines
from agent_worker.engines.found import choose_engines
from agent_worker.session import build_call
from agent_worker.settings import load_settings
from agent_worker.telemetry.cost import CallSummary

from .machine import machine

TURNS = (
    "Hello, who am I talking to?",
    "What time is it?",
    "What is seventeen times twenty-three?",
    "Set a timer for five minutes, please.",
    "What should I cook tonight, with eggs and spinach?",
    "Thank you, that is all. Goodbye.",
)
_CONTEXT = 8192
_TEMPLATE = Path(__file__).parent / "data/qwen3_tools.jinja"


@contextlib.contextmanager
def smollm2() -> Iterator[str]:
    """The small model's server, in a process of its own; gives its address."""
    command = [sys.executable, "-m", "bench.llama_server", "--context", str(_CONTEXT)]
    command += ["--template", str(_TEMPLATE)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=quiet, text=True) as server:
        try:
            assert server.stdout is not None
            yield json.loads(server.stdout.readline())["url"]
        finally:
            server.terminate()


async def call(url: str, *, economy: bool) -> tuple[str, list[CallSummary]]:
    """Makes the call; returns the model's name, and what it came to after each turn."""
    settings = load_settings(
        llm="assistant",
        llm_url=url,
        economy=economy,
        greeting="",
        stt="bundled",
        tts="espeak",
        database_url="memory",
        first_word_timeout_s=120.0,
    )
    choices = await choose_engines(settings)
    one = build_call(settings, build_engines(settings, choices))
    after = []
    await one.start()
    try:
        for text in TURNS:
            await one.session.run(user_input=text)
            after.append(one.agent.latency.summary())
    finally:
        await one.aclose()
    return Path(choices.llm.detail).name, after


def turns(after: list[CallSummary]) -> list[dict[str, int]]:
    """What each turn added."""
    rows, before = [], (0, 0, 0)
    for one in after:
        now = one.prompt, one.cached, one.completion
        prompt, cached, completion = (new - old for new, old in zip(now, before, strict=True))
        rows.append({"prompt": prompt, "cached": cached, "completion": completion})
        before = now
    return rows


def main() -> None:
    """Prints a table, and the whole as JSON where a file is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="a model server of your own")
    parser.add_argument("--economy", action="store_true", help="ask for the shortest answers")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with smollm2() if options.url is None else contextlib.nullcontext(options.url) as url:
        model, after = asyncio.run(call(url, economy=options.economy))
    result: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        **machine(),
        "model": model,
        "turns": turns(after),
        "call": after[-1].to_dict()["tokens"],
    }
    print(f"{model}: tokens read, of those out of the cache, written")
    for number, row in enumerate(result["turns"], 1):
        print(f"turn {number}  {row['prompt']:6} {row['cached']:6} {row['completion']:6}")
    whole = after[-1]
    print(f"call    {whole.prompt:6} {whole.cached:6} {whole.completion:6}")
    if whole.cost is not None:
        print(f"cost    {whole.cost:.6f} {whole.currency}")
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
