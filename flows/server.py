"""The flow server: every flow over server-sent events, and under OpenAI's wire.

`POST /api/flows/{flow_id}/stream/{session_id}` takes the conversation as heard and streams the
answer; `GET` on the same path takes one `input` and lets the server keep the conversation.
"""

import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar
from uuid import uuid4

from langchain_core.messages import HumanMessage
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from graph_speech.runner import NO_ANSWER

from .flow import Flow
from .memory import Memory
from .serving.event_stream import EventStream, SseEncoder, cancelled_on_disconnect
from .serving.faults import RequestRefusedError, fault_response
from .serving.guard import BearerGuard, ForeignPageGuard
from .serving.openai_face import ChunkEncoder, completion, failure
from .serving.query import read_query
from .serving.sessions import Sessions, TurnInput
from .serving.turns import FillerOptions
from .serving.wire import (
    MAX_CALLER_ID,
    ChatRequest,
    TurnReference,
    TurnRequest,
    read_body,
    to_messages,
)

_Body = TypeVar("_Body", bound=BaseModel)

_ID = re.compile(r"[A-Za-z0-9_.:@+-]{1,128}")


@dataclass(frozen=True)
class ServerOptions:
    """How the server behaves, whatever its flows."""

    token: str | None = None
    max_body_bytes: int = 1_000_000
    ping_s: float = 12.0
    body_timeout_s: float = 10.0
    """Seconds in which a request's body has to be there."""
    session_ttl_s: float = 900.0
    max_sessions: int = 1000
    filler: FillerOptions | None = None
    no_answer: str = NO_ANSWER
    """What is said where a flow ends without a word."""


class FlowServer:
    """The routes, on top of the flows and their memory.

    Args:
        flows: By id.
        memory: Where the sessions live; the graphs must have been compiled with it.
        options: How the server behaves.
    """

    def __init__(self, flows: Mapping[str, Flow], memory: Memory, options: ServerOptions) -> None:
        self._flows = flows
        self._memory = memory
        self._options = options
        self._sessions = Sessions(
            memory,
            ttl_s=options.session_ttl_s,
            limit=options.max_sessions,
            filler=options.filler,
            no_answer=options.no_answer,
        )

    @property
    def sessions(self) -> int:
        """Sessions under way, with those that are quiet."""
        return len(self._sessions)

    def app(self) -> Starlette:
        """The ASGI application; sessions live as long as its lifespan."""
        stream = "/api/flows/{flow_id}/stream/{session_id}"
        app = Starlette(
            routes=[
                Route("/healthz", self._health),
                Route("/api/flows", self._list_flows),
                Route(stream, self._stream_get, methods=["GET"]),
                Route(stream, self._stream_post, methods=["POST"]),
                Route(stream, self._forget_session, methods=["DELETE"]),
                Route(f"{stream}/commit", self._commit, methods=["POST"]),
                Route(f"{stream}/cancel", self._cancel, methods=["POST"]),
                Route("/api/callers/{caller_id:path}", self._forget_caller, methods=["DELETE"]),
                Route("/v1/models", self._list_models),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
            ],
            middleware=[
                Middleware(ForeignPageGuard),
                Middleware(BearerGuard, token=self._options.token),
            ],
            exception_handlers={
                RequestRefusedError: _refused,
                HTTPException: _http_fault,
                Exception: _internal_fault,
            },
            lifespan=self._lifespan,
        )
        # Or an address that is wrong is answered by a redirection to another wrong one.
        app.router.redirect_slashes = False
        return app

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        async with self._sessions:
            yield

    async def _health(self, _: Request) -> Response:
        health: dict[str, object] = {"status": "ok"}
        reasons = {flow.unavailable for flow in self._flows.values() if flow.unavailable}
        # The check is open to everybody; what is missing inside is for those within.
        if reasons and not self._options.token:
            health["missing"] = sorted(reasons)
        return JSONResponse(health)

    async def _list_flows(self, _: Request) -> Response:
        return JSONResponse(
            {
                "flows": [
                    {
                        "id": flow.id,
                        "description": flow.description,
                        "available": flow.graph is not None,
                        **({"reason": flow.unavailable} if flow.unavailable else {}),
                    }
                    for flow in self._flows.values()
                ]
            }
        )

    async def _list_models(self, _: Request) -> Response:
        models = [
            {"id": flow.id, "object": "model", "created": 0, "owned_by": "flows"}
            for flow in self._flows.values()
            if flow.graph is not None
        ]
        return JSONResponse({"object": "list", "data": models})

    async def _stream_get(self, request: Request) -> Response:
        flow, session_id = self._address(request)
        said = read_query(request.query_params.multi_items())
        turn = TurnInput(
            turn_id=_checked_id("turn id", said.turn_id) if said.turn_id else uuid4().hex,
            messages=[HumanMessage(said.text)],
            replaces_history=False,
        )
        return self._answer_in_events(await self._sessions.start(flow, session_id, turn))

    async def _stream_post(self, request: Request) -> Response:
        flow, session_id = self._address(request)
        body = await self._read(request, TurnRequest)
        turn = TurnInput(
            turn_id=body.turn_id,
            messages=to_messages(body.messages),
            context=body.context,
            client_tools=body.tools,
            tool_choice=body.tool_choice,
            parallel_tool_calls=body.parallel_tool_calls,
            committed=body.committed,
            filler=body.filler,
        )
        return self._answer_in_events(await self._sessions.start(flow, session_id, turn))

    def _answer_in_events(self, turn: Any) -> Response:
        return EventStream(turn, SseEncoder(), self._options.ping_s)

    async def _commit(self, request: Request) -> Response:
        flow, session_id = self._address(request)
        body = await self._read(request, TurnReference)
        if not body.turn_id:
            raise RequestRefusedError(400, "no_turn_id", 'Say which turn, as {"turn_id": …}.')
        running = self._sessions.commit(flow.id, session_id, body.turn_id)
        return JSONResponse({"committed": True, "running": running})

    async def _cancel(self, request: Request) -> Response:
        flow, session_id = self._address(request)
        body = await self._read(request, TurnReference)
        cancelled = self._sessions.cancel(flow.id, session_id, body.turn_id)
        return JSONResponse({"cancelled": cancelled})

    async def _forget_session(self, request: Request) -> Response:
        flow, session_id = self._address(request)
        await self._sessions.forget(flow.id, session_id)
        return JSONResponse({"forgotten": True})

    async def _forget_caller(self, request: Request) -> Response:
        caller_id = request.path_params["caller_id"]
        if len(caller_id) > MAX_CALLER_ID:
            raise RequestRefusedError(
                400, "bad_id", f"A caller id has up to {MAX_CALLER_ID} characters."
            )
        return JSONResponse({"forgotten": await self._memory.forget_caller(caller_id)})

    async def _chat(self, request: Request) -> Response:
        body = await self._read(request, ChatRequest)
        flow = self._flow(body.model)
        # Each request brings the whole conversation, so each is a session of its own.
        session_id = f"openai-{uuid4().hex}"
        turn = await self._sessions.start(
            flow,
            session_id,
            TurnInput(
                turn_id=uuid4().hex,
                messages=to_messages(body.messages),
                context={"caller_id": body.user} if body.user else {},
                client_tools=body.tools or [],
                tool_choice=body.tool_choice,
                parallel_tool_calls=body.parallel_tool_calls,
                filler=False,
                one_off=True,
            ),
        )
        if body.stream:
            usage = body.stream_options is not None and body.stream_options.include_usage
            encoder = ChunkEncoder(flow.id, include_usage=usage)
            return EventStream(turn, encoder, self._options.ping_s)
        events = await cancelled_on_disconnect(request, turn)
        fault = failure(events)
        if fault is not None:
            return fault_response(502, fault["code"], fault["message"])
        return JSONResponse(completion(flow.id, events))

    async def _read(self, request: Request, form: type[_Body]) -> _Body:
        return await read_body(
            request,
            form,
            self._options.max_body_bytes,
            timeout_s=self._options.body_timeout_s,
        )

    def _address(self, request: Request) -> tuple[Flow, str]:
        flow = self._flow(request.path_params["flow_id"])
        return flow, _checked_id("session id", request.path_params["session_id"])

    def _flow(self, flow_id: str) -> Flow:
        flow = self._flows.get(flow_id)
        if flow is None:
            known = ", ".join(self._flows)
            raise RequestRefusedError(
                404, "unknown_flow", f"There is no such flow; there are {known}."
            )
        return flow


def _checked_id(what: str, given: str) -> str:
    if not _ID.fullmatch(given):
        raise RequestRefusedError(
            400,
            "bad_id",
            f"The {what} may have up to 128 letters, digits and the characters _ . : @ + -.",
        )
    return given


async def _refused(_: Request, fault: Exception) -> Response:
    assert isinstance(fault, RequestRefusedError)
    return fault_response(fault.status, fault.code, fault.message)


async def _http_fault(request: Request, fault: Exception) -> Response:
    assert isinstance(fault, HTTPException)
    headers = dict(fault.headers or {})
    match fault.status_code:
        case 404:
            said = "There is nothing at this address."
        case 405:
            said = f"This address does not take {request.method}."
        case status:
            said = HTTPStatus(status).phrase + "."
    return fault_response(fault.status_code, "http_fault", said, headers)


async def _internal_fault(_: Request, __: Exception) -> Response:
    return fault_response(500, "internal", "Something went wrong in the flow server.")
