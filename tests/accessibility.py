"""Measures a page with axe-core: contrast, names, roles, in light and dark, on desktop and phone.

axe-core is a development dependency from npm, with a version and a checksum in `tests/axe/`.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path
from typing import Any

from playwright.async_api import Page

_FOLDER = Path(__file__).parent / "axe"
_INSTALL_TIMEOUT_S = 120
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
_DESKTOP = {"width": 1280, "height": 860}
_PHONE = {"width": 390, "height": 844}

_RUN = """async (rules) => {
    const result = await axe.run(document, {
        runOnly: { type: 'tag', values: rules },
        resultTypes: ['violations'],
    });
    const checked = result.passes.map((rule) => rule.id);
    const violations = result.violations.flatMap((rule) => rule.nodes.map(
        (node) => `${rule.id}: ${node.target.join(' ')}: ${node.failureSummary}`));
    return { checked, violations };
}"""


@functools.cache
def _axe() -> str:
    script = _FOLDER / "node_modules" / "axe-core" / "axe.min.js"
    if not script.is_file():
        npm = shutil.which("npm")
        assert npm is not None, "install npm: apt-get install npm (it fetches axe-core)"
        done = subprocess.run(
            [npm, "ci", "--ignore-scripts", "--silent"],
            cwd=_FOLDER,
            timeout=_INSTALL_TIMEOUT_S,
            capture_output=True,
            text=True,
            check=False,
        )
        assert script.is_file(), f"npm could not fetch axe-core: {done.stderr[-500:]}"
    return script.read_text(encoding="utf-8")


async def violations(page: Page) -> list[str]:
    """What is wrong with the page as it stands, one line for each element."""
    if not await page.evaluate("'axe' in window"):
        # by the browser's own door: the page's policy stays as strict as it is
        await page.evaluate(_axe())
    result: dict[str, Any] = await page.evaluate(_RUN, _RULES)
    assert "color-contrast" in result["checked"], "axe-core has not looked at the colours"
    found: list[str] = result["violations"]
    return found


async def violations_everywhere(page: Page) -> list[str]:
    """The same in light and dark, on a desktop and on a phone; leaves the page light and wide."""
    found: list[str] = []
    for size in (_PHONE, _DESKTOP):
        await page.set_viewport_size(size)  # type: ignore[arg-type]
        for scheme in ("dark", "light"):
            await page.emulate_media(color_scheme=scheme)
            where = f"{scheme}, {size['width']} px: "
            found += [where + line for line in await violations(page)]
    return found
