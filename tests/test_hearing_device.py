"""Which Whisper for which machine, as it is chosen, told and downloaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_worker.commands import doctor
from agent_worker.engines import found
from agent_worker.engines.build import build_engines
from agent_worker.engines.choice import choose
from agent_worker.engines.hearing_device import sizes
from agent_worker.engines.inventory import Found, HearingDevice
from agent_worker.settings import load_settings
from livekit.plugins.faster_whisper import device_check
from livekit.plugins.faster_whisper.device_check import Verdict
from livekit.plugins.faster_whisper.device_faults import fault_of
from livekit.plugins.faster_whisper.model_costs import best_first, keeps_up, suited_model
from livekit.plugins.faster_whisper.models import Hardware
from tests.voices_at_hand import ESPEAK

MISSING = fault_of("Library libcublas.so.12 is not found or cannot be loaded")


@pytest.fixture
def broken_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that loads every model and decodes nothing."""

    def decode(hardware: Hardware) -> Verdict:
        return Verdict(MISSING) if hardware.device == "cuda" else Verdict(took_s=0.1)

    def supported(device: str) -> set[str]:
        return {"float16", "int8"} if device == "cuda" else {"int8", "float32"}

    monkeypatch.setattr(device_check, "_verdicts", {})
    monkeypatch.setattr(device_check, "decode_in_child", decode)
    monkeypatch.setattr("ctranslate2.get_cuda_device_count", lambda: 1)
    monkeypatch.setattr("ctranslate2.get_supported_compute_types", supported)


def test_more_cores_get_a_larger_model() -> None:
    fits = [suited_model(cores=cores, gpu_mb=None) for cores in (1, 2, 4, 8, 16)]
    order = ["tiny", "base", "small", "medium", "large-v3-turbo", "large-v3"]
    places = [order.index(fit) for fit in fits]
    assert places == sorted(places)
    assert fits[1] == "base"
    assert places[-1] > places[1]


def test_a_gpu_gets_what_fits_its_free_memory() -> None:
    assert suited_model(cores=2, gpu_mb=20_000) == "large-v3-turbo"
    assert suited_model(cores=2, gpu_mb=1_500) in ("tiny", "base", "small")
    # a driver that tells nothing (ROCm) is trusted
    assert keeps_up("large-v3", cores=2, gpu_mb=0)


def test_what_keeps_up_is_taken_before_what_is_better() -> None:
    cached = ["large-v3-turbo", "base", "tiny"]
    assert best_first(cached, cores=2, gpu_mb=None) == ["base", "tiny", "large-v3-turbo"]
    assert best_first(cached, cores=2, gpu_mb=8_000)[0] == "large-v3-turbo"
    assert best_first(["large-v3", "medium"], cores=2, gpu_mb=None) == ["medium", "large-v3"]


def test_a_model_that_wont_keep_up_is_said_to_and_a_better_one_named() -> None:
    slow = Found(whisper_models=("medium",), too_slow=("medium", "large-v3"), suited_whisper="base")
    chosen = choose(load_settings(), slow).stt
    assert chosen.detail == "medium"
    assert "won't keep up" in chosen.reason
    assert "base, which suits this machine" in chosen.better
    asked_for = choose(load_settings(stt_model="large-v3"), slow).stt
    assert asked_for.detail == "large-v3"
    assert "won't keep up" in asked_for.reason


def test_a_gpu_that_cant_decode_is_chosen_against_with_its_cure() -> None:
    device = HearingDevice("cpu", "int8", 4, fault="the library x is missing", cure="pip install x")
    chosen = choose(load_settings(), Found(whisper_models=("base",), hearing=device)).stt
    assert not chosen.problem
    assert "on the CPU, since the library x is missing" in chosen.reason
    assert "pip install x" in chosen.better
    insisted = choose(
        load_settings(stt_device="cuda"),
        Found(whisper_models=("base",), hearing=HearingDevice("cuda", fault="y", cure="z")),
    )
    assert insisted.stt.problem == "it can't run on cuda: y; z"


@pytest.mark.usefixtures("broken_gpu")
async def test_looking_around_decodes_on_the_gpu_before_it_is_chosen(tmp_path: Path) -> None:
    settings = load_settings(cache_dir=tmp_path, llm="offline")
    seen = (await found.look_around(settings)).hearing
    assert (seen.device, seen.compute_type, seen.gpu_mb) == ("cpu", "int8", None)
    assert "libcublas.so.12" in seen.fault


@pytest.mark.usefixtures("broken_gpu")
async def test_doctor_names_the_library_and_the_command(tmp_path: Path) -> None:
    report = await doctor.examine(load_settings(cache_dir=tmp_path, llm="offline"))
    assert report.healthy
    assert "pip install nvidia-cublas-cu12" in report.text
    insisted = load_settings(cache_dir=tmp_path, llm="offline", stt_device="cuda")
    report = await doctor.examine(insisted)
    assert not report.healthy
    assert "[--] hearing" in report.text
    assert "pip install nvidia-cublas-cu12" in report.text


async def test_doctor_decodes_where_the_worker_will(tmp_path: Path) -> None:
    report = await doctor.examine(load_settings(cache_dir=tmp_path, llm="offline"))
    assert "a decode on cpu int8" in report.text
    assert "suits this machine" in report.text


async def test_doctor_doesnt_call_a_worker_healthy_that_hears_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_check, "_verdicts", {})
    monkeypatch.setattr(device_check, "decode_in_child", lambda hardware: Verdict(MISSING))
    report = await doctor.examine(load_settings(cache_dir=tmp_path, llm="offline"))
    assert not report.healthy
    assert "[--] hearing" in report.text


def test_the_table_marks_what_suits_and_what_is_too_slow() -> None:
    rows = sizes(HearingDevice("cpu", "int8", 2), ("small",), "base")
    marked = {row.split()[0]: row for row in rows}
    assert marked["base"].endswith("suits this machine")
    assert marked["small"].endswith("too slow here")


@pytest.mark.usefixtures("broken_gpu")
async def test_what_stands_in_for_a_failed_model_runs_on_the_cpu() -> None:
    settings = load_settings(
        stt_model="large-v3-turbo", stt_device="cuda", stt_compute_type="float16"
    )
    engines = build_engines(settings, choose(settings, Found(voices=ESPEAK)))
    specs = [engine._spec for engine in engines.stt._stt_instances]  # type: ignore[attr-defined]
    assert [(spec.model, spec.device, spec.compute_type) for spec in specs] == [
        ("large-v3-turbo", "cuda", "float16"),
        ("bundled", "cpu", "auto"),
    ]
    await engines.aclose()
