"""Which engine serves each stage, and why: a decision without I/O, made from what was found."""

from __future__ import annotations

import dataclasses

from agent_worker.settings import Settings

from .chosen import DOWNLOAD, Choice, Choices
from .inventory import Found
from .voices.registry import choose_voice

BUNDLED_LIMITS = (
    "the bundled model knows only the demo's small vocabulary and hears wrong words in all else"
)
_TOO_SLOW = "it won't keep up with speech on this machine"


def choose(settings: Settings, found: Found) -> Choices:
    """Takes what the settings ask for, else the best that was found."""
    voice = choose_voice(settings, found)
    return Choices(_stt(settings, found), _llm(settings, found), voice, found)


def _stt(settings: Settings, found: Found) -> Choice:
    choice = _stt_model(settings, found)
    device = found.hearing
    if device.fault and settings.stt_device != "auto":
        problem = f"it can't run on {device.device}: {device.fault}; {device.cure}"
        return dataclasses.replace(choice, problem=choice.problem or problem)
    if device.fault:
        reason = f"{choice.reason}; on the CPU, since {device.fault}"
        better = f"for the GPU: {device.cure}"
        return dataclasses.replace(choice, reason=reason, better=better)
    return choice


def _stt_model(settings: Settings, found: Found) -> Choice:
    price = f", {found.suited_whisper_price}" if found.suited_whisper_price else ""
    suited = found.suited_whisper and f" {found.suited_whisper}{price}, which suits this machine"
    better = f"for open speech: {DOWNLOAD} (it fetches{suited}; set stt_model for another size)"
    if not suited:
        better = f"for open speech: {DOWNLOAD} (set stt_model to choose the size)"
    if settings.stt == "bundled" or settings.stt_model == "bundled":
        return Choice("hearing", "faster-whisper", "bundled", f"set so; {BUNDLED_LIMITS}", better)
    if settings.stt_model is not None:
        slow = settings.stt_model in found.too_slow
        reason = "set in the settings" + (f"; {_TOO_SLOW}" if slow else "")
        return Choice(
            "hearing",
            "faster-whisper",
            settings.stt_model,
            reason,
            better * slow,
            # who names a model must not get another one, which hears wrong, without a word
            f"stt_model: {found.whisper_fault}" if found.whisper_fault else "",
        )
    if found.whisper_models:
        model = found.whisper_models[0]
        if model in found.too_slow:
            reason = f"the lightest model in the cache; {_TOO_SLOW}"
            return Choice("hearing", "faster-whisper", model, reason, better)
        reason = "the best model in the cache that keeps up with speech here"
        step = f"for better hearing: {DOWNLOAD} ({found.better_whisper})"
        return Choice("hearing", "faster-whisper", model, reason, step * bool(found.better_whisper))
    if settings.stt == "faster-whisper":
        problem = f"no faster-whisper model in the cache: {DOWNLOAD}, or set stt_model to a folder"
        return Choice("hearing", "faster-whisper", "", "set in the settings", better, problem)
    return Choice(
        "hearing", "faster-whisper", "bundled", f"no model in the cache; {BUNDLED_LIMITS}", better
    )


def _llm(settings: Settings, found: Found) -> Choice:
    better = _better_llm(found)
    if settings.llm == "offline":
        return Choice("thinking", "offline", "rules and tools, no model", "set so", better)
    if settings.llm == "remote":
        problem = "" if settings.flow_url else "llm=remote needs flow_url"
        flow_id, url = (settings.flow_id, settings.flow_url) if settings.flow_url else ("", "")
        warning = "; ".join(found.llm_advice)
        reason = "set in the settings"
        return Choice(
            "thinking",
            "remote",
            flow_id,
            reason,
            problem=problem,
            endpoint=url,
            warning=warning,
        )
    if _runs_itself(settings, found):
        return _own_model(settings, found)
    # Of a named server the address that answered: /v1 may have been left out.
    endpoint = found.llm_endpoint or settings.llm_url
    model = settings.llm_model or next(iter(found.llm_models), "")
    warning = "; ".join(found.llm_advice)
    if settings.llm == "auto" and endpoint is None:
        warning = "; ".join(filter(None, [warning, found.house_fault]))
        return Choice(
            "thinking",
            "offline",
            "rules and tools, no model",
            "no model server is set, and none answered on the usual local ports"
            if not found.llm_advice
            else "no model server is set, and none on the usual local ports can chat",
            better,
            warning=warning,
        )
    flow = _flow(settings)
    if endpoint is None:
        problem = f"llm={flow} needs a model server: set llm_url, or start one on this machine"
        problem = "; ".join([problem, *found.llm_advice])
        return Choice("thinking", flow, "", "set in the settings", better, problem)
    if not model:
        # what is amiss says more than that no model is listed
        problem = "; ".join(found.llm_advice) or (
            f"{endpoint} lists no model: set llm_model, and see that the server is up"
        )
        return Choice("thinking", flow, "", "", "", problem, endpoint=endpoint)
    kind = f"{found.llm_kind} " if found.llm_kind else ""
    where = "llm_url is set" if settings.llm_url else f"a {kind}server answered on this machine"
    if found.llm_key:
        where, step = _OWN_REASON, _next_llm(found)
    else:
        step = ""
    return Choice(
        "thinking",
        flow,
        model,
        where,
        step,
        server_kind=settings.llm_kind or found.llm_kind,
        context_tokens=found.llm_context,
        warning=warning,
        endpoint=endpoint,
        api_key=found.llm_key,
    )


_OWN_REASON = "the worker runs it itself, with llama.cpp"


def _flow(settings: Settings) -> str:
    return "assistant" if settings.llm in ("auto", "local") else settings.llm


def _runs_itself(settings: Settings, found: Found) -> bool:
    """Whether a model of the worker's own is to answer, and does not run yet."""
    if found.llm_key:
        return False
    if settings.llm == "local":
        return True
    if settings.llm_url is not None:
        return False
    if settings.llm_gguf is not None:
        return True
    return found.llm_endpoint is None and found.house_model is not None and not found.house_fault


def _own_model(settings: Settings, found: Found) -> Choice:
    flow, path, problem = _flow(settings), found.house_model, found.house_fault
    if path is None:
        problem = problem or f"no language model in the cache: {DOWNLOAD}, or set llm_gguf to one"
    return Choice(
        "thinking",
        flow,
        path.stem if path is not None else "",
        _OWN_REASON,
        _next_llm(found),
        problem,
        server_kind="llama.cpp",
        house_model=path,
    )


def _next_llm(found: Found) -> str:
    return f"for better answers: {DOWNLOAD} ({found.better_llm})" if found.better_llm else ""


def _better_llm(found: Found) -> str:
    servers = "start vLLM, llama.cpp or Ollama with a Qwen3 model on this machine, or set llm_url"
    suited = found.suited_llm
    if suited is None:
        return f"for free conversation: {servers}"
    price = found.suited_llm_price or f"{suited.megabytes} MB"
    fetch = f"{DOWNLOAD} (it fetches {suited.name}, {price}, which suits this machine)"
    return f"for free conversation: {fetch}, or {servers}"
