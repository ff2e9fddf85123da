"""The records of turns as OpenTelemetry spans, with the times that were recorded.

LiveKit's own spans carry transcripts, prompts and answers as attributes. These carry times only,
and they have a tracer provider of their own: the process's global one stays unset, so LiveKit's
spans go nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .latency import STAGES, TurnRecord

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.util.types import AttributeValue

_BEGINS_AFTER = {
    "preflight": ("speech_ended",),
    "final": ("speech_ended",),
    "committed": ("final", "speech_ended"),
    "first_token": ("asked",),
    "first_speakable": ("first_token",),
    "first_phrase": ("first_speakable", "first_token"),
    "first_audio": ("first_phrase",),
}
"""Where each stage's span begins: at the first of these that was passed."""


class TurnSpans:
    """Hands each turn to an exporter, in a thread of the SDK's."""

    def __init__(self, exporter: SpanExporter) -> None:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        resource = Resource.create()
        if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: "livekit-agent-worker"}))
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("agent_worker")

    @classmethod
    def over_http(cls, endpoint: str) -> TurnSpans:
        """Sends them to a collector.

        Headers, certificates and time-outs come from OpenTelemetry's own variables.

        Args:
            endpoint: base address of OTLP over HTTP, such as http://127.0.0.1:4318.
        """
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return cls(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces"))

    def turn_ended(self, call_id: str, record: TurnRecord) -> None:
        """Exports a turn whose record is complete."""
        from opentelemetry.trace import set_span_in_context

        stages = list(stage_times(record))
        begin = min([record.speech_ended_at, *(start for _, start, _ in stages)])
        end = max([record.speech_ended_at, *(end for _, _, end in stages)])
        if record.interrupted_at is not None:
            end = max(end, record.interrupted_at)
        turn = self._tracer.start_span(
            "turn", start_time=_nanoseconds(begin), attributes=_attributes(call_id, record)
        )
        inside = set_span_in_context(turn)
        for name, start, stop in stages:
            span = self._tracer.start_span(name, inside, start_time=_nanoseconds(start))
            span.end(_nanoseconds(stop))
        if record.interrupted_at is not None:
            turn.add_event("interrupted", timestamp=_nanoseconds(record.interrupted_at))
        turn.end(_nanoseconds(end))

    def close(self) -> None:
        """Sends what waits and ends; safe to call twice."""
        self._provider.shutdown()


def stage_times(record: TurnRecord) -> Iterator[tuple[str, float, float]]:
    """Each stage of a turn with its beginning and end in Unix seconds.

    The stages of an answer that was begun ahead of time may lie before ``committed``; the wait for
    the commit is then at the beginning of nothing but the commit's own span.
    """
    at = {"speech_ended": record.speech_ended_at, **record.at}
    for stage in STAGES:
        if stage not in at:
            continue
        if stage == "first_audio_out":
            # a voice that is ready waits for the commit
            start = max(at.get("first_audio", at[stage]), at.get("committed", at["speech_ended"]))
        else:
            names = _BEGINS_AFTER[stage]
            start = next((at[name] for name in names if name in at), at[stage])
        yield stage, min(start, at[stage]), at[stage]


def _attributes(call_id: str, record: TurnRecord) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        "agent_worker.call": call_id,
        "agent_worker.turn": record.turn,
        "agent_worker.interrupted": record.interrupted_at is not None,
    }
    if record.end_to_end_ms is not None:
        attributes["agent_worker.end_to_end_ms"] = record.end_to_end_ms
    if record.heard_until is not None:
        attributes["agent_worker.heard_s"] = record.heard_until.seconds
        attributes["agent_worker.heard_characters"] = record.heard_until.characters
    return attributes


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
