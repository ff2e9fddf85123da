"""Which extras are installed, what the others would bring, and is every package our own?"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions

from .finding import Finding

_PROJECT = "livekit-agent-worker"
_TOP_LEVEL = ("agent_worker", "flows", "graph_speech", "local_tts")

WHAT_FOR = {
    "engines": "all that a first conversation needs: espeak, piper and llama",
    "espeak": "a small voice in many languages, and the demo's caller (GPL-3.0)",
    "piper": "natural voices (GPL-3.0)",
    "kokoro": "natural voices (Apache-2.0)",
    "llama": "a language model in the house, without a server",
    "xtts": "voices cloned from a recording (weights for non-commercial use; 6 GB)",
    "postgres": "callers' memories in PostgreSQL",
    "qdrant": "documents kept in a Qdrant server",
    "mcp": "tools from MCP servers",
    "otel": "the turns' times as OpenTelemetry spans",
}
"""Each extra in words."""


def look_at_installation() -> list[Finding]:
    """Looks at what was installed with this package, and over it."""
    ours = distribution(_PROJECT)
    wanted = ours.metadata.get_all("Provides-Extra") or []
    requires = ours.requires or []
    here = [extra for extra in wanted if all(map(_is_installed, packages_of(extra, requires)))]
    missing = [extra for extra in wanted if extra not in here]
    # an editable installation has no files of its own in the list
    owners = packages_distributions()
    return [
        extras_finding(here, missing),
        *owner_findings({name: {*owners.get(name, ()), _PROJECT} for name in _TOP_LEVEL}),
    ]


def packages_of(extra: str, requires: Iterable[str]) -> list[str]:
    """Names of the packages that an extra brings, from the lines of a package's metadata."""
    marker = re.compile(rf"extra\s*==\s*['\"]{re.escape(extra)}['\"]")
    return [line[: _NAME.match(line).end()] for line in requires if marker.search(line)]  # type: ignore[union-attr]


_NAME = re.compile(r"[A-Za-z0-9._-]*")


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def extras_finding(here: Iterable[str], missing: Iterable[str]) -> Finding:
    """Says which there are, and how to get the others."""
    told = tuple(
        f"not installed: {name}: {WHAT_FOR.get(name, '')}".rstrip(": ") for name in missing
    )
    advice = f"pip install '{_PROJECT}[NAME]'; in a checkout: uv sync --extra NAME" if told else ""
    return Finding("extras", "ok", f"installed: {', '.join(here) or 'none'}", advice, told)


def owner_findings(owners: dict[str, set[str]]) -> list[Finding]:
    """One of our packages may have been overwritten by a project that has one of that name.

    Args:
        owners: names of the projects, by the package that they bring.
    """
    return [
        Finding(
            "packages",
            "broken",
            f"{package} is brought by {' and '.join(sorted(projects))}: one overwrites the other",
            f"install {_PROJECT} in an environment of its own",
        )
        for package, projects in owners.items()
        if len(projects) > 1
    ]
