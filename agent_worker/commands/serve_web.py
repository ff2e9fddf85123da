"""Serves the page beside a LiveKit server, and the WebSocket gateway when asked to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from agent_worker.call.who_calls import sources, told_by_client
from agent_worker.engines.badges import ENGINES_ATTRIBUTE, Badge, as_json, badges
from agent_worker.engines.build import EngineError, try_engines
from agent_worker.engines.call_engines import engines_for_language
from agent_worker.engines.chosen import Choices
from agent_worker.engines.found import choose_engines
from agent_worker.engines.language_model import keep_model_warm, read_prompt_ahead
from agent_worker.engines.offers import Offers, find_offers
from agent_worker.engines.warm_engines import kept_warm
from agent_worker.gateway import Gateway, GatewayConfig
from agent_worker.gateway.client_outlet import ClientOutlet
from agent_worker.gateway.protocol import SessionStart
from agent_worker.processes.house_model import HouseModelError, house_model_beside
from agent_worker.serving.access import Access
from agent_worker.serving.connections import server_config
from agent_worker.serving.exposure import InsecureConfigurationError
from agent_worker.session import Call, build_call
from agent_worker.settings import Settings
from agent_worker.telemetry.metrics import serve_metrics
from agent_worker.telemetry.outlets import Telemetry
from agent_worker.web.app import WebConfig, create_app


class WebServerError(Exception):
    """The page can't be served. The message says why and what to do."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        # the command line handles them for the server, the worker and the page together
        yield


@contextlib.asynccontextmanager
async def serve_app(
    app: ASGIApp, *, host: str, port: int, patience_s: float = 20.0
) -> AsyncIterator[str]:
    """Serves until the context ends. Gives the address.

    Args:
        port: taken if it is free; 0 = any.
        patience_s: seconds after which a client that sends no request, or never reads, is cut off.

    Raises:
        WebServerError: the port is taken.
    """
    try:
        listener = _listen(host, port)
    except OSError as e:
        raise WebServerError(
            f"can't listen on {host}:{port} ({e.strerror}); set web_port to another one, or to 0"
        ) from e
    server = _Server(server_config(app, patience_s=patience_s))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        yield f"http://{host}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()


class ChangingApp:
    """An application that can be replaced while it is served."""

    def __init__(self, app: ASGIApp) -> None:
        """
        Args:
            app: to begin with.
        """
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on to the application of the moment."""
        await self.app(scope, receive, send)


def _listen(host: str, port: int) -> socket.socket:
    # With the protocol named, asyncio switches Nagle's algorithm off: it holds small messages back
    # for 40 ms otherwise.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(512)
    except OSError:
        listener.close()
        raise
    return listener


def page(
    settings: Settings,
    offers: Offers | None = None,
    *,
    gateway: Gateway | None = None,
    engines: Sequence[Badge] = (),
) -> Starlette:
    """The page for these settings.

    Args:
        settings: of this deployment.
        offers: what callers may choose; by default nothing.
        engines: what hears, thinks and speaks, as far as it is known before a call.
        gateway: the WebSocket gateway, if it is to be served too.

    Raises:
        WebServerError: it would serve the network with development keys.
    """
    offers = offers or Offers()
    config = WebConfig(
        livekit_url=settings.web_livekit_url or settings.livekit_url,
        api_key=settings.livekit_api_key,
        api_secret=settings.livekit_api_secret.get_secret_value(),
        agent_name=settings.agent_name,
        host=settings.web_host,
        flows=offers.flows,
        characters=offers.characters,
        voices=offers.voices,
        languages=offers.languages,
        economy=offers.economy,
        engines=engines,
        caller_attributes=frozenset(sources(settings.caller_id)),
        access=_access(settings),
    )
    try:
        return create_app(config, gateway=gateway)
    except (InsecureConfigurationError, FileNotFoundError) as e:
        raise WebServerError(str(e)) from e


async def serve_web(settings: Settings, *, websocket: bool, say: Callable[[str], None]) -> None:
    """Serves the page until cancelled.

    Args:
        websocket: serve ``/ws/s2s`` too, with the pipeline in this process.

    Raises:
        WebServerError: as above, or no key, or an engine is missing, or the metrics' port is taken.
        SettingsError: the turns' log can't be written.
    """
    if not settings.livekit_api_key or not settings.livekit_api_secret.get_secret_value():
        raise WebServerError("LIVEKIT_API_KEY and LIVEKIT_API_SECRET are not set")
    # the page alone only names the engines, and need not wait for one that is not up
    wait_s = None if websocket else 0.0
    choices = await choose_engines(settings, wait_s=wait_s, say=say)
    async with contextlib.AsyncExitStack() as running:
        gateway: Gateway | None = None
        if websocket:
            telemetry = Telemetry.of(settings)
            running.push_async_callback(asyncio.to_thread, telemetry.close)
            try:
                choices = await running.enter_async_context(house_model_beside(settings, choices))
            except HouseModelError as e:
                raise WebServerError(str(e)) from e
            gateway = await open_gateway(settings, choices, telemetry)
            await running.enter_async_context(kept_warm(settings, choices))
            if settings.metrics_port is not None:
                say(f"The metrics: {await running.enter_async_context(_metrics(settings))}")
        app = page(
            settings, find_offers(settings, choices), gateway=gateway, engines=badges(choices)
        )
        served = serve_app(app, host=settings.web_host, port=settings.web_port)
        address = await running.enter_async_context(served)
        say(f"The page: {address}")
        if gateway is not None:
            say(f"The WebSocket: {address.replace('http', 'ws', 1)}/ws/s2s, and {address}/s2s/")
        await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def _metrics(settings: Settings) -> AsyncIterator[str]:
    host, port = settings.health_host, settings.metrics_port or 0
    async with contextlib.AsyncExitStack() as running:
        try:
            address = await running.enter_async_context(serve_metrics(host, port))
        except OSError as e:
            raise WebServerError(
                f"can't serve metrics on {host}:{port} ({e.strerror}); a worker on this machine "
                "may have the port: set metrics_port to another one"
            ) from e
        yield address


async def open_gateway(settings: Settings, choices: Choices, telemetry: Telemetry) -> Gateway:
    """The WebSocket gateway, once the engines of its calls were seen to work.

    Raises:
        WebServerError: one of them does not.
    """
    if choices.problems:
        raise WebServerError("\n".join(choices.problems))
    try:
        await try_engines(settings, choices)
        await read_prompt_ahead(settings, choices)
        keep_model_warm(settings, choices)
    except EngineError as e:
        raise WebServerError(str(e)) from e

    async def call_in(request: SessionStart) -> Call:
        wishes = {
            "flow": request.flow,
            "character": request.character,
            "voice": request.voice,
            "economy": request.economy,
        }
        own, engines = await asyncio.to_thread(
            engines_for_language, settings, choices, request.lang, wishes
        )
        caller_id = told_by_client(request.caller_id, settings.caller_id)
        outlet = ClientOutlet()
        await outlet.set_attributes({ENGINES_ATTRIBUTE: as_json(engines.badges)})
        return build_call(own, engines, outlet=outlet, telemetry=telemetry, caller_id=caller_id)

    config = GatewayConfig(
        access=_access(settings),
        host=settings.web_host,
        max_sessions=settings.max_sessions,
    )
    return Gateway(call_in, config)


def _access(settings: Settings) -> Access:
    return Access(
        bearer_token=settings.web_token.get_secret_value() or None,
        allowed_origins=settings.allowed_origins,
    )
