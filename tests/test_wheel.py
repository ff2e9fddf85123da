"""The wheel works outside of the checkout: built, installed in an environment of its own, used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.speech import speak
from tests.test_simulate import write_wav

ROOT = Path(__file__).parents[1]
PACKAGES = ("agent_worker", "bounded_http", "flows", "graph_speech", "livekit/plugins", "local_tts")

pytestmark = pytest.mark.timeout(120)


def _uv(*arguments: str) -> str:
    done = subprocess.run(["uv", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    _uv("build", "--quiet", "--out-dir", str(folder))
    return folder


@pytest.fixture(scope="module")
def outside(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an environment in which the wheel is installed."""
    folder = tmp_path_factory.mktemp("outside")
    environment = folder / "environment"
    _uv("venv", "--quiet", "--python", sys.executable, str(environment))
    (wheel,) = built.glob("*.whl")
    python = str(environment / "bin" / "python")
    _uv("pip", "install", "--quiet", "--no-deps", "--python", python, str(wheel))
    # The packages that it names are those of the checkout: installed anew, all of them would be
    # compiled first. A path in a .pth file does not bring the .pth files there, so the checkout
    # itself, which is installed by one, stays out. That all are named is deptry's to say.
    (packages,) = (environment / "lib").glob("python3.*/site-packages")
    (packages / "checkout.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def _run(outside: Path, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    program = outside / "environment" / "bin" / command[0]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return subprocess.run(
        [str(program), *command[1:]],
        cwd=outside,
        env={**environment, **{f"AGENT_WORKER_{k}": v for k, v in settings.items()}},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_wheel_holds_the_packages_with_all_their_files_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {
        "agent_worker", "bounded_http", "flows", "graph_speech", "livekit", "local_tts",
    }  # fmt: skip
    # shared with LiveKit's own packages
    assert not {"livekit/__init__.py", "livekit/plugins/__init__.py"} & names
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    for package in PACKAGES:
        folder = f"plugins/{package}" if (ROOT / "plugins" / package).is_dir() else package
        files = [f for f in tracked if f.startswith(f"{folder}/") and (ROOT / f).is_file()]
        assert files, package
        missing = {f.removeprefix("plugins/") for f in files} - names
        assert not missing
    page = {f for f in tracked if f.startswith(("web/app/", "web/s2s/", "web/vendor/"))}
    assert not {f"agent_worker/data/{f}" for f in page if (ROOT / f).is_file()} - names


def test_the_sdist_holds_what_a_wheel_is_built_from_and_the_tests(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "livekit.yaml", "web/index.html"} <= names
    assert {"tests/test_wheel.py", "uv.lock"} <= names
    assert not [
        n for n in names if n.startswith((".venv", "recordings/", "web/react/node_modules"))
    ]


def test_every_package_is_found_in_the_installation_itself(outside: Path) -> None:
    modules = "agent_worker, bounded_http, flows.graphs.offline, graph_speech, livekit.rtc"
    plugins = "espeak, faster_whisper, langgraph, piper, speech_api, xtts"
    code = f"import {modules}; from livekit.plugins import {plugins}; "
    code += "print(agent_worker.__file__, flows.__file__, faster_whisper.__file__)"
    done = _run(outside, "python", "-c", code)
    assert done.returncode == 0, done.stderr
    assert all(str(outside) in path for path in done.stdout.split())
    assert "usage: python -m flows" in _run(outside, "python", "-m", "flows", "--help").stdout


def test_the_program_tells_its_version_and_tries_itself(outside: Path) -> None:
    assert _run(outside, "agent-worker", "--version").stdout.startswith("agent-worker 0.")
    done = _run(outside, "agent-worker", "doctor", "--json", LLM="offline")
    report = json.loads(done.stdout)
    assert report["healthy"] is (done.returncode == 0)
    by_name = {finding["what"]: finding for finding in report["findings"]}
    assert {by_name[name]["state"] for name in ("voice", "ears", "model")} == {"ok"}
    assert "espeak" in by_name["extras"]["text"]
    assert "packages" not in by_name


def test_a_call_is_answered_by_the_installed_worker(outside: Path) -> None:
    write_wav(outside / "in.wav", speak("what is two plus three", sample_rate=24_000), 24_000)
    done = _run(outside, "agent-worker", "talk", "in.wav", "--json", LLM="offline", GREETING="")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert "five" in said["lines"][-1]["text"].lower()
    assert np.frombuffer((outside / "in-answer.wav").read_bytes()[44:], np.int16).any()


def test_the_page_is_served_from_the_installation(outside: Path) -> None:
    program = outside / "environment" / "bin" / "agent-worker"
    settings = {"LLM": "offline", "WEB_PORT": "0", "LIVEKIT_API_KEY": "key"}
    settings["LIVEKIT_API_SECRET"] = "s" * 32
    serving = subprocess.Popen(
        [str(program), "web"],
        cwd=outside,
        env={**os.environ, **{f"AGENT_WORKER_{k}": v for k, v in settings.items()}},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert serving.stdout is not None
        address = serving.stdout.readline().removeprefix("The page: ").strip()
        for path in ("/", "/app/main.js", "/vendor/livekit-client/livekit-client.umd.js"):
            with urllib.request.urlopen(address + path, timeout=20) as answer:
                assert answer.status == 200, path
                assert (ROOT / "web" / (path.strip("/") or "index.html")).read_bytes()[:200] == (
                    answer.read()[:200]
                ), path
    finally:
        serving.terminate()
        serving.communicate(timeout=30)
