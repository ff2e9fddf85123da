"""The CopilotKit example in a real Chromium, with a chat that stands in for CopilotKit's.

The real one is some 950 packages. What the example uses of it, and of which type, is below; with
CopilotKit 1.74.0 itself the example was run by hand.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.async_api import expect

from .fake_voice_stack import FakeStack
from .front_end import PACKAGE, ROOT, Project, run
from .test_documents_hooks import visit
from .test_react_hooks import microphone

__all__ = ["microphone"]

pytestmark = pytest.mark.timeout(420)

EXAMPLE = ROOT / "examples/copilotkit/VoiceForCopilot.tsx"

STAND_IN = """
import { createContext, createElement, useContext, useState } from "react";

const Chat = createContext(null);

export function CopilotKitProvider({ children }) {
  const [messages, setMessages] = useState([]);
  const addMessage = (message) => setMessages((before) => [...before, message]);
  const [agent] = useState({ addMessage });
  return createElement(Chat.Provider, { value: { agent, messages } }, children);
}

export const useAgent = () => ({ agent: useContext(Chat).agent });

export function CopilotChat() {
  const { messages } = useContext(Chat);
  const line = ({ id, role, content }) =>
    createElement("li", { key: id, "data-role": role }, content);
  return createElement("ol", null, messages.map(line));
}
"""
TYPES = """
import type { ReactElement, ReactNode } from "react";
interface Message { id: string; role: "user" | "assistant"; content: string }
interface Provider { runtimeUrl?: string; children: ReactNode }
export function CopilotKitProvider(props: Provider): ReactElement;
export function CopilotChat(): ReactElement;
export function useAgent(): { agent: { addMessage(message: Message): void } };
"""
PAGE = """
import { createRoot } from "react-dom/client";
import { CopilotChat, CopilotKitProvider } from "@copilotkit/react-core/v2";
import { VoiceForCopilot } from "./VoiceForCopilot.js";

createRoot(document.getElementById("root")!).render(
  <CopilotKitProvider runtimeUrl="/api/copilotkit">
    <CopilotChat />
    <VoiceForCopilot serverUrl={decodeURIComponent(location.hash.slice(1))} />
  </CopilotKitProvider>,
);
"""


@pytest.fixture(scope="module")
def site(project: Project) -> Path:
    package = project.folder / "node_modules/@copilotkit/react-core"
    (package / "v2").mkdir(parents=True)
    (package / "v2/index.js").write_text(STAND_IN)
    (package / "v2/index.d.ts").write_text(TYPES)
    (package / "package.json").write_text(
        '{"name": "@copilotkit/react-core", "version": "0.0.0", "type": "module",'
        ' "exports": {"./v2": {"types": "./v2/index.d.ts", "default": "./v2/index.js"}}}'
    )
    shutil.copy(EXAMPLE, project.folder)
    (project.folder / "copilot.tsx").write_text(PAGE)
    run(PACKAGE / "node_modules/.bin/tsc", "-p", project.folder, cwd=project.folder)
    return project.page("copilot.tsx", project.folder / "copilot", title="A voice for CopilotKit")


async def test_what_is_said_and_answered_becomes_part_of_the_chat(
    site: Path, microphone: Path
) -> None:
    stack = FakeStack(words="hello there", answer="Good day.", greeting="Welcome.", voice_s=0.5)
    async with visit(site, stack, microphone) as (page, _):
        await page.click("text=Talk")
        lines = page.locator("li")
        await expect(lines.nth(2)).to_have_text("Good day.", timeout=30_000)
        said = [await lines.nth(n).evaluate("e => [e.dataset.role, e.textContent]") for n in (0, 1)]
        assert said == [["assistant", "Welcome."], ["user", "hello there"]]


async def test_of_an_answer_that_was_cut_off_the_chat_knows_what_was_heard(site: Path) -> None:
    long = "One two three four five six seven eight nine ten."
    stack = FakeStack(greeting=long, voice_s=20.0)
    async with visit(site, stack, None) as (page, _):
        await page.click("text=Talk")
        await expect(page.get_by_role("button")).to_have_text("Speaking", timeout=30_000)
        await page.wait_for_timeout(1000)
        await stack.calls[0].session.interrupt(force=True)
        line = page.locator("li")
        await expect(line).to_have_count(1, timeout=30_000)
        heard = await line.inner_text()
        assert heard and long.startswith(heard) and len(heard) < len(long) / 2
