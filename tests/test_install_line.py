"""What is missing is named with a line that can be pasted."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from agent_worker.__main__ import main
from agent_worker.commands import install_line as asked

WHEEL = "file:///tmp/livekit_agent_worker-0.1.0-py3-none-any.whl"
UVX = Path("/home/me/.cache/uv/archive-v0/vnFXWyY4uGxLeJBNbiB0T")
OWN = Path("/home/me/.venv")


@pytest.mark.parametrize(
    ("origin", "prefix", "line"),
    [
        (
            {"url": WHEEL, "archive_info": {}},
            UVX,
            f"uvx --from 'livekit-agent-worker[engines] @ {WHEEL}' agent-worker demo",
        ),
        ({}, UVX, "uvx --from 'livekit-agent-worker[engines]' agent-worker demo"),
        (
            {"url": "https://x.test/r.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            UVX,
            "uvx --from 'livekit-agent-worker[engines] @ git+https://x.test/r.git@abc' "
            "agent-worker demo",
        ),
        (
            {"url": WHEEL, "archive_info": {}},
            OWN,
            f"pip install 'livekit-agent-worker[engines] @ {WHEEL}' && agent-worker demo",
        ),
        (
            {"url": "file:///home/me/checkout", "dir_info": {"editable": True}},
            OWN,
            "uv run --extra engines agent-worker demo",
        ),
    ],
)
def test_the_line_is_of_the_way_in_which_it_was_installed(
    origin: dict[str, Any], prefix: Path, line: str
) -> None:
    told = asked.install_line("engines", origin=origin, prefix=prefix, command="demo")
    assert told == line


def test_commands_are_said_as_they_are_typed_here(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "for open speech: run `agent-worker download-files` (145 MB)"
    monkeypatch.setattr(asked, "_origin", lambda: {"dir_info": {"editable": True}})
    assert asked.as_typed(said) == (
        "for open speech: run `uv run agent-worker download-files` (145 MB)"
    )
    assert asked.typed_command("agent-worker doctor") == "uv run agent-worker doctor"
    assert asked.typed_command("") == ""
    monkeypatch.setattr(asked, "_origin", dict)
    monkeypatch.setattr(sys, "prefix", str(OWN))
    assert asked.as_typed(said) == said
    monkeypatch.setattr(sys, "prefix", str(UVX))
    assert "`uvx --from 'livekit-agent-worker[engines]' agent-worker download" in asked.as_typed(
        said
    )


def test_the_demo_without_a_voice_ends_at_once_with_that_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(asked, "find_spec", lambda name: None)
    monkeypatch.setattr(asked, "_origin", lambda: {"url": WHEEL})
    monkeypatch.setattr(sys, "prefix", str(UVX))
    assert main(["demo", "--once", "--folder", str(tmp_path / "demo")]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert (
        f"\n  uvx --from 'livekit-agent-worker[engines] @ {WHEEL}' agent-worker demo\n" in told.err
    )
    assert "GPL" in told.err
    assert not (tmp_path / "demo").exists()


def test_the_extra_has_what_a_checkout_has() -> None:
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    read = tomllib.loads(text)
    extra = read["project"]["optional-dependencies"][asked.ENGINES]
    assert sorted(extra) == sorted(read["dependency-groups"]["engines"])
