"""Takes pictures of the page in each state of a real call: phone, desktop, dark, 200 %.

    python -m tests.page_pictures [FOLDER] [--only STATE …]

A real LiveKit server, a real worker with the bundled engines, a real Chromium. The pictures are
there to be looked at; those in `docs/pictures/` were made so.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Page, Route, expect
from pydantic import SecretStr

from agent_worker.commands.livekit_server import RunningServer, run_server
from agent_worker.commands.serve_web import page as page_app
from agent_worker.commands.serve_web import serve_app
from agent_worker.commands.worker_process import run_worker
from agent_worker.engines.badges import badges
from agent_worker.engines.found import choose_engines
from agent_worker.engines.offer import Offer
from agent_worker.engines.offers import Offers
from agent_worker.settings import Settings
from tests import real
from tests.integration.test_browser import chromium, greeted, microphone, open_page, says

_PHONE = {"width": 390, "height": 844}
_NARROW = {"width": 320, "height": 640}
_DESKTOP = {"width": 1280, "height": 860}
_LARGE_LETTERS = {"width": 640, "height": 430}
"""What is left of a desktop at 200 %."""
_PATIENCE_MS = 60_000

_OFFERS = Offers(
    flows=(
        Offer("assistant", "Assistant", "talks about anything, has tools"),
        Offer("router", "Office desk", "orders, customers, IT help"),
        Offer("persona", "Characters", "each with a voice"),
        Offer("offline", "Basics", "time, sums, timers, no model"),
    ),
    characters=(
        Offer("everyone", "Everyone", "they take turns"),
        Offer("Mira", "Mira"),
        Offer("Leo", "Leo"),
    ),
    economy=(Offer("off", "Full answers"), Offer("on", "Short answers")),
    voices=(Offer("standard", "Standard"), Offer("+f3", "Higher")),
    languages=(Offer("en", "English"), Offer("zh", "中文")),
)
"""Those of a machine with a model server; the pictures before a call show them."""


class Studio:
    """A server, a worker, a page, and where the pictures go."""

    def __init__(self, server: RunningServer, settings: Settings, folder: Path) -> None:
        self.server = server
        self.settings = settings
        self.folder = folder
        self.wavs = Path(tempfile.mkdtemp(prefix="page-pictures-"))

    @asynccontextmanager
    async def address(self, offers: Offers | None = None, **changes: Any) -> AsyncIterator[str]:
        """Where the page is served."""
        settings = self.settings.model_copy(update=changes)
        shown = badges(await choose_engines(settings))
        app = page_app(settings, offers, engines=shown)
        async with serve_app(app, host="127.0.0.1", port=0) as address:
            yield address

    async def shoot(self, page: Page, state: str) -> None:
        """One state in every size."""
        sizes = (("desktop", _DESKTOP), ("phone", _PHONE), ("narrow", _NARROW))
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            for name, size in (*sizes, ("large", _LARGE_LETTERS)):
                if scheme == "dark" and name in ("narrow", "large"):
                    continue
                await page.set_viewport_size(size)  # type: ignore[arg-type]
                await page.wait_for_timeout(150)
                path = self.folder / f"{state}-{name}-{scheme}.png"
                await page.screenshot(path=path)
                wide = await page.evaluate("document.documentElement.scrollWidth")
                if wide > size["width"]:
                    print(f"{path.name}: {wide} px wide")
        await page.emulate_media(color_scheme="light")
        await page.set_viewport_size(_DESKTOP)  # type: ignore[arg-type]


async def before(studio: Studio) -> None:
    """Everything to choose, and the note about the demo model."""
    async with (
        studio.address(_OFFERS, web_token=SecretStr("open sesame")) as address,
        chromium(None) as page,
    ):
        await open_page(page, address)
        await page.check("input[name=flow][value=persona]")
        await studio.shoot(page, "before")


async def plain(studio: Studio) -> None:
    """Nothing to choose, and the microphone under test."""
    wav = await microphone(studio.wavs, "hello", before_s=0.2, after_s=0.2)
    async with studio.address() as address, chromium(wav) as page:
        await open_page(page, address)
        await page.click("#devices summary")
        await page.click("#test-mic")
        await expect(page.locator("#test-words")).to_have_text("Your microphone works.")
        await studio.shoot(page, "devices")


async def call(studio: Studio) -> None:
    """Joining, the first turns by voice, details open, and what stays after the call."""
    wav = await microphone(studio.wavs, "what time is it", before_s=6.0, after_s=9.0)
    async with studio.address() as address, chromium(wav) as page:
        await open_page(page, address)
        held = asyncio.Event()

        async def hold(route: Route) -> None:
            await held.wait()
            await route.continue_()

        await page.route("**/api/token", hold)
        await page.click("#join")
        await studio.shoot(page, "joining")
        held.set()
        await says(page, "agent", "How can I help you?")
        await says(page, "user", "time is it")
        await says(page, "agent", "It is")
        await expect(page.locator("#state")).to_have_text("Speaking", timeout=_PATIENCE_MS)
        await studio.shoot(page, "call")
        await page.click("#latency summary")
        await expect(page.locator("#turns tr").first).to_be_visible(timeout=_PATIENCE_MS)
        await studio.shoot(page, "details")
        await page.click("#leave")
        await studio.shoot(page, "after")


async def typed(studio: Studio) -> None:
    """A call in writing; then the page is loaded anew."""
    async with studio.address() as address, chromium(None) as page:
        await open_page(page, address)
        await page.click("#join-text")
        await greeted(page)
        await page.fill("#message", "what is two plus three")
        await page.press("#message", "Enter")
        await says(page, "agent", "five")
        await page.fill("#message", "remember that my name is alice")
        await page.press("#message", "Enter")
        await says(page, "agent", "Alice")
        await studio.shoot(page, "typed")
        await page.reload()
        await page.wait_for_selector("body[data-ready=true]")
        await studio.shoot(page, "reloaded")


async def talked_over(studio: Studio) -> None:
    """The agent is interrupted."""
    wav = await microphone(studio.wavs, "stop", before_s=1.0, after_s=3.0)
    async with studio.address() as address, chromium(wav) as page:
        await open_page(page, address)
        await page.click("#join")
        await page.click("#mute")
        await greeted(page)
        await page.fill("#message", "tell me a story")
        await page.press("#message", "Enter")
        await expect(page.locator("#state")).to_have_text("Speaking", timeout=_PATIENCE_MS)
        await page.wait_for_timeout(1500)
        await page.click("#mute")
        await expect(page.locator(".cut").first).to_be_visible(timeout=_PATIENCE_MS)
        await studio.shoot(page, "talked-over")


async def busy(studio: Studio) -> None:
    """A worker with one place, which is taken."""
    name = "picture-busy"
    settings = studio.settings.model_copy(update={"agent_name": name, "max_sessions": 1})
    log = studio.wavs / "busy.log"
    async with (
        run_worker(settings, log_file=log),
        studio.address(agent_name=name) as address,
        chromium(None) as first,
        chromium(None) as page,
    ):
        await open_page(first, address)
        await first.click("#join-text")
        await greeted(first)
        while "full capacity" not in log.read_text():
            await asyncio.sleep(0.1)
        await open_page(page, address)
        await page.click("#join-text")
        await expect(page.locator("#state")).to_have_text(
            "Waiting for a free agent…", timeout=30_000
        )
        await studio.shoot(page, "busy")
        await first.click("#leave")
        await greeted(page)


async def lost(studio: Studio) -> None:
    """The server goes away in mid-call."""
    async with AsyncExitStack() as around, AsyncExitStack() as lives:
        server = await lives.enter_async_context(
            run_server(
                await asyncio.to_thread(real.find_or_build_server),
                log_file=studio.wavs / "lost.log",
                port=None,
            )
        )
        settings = real.worker_settings(server)
        await around.enter_async_context(run_worker(settings, log_file=studio.wavs / "lost-w.log"))
        other = Studio(server, settings, studio.folder)
        address = await around.enter_async_context(other.address())
        page = await around.enter_async_context(chromium(None, expected=("",)))
        await open_page(page, address)
        await page.click("#join-text")
        await greeted(page)
        await lives.aclose()
        server_gone = page.locator("#connection-text")
        await expect(server_gone).to_have_text("Reconnecting", timeout=_PATIENCE_MS)
        await studio.shoot(page, "lost")


STATES: dict[str, Callable[[Studio], Coroutine[Any, Any, None]]] = {
    "before": before,
    "plain": plain,
    "call": call,
    "typed": typed,
    "talked-over": talked_over,
    "busy": busy,
    "lost": lost,
}


async def take(folder: Path, states: list[str]) -> None:
    """Takes the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    logs = Path(tempfile.mkdtemp(prefix="page-pictures-"))
    binary = await asyncio.to_thread(real.find_or_build_server)
    async with run_server(
        binary, log_file=logs / "livekit.log", port=None, udp_port=None
    ) as server:
        settings = real.worker_settings(server)
        async with run_worker(settings, log_file=logs / "worker.log"):
            studio = Studio(server, settings, folder)
            for state in states:
                print(state, flush=True)
                await STATES[state](studio)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("artifacts/page"))
    parser.add_argument("--only", nargs="+", choices=sorted(STATES), default=list(STATES))
    given = parser.parse_args()
    asyncio.run(take(given.folder, given.only))


if __name__ == "__main__":
    main()
