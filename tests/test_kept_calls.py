"""What was said is kept until the call ends, for this user's eyes alone."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from livekit.agents import AgentSession, ConversationItemAddedEvent, llm

from agent_worker.dispatch.kept_calls import KeptCall, forget_old_calls
from livekit import rtc


def _said(*texts: str) -> llm.ChatContext:
    said = llm.ChatContext.empty()
    said.add_message(role="system", content="Be brief.")
    for number, text in enumerate(texts):
        said.add_message(role="assistant" if number % 2 else "user", content=text)
    return said


def _texts(said: llm.ChatContext | None) -> list[str]:
    assert said is not None
    return [item.text_content or "" for item in said.items if item.type == "message"]


def test_who_takes_over_knows_what_was_said_but_not_the_old_instructions(tmp_path: Path) -> None:
    KeptCall(tmp_path / "calls", "RM_1").save(_said("Hello.", "Hi, Ann."))
    assert _texts(KeptCall(tmp_path / "calls", "RM_1").load()) == ["Hello.", "Hi, Ann."]
    assert KeptCall(tmp_path / "calls", "RM_2").load() is None, "another call"


def test_nobody_else_can_read_it_and_the_name_tells_nothing(tmp_path: Path) -> None:
    KeptCall(tmp_path / "calls", "RM_secret").save(_said("Hello."))
    (file,) = (tmp_path / "calls").iterdir()
    assert file.stat().st_mode & 0o077 == 0
    assert file.parent.stat().st_mode & 0o077 == 0
    assert "secret" not in file.name


def test_what_is_old_or_broken_is_not_taken_up(tmp_path: Path) -> None:
    kept = KeptCall(tmp_path, "RM_1")
    kept.save(_said("Hello."))
    (file,) = tmp_path.iterdir()
    hour_ago = time.time() - 3600
    os.utime(file, (hour_ago, hour_ago))
    assert kept.load() is None
    forget_old_calls(tmp_path)
    assert list(tmp_path.iterdir()) == []
    kept.save(_said("Hello."))
    file.write_text("{")
    assert kept.load() is None


class FakeSession(rtc.EventEmitter[str]):
    def __init__(self) -> None:
        super().__init__()
        self.current_agent = SimpleNamespace(chat_ctx=_said())

    def hears(self, text: str) -> None:
        self.current_agent.chat_ctx.add_message(role="user", content=text)
        self.emit("conversation_item_added", ConversationItemAddedEvent.model_construct())


async def test_a_call_is_kept_as_it_goes_and_forgotten_when_it_ends(tmp_path: Path) -> None:
    session, kept = FakeSession(), KeptCall(tmp_path, "RM_1")
    kept.follow(cast(AgentSession[Any], session))
    for text in ("one", "two", "three"):
        session.hears(text)
        await asyncio.sleep(0)
    await kept.aclose(over=False)
    assert _texts(KeptCall(tmp_path, "RM_1").load()) == ["one", "two", "three"]
    await kept.aclose(over=True)
    session.hears("four")
    await asyncio.sleep(0.05)
    assert list(tmp_path.iterdir()) == []


async def test_a_disk_that_is_full_costs_no_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    session, kept = FakeSession(), KeptCall(blocked / "calls", "RM_1")
    kept.follow(cast(AgentSession[Any], session))
    session.hears("one")
    await asyncio.sleep(0.05)
    await kept.aclose(over=True)
    assert [record.getMessage() for record in caplog.records] == ["what was said can't be kept"]
