"""The page in a real Chromium, over the real server and a real worker.

Needs Debian's Chromium (`apt-get install chromium`). Screenshots are left in `artifacts/`.
"""

from __future__ import annotations

import asyncio
import shutil
import wave
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from playwright.async_api import Page, Request, async_playwright, expect

from agent_worker.caller.client import SAMPLE_RATE
from agent_worker.commands.demo_conversation import render
from agent_worker.commands.livekit_program import find_server
from agent_worker.commands.livekit_server import RunningServer, run_server
from agent_worker.commands.serve_web import serve_app
from agent_worker.commands.worker_process import run_worker
from agent_worker.gateway import Gateway
from agent_worker.settings import load_settings
from agent_worker.web import WebConfig, create_app
from tests import real
from tests.fake_voice_stack import FakeStack

pytestmark = pytest.mark.timeout(180)

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
PATIENCE_MS = 60_000
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
]

SHARPEN_EARS = """() => {
    const element = [...document.querySelectorAll('audio')].at(-1);
    const context = new AudioContext();
    const analyser = context.createAnalyser();
    context.createMediaStreamSource(element.srcObject).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    window.heard = [];
    setInterval(() => {
        analyser.getFloatTimeDomainData(samples);
        window.heard.push(Math.sqrt(samples.reduce((sum, x) => sum + x * x, 0) / samples.length));
    }, 25);
}"""


async def microphone(
    folder: Path, text: str, *, before_s: float, after_s: float, language: str = "en-us"
) -> Path:
    """A WAV that Chromium plays round and round as its microphone."""
    pcm = await render(text, language=language)
    parts: list[Any] = [
        np.zeros(int(before_s * SAMPLE_RATE)),
        pcm,
        np.zeros(int(after_s * SAMPLE_RATE)),
    ]
    path = folder / "microphone.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(np.concatenate(parts).astype(np.int16).tobytes())
    return path


async def becomes_true(page: Page, condition: str) -> None:
    """Waits for a JavaScript expression, on a page that lets no script evaluate text.

    Playwright's own `wait_for_function` does that from its second try on.
    """
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while not await page.evaluate(condition):
            await asyncio.sleep(0.05)


@asynccontextmanager
async def chromium(
    wav: Path | None, *, expected: tuple[str, ...] = (), **context: Any
) -> AsyncIterator[Page]:
    """A page in a fresh Chromium; afterwards nothing may have gone wrong or left the machine.

    Args:
        wav: what the microphone hears; None = the microphone is denied.
        expected: parts of console errors that belong to what is tested.
    """
    program = shutil.which("chromium")
    assert program is not None, "install Chromium: apt-get install chromium"
    flags = list(FLAGS)
    if wav is None:
        flags.append("--deny-permission-prompts")
    else:
        flags += ["--use-fake-ui-for-media-stream", f"--use-file-for-fake-audio-capture={wav}"]
    troubles: list[str] = []
    strangers: list[str] = []

    def look(request: Request) -> None:
        if urlsplit(request.url).hostname not in ("127.0.0.1", "localhost", None):
            strangers.append(request.url)

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=flags)
        try:
            page = await (await browser.new_context(**context)).new_page()
            page.set_default_timeout(PATIENCE_MS)
            page.on("pageerror", lambda error: troubles.append(str(error)))
            page.on("console", lambda m: troubles.append(m.text) if m.type == "error" else None)
            page.on("request", look)
            page.on("websocket", lambda s: look_at_socket(s.url, strangers))
            yield page
            page.remove_listener("request", look)
        finally:
            await browser.close()
    assert not strangers
    assert not [text for text in troubles if not any(part in text for part in expected)]


def look_at_socket(url: str, strangers: list[str]) -> None:
    if urlsplit(url).hostname not in ("127.0.0.1", "localhost"):
        strangers.append(url)


@asynccontextmanager
async def page_for(server: RunningServer, *, agent_name: str = real.AGENT) -> AsyncIterator[str]:
    config = WebConfig(
        livekit_url=server.url,
        api_key=server.api_key,
        api_secret=server.api_secret,
        agent_name=agent_name,
    )
    async with serve_app(create_app(config), host="127.0.0.1", port=0) as address:
        yield address


async def open_page(page: Page, address: str) -> None:
    await page.goto(address)
    await page.wait_for_selector("body[data-ready=true]")


async def join(page: Page, address: str, button: str = "#join") -> None:
    await open_page(page, address)
    await page.click(button)
    await expect(page.locator("#connection-text")).to_have_text("Connected", timeout=PATIENCE_MS)


async def says(page: Page, who: str, words: str) -> None:
    line = page.locator(f"#transcript li[data-who={who}]", has_text=words)
    await expect(line.first).to_be_visible(timeout=PATIENCE_MS)


async def greeted(page: Page) -> None:
    await says(page, "agent", "How can I help you?")
    await expect(page.locator("#state")).to_have_text("Listening", timeout=PATIENCE_MS)


async def photograph(page: Page, name: str) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    await page.screenshot(path=ARTIFACTS / f"{name}.png")


async def test_a_caller_is_heard_right_and_hears_the_answer(
    livekit_server: RunningServer, worker_pid: int, tmp_path: Path
) -> None:
    wav = await microphone(tmp_path, "what time is it", before_s=6.0, after_s=9.0)
    size = {"width": 1280, "height": 860}
    async with page_for(livekit_server) as address, chromium(wav, viewport=size) as page:
        await open_page(page, address)
        await photograph(page, "start")
        await page.click("#join")
        await page.wait_for_selector("audio", state="attached")
        await page.evaluate(SHARPEN_EARS)
        await says(page, "user", "time is it")
        await says(page, "agent", "It is")
        await becomes_true(page, "window.heard.some((level) => level > 0.02)")
        await page.click("#latency summary")
        await expect(page.locator("#turns tr").first).to_be_visible(timeout=PATIENCE_MS)
        assert (await page.inner_text("#p50")).endswith(" ms")
        assert await page.locator("#turns rect").count() >= 3
        levels = await page.evaluate("window.heard")
        assert max(levels) > 0.02
        assert await page.locator("#mic option").count() >= 1
        await photograph(page, "desktop")
        await page.emulate_media(color_scheme="dark")
        await photograph(page, "dark")
        await page.set_viewport_size({"width": 390, "height": 844})
        await photograph(page, "phone")
        wide = await page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390
        await page.click("#leave")
        await expect(page.locator("#connection-text")).to_have_text("Not connected")
        assert await page.locator("#join").is_visible()


async def test_speaking_over_the_agent_silences_it(
    livekit_server: RunningServer, worker_pid: int, tmp_path: Path
) -> None:
    wav = await microphone(tmp_path, "stop", before_s=1.0, after_s=3.0)
    async with page_for(livekit_server) as address, chromium(wav) as page:
        await open_page(page, address)
        await page.click("#join")
        await page.click("#mute")
        await expect(page.locator("#mute")).to_have_attribute("aria-pressed", "true")
        await greeted(page)
        await page.evaluate(SHARPEN_EARS)
        await page.fill("#message", "tell me a story")
        await page.press("#message", "Enter")
        story = page.locator("#transcript li[data-who=agent]").nth(1)
        await expect(story).to_contain_text(" ", timeout=PATIENCE_MS)
        await expect(page.locator("#state")).to_have_text("Speaking", timeout=PATIENCE_MS)
        await page.wait_for_timeout(1000)
        await page.click("#mute")
        await expect(story).to_have_attribute("data-done", "true", timeout=PATIENCE_MS)
        await says(page, "user", "top")
        await expect(story.locator(".cut")).to_be_visible(timeout=PATIENCE_MS)
        await page.click("#mute")
        await photograph(page, "interrupted")
        await expect(page.locator("#state")).to_have_text("Listening", timeout=PATIENCE_MS)
        await page.wait_for_timeout(500)
        assert max((await page.evaluate("window.heard"))[-8:]) < 0.01


async def test_without_a_microphone_one_can_still_type(
    livekit_server: RunningServer, worker_pid: int
) -> None:
    async with page_for(livekit_server) as address, chromium(None) as page:
        await join(page, address)
        await expect(page.locator("#banner-text")).to_contain_text("microphone is blocked")
        await photograph(page, "no-microphone")
        await greeted(page)
        await page.fill("#message", "what is two plus three")
        await page.press("#message", "Enter")
        await says(page, "user", "what is two plus three")
        await says(page, "agent", "five")


async def test_a_page_that_is_loaded_anew_goes_on_with_its_call_until_it_is_hung_up(
    livekit_server: RunningServer, worker_pid: int
) -> None:
    async with page_for(livekit_server) as address, chromium(None) as page:

        async def writes(text: str) -> None:
            await page.fill("#message", text)
            await page.press("#message", "Enter")

        await join(page, address, "#join-text")
        await greeted(page)
        await writes("remember that my name is alice")
        await says(page, "agent", "Alice")
        await join(page, address, "#continue")
        await says(page, "user", "remember that my name is alice")
        await expect(page.locator("#state")).to_have_text("Listening", timeout=PATIENCE_MS)
        await writes("what is my name")
        await says(page, "agent", "Alice")
        await page.click("#leave")
        await expect(page.locator("#connection-text")).to_have_text("Not connected")
        await join(page, address, "#join-text")
        await greeted(page)


async def test_everything_can_be_reached_and_named_without_a_mouse(
    livekit_server: RunningServer, worker_pid: int
) -> None:
    async with page_for(livekit_server) as address, chromium(None) as page:
        await open_page(page, address)
        for name in ("Start talking", "Type instead"):
            assert await page.get_by_role("button", name=name).is_visible()
        await page.get_by_role("button", name="Type instead").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("#connection-text")).to_have_text("Connected")
        await expect(page.get_by_role("textbox", name="Message")).to_be_focused()
        unnamed = await page.evaluate(
            """() => [...document.querySelectorAll('button, input, select')]
                .filter((e) => e.checkVisibility() && !e.labels?.length
                    && !e.textContent.trim() && !e.getAttribute('aria-label'))
                .map((e) => e.outerHTML)"""
        )
        assert unnamed == []
        await page.get_by_role("button", name="Leave").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Start talking")).to_be_visible()


@pytest.mark.timeout(300)
async def test_after_the_server_was_restarted_the_call_goes_on(tmp_path: Path) -> None:
    binary = find_server(load_settings().cache_dir)
    assert binary is not None
    async with AsyncExitStack() as around, AsyncExitStack() as first_life:
        server = await first_life.enter_async_context(
            run_server(binary, log_file=tmp_path / "first.log", port=None)
        )
        settings = real.worker_settings(server)
        await around.enter_async_context(run_worker(settings, log_file=tmp_path / "worker.log"))
        address = await around.enter_async_context(page_for(server))
        # The browser and LiveKit's client report a lost server on the console; nothing else may.
        lost = ("ERR_CONNECTION_REFUSED", "{room: call-", "WebSocket connection to")
        page = await around.enter_async_context(chromium(None, expected=lost))
        await open_page(page, address)
        await page.click("#join-text")
        await greeted(page)
        await first_life.aclose()
        connection = page.locator("#connection-text")
        await expect(connection).to_have_text("Reconnecting", timeout=PATIENCE_MS)
        await photograph(page, "reconnecting")
        port = urlsplit(server.url).port
        await around.enter_async_context(
            run_server(binary, log_file=tmp_path / "second.log", port=port)
        )
        await expect(connection).to_have_text("Connected", timeout=2 * PATIENCE_MS)
        await expect(page.locator("#state")).to_have_text("Listening", timeout=PATIENCE_MS)
        await page.fill("#message", "what is two plus three")
        await page.press("#message", "Enter")
        await says(page, "agent", "five")


REFUSES_OTHER_RATES = """
const make = AudioContext.prototype.createMediaStreamSource;
AudioContext.prototype.createMediaStreamSource = function (stream) {
  if (this.sampleRate === 16000) throw new DOMException("another rate", "NotSupportedError");
  return make.call(this, stream);
};
"""
"""What Firefox does with a microphone of another rate."""


@pytest.mark.parametrize("quirk", ["", REFUSES_OTHER_RATES], ids=["", "own rate only"])
async def test_the_thin_client_talks_over_the_websocket(tmp_path: Path, quirk: str) -> None:
    wav = await microphone(tmp_path, "hello", before_s=2.0, after_s=6.0)
    stack = FakeStack(words="hello there", answer="Good day.", voice_s=1.0, greeting="Welcome.")
    gateway = Gateway(stack.build_call)
    web = WebConfig(livekit_url="ws://127.0.0.1:1", api_key="devkey", api_secret="x" * 32)
    app = create_app(web, gateway=gateway)
    async with (
        serve_app(app, host="127.0.0.1", port=0) as address,
        chromium(wav) as page,
    ):
        await page.add_init_script(quirk)
        await open_page(page, f"{address}/s2s/")
        await page.click("#join")
        await says(page, "agent", "Welcome.")
        await page.wait_for_selector("body[data-sounding=true]")
        await says(page, "user", "hello there")
        await says(page, "agent", "Good day.")
        await page.wait_for_selector("body[data-sounding=true]")
        await photograph(page, "websocket")
        await page.fill("#message", "and now in writing")
        await page.press("#message", "Enter")
        await says(page, "user", "and now in writing")
        await expect(
            page.locator("#transcript li[data-who=agent]", has_text="Good day.")
        ).to_have_count(2, timeout=PATIENCE_MS)
        await page.click("#leave")
        await expect(page.locator("#connection-text")).to_have_text("Not connected")
