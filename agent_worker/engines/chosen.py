"""The engine of each stage of a call, as data."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from .inventory import Found

DOWNLOAD = "run `agent-worker download-files`"
"""Advice that several choices give."""


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
