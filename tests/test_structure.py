from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLUGINS = sorted(
    path.name
    for path in (ROOT / "plugins/livekit/plugins").iterdir()
    if (path / "__init__.py").is_file()
)
ENGINE_MODULES = {"faster_whisper", "ctranslate2", "onnxruntime", "piper", "torch", "TTS", "onnx"}
SHARED_BY_VOICES = ROOT / "local_tts"
MAY_IMPORT_PLUGINS = {
    "commands/download.py",
    "engines/build.py",
    "engines/found.py",
    "engines/hearing_device.py",
    "engines/language_model.py",
    "engines/voices/espeak.py",
    "engines/voices/higgs.py",
    "engines/voices/kokoro.py",
    "engines/voices/piper.py",
    "engines/voices/speech_api.py",
    "engines/voices/xtts.py",
    "processes/call_process.py",
    "processes/supervisor.py",
}


def _imports(path: Path) -> set[str]:
    root = ROOT / "plugins" if path.is_relative_to(ROOT / "plugins") else ROOT
    package = path.relative_to(root).parent.parts
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            near = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*near, *([node.module] if node.module else [])])
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


def _modules(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.py")} - {"__init__"}


def _folders(folder: Path) -> set[str]:
    return {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}


def test_the_map_of_the_worker_names_each_of_its_files_once() -> None:
    worker = ROOT / "agent_worker"
    rows = [r for r in (worker / "README.md").read_text().splitlines() if r.startswith("| ")]
    rooms: dict[str, list[str]] = {}
    for room, _, named_in_row in (row.strip("| ").split(" | ") for row in rows[2:]):
        rooms[room.strip("`")] = re.findall(r"`([\w/]+)`", named_in_row)
    assert sorted(rooms.pop("(the hall)")) == sorted(_modules(worker))
    assert rooms.keys() == _folders(worker)
    for room, named in rooms.items():
        files = _modules(worker / room) | _folders(worker / room)
        assert sorted(named) == sorted(files), room


def test_all_plugins_are_here() -> None:
    assert set(PLUGINS) == {
        "espeak",
        "faster_whisper",
        "kokoro",
        "langgraph",
        "piper",
        "speech_api",
        "xtts",
    }


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_plugin_loads_from_this_repository(plugin: str) -> None:
    # a package of the same name in site-packages would win silently
    module = importlib.import_module(f"livekit.plugins.{plugin}")
    assert Path(str(module.__file__)).is_relative_to(ROOT / "plugins")


@pytest.mark.parametrize(
    "package", ["agent_worker", "bounded_http", "flows", "graph_speech", "local_tts"]
)
def test_a_package_loads_from_this_repository(package: str) -> None:
    assert Path(str(importlib.import_module(package).__file__)).is_relative_to(ROOT)


def test_the_namespace_packages_have_no_init() -> None:
    assert not (ROOT / "plugins/livekit/__init__.py").exists()
    assert not (ROOT / "plugins/livekit/plugins/__init__.py").exists()


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_plugin_imports_no_sibling_and_not_the_worker(plugin: str) -> None:
    # import-linter is blind in the shared `livekit` namespace
    siblings = tuple(f"livekit.plugins.{other}" for other in PLUGINS if other != plugin)
    forbidden = (*siblings, "agent_worker", "flows")
    for path in (ROOT / "plugins/livekit/plugins" / plugin).rglob("*.py"):
        wrong = {name for name in _imports(path) if name.startswith(forbidden)}
        assert not wrong, path


def test_what_the_voices_share_knows_none_of_them_and_needs_little_beside_livekit() -> None:
    allowed = ("livekit.agents", "livekit.rtc", "local_tts", "numpy", "httpx")
    files = list(SHARED_BY_VOICES.rglob("*.py"))
    assert files
    for path in files:
        wrong = {
            name
            for name in _imports(path)
            if name.split(".")[0] not in sys.stdlib_module_names and not name.startswith(allowed)
        }
        assert not wrong, path


def test_only_a_few_rooms_of_the_worker_import_plugins() -> None:
    worker = ROOT / "agent_worker"
    paths = {str(path.relative_to(worker)): path for path in worker.rglob("*.py")}
    assert paths.keys() >= MAY_IMPORT_PLUGINS
    for name, path in paths.items():
        if name not in MAY_IMPORT_PLUGINS:
            ours = ("livekit.plugins", "local_tts")
            wrong = {n for n in _imports(path) if n.startswith(ours)}
            assert not wrong, path


@pytest.mark.parametrize("package", ["flows", "graph_speech"])
def test_flows_and_their_runner_know_nothing_of_livekit(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        assert not {n for n in _imports(path) if n.split(".")[0] == "livekit"}, path


def test_the_runner_of_graphs_needs_langchains_core_and_langgraph_alone() -> None:
    for path in (ROOT / "graph_speech").rglob("*.py"):
        names = {name.split(".")[0] for name in _imports(path)} - set(sys.stdlib_module_names)
        assert names <= {"langchain_core", "langgraph", "graph_speech"}, path


@pytest.mark.parametrize("plugin", PLUGINS)
def test_importing_a_plugin_loads_no_engine(plugin: str) -> None:
    # LiveKit imports plugins in a forkserver: a library with threads would hang its children
    code = (
        f"import sys, livekit.plugins.{plugin}; "
        f"print(sorted(sys.modules.keys() & {ENGINE_MODULES!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
