"""Which engine serves each stage, and why: a decision without I/O, made from what was found."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

from agent_worker.settings import Settings

from .languages import same_language
from .local_models import LocalModel


@dataclasses.dataclass(frozen=True)
class HearingDevice:
    """Where Whisper would run."""

    device: str = "cpu"
    compute_type: str = ""
    cores: int = 0
    """That this process may use; 0 = not looked at."""
    gpu: str = ""
    """Its own name, as far as its driver tells."""
    gpu_mb: int | None = None
    """Free memory of a GPU that decodes; 0 = not known, None = no such GPU."""
    fault: str = ""
    """Why the GPU that is there, or that the settings name, can't decode."""
    cure: str = ""

    @property
    def name(self) -> str:
        """Device, type and the GPU's own name, or the number of cores."""
        about = self.gpu or (f"{self.cores} cores" if self.device == "cpu" and self.cores else "")
        kind = f"{self.device} {self.compute_type}".strip()
        return f"{kind}, {about}" if about else kind


@dataclasses.dataclass(frozen=True)
class Found:
    """What is on this machine."""

    whisper_models: tuple[str, ...] = ()
    """faster-whisper models in the cache, the best that keeps up with speech here first."""
    too_slow: tuple[str, ...] = ()
    """Models that don't keep up with speech on this machine."""
    suited_whisper: str = ""
    """The model to download for this machine; empty = not known."""
    hearing: HearingDevice = dataclasses.field(default_factory=HearingDevice)
    whisper_fault: str = ""
    """Why the model that the settings name is not to be had here; empty where it is, or none is."""
    piper_installed: bool = False
    piper_voices: tuple[Path, ...] = ()
    """Voices in the cache, best first."""
    piper_languages: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """By a voice's name the primary tag of its language, such as en."""
    kokoro_voices: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """By a Kokoro voice's name the tag of its language, such as en-GB; empty = no Kokoro."""
    espeak_installed: bool = False
    xtts_installed: bool = False
    llm_endpoint: str | None = None
    """Base URL of a model server that answered."""
    llm_models: tuple[str, ...] = ()
    llm_kind: str = ""
    """Kind of that server, such as vllm or ollama."""
    llm_context: int | None = None
    """Tokens of context that it has for a call, where it tells."""
    llm_key: str = dataclasses.field(default="", repr=False)
    """Of the model that the worker runs itself; empty until it runs."""
    house_model: Path | None = None
    """GGUF file that the worker could run itself."""
    house_fault: str = ""
    """Why it can't."""
    suited_llm: LocalModel | None = None
    """The model to download for this machine; None = none has room."""
    better_llm: str = ""
    """The next size above the one that is here, with its price; empty = that is the best."""
    suited_llm_price: str = ""
    better_whisper: str = ""
    """The size that suits this machine where a smaller one is here, with its price."""
    suited_whisper_price: str = ""
    llm_advice: tuple[str, ...] = ()
    """What is amiss with it, or with others that were looked at, a sentence each."""
    remote_flows: tuple[str, ...] = ()
    """Flows that the flow server of the settings can run now."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """The engine of one stage."""

    stage: str
    """hearing, thinking or speaking."""
    engine: str
    detail: str
    """Model, voice, or a flow server's flow."""
    reason: str
    better: str = ""
    """What to do for a better one; empty where there is nothing to say."""
    problem: str = ""
    """Why this stage can't run at all; empty when it can."""
    server_kind: str = ""
    """Of a model server: vllm, ollama, …; empty where it is not known."""
    context_tokens: int | None = None
    """Of a model server: tokens of a call that it holds; None where it does not tell."""
    warning: str = ""
    """What is amiss although this stage may run; empty when nothing is."""
    house_model: Path | None = None
    """GGUF file that the worker has to run for it first."""
    endpoint: str = ""
    """Address of the server that runs it; empty where it runs in the worker."""
    api_key: str = dataclasses.field(default="", repr=False)
    """Of the model that the worker runs itself."""

    @property
    def name(self) -> str:
        """Engine, detail and endpoint in one."""
        about = " at ".join(part for part in (self.detail, self.endpoint) if part)
        return f"{self.engine} ({about})" if about else self.engine


@dataclasses.dataclass(frozen=True)
class Choices:
    """One engine for each stage."""

    stt: Choice
    llm: Choice
    tts: Choice
    found: Found = dataclasses.field(default_factory=Found, repr=False)
    """What they were chosen from: a call with wishes of its own chooses again."""

    def __iter__(self) -> Iterator[Choice]:
        return iter((self.stt, self.llm, self.tts))

    @property
    def problems(self) -> list[str]:
        """Why the worker can't run, one line for each stage that lacks an engine."""
        return [f"{c.stage}: {c.problem}" for c in (self.stt, self.llm, self.tts) if c.problem]


DOWNLOAD = "run `agent-worker download-files`"
BUNDLED_LIMITS = (
    "the bundled model knows only the demo's small vocabulary and hears wrong words in all else"
)


_TOO_SLOW = "it won't keep up with speech on this machine"


def choose(settings: Settings, found: Found) -> Choices:
    """Takes what the settings ask for, else the best that was found."""
    return Choices(_stt(settings, found), _llm(settings, found), _tts(settings, found), found)


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
        problem = f"{endpoint} lists no model: set llm_model, and see that the server is up"
        problem = "; ".join([problem, *found.llm_advice])
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


def _tts(settings: Settings, found: Found) -> Choice:
    voice = settings.tts_voice
    piper_problem = (
        ""
        if found.piper_installed
        else "piper-tts is not installed: pip install 'livekit-agent-worker[piper]'"
    )
    espeak_problem = (
        ""
        if found.espeak_installed
        else "espeakng-loader is not installed (it is an extra, since espeak-ng is under the GPL): "
        "pip install 'livekit-agent-worker[espeak]', or "
        "uvx --from 'livekit-agent-worker[espeak]' agent-worker"
    )
    match settings.tts:
        case "piper":
            if voice is None and not found.piper_voices:
                piper_problem = piper_problem or f"no Piper voice in the cache: {DOWNLOAD}"
            detail = voice or next((v.stem for v in found.piper_voices), "")
            return Choice("speaking", "piper", detail, "set in the settings", "", piper_problem)
        case "kokoro":
            detail = voice or _kokoro_voice(settings, found)
            problem = _kokoro(settings, found, detail)
            return Choice("speaking", "kokoro", detail, "set in the settings", "", problem)
        case "espeak":
            detail = voice or settings.language
            return Choice("speaking", "espeak", detail, "set in the settings", "", espeak_problem)
        case "xtts":
            return Choice("speaking", "xtts", voice or "", "set so", "", _xtts(settings, found))
        case "speech-api" | "higgs":
            problem = "" if settings.tts_url else f"tts={settings.tts} needs tts_url"
            url = settings.tts_url or ""
            return Choice("speaking", settings.tts, "", "set so", "", problem, endpoint=url)
        case "auto":
            pass
    if voice is not None and voice in found.kokoro_voices and found.espeak_installed:
        return Choice("speaking", "kokoro", voice, "tts_voice is one of Kokoro's")
    if found.piper_installed and (found.piper_voices or _is_voice_file(voice)):
        detail = voice or found.piper_voices[0].stem
        return Choice("speaking", "piper", detail, "a Piper voice is on this machine")
    kokoro_voice = _kokoro_voice(settings, found)
    if voice is None and kokoro_voice and found.espeak_installed:
        return Choice("speaking", "kokoro", kokoro_voice, "Kokoro is on this machine")
    better = f"for a natural voice: {DOWNLOAD} (set tts_voice to choose one)"
    reason = (
        "no Piper voice in the cache; espeak-ng is small and always at hand, and sounds like it"
    )
    return Choice("speaking", "espeak", settings.language, reason, better, espeak_problem)


def _is_voice_file(voice: str | None) -> bool:
    return voice is not None and voice.endswith(".onnx")


def _kokoro_voice(settings: Settings, found: Found) -> str:
    """The voice for the call's language; the first of a list is the one that is graded best."""
    tag = settings.spoken_language
    exact = (v for v, own in found.kokoro_voices.items() if own.lower() == tag.lower())
    alike = (v for v, own in found.kokoro_voices.items() if same_language(own, tag))
    return next(exact, next(alike, ""))


def _kokoro(settings: Settings, found: Found, voice: str) -> str:
    """Why Kokoro can't speak; empty where it can."""
    if not found.espeak_installed:
        return "its phonemizer is not installed: pip install 'livekit-agent-worker[kokoro]'"
    if not found.kokoro_voices:
        return f"Kokoro is not in the cache: {DOWNLOAD} with tts=kokoro"
    if not voice:
        return (
            f"no Kokoro voice speaks {settings.spoken_language}; there are voices for "
            + ", ".join(dict.fromkeys(found.kokoro_voices.values()))
        )
    if voice not in found.kokoro_voices:
        return f"Kokoro has no voice {voice!r}; it has {', '.join(found.kokoro_voices)}"
    return ""


def _xtts(settings: Settings, found: Found) -> str:
    if not found.xtts_installed:
        return "coqui-tts is not installed: pip install 'livekit-agent-worker[xtts]'"
    if not settings.xtts_accept_license:
        return "read the model's licence (CPML, non-commercial), then set xtts_accept_license=true"
    if settings.tts_reference is None:
        return "set tts_reference to a WAV of 6 to 30 s of the voice to speak with"
    return ""
