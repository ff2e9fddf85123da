"""The React hooks in a real Chromium, against the real gateway.

What the documents show is type-checked and rendered as a user of the package would: packed,
installed, bundled. The hooks' own tests are in `web/react/test`.
"""

from __future__ import annotations

import asyncio
import json
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, WebSocket, expect

from agent_worker.commands.serve_web import serve_app
from agent_worker.gateway import Gateway
from agent_worker.gateway.protocol import error
from agent_worker.web import WebConfig, create_app
from tests.fake_voice_stack import FakeStack, tone
from tests.front_end import PACKAGE, Project, run
from tests.integration.test_browser import becomes_true, chromium

# The first test may have to fetch the packages and to build.
pytestmark = pytest.mark.timeout(420)

PATIENCE_MS = 30_000

PAGE = """
import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { VoicePanel } from "./example1.js";

function App() {
  const [there, setThere] = useState(true);
  return (
    <>
      <button id="toggle" onClick={() => setThere(!there)}>Toggle</button>
      {there && <VoicePanel />}
    </>
  );
}

createRoot(document.getElementById("root")!).render(<StrictMode><App /></StrictMode>);
"""
WATCH = """(() => {
    window.kept = { tracks: [], contexts: [], sockets: [] };
    const media = navigator.mediaDevices;
    const ask = media.getUserMedia.bind(media);
    media.getUserMedia = async (wanted) => {
        const stream = await ask(wanted);
        kept.tracks.push(...stream.getTracks());
        return stream;
    };
    window.AudioContext = class extends AudioContext {
        constructor(options) { super(options); kept.contexts.push(this); }
    };
    window.WebSocket = class extends WebSocket {
        constructor(url, protocols) { super(url, protocols); kept.sockets.push(this); }
    };
    window.loudest = 0;
    const connect = AudioNode.prototype.connect;
    AudioNode.prototype.connect = function (target, ...rest) {
        if (target instanceof AudioDestinationNode) {
            const analyser = this.context.createAnalyser();
            connect.call(this, analyser);
            const samples = new Float32Array(analyser.fftSize);
            setInterval(() => {
                analyser.getFloatTimeDomainData(samples);
                window.loudest = Math.max(window.loudest, ...samples);
            }, 25);
        }
        return connect.call(this, target, ...rest);
    };
})()"""
"""Keeps what the page opens, and how loud it was at the loudspeaker."""

KEPT = """() => [
    ...kept.tracks.map((track) => track.readyState),
    ...kept.contexts.map((context) => context.state),
    ...kept.sockets.map((socket) => (socket.readyState >= WebSocket.CLOSING ? "closed" : "open")),
].join(" ")"""


@pytest.fixture(scope="module")
def web_dir(project: Project) -> Path:
    """The documents' example on a page of its own, as the web app serves it."""
    (project.folder / "page.tsx").write_text(PAGE)
    return project.page("page.tsx", project.folder / "web", title="Hooks")


@dataclass
class Visit:
    page: Page
    gateway: Gateway
    messages: list[dict[str, Any]] = field(default_factory=list)

    def listen(self, socket: WebSocket) -> None:
        socket.on("framereceived", self._keep)

    def _keep(self, frame: str | bytes) -> None:
        if isinstance(frame, str):
            self.messages.append(json.loads(frame))

    async def status(self, text: str) -> None:
        await expect(self.page.get_by_role("status")).to_have_text(text, timeout=PATIENCE_MS)

    async def says(self, who: str, text: str, *, times: int = 1) -> None:
        line = self.page.locator(f"li[data-who={who}]", has_text=text)
        await expect(line.nth(times - 1)).to_have_css("opacity", "1", timeout=PATIENCE_MS)


@asynccontextmanager
async def visit(web_dir: Path, stack: FakeStack, microphone: Path | None) -> AsyncIterator[Visit]:
    gateway = Gateway(stack.build_call)
    web = WebConfig(
        livekit_url="ws://127.0.0.1:1", api_key="devkey", api_secret="x" * 32, web_dir=web_dir
    )
    async with (
        serve_app(create_app(web, gateway=gateway), host="127.0.0.1", port=0) as address,
        chromium(microphone) as page,
    ):
        visitor = Visit(page, gateway)
        page.on("websocket", visitor.listen)
        await page.add_init_script(WATCH)
        await page.goto(address)
        await visitor.status("idle")
        yield visitor


@pytest.fixture
def microphone(tmp_path: Path) -> Path:
    """A WAV that Chromium plays round and round: a sound every three seconds."""
    path = tmp_path / "microphone.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(2 * 16_000) + tone(1.0) + bytes(2 * 16_000))
    return path


def shape(value: object) -> object:
    """What kind of values a message holds, field by field."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, str | bool):
        return type(value).__name__
    # A confidence may be unknown; JavaScript has one kind of number.
    assert value is None or isinstance(value, int | float)
    return "number"


def test_what_the_documents_show_is_well_typed(project: Project) -> None:
    assert len(project.examples) >= 3
    run(PACKAGE / "node_modules/.bin/tsc", "-p", project.folder, cwd=project.folder)


async def test_a_caller_is_heard_and_answered_and_unmounting_lets_go_of_everything(
    web_dir: Path, microphone: Path
) -> None:
    stack = FakeStack(words="hello there", answer="Good day.", voice_s=0.5, greeting="Welcome.")
    async with visit(web_dir, stack, microphone) as caller:
        page = caller.page
        assert await page.evaluate(KEPT) == ""
        await page.click("text=Talk")
        await caller.says("agent", "Welcome.")
        await caller.says("user", "hello there")
        await caller.says("agent", "Good day.")
        await becomes_true(page, "window.loudest > 0.2")
        assert await page.evaluate(KEPT) == "live running running open"
        await page.click("#toggle")
        await becomes_true(page, f"({KEPT})() === 'ended closed closed closed'")
        async with asyncio.timeout(30):
            while caller.gateway.sessions:
                await asyncio.sleep(0.02)
        await page.click("#toggle")
        await caller.status("idle")
        await page.click("text=Talk")
        await caller.says("agent", "Welcome.")
        await page.click("text=Leave")
        await caller.status("closed")
    script = json.loads((PACKAGE / "test/conversation.json").read_text())
    pretended = {message["type"]: shape(message) for message in script}
    real = {message["type"]: shape(message) for message in caller.messages}
    real["error"] = shape(error("code", "message").message)
    assert real == pretended


async def test_a_broken_line_is_taken_up_again(web_dir: Path, microphone: Path) -> None:
    stack = FakeStack(words="hello there", answer="Good day.")
    async with visit(web_dir, stack, microphone) as caller:
        await caller.page.click("text=Talk")
        await caller.says("agent", "Good day.")
        await caller.page.evaluate("kept.sockets.at(-1).close(3001)")
        await becomes_true(caller.page, "kept.sockets.at(-1).readyState === WebSocket.OPEN")
        await caller.says("agent", "Good day.", times=2)
        assert [m["resumed"] for m in caller.messages if m["type"] == "session_started"] == [
            False,
            True,
        ]
        assert len(stack.calls) == 1


async def test_interrupting_ends_the_answer(web_dir: Path) -> None:
    stack = FakeStack(voice_s=20.0, greeting="A very long story.")
    async with visit(web_dir, stack, None) as caller:
        await caller.page.click("text=Talk")
        await caller.status("speaking")
        await caller.page.click("text=Interrupt")
        await caller.status("listening")
        assert caller.messages[-1] == {"type": "response_end", "interrupted": True}
        # This caller's microphone is denied: they are told what to do, and can still listen.
        await expect(caller.page.get_by_role("alert")).to_contain_text("Allow it")
