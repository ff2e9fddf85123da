"""What is on this machine: models, voices, a model server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx

from agent_worker.settings import Settings

from .choice import choose
from .chosen import Choices
from .found_model import Say, find_model_server
from .hearing_device import find_hearing_device
from .house_model import find_house_model, find_machine, house_fault
from .inventory import Found, HearingDevice
from .local_models import Machine, local_models, next_better, suited_local_model
from .voices.registry import find_voices

_FLOW_SERVER_S = 2.0
_MOST_FLOWS = 16


async def look_around(
    settings: Settings,
    *,
    wait_s: float | None = None,
    until_ready: bool = False,
    say: Say | None = None,
) -> Found:
    """Finds out what is on this machine.

    No network but loopback, and that for under 300 ms; and the servers that the settings name,
    which get seconds. Where there is a GPU, it decodes once, in a process of its own.

    Args:
        settings: of the user.
        wait_s: for a model server that is loading or not up yet, as `find_model_server` takes it.
        until_ready: the same.
        say: the same.
    """
    model_server = await find_model_server(
        settings, wait_s=wait_s, until_ready=until_ready, say=say
    )
    remote_flows, flow_advice = await _remote_flows(settings)
    machine = await asyncio.to_thread(find_machine)
    own_model = await asyncio.to_thread(find_house_model, settings, machine)
    hearing = await find_hearing_device(settings)
    models, too_slow, suited = _whisper_models(hearing)
    return Found(
        whisper_models=models,
        too_slow=too_slow,
        suited_whisper=suited,
        hearing=hearing,
        whisper_fault=_whisper_fault(settings),
        voices=find_voices(settings),
        llm_endpoint=model_server.endpoint,
        llm_models=model_server.models,
        llm_kind=model_server.kind,
        llm_context=model_server.context_tokens,
        llm_advice=model_server.advice + flow_advice,
        remote_flows=remote_flows,
        house_model=own_model,
        house_fault=house_fault(settings, own_model),
        **_prices(settings, machine, own_model, models, suited),
    )


async def choose_engines(
    settings: Settings,
    *,
    wait_s: float | None = None,
    until_ready: bool = False,
    say: Say | None = None,
) -> Choices:
    """What serves each stage on this machine, with the reasons; arguments as `look_around`'s."""
    found = await look_around(settings, wait_s=wait_s, until_ready=until_ready, say=say)
    return choose(settings, found)


def _prices(
    settings: Settings,
    machine: Machine,
    own_model: Path | None,
    whispers: tuple[str, ...],
    suited_whisper: str,
) -> dict[str, Any]:
    """What suits this machine better than what is here, and what it costs."""
    from livekit.plugins.faster_whisper.model_costs import cost_of

    suited = suited_local_model(machine, max_sessions=settings.max_sessions)
    prices: dict[str, Any] = {"suited_llm": suited}
    if suited is not None:
        prices["suited_llm_price"] = suited.price(machine)
    here = next((m for m in local_models() if own_model and m.file == own_model.name), None)
    if here is not None and (step := next_better(here, machine)) is not None:
        prices["better_llm"] = f"{step.name}: {step.price(machine)}"
    cost = cost_of(suited_whisper)
    if cost is not None:
        price = f"{cost.disk_mb} MB, a final in {cost.final_ms} ms of a core"
        prices["suited_whisper_price"] = price
        had = cost_of(whispers[0]) if whispers else None
        if had is not None and had.disk_mb < cost.disk_mb:
            prices["better_whisper"] = f"{cost.name}: {price} instead of {had.final_ms}"
    return prices


_WHISPER_BEST_FIRST = (
    "large-v3-turbo",
    "distil-large-v3",
    "large-v3",
    "medium",
    "small",
    "base",
    "tiny",
)


def _whisper_models(hearing: HearingDevice) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """Those in the cache, those that are too slow here, and the one that suits this machine."""
    from livekit.plugins.faster_whisper import model_costs, models

    here: dict[str, Any] = {"cores": hearing.cores, "gpu_mb": hearing.gpu_mb}
    cached = [model for model in _WHISPER_BEST_FIRST if models.is_available(model)]
    return (
        tuple(model_costs.best_first(cached, **here)),
        tuple(m for m in models.MODEL_NAMES if not model_costs.keeps_up(m, **here)),
        model_costs.suited_model(**here),
    )


def _whisper_fault(settings: Settings) -> str:
    """Why the Whisper model that the settings name can't be had on this machine."""
    if settings.stt_model is None or settings.stt == "bundled":
        return ""
    from livekit.plugins.faster_whisper import models

    try:
        models.find_model(models.ModelSpec(models.check_model_name(settings.stt_model)))
    except (models.ModelNotFoundError, ValueError) as error:
        return str(error)
    return ""


async def _remote_flows(settings: Settings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The flows that the server can run, and why it can't run the one of the settings."""
    if settings.llm != "remote" or settings.flow_url is None:
        return (), ()
    token = settings.flow_token.get_secret_value()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with httpx.AsyncClient(timeout=_FLOW_SERVER_S, trust_env=False) as client:
            address = f"{settings.flow_url.rstrip('/')}/api/flows"
            answer = (await client.get(address, headers=headers)).raise_for_status().json()
        flows = [str(flow["id"]) for flow in answer["flows"] if flow["available"]]
        advice = tuple(
            f"the flow server can't run {settings.flow_id}: {flow['reason']}"
            for flow in answer["flows"]
            if flow["id"] == settings.flow_id and flow.get("reason")
        )
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        # it may come up later; then the flow of the settings is served
        return (), ()
    return tuple(flows[:_MOST_FLOWS]), advice
