"""The page of one's own of `examples/`, in Chromium, on an origin of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.async_api import expect

from .fake_voice_stack import FakeStack
from .front_end import ROOT
from .test_documents_hooks import visit
from .test_react_hooks import microphone

__all__ = ["microphone"]


@pytest.mark.timeout(120)
async def test_a_page_without_a_build_step_talks_with_the_agent(
    tmp_path: Path, microphone: Path
) -> None:
    site = tmp_path / "site"
    shutil.copytree(ROOT / "examples/clients/browser", site)
    shutil.copytree(ROOT / "web/s2s", site / "s2s")
    stack = FakeStack(words="hello there", answer="Good day.", voice_s=0.5)
    async with visit(site, stack, microphone) as (page, _):
        await page.click("text=Talk")
        words = page.locator("#words li")
        await expect(words.nth(1)).to_have_text("Good day.", timeout=30_000)
        said = [await words.nth(n).evaluate("e => [e.dataset.who, e.textContent]") for n in (0, 1)]
        assert said == [["me", "hello there"], ["agent", "Good day."]]
