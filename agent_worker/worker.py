"""The worker: registers with a LiveKit server, takes a job for each room, drains on SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import warnings
from functools import partial

import aiohttp
from livekit.agents import AgentServer, CloseEvent, JobContext, JobExecutorType, JobProcess, cli

from livekit import api

from .call.native_events import address_events
from .call.presence import Presence
from .call.push_to_talk import PushToTalk
from .dispatch.acceptance import Acceptance
from .dispatch.kept_calls import KeptCall, forget_old_calls
from .dispatch.kin import Kin
from .dispatch.measured_load import RoomForCalls
from .dispatch.registration import register_soon, say_when_ready
from .dispatch.standing import Standing
from .dispatch.stopping import StopWord
from .dispatch.watch import watch_rooms
from .engines.badges import ENGINES_ATTRIBUTE, as_json
from .engines.build import import_plugins
from .engines.call_engines import engines_for_call
from .engines.chosen import Choices
from .engines.warm_engines import WarmEngines
from .faults.words import fault_words
from .hearing.end_of_turn_model import shared_model
from .session import RoomOutlet, build_call
from .settings import Settings, default_environment
from .telemetry.outlets import Telemetry

logger = logging.getLogger(__name__)

_FULL = 0.7
"""Load at which LiveKit sends no more jobs. It also scores workers by `0.7 - load`, so raising the
threshold would not help: the load is scaled to it."""


def build_server(
    settings: Settings,
    choices: Choices,
    telemetry: Telemetry | None = None,
    *,
    family: int | None = None,
) -> AgentServer:
    """The worker for these settings, not yet running.

    Calls run in threads of this process, not in processes of their own: one model then serves all
    rooms, memory does not grow with them, and a call starts in milliseconds.

    Args:
        settings: of the user.
        choices: the engines.
        telemetry: where figures go.
        family: id of the process whose children share the cores with this one; None = it is alone.
    """
    import_plugins(choices)
    address_events()
    # LiveKit's watch over event loops wakes every thread a hundred times a second, idle ones too,
    # and reports the other calls' turns at the interpreter as faults of this one. 0 = no watch.
    default_environment(LIVEKIT_AGENTS_LOOP_BLOCK_WARN_MS="0")
    absent: set[str] = set()
    root = os.getpid() if family is None else family
    kin = Kin(root)
    room = RoomForCalls(
        most_calls=settings.max_sessions,
        busy_at_cpu=settings.busy_at_cpu,
        family=root,
    )
    server = AgentServer(
        job_executor_type=JobExecutorType.THREAD,
        # threads are cheap, and a burst of calls is turned away once they are used up
        num_idle_processes=min(settings.max_sessions, 10),
        initialize_process_timeout=120,
        load_fnc=lambda server: _FULL * room.load(_present(server, absent)),
        load_threshold=_FULL,
        drain_timeout=int(settings.drain_timeout_s),
        ws_url=settings.livekit_url,
        api_key=settings.livekit_api_key or None,
        api_secret=settings.livekit_api_secret.get_secret_value() or None,
        host=settings.health_host,
        port=settings.health_port,
        prometheus_port=settings.metrics_port,
        setup_fnc=partial(_prewarm, settings, WarmEngines(settings, choices)),
    )
    serve = partial(
        _serve_call, settings, choices, server, absent, telemetry=telemetry, process=kin.mark
    )
    acceptance = Acceptance(
        most_calls=settings.max_sessions, calls=lambda: len(_present(server, absent))
    )
    server.rtc_session(serve, agent_name=settings.agent_name, on_request=acceptance.answer)
    register_soon(server)
    say_when_ready(server)
    words = fault_words(settings.spoken_language, settings.own_fault_words())
    watch_rooms(server, settings, kin=kin, busy_text=words.busy)
    if settings.calls_dir is not None:
        forget_old_calls(settings.calls_dir)
    return server


def _present(server: AgentServer, absent: set[str]) -> list[str]:
    """The calls; one whose caller is away does nothing, and must keep nobody else out."""
    return [job.job.id for job in server.active_jobs if job.job.id not in absent]


def _prewarm(settings: Settings, warm: WarmEngines, process: JobProcess) -> None:
    """Loads the shared models before the first call asks for them; they stay while the worker does.

    LiveKit takes a job thread for ready even when this raises, and its calls would then hang: a
    failure is logged here, and met again by the call, which has a fallback.
    """
    try:
        warm.load()
        if settings.end_of_turn_model != "off":
            shared_model().prewarm()
    except Exception as e:
        logger.error("an engine can't be loaded: %s", e)


async def _serve_call(
    settings: Settings,
    choices: Choices,
    server: AgentServer,
    absent: set[str],
    ctx: JobContext,
    *,
    telemetry: Telemetry | None,
    process: str,
) -> None:
    standing = Standing(ctx, agent_name=settings.agent_name, process=process)
    ctx.add_shutdown_callback(standing.aclose)
    if await standing.may_be_second():
        await ctx.connect()
        if not await standing.is_free():
            return
    # reading the certificates for a model's connections takes a third of a second
    settings, engines = await asyncio.to_thread(
        engines_for_call, settings, choices, ctx.job.metadata
    )
    engines.llm.prewarm()
    words = fault_words(settings.spoken_language, settings.own_fault_words())
    if standing.took_over:
        settings = settings.model_copy(update={"greeting": words.back})
    outlet = RoomOutlet(ctx.room)
    await outlet.set_attributes({ENGINES_ATTRIBUTE: as_json(engines.badges)})
    call = build_call(
        settings,
        engines,
        outlet=outlet,
        telemetry=telemetry,
        call_id=ctx.job.id,
    )
    ctx.add_shutdown_callback(call.aclose)
    kept = None if settings.calls_dir is None else KeptCall(settings.calls_dir, ctx.job.room.sid)
    if kept is not None:
        if standing.took_over and (said := await asyncio.to_thread(kept.load)) is not None:
            await call.agent.update_chat_ctx(said)
        kept.follow(call.session)
        ctx.add_shutdown_callback(lambda: kept.aclose(over=standing.over))
    key = PushToTalk(call.turns) if settings.turns == "push_to_talk" else None
    # this one counts
    await call.start(room=ctx.room, listening=key is None, alone=len(server.active_jobs) <= 1)
    presence = Presence(
        ctx.room,
        call.session,
        turns=call.turns,
        lifetime=call.lifetime,
        key=key,
        greeting=settings.greeting,
        draining=lambda: server.draining,
        on_change=lambda here: (absent.discard if here else absent.add)(ctx.job.id),
    )
    ctx.add_shutdown_callback(presence.aclose)

    stopping = StopWord(
        call.session,
        word=words.stopping,
        draining=lambda: server.draining,
        drain_timeout_s=settings.drain_timeout_s,
    )
    ctx.add_shutdown_callback(stopping.aclose)

    def ended(event: CloseEvent) -> None:
        # without it the job lives until the server closes the empty room, and a drain waits for it
        standing.leave(over=call.lifetime.over, alone=not presence.others)

    call.session.on("close", ended)
    standing.ends_when(lambda: call.lifetime.over)
    await ctx.connect()
    if not await standing.is_free():
        return
    presence.offer_hang_up()
    if key is not None:
        key.offer(ctx.room)


class WorkerError(Exception):
    """The worker can't start. The message says why and what to do."""


async def check_server(settings: Settings) -> None:
    """Asks the LiveKit server once whether it takes our key.

    A server that does not answer is no error: the worker keeps trying, and finds it when it is up.

    Raises:
        WorkerError: there is no key, or the server refuses it.
    """
    key, secret = settings.livekit_api_key, settings.livekit_api_secret.get_secret_value()
    if not key or not secret:
        missing = "LIVEKIT_API_KEY" if not key else "LIVEKIT_API_SECRET"
        raise WorkerError(f"{missing} is not set; it stands in the LiveKit server's configuration")
    timeout = aiohttp.ClientTimeout(total=5)
    async with api.LiveKitAPI(settings.livekit_url, key, secret, timeout=timeout) as server:
        try:
            await server.room.list_rooms(api.ListRoomsRequest(names=["-"]))
        except api.TwirpError as e:
            # the server answers a bad token with a bare status, without a code of its own
            if e.status in (401, 403):
                raise WorkerError(
                    f"the LiveKit server at {settings.livekit_url} refuses the API key or secret; "
                    "they must be a pair from `keys` in its configuration"
                ) from e
            logger.warning("unexpected answer from the server", extra={"code": e.code})
        except (aiohttp.ClientError, TimeoutError):
            logger.warning(
                "no LiveKit server yet; the worker keeps trying",
                extra={"url": settings.livekit_url},
            )


def run(server: AgentServer, command: str, arguments: list[str]) -> int:
    """Runs one of LiveKit's own worker commands, as its users know them."""
    previous = sys.argv
    sys.argv = ["agent-worker", command, *arguments]
    try:
        with warnings.catch_warnings():
            # it recommends LiveKit's separate program, which a self-hosted worker does not need
            warnings.simplefilter("ignore", DeprecationWarning)
            cli.run_app(server)
    except SystemExit as e:
        return e.code if isinstance(e.code, int) else 1
    finally:
        sys.argv = previous
    return 0
