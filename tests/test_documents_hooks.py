"""A page as someone writes it from the documents, in a real Chromium, on another origin.

It knows the hooks by the documents' names and plays the voice itself, at 24 kHz.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, expect
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from agent_worker.commands.serve_web import serve_app
from agent_worker.gateway import Gateway, GatewayConfig
from agent_worker.serving.access import Access
from agent_worker.web import WebConfig, create_app

from .fake_voice_stack import FakeStack
from .front_end import PACKAGE, Project, run
from .integration.test_browser import becomes_true, chromium
from .test_react_hooks import KEPT, WATCH, microphone

__all__ = ["microphone"]

# The first test may have to fetch the packages and to build.
pytestmark = pytest.mark.timeout(420)

PATIENCE_MS = 30_000

DOCUMENTS_PAGE = """
import { useRef, useState } from "react";
import { createRoot } from "react-dom/client";
import { useAudioCapture, useS2S, VoiceButton } from "livekit-agent-worker-react";

const serverUrl = decodeURIComponent(location.hash.slice(1));

function Assistant() {
  const [said, setSaid] = useState("");
  const [answer, setAnswer] = useState("");
  const [ends, setEnds] = useState(0);
  const player = useRef<{ context: AudioContext; at: number } | null>(null);

  function play(chunk: ArrayBuffer) {
    player.current ??= { context: new AudioContext({ sampleRate: 24000 }), at: 0 };
    const { context } = player.current;
    const samples = Float32Array.from(new Int16Array(chunk), (sample) => sample / 32768);
    const buffer = context.createBuffer(1, samples.length, 24000);
    buffer.copyToChannel(samples, 0);
    const source = context.createBufferSource();
    source.buffer = buffer;
    source.connect(context.destination);
    player.current.at = Math.max(player.current.at, context.currentTime);
    source.start(player.current.at);
    player.current.at += buffer.duration;
  }

  const {
    isConnected, isListening, currentTranscript, startListening, stopListening, interrupt, connect,
  } = useS2S({
    serverUrl,
    language: "en",
    onAsrPartial: (text) => setSaid(text),
    onAsrFinal: (text) => setSaid(`${text}.`),
    onLlmToken: (token) => setAnswer((before) => before + token),
    onTtsAudio: play,
    onResponseEnd: () => setEnds((before) => before + 1),
  });

  return (
    <main>
      <p id="state">{isConnected ? "connected" : "apart"} {isListening ? "listening" : "deaf"}</p>
      <p id="said">{said}</p>
      <p id="now">{currentTranscript}</p>
      <p id="answer">{answer}</p>
      <p id="ends">{ends}</p>
      <button onClick={connect}>Connect</button>
      <button onClick={startListening}>Listen</button>
      <button onClick={stopListening}>Stop</button>
      <button onClick={interrupt}>Interrupt</button>
    </main>
  );
}

function Recorder() {
  const [sizes, setSizes] = useState<number[]>([]);
  const { isRecording, startRecording, stopRecording } = useAudioCapture({
    sampleRate: 16000,
    chunkInterval: 256,
    onAudioChunk: (chunk) => setSizes((before) => [...before, chunk.byteLength]),
  });
  return (
    <section>
      <p id="recording">{isRecording ? "recording" : "off"}</p>
      <p id="sizes">{sizes.join(" ")}</p>
      <button onClick={isRecording ? stopRecording : startRecording}>Record</button>
    </section>
  );
}

createRoot(document.getElementById("root")!).render(
  <>
    <Assistant />
    <Recorder />
    <VoiceButton serverUrl={serverUrl} labels={{ idle: "Press to talk" }} className="voice" />
  </>,
);
"""

ASK_FOR_A_TOKEN = """async (server) => {
    const answer = await fetch(`${server}/api/token`, {
        method: "POST", headers: { "Content-Type": "application/json" }, body: "{}",
    });
    return [answer.status, Object.keys(await answer.json()).length > 0];
}"""


@pytest.fixture(scope="module")
def site(project: Project) -> Path:
    (project.folder / "documents.tsx").write_text(DOCUMENTS_PAGE)
    run(PACKAGE / "node_modules/.bin/tsc", "-p", project.folder, cwd=project.folder)
    return project.page("documents.tsx", project.folder / "documents", title="The documents")


@asynccontextmanager
async def visit(
    site: Path,
    stack: FakeStack,
    microphone: Path | None,
    *,
    allowed: bool = True,
    expected: tuple[str, ...] = (),
) -> AsyncIterator[tuple[Page, str]]:
    """The page on a server of its own, as Next.js has it, beside the agent's."""
    front_end = Starlette(routes=[Mount("/", StaticFiles(directory=site, html=True))])
    async with serve_app(front_end, host="127.0.0.1", port=0) as origin:
        access = Access(allowed_origins=(origin,) if allowed else ())
        web = WebConfig(
            livekit_url="ws://127.0.0.1:1", api_key="devkey", api_secret="x" * 32, access=access
        )
        app = create_app(web, gateway=Gateway(stack.build_call, GatewayConfig(access=access)))
        async with (
            serve_app(app, host="127.0.0.1", port=0) as server,
            chromium(microphone, expected=expected) as page,
        ):
            await page.add_init_script(WATCH)
            await page.goto(f"{origin}/#{server}")
            yield page, server


async def shows(page: Page, place: str, text: str) -> None:
    await expect(page.locator(place)).to_contain_text(text, timeout=PATIENCE_MS)


async def test_the_documents_page_talks_with_the_agent_from_another_origin(
    site: Path, microphone: Path
) -> None:
    stack = FakeStack(words="hello there", answer="Good day.", voice_s=0.5)
    async with visit(site, stack, microphone) as (page, server):
        await shows(page, "#state", "apart deaf")
        await page.click("text=Connect")
        await shows(page, "#state", "connected deaf")
        await page.click("text=Listen")
        await shows(page, "#state", "connected listening")
        await shows(page, "#said", "hello there.")
        await shows(page, "#now", "hello there")
        await shows(page, "#answer", "Good day.")
        await becomes_true(page, "window.loudest > 0.2")
        await becomes_true(page, "Number(document.querySelector('#ends').textContent) > 0")
        await page.click("text=Stop")
        await shows(page, "#state", "connected deaf")
        # The page plays by itself: of ours is the microphone's context alone, and it is closed.
        assert sorted((await page.evaluate(KEPT)).split()) == ["closed", "ended", "open", "running"]
        assert await page.evaluate(ASK_FOR_A_TOKEN, server) == [201, True]


async def test_the_documents_recorder_hands_on_chunks_of_4096_samples(
    site: Path, microphone: Path
) -> None:
    async with visit(site, FakeStack(), microphone) as (page, _):
        await page.click("section button")
        await shows(page, "#recording", "recording")
        await shows(page, "#sizes", "8192 8192 8192")
        await page.click("section button")
        await shows(page, "#recording", "off")


async def test_the_button_is_all_that_a_page_needs(site: Path, microphone: Path) -> None:
    stack = FakeStack(greeting="Welcome.", voice_s=0.5)
    async with visit(site, stack, microphone) as (page, _):
        button = page.locator("button.voice")
        await expect(button).to_have_text("Press to talk")
        await button.click()
        await expect(button).to_have_attribute("aria-pressed", "true")
        await becomes_true(page, "window.loudest > 0.2")
        await expect(button).to_have_text("Listening", timeout=PATIENCE_MS)
        await button.click()
        await expect(button).to_have_text("Talk")
        await becomes_true(page, f"({KEPT})() === 'ended closed closed closed'")


async def test_a_page_that_is_not_allowed_is_told_that_it_can_not_connect(
    site: Path, microphone: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stack = FakeStack()
    refused = ("403", "WebSocket")
    async with visit(site, stack, microphone, allowed=False, expected=refused) as (page, _):
        await page.locator("button.voice").click()
        await expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
        assert not stack.calls
    assert "allowed_origins" in caplog.text
