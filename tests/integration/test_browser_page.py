"""What the page does for whoever talks: asked of a real Chromium in real calls."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from playwright.async_api import expect

from agent_worker.commands.livekit_server import RunningServer
from agent_worker.commands.serve_web import ChangingApp, serve_app
from agent_worker.commands.serve_web import page as page_app
from agent_worker.engines.badges import badges, on_their_way
from agent_worker.engines.choice import choose
from agent_worker.engines.found import choose_engines
from agent_worker.engines.inventory import Found
from agent_worker.engines.offer import Offer
from agent_worker.gateway import Gateway
from agent_worker.settings import load_settings
from agent_worker.web import WebConfig, create_app
from livekit import api
from tests import real
from tests.fake_voice_stack import FakeStack
from tests.voices_at_hand import ESPEAK, piper

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

pytestmark = pytest.mark.timeout(180)


async def test_a_call_that_began_in_writing_goes_on_by_voice_and_back(
    livekit_server: RunningServer, worker_pid: int, tmp_path: Path
) -> None:
    wav = await microphone(tmp_path, "what time is it", before_s=2.0, after_s=6.0)
    async with page_for(livekit_server) as address, chromium(wav) as page:
        await join(page, address, "#join-text")
        await greeted(page)
        await expect(page.locator("#mute")).to_be_hidden()
        await page.click("#by-voice")
        await expect(page.locator("#mute")).to_be_enabled(timeout=PATIENCE_MS)
        await says(page, "user", "time is it")
        await says(page, "agent", "It is")
        await page.click("#by-text")
        await expect(page.locator("#mute")).to_be_hidden()
        await expect(page.get_by_role("textbox", name="Message")).to_be_focused()
        assert await page.get_attribute("#by-text", "aria-pressed") == "true"


async def test_joining_by_keyboard_keeps_the_focus_in_the_call(
    livekit_server: RunningServer, worker_pid: int, tmp_path: Path
) -> None:
    wav = await microphone(tmp_path, "hello", before_s=60.0, after_s=1.0)
    async with page_for(livekit_server) as address, chromium(wav) as page:
        await open_page(page, address)
        await page.get_by_role("button", name="Start talking").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("#connection-text")).to_have_text("Connected")
        await expect(page.get_by_role("button", name="Mute")).to_be_focused()
        await greeted(page)
        await page.get_by_role("button", name="Leave").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Start talking")).to_be_focused()


async def test_a_typed_turn_is_timed_and_the_call_can_be_saved_with_its_sound(
    livekit_server: RunningServer, worker_pid: int
) -> None:
    async with page_for(livekit_server) as address, chromium(None) as page:
        await open_page(page, address)
        await page.click("#devices summary")
        await page.check("#record")
        await page.click("#join-text")
        await greeted(page)
        await page.fill("#message", "what is two plus three")
        await page.press("#message", "Enter")
        await says(page, "agent", "five")
        await page.click("#latency summary")
        await expect(page.locator("#turns tr abbr[title=typed]")).to_be_visible(timeout=PATIENCE_MS)
        await page.click("#leave")
        await expect(page.locator("#state")).to_contain_text("The call has ended")
        async with page.expect_download() as text:
            await page.click("#save-text")
        saved = (await (await text.value).path()).read_text(encoding="utf-8")
        assert "You: what is two plus three\n" in saved and "five" in saved
        async with page.expect_download() as sound:
            await page.click("#save-sound")
        assert (await (await sound.value).path()).stat().st_size > 2000
        await page.click("#forget")
        await expect(page.locator("#transcript li")).to_have_count(0)
        assert await page.evaluate("sessionStorage.getItem('transcript')") is None


async def test_who_waits_for_a_free_agent_is_told_so(livekit_server: RunningServer) -> None:
    async with page_for(livekit_server, agent_name="nobody") as address, chromium(None) as page:
        await join(page, address, "#join-text")
        await expect(page.locator("#state")).to_have_text("Waiting for the agent…")
        room = await page.evaluate("JSON.parse(sessionStorage.getItem('call')).grant.room_name")
        keys = (livekit_server.api_key, livekit_server.api_secret)
        async with api.LiveKitAPI(livekit_server.url, *keys) as server:
            data = b'{"text": "Please stay."}'
            await server.room.send_data(
                api.SendDataRequest(room=room, data=data, topic="agent.busy")
            )
        await expect(page.locator("#state")).to_have_text("Waiting for a free agent…")
        await expect(page.locator("#busy")).to_have_text("Please stay.")


async def test_where_the_toy_listens_the_page_says_so_with_the_command(
    livekit_server: RunningServer, worker_pid: int
) -> None:
    settings = real.worker_settings(livekit_server)
    app = page_app(settings, engines=badges(await choose_engines(settings)))
    async with serve_app(app, host="127.0.0.1", port=0) as address, chromium(None) as page:
        await open_page(page, address)
        await expect(page.locator("#badges li")).to_have_count(3)
        await expect(page.locator("#toy")).to_contain_text("small vocabulary")
        await expect(page.locator("#toy-command")).to_have_text("agent-worker download-files")
        await page.get_by_role("button", name="Dismiss the note").click()
        await expect(page.locator("#toy")).to_be_hidden()
    # the agent of the call tells it too, where the page's server does not know
    async with page_for(livekit_server) as address, chromium(None) as page:
        await join(page, address, "#join-text")
        await expect(page.locator("#toy")).to_contain_text("small vocabulary", timeout=PATIENCE_MS)


async def test_in_a_call_the_page_says_what_it_said_before_and_leaves_the_room_to_the_words(
    livekit_server: RunningServer, worker_pid: int
) -> None:
    settings = real.worker_settings(livekit_server)
    shown = on_their_way(badges(await choose_engines(settings)))
    app = page_app(settings, engines=shown)
    async with serve_app(app, host="127.0.0.1", port=0) as address, chromium(None) as page:
        await open_page(page, address)
        await expect(page.locator("#toy")).to_contain_text("on their way")
        await page.click("#devices summary")
        await page.click("#join-text")
        await greeted(page)
        # the worker knows neither that something is coming nor what is to be typed here
        told = page.locator("#badges li[data-stage=hearing]")
        await expect(told).to_have_attribute("title", re.compile("on their way"))
        await expect(page.locator("#toy-copy")).to_be_hidden()
        assert not await page.evaluate("document.getElementById('devices').open")
        await page.click("#leave")
        await expect(page.locator("#state")).to_contain_text("The call has ended")
        await expect(page.locator("#toy")).to_contain_text("on their way")


async def test_who_waits_on_the_page_sees_the_models_that_came_meanwhile() -> None:
    toy = badges(choose(load_settings(), Found(voices=ESPEAK)))
    real_ones = Found(whisper_models=("base",), voices=piper({"joe": "en"}))
    web = WebConfig(livekit_url="ws://127.0.0.1:1", api_key="devkey", api_secret="x" * 32)
    flows = (Offer("offline", "Rules"), Offer("assistant", "Assistant"))
    shown = ChangingApp(create_app(dataclasses.replace(web, engines=toy)))
    async with serve_app(shown, host="127.0.0.1", port=0) as address, chromium(None) as page:
        await page.clock.install()
        await open_page(page, address)
        await expect(page.locator("#toy")).to_be_visible()
        await expect(page.locator("#choices fieldset")).to_have_count(0)
        better = badges(choose(load_settings(), real_ones))
        shown.app = create_app(dataclasses.replace(web, engines=better, flows=flows))
        # by itself
        await page.clock.fast_forward(11_000)
        await expect(page.locator("#badges")).to_contain_text("Whisper base")
        await expect(page.locator("#toy")).to_be_hidden()
        await expect(page.locator("#announce")).to_contain_text("New calls have Whisper base")
        await expect(page.locator("#choices fieldset")).to_have_count(1)
        # while they come the notice asks for nothing
        shown.app = create_app(dataclasses.replace(web, engines=on_their_way(toy)))
        await page.clock.fast_forward(11_000)
        await expect(page.locator("#toy")).to_contain_text("on their way")
        await expect(page.locator("#toy-copy")).to_be_hidden()
        await expect(page.locator("#toy-advice")).to_be_hidden()
        # and at once for whoever comes back to it
        shown.app = create_app(dataclasses.replace(web, engines=toy))
        await page.evaluate("window.dispatchEvent(new Event('focus'))")
        await expect(page.locator("#toy")).to_be_visible()


async def test_the_websocket_page_has_its_call_back_after_a_reload(tmp_path: Path) -> None:
    wav = await microphone(tmp_path, "hello", before_s=60.0, after_s=1.0)
    words = ", ".join(["one", "two", "three", "four", "five"] * 8)
    stack = FakeStack(answer=f"{words}, over.", voice_s=8.0, greeting="Welcome.")
    web = WebConfig(livekit_url="ws://127.0.0.1:1", api_key="devkey", api_secret="x" * 32)
    app = create_app(web, gateway=Gateway(stack.build_call))
    async with serve_app(app, host="127.0.0.1", port=0) as address, chromium(wav) as page:
        await open_page(page, f"{address}/s2s/")
        await page.click("#join-text")
        await says(page, "agent", "Welcome.")
        await page.fill("#message", "count to five")
        await page.press("#message", "Enter")
        await page.wait_for_selector("body[data-sounding=true]")
        await says(page, "agent", "one, two")
        await page.wait_for_timeout(1500)
        await page.click("#interrupt")
        cut = page.locator("#transcript li[data-who=agent]", has_text="one, two")
        await expect(cut.locator(".cut")).to_be_visible(timeout=PATIENCE_MS)
        await expect(cut.locator(".unsaid")).to_contain_text("over.")
        await photograph(page, "websocket-interrupted")
        await page.reload()
        await page.wait_for_selector("body[data-ready=true]")
        await says(page, "user", "count to five")
        await page.click("#continue")
        await expect(page.locator("#connection-text")).to_have_text("Connected")
        assert len(stack.calls) == 1
        await page.fill("#message", "once more")
        await page.press("#message", "Enter")
        await expect(page.locator("#transcript li", has_text="one, two")).to_have_count(2)
