"""What a real worker tells of a real call: figures, lines and spans, and not one word of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent_worker.caller.client import SimulatedCaller
from agent_worker.commands.demo_conversation import render
from agent_worker.commands.livekit_server import RunningServer
from agent_worker.commands.worker_process import run_worker
from agent_worker.telemetry.latency import STAGES
from tests import real
from tests.fake_otlp_receiver import FakeOtlpReceiver
from tests.integration.test_call import TIMEOUT_S, ask, greeted
from tests.test_telemetry import free_port

pytestmark = pytest.mark.timeout(180)

Figures = dict[tuple[str, str], float]


async def scrape(port: int) -> Figures:
    """The worker's page: (name of the sample, its stage or "") to value."""
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    return {
        (sample.name, sample.labels.get("stage", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_call_is_in_the_figures_the_lines_and_the_spans_without_a_word_of_it(
    livekit_server: RunningServer, tmp_path: Path
) -> None:
    port, turns = free_port(), tmp_path / "turns.jsonl"
    with FakeOtlpReceiver() as collector:
        settings = real.worker_settings(
            livekit_server,
            agent_name="observed",
            metrics_port=port,
            turn_log=turns,
            otel_endpoint=collector.endpoint,
        )
        async with run_worker(settings, log_file=tmp_path / "worker.log"):
            token = real.token(livekit_server, agent="observed")
            async with SimulatedCaller(livekit_server.url, token) as caller:
                await greeted(caller)
                await ask(caller, "what is two plus three")
                await caller.silent(for_s=0.7, timeout_s=TIMEOUT_S)
                spoken = await caller.speak(await render("tell me a story"))
                await caller.audible_after(spoken.ended_at, timeout_s=TIMEOUT_S)
                await asyncio.sleep(1.0)
                await caller.speak(await render("stop"))
                await caller.silent(for_s=0.7, timeout_s=TIMEOUT_S)
                await caller.wait_for_agent_state("listening", timeout_s=TIMEOUT_S)
                during = await scrape(port)
                records = caller.latency_records
        logged = [json.loads(line) for line in turns.read_text().splitlines()]
        lines = [line for line in logged if "turn" in line]
        (over,) = [line for line in logged if "turns" in line]

    assert during["agent_worker_calls", ""] == 1
    assert during["agent_worker_turns_total", ""] >= 2
    assert during["agent_worker_interruptions_total", ""] == 1
    for stage in STAGES:
        assert during["agent_worker_turn_stage_seconds_count", stage] >= 1, stage
    assert during["agent_worker_turn_end_to_end_seconds_sum", ""] > 0
    assert during["agent_worker_engine_queue_depth", "stt"] == 0
    assert during["agent_worker_engine_queue_depth", "tts"] == 0

    assert [line["turn"] for line in lines] == list(range(1, len(lines) + 1))
    assert (over["call"], over["turns"]) == (lines[0]["call"], len(lines))
    assert over["tokens"]["completion"] > 0
    cut = next(line for line in lines if line["interrupted_at"] is not None)
    assert cut["heard_until"]["seconds"] > 0.5
    assert cut["heard_until"]["characters"] > 5
    assert cut["at"]["first_audio_out"] < cut["interrupted_at"]
    # what a client was told last of each turn is what stands in the file; what the answer cost is
    # known only after it was last told
    told = {record["turn"]: {**record, "tokens": None} for record in records}
    assert any(line["tokens"] is not None for line in lines)
    lines = [{**line, "tokens": None} for line in lines]
    assert {line["turn"]: line for line in lines} == {
        turn: {"call": lines[0]["call"], **record} for turn, record in told.items()
    }

    spans = [span for span in collector.spans if span.name == "turn"]
    assert len(spans) == len(lines)
    assert collector.scopes == {"agent_worker"}
    for text in (turns.read_bytes(), *collector.bodies):
        assert b"five" not in text.lower()
        assert b"lighthouse" not in text.lower()
