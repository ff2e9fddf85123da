"""Someone's front end with our hooks in it: packed, installed and bundled as they would."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "web/react"
DOCUMENTS = [ROOT / "docs/websocket.md", PACKAGE / "README.md"]
TSX = re.compile(r"^```tsx\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TSCONFIG = {
    "compilerOptions": {
        "strict": True,
        "noEmit": True,
        "target": "ES2022",
        "module": "NodeNext",
        "moduleResolution": "NodeNext",
        "jsx": "react-jsx",
        "types": [],
    }
}


def run(*command: str | Path, cwd: Path, timeout_s: float = 120) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout_s)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


def install() -> None:
    """Fetches the hooks' packages where they are missing or older than the lock file."""
    npm = shutil.which("npm")
    assert npm is not None, "install npm (apt-get install npm): the React hooks are built with it"
    installed = PACKAGE / "node_modules/.package-lock.json"
    lock = PACKAGE / "package-lock.json"
    with lock.open() as held:
        # the other process of the tests may be at it
        fcntl.flock(held, fcntl.LOCK_EX)
        if not installed.is_file() or installed.stat().st_mtime < lock.stat().st_mtime:
            run(npm, "ci", "--ignore-scripts", cwd=PACKAGE, timeout_s=300)


@dataclass(frozen=True)
class Project:
    """Someone's front end that has the package installed."""

    folder: Path

    @property
    def examples(self) -> list[Path]:
        return sorted(self.folder.glob("example*.tsx"))

    def page(self, source: str, web: Path, *, title: str) -> Path:
        """Bundles a module into a page of its own, as the web app serves it: in `web`."""
        for name in ("app", "s2s", "vendor"):
            (web / name).mkdir(parents=True)
        run(
            PACKAGE / "node_modules/.bin/esbuild",
            source,
            "--bundle",
            "--format=esm",
            "--jsx=automatic",
            '--define:process.env.NODE_ENV="development"',
            f"--outfile={web / 'app/page.js'}",
            cwd=self.folder,
        )
        package = self.folder / "node_modules/livekit-agent-worker-react"
        for worklet in (package / "dist").glob("*_w*.js"):
            shutil.copy(worklet, web / "app")
        shutil.copy(ROOT / "web/app/icon.svg", web / "app")
        (web / "index.html").write_text(
            f'<!doctype html><html lang="en"><title>{title}</title>'
            '<link rel="icon" href="/app/icon.svg"><div id="root"></div>'
            '<script type="module" src="/app/page.js"></script></html>'
        )
        return web


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    install()
    folder = tmp_path_factory.mktemp("front_end")
    modules = folder / "node_modules"
    modules.mkdir()
    for name in ("react", "react-dom", "@types"):
        (modules / name).symlink_to(PACKAGE / "node_modules" / name)
    run("npm", "pack", "--pack-destination", folder, cwd=PACKAGE)
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        archive.extractall(folder, filter="data")
    (folder / "package").rename(modules / "livekit-agent-worker-react")
    shown = [block for document in DOCUMENTS for block in TSX.findall(document.read_text())]
    for number, block in enumerate(shown):
        (folder / f"example{number}.tsx").write_text(block)
    (folder / "tsconfig.json").write_text(json.dumps(TSCONFIG))
    (folder / "package.json").write_text('{"type": "module"}')
    return Project(folder)
