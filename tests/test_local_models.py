"""Which Qwen3 suits which machine, and when the worker runs one itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent_worker.engines import house_model
from agent_worker.engines.choice import choose
from agent_worker.engines.house_model import find_house_model, house_fault
from agent_worker.engines.inventory import Found
from agent_worker.engines.local_models import (
    Machine,
    fits,
    local_models,
    next_better,
    server_plan,
    suited_local_model,
)
from agent_worker.settings import load_settings
from tests.voices_at_hand import ESPEAK

GB = 10**9
GGUF = Path("models/Qwen3-1.7B-Q8_0.gguf")
SERVER = {"llm_endpoint": "http://127.0.0.1:8080/v1", "llm_models": ("big",), "llm_kind": "vllm"}


@pytest.mark.parametrize(
    ("machine", "name"),
    [
        (Machine(1, 1 * GB), None),
        (Machine(2, 8 * GB), "Qwen3-0.6B"),
        (Machine(4, 8 * GB), "Qwen3-1.7B"),
        (Machine(4, 4 * GB), "Qwen3-0.6B"),
        (Machine(8, 16 * GB), "Qwen3-4B"),
        (Machine(32, 64 * GB), "Qwen3-8B"),
        (Machine(4, 16 * GB, 24 * GB), "Qwen3-8B"),
        (Machine(4, 16 * GB, 6 * GB), "Qwen3-4B"),
        (Machine(4, 8 * GB, 1 * GB), "Qwen3-1.7B"),
    ],
)
def test_the_best_size_that_has_room_and_keeps_up_suits_a_machine(
    machine: Machine, name: str | None
) -> None:
    suited = suited_local_model(machine, max_sessions=10)
    assert (suited.name if suited else None) == name


def test_sizes_grow_and_each_is_named_with_a_whole_sum() -> None:
    sizes = [model.bytes for model in local_models()]
    assert sizes == sorted(sizes) and len(sizes) == 4
    for model in local_models():
        assert len(bytes.fromhex(model.sha256)) == 32
        assert len(bytes.fromhex(model.revision)) == 20
        assert model.file.startswith(model.name)


def test_the_next_better_size_is_one_step_and_ends_where_the_machine_does() -> None:
    small, middle, large, _ = local_models()
    machine = Machine(8, 16 * GB)
    assert next_better(None, machine) == small
    assert next_better(small, machine) == middle
    assert next_better(middle, machine) == large
    assert next_better(large, machine) is None
    assert next_better(None, Machine(1, GB // 2)) is None


def test_half_of_the_cores_and_few_slots_leave_room_for_hearing_and_speaking() -> None:
    plan = server_plan(GGUF, Machine(4, 8 * GB), max_sessions=10)
    assert (plan.threads, plan.slots) == (2, 2)
    assert server_plan(GGUF, Machine(1, 8 * GB), max_sessions=1).threads == 1
    assert server_plan(GGUF, Machine(1, 8 * GB), max_sessions=1).slots == 1
    assert server_plan(GGUF, Machine(64, 8 * GB), max_sessions=10).threads == 8


def test_more_slots_need_more_memory() -> None:
    model = local_models()[1]
    assert fits(model, Machine(64, 5 * GB), max_sessions=1)
    assert not fits(model, Machine(64, 5 * GB), max_sessions=10)


@pytest.mark.parametrize(
    ("settings", "found", "engine", "detail", "runs_itself"),
    [
        ({}, {}, "offline", "rules and tools, no model", False),
        ({}, {"house_model": GGUF}, "assistant", GGUF.stem, True),
        ({}, {"house_model": GGUF, **SERVER}, "assistant", "big at", False),
        ({"llm": "local"}, {"house_model": GGUF, **SERVER}, "assistant", GGUF.stem, True),
        ({"llm": "persona"}, {"house_model": GGUF}, "persona", GGUF.stem, True),
        ({"llm": "offline"}, {"house_model": GGUF}, "offline", "rules", False),
        (
            {"llm_url": "http://x/v1", "llm_model": "m"},
            {"house_model": GGUF},
            "assistant",
            "m at http://x/v1",
            False,
        ),
        ({}, {"house_model": GGUF, "house_fault": "no wheel"}, "offline", "rules", False),
    ],
)
def test_the_own_model_comes_after_servers_and_before_the_rules(
    settings: dict[str, Any],
    found: dict[str, Any],
    engine: str,
    detail: str,
    runs_itself: bool,
) -> None:
    choice = choose(load_settings(**settings), Found(voices=ESPEAK, **found)).llm
    assert choice.engine == engine
    assert choice.name.startswith(f"{engine} ({detail}")
    assert (choice.house_model is not None) == runs_itself
    assert not choice.problem


def test_what_the_own_model_lacks_is_said() -> None:
    wanted = load_settings(llm="local")
    assert "download-files" in choose(wanted, Found()).llm.problem
    fault = "llama.cpp is not installed: pip install 'livekit-agent-worker[llama]'"
    lacking = Found(house_model=GGUF, house_fault=fault)
    assert choose(wanted, lacking).llm.problem == fault
    # With auto the rules answer, and why is said all the same.
    assert fault in choose(load_settings(), lacking).llm.warning


def test_once_it_runs_it_is_a_server_for_every_flow_and_its_key_is_not_shown() -> None:
    running = Found(
        house_model=GGUF,
        llm_endpoint="http://127.0.0.1:5/v1",
        llm_models=("Qwen3",),
        llm_kind="llama.cpp",
        llm_key="hidden-key",
    )
    for llm in ("auto", "local", "router"):
        choices = choose(load_settings(llm=llm), running)
        assert (choices.llm.detail, choices.llm.endpoint) == ("Qwen3", "http://127.0.0.1:5/v1")
        assert choices.llm.api_key == "hidden-key"
        assert choices.llm.house_model is None
        assert "hidden-key" not in repr(choices)


def test_a_file_that_is_named_is_taken_and_one_that_is_not_there_is_an_error(
    tmp_path: Path,
) -> None:
    file = tmp_path / "own.gguf"
    settings = load_settings(llm_gguf=file)
    assert find_house_model(settings, Machine(2, GB)) == file
    fault = house_fault(settings, file)
    assert fault == f"llm_gguf: no such file: {file}"
    assert choose(settings, Found(house_model=file, house_fault=fault)).problems
    file.touch()
    assert house_fault(settings, file) == ""


def test_the_next_better_one_is_told_with_its_price() -> None:
    small, middle, *_ = local_models()
    machine = Machine(4, 8 * GB)
    assert middle.price(machine) == "1834 MB, about 153 ms a token"
    assert middle.price(Machine(4, 8 * GB, 24 * GB)) == "1834 MB"
    bare = Found(suited_llm=middle, suited_llm_price=middle.price(machine), voices=ESPEAK)
    better = choose(load_settings(), bare).llm.better
    assert "(it fetches Qwen3-1.7B, 1834 MB, about 153 ms a token, which suits this" in better
    step = f"{middle.name}: {middle.price(machine)}"
    had = Found(house_model=Path(small.file), better_llm=step, voices=ESPEAK)
    assert step in choose(load_settings(), had).llm.better
    running = replace(had, llm_endpoint="http://x/v1", llm_models=("m",), llm_key="key")
    assert step in choose(load_settings(), running).llm.better


def test_a_whisper_that_hears_better_here_is_told_with_its_price() -> None:
    step = "small: 485 MB, a final in 890 ms of a core instead of 300"
    found = Found(whisper_models=("base",), better_whisper=step, voices=ESPEAK)
    assert step in choose(load_settings(), found).stt.better
    assert choose(load_settings(), replace(found, better_whisper="")).stt.better == ""


def test_the_table_marks_what_suits_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house_model, "find_machine", lambda: Machine(4, 4 * GB))
    rows = {row.split()[0]: row for row in house_model.model_sizes(load_settings())}
    assert rows["Qwen3-0.6B"].endswith("suits this machine")
    assert rows["Qwen3-1.7B"].endswith("no room here")
    assert rows["Qwen3-4B"].endswith("too slow here")
    assert "1834 MB" in rows["Qwen3-1.7B"] and "153 ms" in rows["Qwen3-1.7B"]
