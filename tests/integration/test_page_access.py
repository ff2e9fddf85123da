"""Everyone can read and use the page: measured in a real Chromium, in every state of a call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import expect

from agent_worker.commands.livekit_server import RunningServer
from agent_worker.commands.serve_web import page as page_app
from agent_worker.commands.serve_web import serve_app
from agent_worker.engines.badges import Badge
from agent_worker.engines.offer import Offer
from agent_worker.engines.offers import Offers
from tests import real
from tests.accessibility import violations, violations_everywhere

from .test_browser import (
    PATIENCE_MS,
    chromium,
    greeted,
    join,
    microphone,
    open_page,
    page_for,
    photograph,
    says,
)

pytestmark = pytest.mark.timeout(300)

OFFERS = Offers(
    flows=(Offer("offline", "Basics", "no model"), Offer("persona", "Characters")),
    characters=(Offer("everyone", "Everyone"), Offer("Mira", "Mira")),
    voices=(Offer("standard", "Standard"), Offer("+f3", "Higher")),
    languages=(Offer("en", "English"), Offer("zh", "中文")),
)

ENGINES = (
    Badge("hearing", "Whisper, demo model", True, "It knows little.", "agent-worker more"),
    Badge("thinking", "Rules, no model"),
    Badge("voice", "eSpeak NG"),
)

RARE_SIGHTS = """() => {
    const line = document.querySelector('#transcript li[data-who=user]').cloneNode(true);
    line.querySelector('p').innerHTML = '<span>what </span><span class="unsure">time is</span>'
        + ' <span class="cut">interrupted</span>';
    const agents = document.querySelector('#transcript li[data-who=agent]').cloneNode(true);
    agents.querySelector('p').innerHTML = '<span>It </span><span class="unsure">is five</span>'
        + ' <span class="cut">interrupted</span>';
    document.querySelector('#transcript').append(line, agents);
    line.classList.add('aside');
    agents.querySelector('p').insertAdjacentHTML(
        'beforeend', ' <s class="unsaid">in the morning</s>');
    document.querySelector('#busy').textContent = 'All agents are busy.';
    const rare = ['latest', 'text-only', 'talk', 'busy', 'not-heard', 'save-sound', 'interrupt'];
    for (const id of rare) document.getElementById(id).hidden = false;
    document.getElementById('mute').setAttribute('aria-pressed', 'true');
}"""


@asynccontextmanager
async def page_with_choices(server: RunningServer) -> AsyncIterator[str]:
    settings = real.worker_settings(server, web_token="open sesame")
    app = page_app(settings, OFFERS, engines=ENGINES)
    async with serve_app(app, host="127.0.0.1", port=0) as address:
        yield address


async def test_before_a_call_the_page_can_be_read_by_everyone(
    livekit_server: RunningServer,
) -> None:
    denied = ("401",)
    async with (
        page_with_choices(livekit_server) as address,
        chromium(None, expected=denied) as page,
    ):
        await open_page(page, address)
        await page.check("input[name=flow][value=persona]")
        await expect(page.locator("input[name=character]").first).to_be_visible()
        await page.click("#devices summary")
        assert await violations_everywhere(page) == []
        await photograph(page, "choices")
        await page.click("#join-text")
        await expect(page.locator("#banner-text")).to_contain_text("access key")
        assert await violations_everywhere(page) == []


async def test_in_a_call_the_page_can_be_read_by_everyone(
    livekit_server: RunningServer, worker_pid: int, tmp_path: Path
) -> None:
    wav = await microphone(tmp_path, "hello", before_s=2.0, after_s=60.0)
    async with page_for(livekit_server) as address, chromium(wav) as page:
        await open_page(page, address)
        await page.click("#join")
        await says(page, "user", "hello")
        await page.click("#latency summary")
        await expect(page.locator("#turns tr").first).to_be_visible(timeout=PATIENCE_MS)
        assert await violations_everywhere(page) == []
        await page.evaluate(RARE_SIGHTS)
        assert await violations_everywhere(page) == []


async def test_without_a_microphone_the_page_can_be_read_by_everyone(
    livekit_server: RunningServer, worker_pid: int
) -> None:
    async with page_for(livekit_server) as address, chromium(None) as page:
        await join(page, address)
        await expect(page.locator("#banner-text")).to_contain_text("microphone is blocked")
        await greeted(page)
        assert await violations_everywhere(page) == []


async def test_the_measure_finds_what_can_not_be_read(livekit_server: RunningServer) -> None:
    async with page_for(livekit_server) as address, chromium(None) as page:
        await open_page(page, address)
        await page.evaluate("document.getElementById('state').style.color = '#bbb'")
        found = await violations(page)
        assert [line.split(":")[0] for line in found] == ["color-contrast"]
