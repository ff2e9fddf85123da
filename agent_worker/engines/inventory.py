"""What is on this machine, as data: `found.py` fills it, `choice.py` takes from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

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
class VoicesFound:
    """What one voice engine has on this machine."""

    installed: bool = True
    """Whether what it needs beside its voices is here."""
    voices: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """By a voice's name the tag of its language, such as en or en-GB; the best first."""


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
    voices: Mapping[str, VoicesFound] = dataclasses.field(default_factory=dict)
    """By the voice engine's name; one that is missing is not installed."""
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

    def voices_of(self, engine: str) -> VoicesFound:
        """What a voice engine has here."""
        return self.voices.get(engine, _NO_VOICES)


_NO_VOICES = VoicesFound(installed=False)
