"""Runs turns on a flow server, over server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx
from livekit.agents import APIConnectionError, APIError, APIStatusError

from bounded_http.event_stream import EventReader, EventTooLongError
from graph_speech.events import End, Failure, Usage
from graph_speech.wire import from_wire

from .log import logger
from .stream import Run
from .turn import TurnCommitted

_EVENT_LIMIT = 4 * 1024 * 1024
"""Bytes that one event may have; a server that never ends a line is not a flow server."""

_COMMIT_S = 5.0
"""Seconds that a commit may take; the next turn waits for it."""


class RemoteRunner:
    """Runs turns of one session on a flow server.

    Args:
        url: The server, such as `http://127.0.0.1:8123`.
        flow_id: Which of its flows.
        session_id: The session on the server.
        token: The bearer token that guards the server.
        context: What the flow may know of the call, such as `{"caller_id": ...}`.
        client: Used as it is and left open; if None, one is made on the first call.

    Raises:
        ValueError: `url` is not an http or https URL, or `flow_id` is empty.
    """

    def __init__(
        self,
        url: str,
        flow_id: str,
        *,
        session_id: str,
        token: str | None = None,
        context: Mapping[str, Any] | None = None,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        if httpx.URL(url).scheme not in ("http", "https"):
            raise ValueError(f"url must begin with http:// or https://, not {url!r}")
        if not flow_id:
            raise ValueError("flow_id must not be empty")
        self._base = url.rstrip("/")
        flow, session = quote(flow_id, safe=""), quote(session_id, safe="")
        self._path = f"{self._base}/api/flows/{flow}/stream/{session}"
        self._flow_id = flow_id
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._context = dict(context or {})
        self._client = client
        self._owns_client = client is None
        self._model = ""
        # The server has one turn of a session at a time and would cancel the first of two; in
        # process they run one after the other, and so they do here.
        self._one_at_a_time = asyncio.Lock()
        self._commit: tuple[TurnCommitted, asyncio.Task[None]] | None = None
        """What tells the server that the last turn has become final, once it has."""

    @property
    def model(self) -> str:
        """The name that the server tells with the usage, before that the flow's id."""
        return self._model or self._flow_id

    @property
    def can_continue(self) -> bool:
        """Never: the server starts each turn anew."""
        return False

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            # The time limits are the stream's: they know tools and speech, a socket does not.
            # Streams that wait for their end must not starve the commit of another.
            self._client = httpx.AsyncClient(
                timeout=httpx.Timeout(None, connect=5.0),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=8),
            )
        return self._client

    async def prewarm(self) -> None:
        """Opens a connection to the server."""
        await self._http().get(f"{self._base}/healthz", headers=self._headers)

    async def aclose(self) -> None:
        """Closes the connections, unless the client was given."""
        await self._end_commit()
        if self._owns_client and self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    async def run(self, run: Run) -> None:
        """Runs the turn; see `stream.Runner`. Closing the connection cancels it on the server."""
        async with self._one_at_a_time:
            await self._end_commit()
            await self._run(run)

    async def _run(self, run: Run) -> None:
        turn = run.turn
        context = {**self._context, **_jsonable(turn.configurable)}
        body: dict[str, Any] = {
            "messages": [message.to_wire() for message in turn.history],
            # Each attempt is a turn of its own to the server.
            "turn_id": f"{turn.id}.{turn.attempt}",
            "context": context,
            "committed": turn.committed is None or turn.committed.is_set(),
            "filler": False,
        }
        if turn.tools:
            body["tools"] = turn.tools
        if turn.tool_choice is not None:
            body["tool_choice"] = turn.tool_choice
        if turn.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = turn.parallel_tool_calls
        async with self._http().stream(
            "POST", self._path, json=body, headers=self._headers
        ) as response:
            if response.status_code != 200:
                raise await _refusal(response)
            if turn.committed is not None and not body["committed"]:
                commit = self._tell_commit(turn.committed, body["turn_id"])
                task = asyncio.get_running_loop().create_task(commit, name="langgraph.commit")
                self._commit = (turn.committed, task)
            await self._take_events(run, response)

    async def _end_commit(self) -> None:
        """The next turn begins, or none does: a speculation that is not final yet never will be.

        Most answers are there before it is sure that the caller has finished, so the commit is
        waited for beyond the turn's stream; the server must know of it before the next turn.
        """
        if self._commit is None:
            return
        (committed, task), self._commit = self._commit, None
        if not committed.is_set():
            task.cancel()
        await asyncio.wait((task,))

    async def _tell_commit(self, committed: TurnCommitted, turn_id: str) -> None:
        """Tells the server when the speculative turn has become final."""
        await committed.wait()
        try:
            response = await self._http().post(
                f"{self._path}/commit",
                json={"turn_id": turn_id},
                headers=self._headers,
                timeout=_COMMIT_S,
            )
            response.raise_for_status()
        except httpx.HTTPError as e:
            # The gated tools stay shut, and the tool time limit ends the turn.
            logger.warning("a turn was not committed on the flow server", exc_info=e)

    async def _take_events(self, run: Run, response: httpx.Response) -> None:
        async for data in _server_sent_events(response):
            run.alive()
            try:
                wire = json.loads(data)
            except ValueError as e:
                raise APIError(
                    "the flow server sent an event that is not JSON", retryable=True
                ) from e
            if not isinstance(wire, dict):
                raise APIError("the flow server sent an event that is no object", retryable=True)
            event = from_wire(wire)
            if event is None:
                continue
            if isinstance(event, Usage):
                self._model = event.model or self._model
            run.tell(event)
            if isinstance(event, End | Failure):
                return
        raise APIConnectionError("the flow server closed the stream before its end")


async def _server_sent_events(response: httpx.Response) -> AsyncIterator[str]:
    """The data of each event. A ping is none: the server lives, but the model may hang."""
    content_type = response.headers.get("content-type", "").partition(";")[0].strip()
    if content_type != "text/event-stream":
        raise APIError(
            f"the flow server answered with {content_type or 'no content type'}, "
            "not with text/event-stream",
            retryable=False,
        )
    reader = EventReader(most_bytes=_EVENT_LIMIT)
    async for piece in response.aiter_bytes():
        try:
            events = reader.feed(piece)
        except EventTooLongError as e:
            raise APIError("an event of the flow server is too large", retryable=False) from e
        for event in events:
            yield event.data


async def _refusal(response: httpx.Response) -> APIStatusError:
    body: object = (await response.aread()).decode("utf-8", "replace")
    message = f"the flow server answered with status {response.status_code}"
    try:
        body = json.loads(str(body))
        message = f"{message}: {body['error']['message']}"  # type: ignore[index]
    except (ValueError, KeyError, TypeError):
        pass  # not one of its own error objects, such as a proxy's page
    status = response.status_code
    return APIStatusError(
        message,
        # a redirect or an empty success has no status that says "error"
        status_code=status if status >= 400 else 400,
        body=body,
        retryable=status in (408, 429) or status >= 500,
    )


def _jsonable(configurable: Mapping[str, Any]) -> dict[str, Any]:
    """What of the run's configuration can go over the wire."""
    plain = (str, int, float, bool, list, dict, type(None))
    return {key: value for key, value in configurable.items() if isinstance(value, plain)}
