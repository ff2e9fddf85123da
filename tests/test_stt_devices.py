"""A device that loads a model and can't decode, and one that gives out in a call."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from livekit.agents import APIConnectionError

from livekit.plugins.faster_whisper import device_check
from livekit.plugins.faster_whisper.device_check import (
    Verdict,
    check_device,
    decode_in_child,
    usable_hardware,
)
from livekit.plugins.faster_whisper.device_fallback import lighter, load_decoder
from livekit.plugins.faster_whisper.device_faults import DeviceError, DeviceFault, fault_of
from livekit.plugins.faster_whisper.engine import Engine
from livekit.plugins.faster_whisper.job import Decoded, Job, Plan
from livekit.plugins.faster_whisper.models import Hardware, ModelSpec
from tests.fake_gpu import fake_ctranslate2
from tests.fake_stt_decoder import decoded, job

GPU = Hardware("cuda", "float16", 1)
NO_CUBLAS = "Library libcublas.so.12 is not found or cannot be loaded"
MISSING = fault_of(NO_CUBLAS)
OUT_OF_MEMORY = RuntimeError("CUDA failed with error out of memory")


@pytest.fixture(autouse=True)
def nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_check, "_said", set())
    monkeypatch.setattr(device_check, "_verdicts", {})


@pytest.fixture
def gpu_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def supported(device: str, *_: object) -> set[str]:
        return {"float16", "int8"} if device == "cuda" else {"int8", "float32"}

    monkeypatch.setattr("ctranslate2.get_cuda_device_count", lambda: 1)
    monkeypatch.setattr("ctranslate2.get_supported_compute_types", supported)


@dataclass
class OneDevice:
    """A decoder of one device, and the batches that it ran."""

    hardware: Hardware
    most_at_once: int = 8
    broken: Exception | None = None
    batches: list[int] = field(default_factory=list)

    def plan(self, job: Job) -> Plan:
        short = self.hardware.device == "cpu"
        return Plan(len(job.samples) // 160 if short else 3000, None, 0, 1)

    def decode(self, jobs: Sequence[Job]) -> list[Decoded]:
        if self.broken is not None:
            raise self.broken
        if len(jobs) > self.most_at_once:
            raise OUT_OF_MEMORY
        assert len({self.plan(job) for job in jobs}) == 1
        self.batches.append(len(jobs))
        return [decoded(f"{self.hardware.device} {job.prompt}") for job in jobs]


@dataclass
class Machine:
    """A machine with a GPU, by what it loads."""

    gpu: OneDevice = field(default_factory=lambda: OneDevice(GPU))
    cpu_error: Exception | None = None
    fault: DeviceFault | None = None
    loaded: list[str] = field(default_factory=list)

    def load(self, spec: ModelSpec, hardware: Hardware) -> OneDevice:
        self.loaded.append(f"{hardware.device} {hardware.compute_type}")
        if hardware.device == "cuda":
            return self.gpu
        if self.cpu_error is not None:
            raise self.cpu_error
        return OneDevice(hardware)

    def check(self, hardware: Hardware) -> Verdict:
        return Verdict(self.fault)

    def decoder(self, device: str = "auto") -> Callable[[], object]:
        spec = ModelSpec("bundled", device=device)
        return lambda: load_decoder(spec, load=self.load, check=self.check)

    def engine(self, device: str = "auto") -> Engine:
        return Engine(self.decoder(device), name="test")  # type: ignore[arg-type]


def test_a_child_that_can_decode_says_so_and_how_long_it_took() -> None:
    verdict = decode_in_child(Hardware("cpu", "int8", 1))
    assert verdict.works
    assert verdict.took_s > 0


def test_a_missing_library_is_named_with_the_command_that_brings_it(tmp_path: Path) -> None:
    path = fake_ctranslate2(tmp_path, f"raise RuntimeError({NO_CUBLAS!r})")
    fault = decode_in_child(GPU, path=path).fault
    assert fault is not None
    assert fault.library == "libcublas.so.12"
    assert "pip install nvidia-cublas-cu12" in fault.cure


def test_a_decode_that_aborts_ends_the_child_and_not_this_process(tmp_path: Path) -> None:
    said = "Could not load library libcudnn_ops.so.9"
    path = fake_ctranslate2(tmp_path, f"print({said!r}, file=sys.stderr, flush=True); os.abort()")
    fault = decode_in_child(GPU, path=path).fault
    assert fault is not None
    assert fault.library == "libcudnn_ops.so.9"
    assert "nvidia-cudnn-cu12" in fault.cure


def test_an_abort_without_a_word_is_named_by_its_signal(tmp_path: Path) -> None:
    fault = decode_in_child(GPU, path=fake_ctranslate2(tmp_path, "os.abort()")).fault
    assert fault is not None
    assert "SIGABRT" in fault.what
    assert "nvidia-cudnn-cu12" in fault.cure


def test_a_decode_that_hangs_is_given_up(tmp_path: Path) -> None:
    path = fake_ctranslate2(tmp_path, "time.sleep(30)")
    fault = decode_in_child(GPU, path=path, limit_s=1.0).fault
    assert fault is not None
    assert "hung" in fault.what


def test_a_device_is_checked_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def check(hardware: Hardware) -> Verdict:
        asked.append(hardware)
        return Verdict()

    monkeypatch.setattr(device_check, "decode_in_child", check)
    for _ in range(3):
        check_device(GPU)
    check_device(Hardware("cuda", "int8_float16", 4))
    assert [hardware.compute_type for hardware in asked] == ["float16", "int8_float16"]


@pytest.mark.usefixtures("gpu_is_seen")
async def test_auto_takes_the_cpu_where_the_gpu_cant_decode_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    machine = Machine(fault=MISSING)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            engine = machine.engine()
            try:
                heard = await engine.decode(job("hello"), timeout_s=10)
            finally:
                engine.close(5)
            assert heard.text == "cpu hello"
    assert machine.loaded == ["cpu int8", "cpu int8"]
    (said,) = [r for r in caplog.records if "the GPU can't decode" in r.message]
    assert "libcublas.so.12" in said.__dict__["cause"]
    assert "pip install nvidia-cublas-cu12" in said.__dict__["cure"]


@pytest.mark.usefixtures("gpu_is_seen")
async def test_cuda_that_cant_decode_fails_the_load_for_good_and_names_the_cure() -> None:
    machine = Machine(fault=MISSING)
    engine = machine.engine("cuda")
    try:
        with pytest.raises(APIConnectionError, match="pip install nvidia-cublas-cu12") as raised:
            await engine.wait_until_loaded(10)
    finally:
        engine.close(5)
    assert not raised.value.retryable
    assert machine.loaded == []


def test_cuda_without_a_gpu_is_refused_with_advice() -> None:
    # the real CTranslate2, on a machine without a GPU
    with pytest.raises(DeviceError, match="nvidia-smi"):
        usable_hardware(ModelSpec("bundled", device="cuda"))


@pytest.mark.usefixtures("gpu_is_seen")
def test_a_gpu_too_small_for_the_model_is_found_out_before_the_first_call() -> None:
    machine = Machine(gpu=OneDevice(GPU, broken=OUT_OF_MEMORY))
    decoder = machine.decoder()()
    assert isinstance(decoder, OneDevice)
    assert decoder.hardware.device == "cpu"
    with pytest.raises(DeviceError, match="gpu-memory-utilization"):
        machine.decoder("cuda")()


@pytest.mark.usefixtures("gpu_is_seen")
@pytest.mark.parametrize("device", ["auto", "cuda"])
async def test_a_call_goes_on_on_the_cpu_when_the_gpu_runs_out_of_memory(device: str) -> None:
    machine = Machine()
    engine = machine.engine(device)
    try:
        assert (await engine.decode(job("one"), timeout_s=10)).text == "cuda one"
        machine.gpu.broken = OUT_OF_MEMORY
        assert (await engine.decode(job("two"), timeout_s=10)).text == "cpu two"
        machine.gpu.broken = None
        assert (await engine.decode(job("three"), timeout_s=10)).text == "cpu three"
        assert engine.usable
    finally:
        engine.close(5)
    assert machine.loaded == ["cuda float16", "cpu int8"]


@pytest.mark.usefixtures("gpu_is_seen")
def test_a_batch_too_large_for_the_memory_is_run_one_by_one_and_stays_on_the_gpu() -> None:
    machine = Machine(gpu=OneDevice(GPU, most_at_once=1))
    results = machine.decoder()().decode([job("a"), job("b")])  # type: ignore[attr-defined]
    assert [result.text for result in results] == ["cuda a", "cuda b"]
    assert machine.loaded == ["cuda float16"]


@pytest.mark.usefixtures("gpu_is_seen")
def test_a_batch_made_for_the_gpu_is_planned_anew_on_the_cpu() -> None:
    machine = Machine()
    decoder = machine.decoder()()
    machine.gpu.broken = RuntimeError("CUDA failed with error unspecified launch failure")
    jobs = [job("short", seconds=1), job("long", seconds=3)]
    results = decoder.decode(jobs)  # type: ignore[attr-defined]
    assert [result.text for result in results] == ["cpu short", "cpu long"]


@pytest.mark.usefixtures("gpu_is_seen")
async def test_where_nothing_takes_over_the_next_engine_is_asked_at_once() -> None:
    machine = Machine(cpu_error=MemoryError("no room"))
    engine = machine.engine()
    try:
        await engine.decode(job("one"), timeout_s=10)
        machine.gpu.broken = OUT_OF_MEMORY
        with pytest.raises(APIConnectionError, match="too little memory") as raised:
            await engine.decode(job("two"), timeout_s=10)
    finally:
        engine.close(5)
    assert not raised.value.retryable


@pytest.mark.usefixtures("gpu_is_seen")
def test_an_error_that_is_not_the_gpus_leaves_it_in_use() -> None:
    machine = Machine()
    decoder = machine.decoder()()
    machine.gpu.broken = ValueError("this Whisper model doesn't know the language 'xx'")
    with pytest.raises(ValueError, match="language"):
        decoder.decode([job("a")])  # type: ignore[attr-defined]
    machine.gpu.broken = None
    assert decoder.decode([job("b")])[0].text == "cuda b"  # type: ignore[attr-defined]


def test_libraries_out_of_nvidias_wheels_are_opened_where_the_system_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from livekit.plugins.faster_whisper import device_probe

    wheel = tmp_path / "nvidia" / "cublas" / "lib"
    wheel.mkdir(parents=True)
    for name in ("libcublas.so.12", "libcublasLt.so.12", "libcublas.so.12.4.5"):
        (wheel / name).touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "nvidia", raising=False)
    tried: list[str] = []

    def opens(name: str) -> bool:
        tried.append(name)
        return name.startswith("/")

    monkeypatch.setattr(device_probe, "_opens", opens)
    opened = device_probe.preload_libraries()
    # cuBLASLt first, since cuBLAS wants it; the system's own before the wheel's
    assert [Path(file).name for file in opened] == ["libcublasLt.so.12", "libcublas.so.12"]
    assert tried[0] == "libcublasLt.so.12"


def test_a_model_too_heavy_for_the_cpu_gives_way_to_one_that_keeps_up_in_a_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = "livekit.plugins.faster_whisper.device_fallback"
    cached = {"base", "small", "large-v3-turbo"}
    monkeypatch.setattr(f"{module}.is_available", lambda model, _: model in cached)
    monkeypatch.setattr(f"{module}.usable_cores", lambda: 4)
    assert lighter(ModelSpec("large-v3-turbo")).model == "base"
    assert lighter(ModelSpec("base")).model == "base"
    assert lighter(ModelSpec("/models/mine")).model == "/models/mine"
    cached.clear()
    assert lighter(ModelSpec("large-v3-turbo")).model == "large-v3-turbo"
