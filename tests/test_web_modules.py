"""The page's modules that need no browser, tested by node's own test runner."""

import shutil
import subprocess
from pathlib import Path

TESTS = Path(__file__).parent / "web"


def test_the_pages_modules_pass_their_own_tests() -> None:
    node = shutil.which("node")
    assert node is not None, "install Node.js 20 or later: it runs the tests of the page's modules"
    files = sorted(str(file) for file in TESTS.glob("*.test.mjs"))
    run = subprocess.run([node, "--test", *files], capture_output=True, text=True, timeout=50)
    assert run.returncode == 0, run.stdout[-4000:]
    assert "# fail 0" in run.stdout and "# pass 0" not in run.stdout
