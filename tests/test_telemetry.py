"""What a turn's record becomes: figures, lines and spans."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
from livekit.agents import telemetry as livekit_telemetry
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client import CollectorRegistry

from agent_worker.commands.serve_web import WebServerError, serve_web
from agent_worker.settings import Settings, SettingsError, load_settings
from agent_worker.telemetry.cost import CallCost, Prices
from agent_worker.telemetry.latency import HeardUntil, TurnRecord
from agent_worker.telemetry.metrics import Metrics, serve_metrics
from agent_worker.telemetry.outlets import Telemetry
from agent_worker.telemetry.spans import stage_times
from agent_worker.telemetry.turn_log import TurnLog
from tests.fake_otlp_receiver import FakeOtlpReceiver

ANSWERED = TurnRecord(
    turn=1,
    speech_ended_at=1000.0,
    at={
        "preflight": 1000.1,
        "asked": 1000.11,
        "first_token": 1000.2,
        "first_speakable": 1000.22,
        "final": 1000.25,
        "first_phrase": 1000.3,
        "committed": 1000.35,
        "first_audio": 1000.33,
        "first_audio_out": 1000.4,
    },
)
INTERRUPTED = dataclasses.replace(
    ANSWERED, turn=2, interrupted_at=1003.0, heard_until=HeardUntil(2.5, 31)
)
UNANSWERED = TurnRecord(turn=3, speech_ended_at=1000.0, at={"final": 999.9, "committed": 1000.3})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(autouse=True)
def without_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry)


# -- figures -----------------------------------------------------------------------------------


def test_each_stage_of_a_turn_is_in_the_histogram(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    metrics.turn_ended(ANSWERED)
    metrics.turn_ended(INTERRUPTED)

    def stage(name: str, suffix: str = "count", **labels: str) -> float | None:
        return registry.get_sample_value(
            f"agent_worker_turn_stage_seconds_{suffix}", {"stage": name, **labels}
        )

    assert stage("first_token") == 2
    assert stage("first_token", "sum") == pytest.approx(0.4)
    assert stage("committed", "bucket", le="0.3") == 0
    assert stage("committed", "bucket", le="0.4") == 2
    assert stage("asked") is None
    assert registry.get_sample_value("agent_worker_turn_end_to_end_seconds_sum") == pytest.approx(
        0.8
    )


def test_turns_are_counted_by_what_came_of_them(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    for record in (ANSWERED, INTERRUPTED, UNANSWERED):
        metrics.turn_ended(record)
    value = registry.get_sample_value
    assert value("agent_worker_turns_total") == 3
    assert value("agent_worker_interruptions_total") == 1
    assert value("agent_worker_unanswered_turns_total") == 1
    assert value("agent_worker_turn_end_to_end_seconds_count") == 2


def test_what_was_done_before_the_end_of_speech_took_no_time(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    metrics.turn_ended(UNANSWERED)
    labels = {"stage": "final"}
    assert registry.get_sample_value("agent_worker_turn_stage_seconds_sum", labels) == 0
    assert registry.get_sample_value("agent_worker_turn_stage_seconds_count", labels) == 1


def test_failures_and_overlaps_are_counted_by_kind(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    metrics.failed("tts", recoverable=False)
    metrics.overlap_ignored(had_words=True, was_held=False)
    metrics.overlap_ignored(had_words=False, was_held=True)
    metrics.overlap_ignored(had_words=True, was_held=True)
    metrics.overlap_ignored(had_words=True, was_held=False)
    metrics.overlap_ignored(had_words=False, was_held=False)
    value = registry.get_sample_value
    labels = {"stage": "tts", "recoverable": "false"}
    assert value("agent_worker_failures_total", labels) == 1
    assert value("agent_worker_backchannels_ignored_total") == 3
    assert value("agent_worker_false_interruptions_total") == 2


def test_the_queue_of_every_shared_engine_is_read_when_asked_for(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    from livekit.plugins import espeak
    from livekit.plugins.espeak.engine import shared

    assert espeak.queue_depths() == {"espeak-ng": 0}
    busy, go_on = threading.Event(), threading.Event()

    def work() -> None:
        busy.set()
        go_on.wait(30)

    jobs = [shared().thread.submit(work) for _ in range(3)]
    labels = {"stage": "tts", "engine": "espeak-ng"}
    try:
        assert busy.wait(30)
        jobs[2].cancel()
        assert registry.get_sample_value("agent_worker_engine_queue_depth", labels) == 1
    finally:
        go_on.set()
    jobs[1].result(30)
    assert registry.get_sample_value("agent_worker_engine_queue_depth", labels) == 0


async def test_the_page_is_served_on_the_address_that_is_named() -> None:
    async with serve_metrics("127.0.0.1", 0) as address, httpx.AsyncClient() as client:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/metrics", address)
        assert "lk_agents_active_job_count" in (await client.get(address)).text


def gateway_settings(port: int) -> Settings:
    return load_settings(
        livekit_api_key="key",
        livekit_api_secret="a secret of this test alone, long enough",
        web_port=0,
        stt="bundled",
        llm="offline",
        tts="espeak",
        metrics_port=port,
    )


async def test_the_websocket_gateway_has_the_page_too() -> None:
    port = free_port()
    said: asyncio.Queue[str] = asyncio.Queue()
    serving = asyncio.create_task(
        serve_web(gateway_settings(port), websocket=True, say=said.put_nowait)
    )
    try:
        assert await said.get() == f"The metrics: http://127.0.0.1:{port}/metrics"
        async with httpx.AsyncClient() as client:
            page = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
        assert "\nagent_worker_calls " in page
        assert "agent_worker_turns_total" in page
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


async def test_a_port_that_is_taken_is_one_clear_line() -> None:
    async with serve_metrics("127.0.0.1", 0) as address:
        port = int(address.rpartition(":")[2].removesuffix("/metrics"))
        with pytest.raises(WebServerError, match=r"can't serve metrics on .* set metrics_port"):
            await serve_web(gateway_settings(port), websocket=True, say=lambda _: None)


# -- lines -------------------------------------------------------------------------------------


def test_each_turn_is_one_line_with_its_call_and_all_its_times(tmp_path: Path) -> None:
    path = tmp_path / "new" / "turns.jsonl"
    with Telemetry.of(load_settings(turn_log=path)) as telemetry:
        telemetry.turn_ended("a", ANSWERED)
        telemetry.turn_ended("b", INTERRUPTED)
    first, second = map(json.loads, path.read_text().splitlines())
    assert first == {"call": "a", **ANSWERED.to_dict()}
    assert second["heard_until"] == {"seconds": 2.5, "characters": 31}
    assert second["interrupted_at"] == 1003.0


def test_a_call_that_is_over_is_a_line_of_its_own_with_tokens_and_cost(tmp_path: Path) -> None:
    spent = CallCost(Prices(prompt=1.0, completion=2.0, currency="EUR"))
    spent.add(1000, 0, 500)
    path = tmp_path / "turns.jsonl"
    with Telemetry.of(load_settings(turn_log=path)) as telemetry:
        telemetry.call_ended("a", spent.summary(turns=3, uncounted=1))
    assert json.loads(path.read_text()) == {
        "call": "a",
        "turns": 3,
        "tokens": {"prompt": 1000, "cached": 0, "completion": 500},
        "uncounted": 1,
        "cost": {"call": 0.002, "currency": "EUR"},
    }


def test_the_log_goes_on_where_it_was_and_stays_bounded(tmp_path: Path) -> None:
    path = tmp_path / "turns.jsonl"
    path.write_text("before\n")
    log = TurnLog(path, max_bytes=40, kept_files=2)
    for number in range(20):
        log.write(f"line {number:02}")
    log.close()
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["turns.jsonl", "turns.jsonl.1", "turns.jsonl.2"]
    assert all(file.stat().st_size <= 40 for file in files)
    kept = "".join(file.read_text() for file in reversed(files)).split("\n")[:-1]
    assert kept == [f"line {number:02}" for number in range(20 - len(kept), 20)]
    assert len(kept) > 8


def test_processes_that_write_to_one_log_put_it_aside_once_and_lose_no_line(tmp_path: Path) -> None:
    path = tmp_path / "turns.jsonl"
    code = (
        "import sys; from pathlib import Path; from agent_worker.telemetry.turn_log import TurnLog;"
        "log = TurnLog(Path(sys.argv[1]), max_bytes=2000, kept_files=50); sys.stdin.readline();"
        "[log.write(f'{sys.argv[2]} {i:04}' + 'x' * 90) for i in range(200)]; log.close(30)"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(path), name], stdin=subprocess.PIPE)
        for name in "abc"
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=40)
    files = list(tmp_path.iterdir())
    lines = [line for file in files for line in file.read_text().splitlines()]
    assert len(lines) == len(set(lines)) == 600
    # none was put aside before it was full: 20 lines of 97 bytes fit
    assert len(files) == 30


def test_a_disk_that_fails_is_told_once_and_costs_no_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "turns.jsonl"
    log = TurnLog(path)
    path.unlink()
    path.mkdir()
    for _ in range(3):
        log.write("{}")
    log.close()
    assert [record.message for record in caplog.records] == ["turns can't be logged"]


def test_a_log_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"^turn_log: .*turns\.jsonl can't be written \(.+\)$"):
        Telemetry.of(load_settings(turn_log=tmp_path / "file" / "turns.jsonl"))


# -- spans -------------------------------------------------------------------------------------


def attributes(span: Span) -> dict[str, object]:
    return {a.key: getattr(a.value, str(a.value.WhichOneof("value"))) for a in span.attributes}


def test_a_collector_gets_a_span_for_each_turn_and_stage_with_the_recorded_times() -> None:
    with FakeOtlpReceiver() as collector:
        with Telemetry.of(load_settings(otel_endpoint=f"{collector.endpoint}/")) as telemetry:
            telemetry.turn_ended("call-1", INTERRUPTED)
        spans = {span.name: span for span in collector.spans}
        assert set(collector.paths) == {"/v1/traces"}
        assert collector.resource("service.name") == "livekit-agent-worker"
    turn = spans.pop("turn")
    assert set(spans) == set(INTERRUPTED.stages_ms)
    assert turn.start_time_unix_nano == pytest.approx(1000.0e9)
    assert turn.end_time_unix_nano == pytest.approx(1003.0e9)
    assert attributes(turn) == {
        "agent_worker.call": "call-1",
        "agent_worker.turn": 2,
        "agent_worker.interrupted": True,
        "agent_worker.end_to_end_ms": 400.0,
        "agent_worker.heard_s": 2.5,
        "agent_worker.heard_characters": 31,
    }
    assert [event.name for event in turn.events] == ["interrupted"]
    for name, span in spans.items():
        assert span.parent_span_id == turn.span_id
        assert span.trace_id == turn.trace_id
        assert span.end_time_unix_nano == pytest.approx(INTERRUPTED.at[name] * 1e9)
        assert turn.start_time_unix_nano <= span.start_time_unix_nano
        assert span.end_time_unix_nano <= turn.end_time_unix_nano


def test_a_stage_begins_where_what_it_waited_for_ended() -> None:
    begins = {stage: round(start - 1000, 2) for stage, start, _ in stage_times(ANSWERED)}
    assert begins == {
        "preflight": 0.0,
        "final": 0.0,
        "committed": 0.25,
        "first_token": 0.11,
        "first_speakable": 0.2,
        "first_phrase": 0.22,
        "first_audio": 0.3,
        "first_audio_out": 0.35,
    }
    for stage, start, end in stage_times(UNANSWERED):
        assert start <= end, stage


def test_livekits_own_spans_which_hold_what_was_said_are_not_sent() -> None:
    with FakeOtlpReceiver() as collector:
        with Telemetry.of(load_settings(otel_endpoint=collector.endpoint)) as telemetry:
            with livekit_telemetry.tracer.start_as_current_span("user_turn") as span:
                span.set_attribute("lk.pii.user_transcript", "my secret")
            telemetry.turn_ended("call-1", ANSWERED)
        assert collector.scopes == {"agent_worker"}
        assert not any(b"secret" in body for body in collector.bodies)


def test_without_a_collector_named_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeOtlpReceiver() as collector:
        with Telemetry.of(load_settings()) as telemetry:
            telemetry.turn_ended("call-1", ANSWERED)
        assert collector.paths == []
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "reception")
        with Telemetry.of(load_settings()) as telemetry:
            telemetry.turn_ended("call-1", ANSWERED)
        assert collector.resource("service.name") == "reception"
