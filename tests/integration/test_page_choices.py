"""What is chosen on the page is what answers: a real browser, a real server, a real worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from agent_worker.commands.livekit_server import RunningServer
from agent_worker.commands.serve_web import page as page_app
from agent_worker.commands.serve_web import serve_app
from agent_worker.engines.found import choose_engines
from agent_worker.engines.offers import find_offers
from agent_worker.settings import Settings
from tests import real
from tests.fake_openai_server import FakeOpenAIServer, Reply

from .test_browser import chromium, microphone, open_page, photograph, says

pytestmark = pytest.mark.timeout(180)


def as_character(body: dict[str, Any]) -> Reply:
    prompt = str(body["messages"][0]["content"])
    lines = {"Mira": "The engine hums.", "Leo": "The stars are out."}
    return Reply(next((line for name, line in lines.items() if f"You are {name}" in prompt), "?"))


@pytest.fixture(scope="module")
def choosing(livekit_server: RunningServer, process_logs: Path) -> Iterator[Settings]:
    """The settings of a worker that has a model server, and lets callers choose."""
    with real.in_background(FakeOpenAIServer(script=as_character), timeout_s=10) as model:
        settings = real.worker_settings(
            livekit_server,
            agent_name="choosing-agent",
            llm="auto",
            llm_url=model.base_url,
            llm_model=model.model,
        )
        with real.worker(settings, process_logs / "choosing-worker.log"):
            yield settings


async def serve(settings: Settings) -> AbstractAsyncContextManager[str]:
    app = page_app(settings, find_offers(settings, await choose_engines(settings)))
    return serve_app(app, host="127.0.0.1", port=0)


async def test_the_language_chosen_is_heard_and_spoken(choosing: Settings, tmp_path: Path) -> None:
    wav = await microphone(tmp_path, "现在几点", before_s=6.0, after_s=9.0, language="zh")
    async with await serve(choosing) as address, chromium(wav) as page:
        await open_page(page, address)
        await page.select_option("select[name=language]", label="中文")
        await page.check("input[name=flow][value=offline]")
        await page.click("#join")
        await says(page, "agent", "你好，有什么可以帮你？")
        await says(page, "user", "现在几点")
        await says(page, "agent", "点")
        await photograph(page, "mandarin")
        await page.click("#leave")
        await page.reload()
        await expect(page.locator("select[name=language]")).to_have_value("zh")


async def test_the_character_chosen_is_the_one_who_answers(choosing: Settings) -> None:
    async with await serve(choosing) as address, chromium(None) as page:
        await open_page(page, address)
        await expect(page.locator("input[name=character]").first).to_be_hidden()
        await page.click("label.card:has-text('Characters')")
        await page.check("input[name=character][value=Leo]")
        await page.click("#join-text")
        await says(page, "agent", "How can I help you?")
        await page.fill("#message", "Mira, are you there?")
        await page.press("#message", "Enter")
        await says(page, "agent", "The stars are out.")
        said = page.locator("#transcript li[data-who=agent]", has_text="The stars are out.")
        await expect(said.locator(".who")).to_have_text("Leo")
