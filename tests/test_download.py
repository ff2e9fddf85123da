"""Which models are fetched for which machine, and that what was fetched is found and used."""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest

from agent_worker.commands import download
from agent_worker.commands.demo_download import (
    Consent,
    DownloadBeside,
    consent,
    is_yes,
    question,
)
from agent_worker.commands.download import (
    DownloadError,
    download_files,
    fetch,
    improvements,
    model_download,
    voice_download,
    whisper_download,
)
from agent_worker.commands.progress_bar import ProgressBar
from agent_worker.engines import house_model
from agent_worker.engines.choice import choose
from agent_worker.engines.found import choose_engines
from agent_worker.engines.inventory import Found
from agent_worker.engines.local_models import LocalModel, Machine, local_models
from agent_worker.settings import Settings, load_settings
from livekit.plugins.faster_whisper import models
from tests import tiny_piper
from tests.fake_model_hub import ModelHub
from tests.voices_at_hand import ESPEAK, piper

WHISPER = "Systran/faster-whisper-base"
VOICE = "en_US-ljspeech-medium"
VOICES = "rhasspy/piper-voices/en/en_US/ljspeech/medium"
GGUF = b"GGUF" * 5000


@pytest.fixture
def tiny_model(monkeypatch: pytest.MonkeyPatch) -> LocalModel:
    """A Qwen3 of some bytes, in place of every size."""
    import hashlib

    model = replace(local_models()[0], bytes=len(GGUF), sha256=hashlib.sha256(GGUF).hexdigest())
    for module in ("local_models", "house_model"):
        monkeypatch.setattr(f"agent_worker.engines.{module}.local_models", lambda: (model,))
    return model


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[ModelHub]:
    voice = tiny_piper.build(tmp_path / "made" / f"{VOICE}.onnx")
    bundled = models.BUNDLED_DIR
    files = {f"{WHISPER}/{name}": (bundled / name).read_bytes() for name in _files_of(bundled)}
    served = ModelHub(
        {
            **files,
            "Qwen/Qwen3-0.6B-GGUF/Qwen3-0.6B-Q8_0.gguf": GGUF,
            f"{VOICES}/{VOICE}.onnx": voice.read_bytes(),
            f"{VOICES}/{VOICE}.onnx.json": Path(f"{voice}.json").read_bytes(),
        }
    )
    yield served
    served.close()


def _files_of(folder: Path) -> list[str]:
    names = {file.name for file in folder.iterdir()}
    wanted = {"config.json", "tokenizer.json", "model.bin", "vocabulary.json", "vocabulary.txt"}
    return sorted(names & wanted)


@pytest.fixture
def settings(tmp_path: Path, hub: ModelHub, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a machine that has nothing but a mirror."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(models, "usable_cores", lambda: 2)
    monkeypatch.setattr(download, "find_machine", lambda: Machine(2, 8 * 10**9))
    return load_settings(cache_dir=tmp_path / "cache", model_hub=hub.url, llm_discovery=False)


def silent(done: int, total: int, name: str) -> None:
    pass


async def chosen(settings: Settings) -> list[str]:
    return [choice.name for choice in await choose_engines(settings)]


async def test_what_was_fetched_is_what_the_next_worker_chooses(
    settings: Settings, tiny_model: LocalModel
) -> None:
    before = await choose_engines(settings)
    assert [c.detail for c in before] == ["bundled", "rules and tools, no model", "en"]
    wanted = improvements(settings, before)
    assert [one.stage for one in wanted] == ["hearing", "thinking", "speaking"]
    told: list[tuple[int, int]] = []
    fetch(settings, wanted, lambda done, total, name: told.append((done, total)))
    assert told[-1][0] == told[-1][1] > len(GGUF)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    after = await choose_engines(settings)
    assert [c.detail for c in after] == ["base", "Qwen3-0.6B-Q8_0", VOICE]
    assert after.llm.house_model is not None and after.llm.house_model.read_bytes() == GGUF
    assert improvements(settings, after) == ()


def test_only_what_was_left_to_choose_is_offered() -> None:
    found = Found(voices=piper(), suited_llm=local_models()[0])

    def stages(found: Found = found, **settings: object) -> list[str]:
        own = load_settings(**settings)
        return [one.stage for one in improvements(own, choose(own, found))]

    assert stages() == ["hearing", "thinking", "speaking"]
    assert stages(stt="bundled", llm="offline", tts="espeak") == []
    assert stages(stt="bundled", llm="offline", tts_voice="en_US-lessac-high") == ["speaking"]
    assert stages(stt="bundled", llm="offline", tts_voice="+f3") == []
    assert stages(replace(found, suited_llm=None)) == ["hearing", "speaking"]
    assert stages(replace(found, voices=ESPEAK)) == ["hearing", "thinking"]
    served = {"llm_endpoint": "http://127.0.0.1:8000/v1", "llm_models": ("m",)}
    assert stages(replace(found, **served)) == ["hearing", "speaking"]  # type: ignore[arg-type]


def test_without_llama_cpp_no_model_is_fetched_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "llama_installed", lambda: False)
    own = load_settings()
    found = Found(voices=ESPEAK, suited_llm=local_models()[0])
    assert [one.stage for one in improvements(own, choose(own, found))] == ["hearing"]


def test_a_break_costs_nothing_that_had_come(settings: Settings, hub: ModelHub) -> None:
    wanted = [whisper_download("base")]
    cancelled = threading.Event()
    with pytest.raises(DownloadError, match="stopped"):
        fetch(
            settings,
            wanted,
            lambda done, total, name: cancelled.set() if done > 1_000_000 else None,
            cancelled=cancelled,
        )
    assert not models.is_available("base")
    hub.requests.clear()
    fetch(settings, wanted, silent)
    assert models.is_available("base")
    [continued] = hub.ranges("model.bin")
    assert continued is not None and continued.startswith("bytes=")


async def test_one_that_fails_keeps_no_other_from_coming(
    settings: Settings, hub: ModelHub, tiny_model: LocalModel
) -> None:
    hub.content["Qwen3-0.6B-Q8_0.gguf"] = GGUF[::-1]
    wanted = improvements(settings, await choose_engines(settings))
    with pytest.raises(DownloadError, match=r"^Qwen3-0\.6B: .* wrong sum") as raised:
        fetch(settings, wanted, silent)
    assert "\n" not in str(raised.value)
    assert (await chosen(settings))[1:] == [
        "offline (rules and tools, no model)",
        f"piper ({VOICE})",
    ]
    assert models.is_available("base")


def test_the_command_fetches_what_is_set_or_suits(
    settings: Settings, hub: ModelHub, tiny_model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    download_files(settings, say=said.append, told=silent)
    assert said == [
        "hearing: Whisper base …",
        "thinking: Qwen3-0.6B …",
        f"speaking: Piper {VOICE} …",
    ]
    assert house_model.in_cache(tiny_model) is not None
    said.clear()
    own = settings.model_copy(update={"stt_model": "medium", "tts": "espeak", "llm": "offline"})
    with pytest.raises(DownloadError, match=r"Whisper medium: .* has no Systran/faster-whisper-me"):
        download_files(own, say=said.append, told=silent)
    assert said == ["hearing: Whisper medium …", "speaking: espeak fetches nothing here"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stt_model": "enormous"}, "unknown Whisper model 'enormous'"),
        ({"tts_voice": "lessac"}, "'lessac' is not a voice's name"),
        ({"tts_voice": "../../etc-passwd-x"}, "is not a voice's name"),
    ],
)
def test_a_name_that_is_none_is_told(
    settings: Settings, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(DownloadError, match=message):
        download_files(settings.model_copy(update=changes), say=lambda line: None, told=silent)


def test_the_pinned_files_are_named_as_the_hub_names_them() -> None:
    for model in local_models():
        [file] = model_download(model).files
        assert (file.repository, file.sha256) == (f"Qwen/{model.name}-GGUF", model.sha256)
    [voice, about] = voice_download("de_DE-thorsten-high", Path("voices")).files
    assert voice.name == "de/de_DE/thorsten/high/de_DE-thorsten-high.onnx"
    assert about.name == f"{voice.name}.json"
    assert whisper_download("large-v3-turbo").files[-1].name == "model.bin"


def test_the_hubs_address_is_a_setting_and_goes_by_the_hubs_own_name_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load_settings().model_hub == huggingface_hub.constants._HF_DEFAULT_ENDPOINT
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    assert load_settings().model_hub == "https://mirror.example"


def test_lines_go_on_above_the_bar() -> None:
    screen, now = io.StringIO(), [0.0]
    with contextlib.closing(ProgressBar(screen, terminal=True, clock=lambda: now[0])) as bar:
        bar.told(1_000_000, 4_000_000, "Whisper base")
        now[0] = 1.0
        bar.told(2_000_000, 4_000_000, "Whisper base")
        bar.say("caller: hello")
    drawn = screen.getvalue()
    assert "[############            ] Whisper base: 2 of 4 MB, 2 s left" in drawn
    # Wiped, the line, and drawn again below it.
    assert "\r\x1b[Kcaller: hello\n[####" in drawn
    assert drawn.endswith("\r\x1b[K")


def test_a_connection_that_brings_next_to_nothing_is_no_ground_for_a_guess() -> None:
    screen, now = io.StringIO(), [0.0]
    with contextlib.closing(ProgressBar(screen, terminal=True, clock=lambda: now[0])) as bar:
        bar.told(0, 213_000_000, "Whisper base")
        now[0] = 20.0
        bar.told(1000, 213_000_000, "Whisper base")
    assert "Whisper base: 0 of 213 MB" in screen.getvalue()
    assert "left" not in screen.getvalue()


def test_where_there_is_no_terminal_a_line_comes_for_each_tenth() -> None:
    screen = io.StringIO()
    bar = ProgressBar(screen)
    for done in range(1001):
        bar.told(done * 10_000, 10_000_000, "Whisper base")
    lines = screen.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[-1] == "Whisper base: 10 of 10 MB"
    assert "\x1b" not in screen.getvalue()


@pytest.mark.parametrize(
    ("given", "terminal", "stays", "expected"),
    [
        (None, True, True, Consent.ASK),
        (None, False, True, Consent.NO),
        (None, True, False, Consent.NO),
        (True, False, False, Consent.YES),
        (False, True, True, Consent.NO),
    ],
)
def test_the_demo_asks_on_a_terminal_only_and_where_nothing_was_said(
    given: bool | None, terminal: bool, stays: bool, expected: Consent
) -> None:
    assert consent(given, terminal=terminal, stays=stays) is expected


def test_the_question_names_what_would_come_with_its_size() -> None:
    wanted = [whisper_download("base"), model_download(local_models()[1])]
    assert question(wanted) == (
        "Download real models for this machine (1979 MB: Whisper base 145 MB, Qwen3-1.7B 1834 MB)? "
        "[Y/n] "
    )
    assert is_yes("") and is_yes(" Y\n") and is_yes("yes")
    assert not is_yes("n") and not is_yes("what?")


async def test_a_download_beside_is_stopped_at_once_and_keeps_what_came(
    settings: Settings, hub: ModelHub, tiny_model: LocalModel
) -> None:
    hub.gate.clear()
    began = asyncio.Event()
    loop = asyncio.get_running_loop()

    def began_soon() -> None:
        loop.call_soon_threadsafe(began.set)

    beside = DownloadBeside(
        settings,
        [model_download(tiny_model)],
        lambda *told: began_soon(),
    )
    waiting = asyncio.create_task(beside.wait())
    beginning = asyncio.create_task(began.wait())
    await asyncio.wait([waiting, beginning], return_when=asyncio.FIRST_COMPLETED)
    assert not waiting.done(), waiting.result()
    waiting.cancel()
    await asyncio.wait([waiting])
    # It may hang in a read, which keeps nobody waiting.
    await beside.aclose()
    await beside.aclose()
    [part] = (settings.cache_dir / "downloads").iterdir()
    assert part.stat().st_size == 1000
    hub.gate.set()
    assert "stopped" in await beside.wait()
    assert house_model.in_cache(tiny_model) is None


async def test_a_download_beside_says_what_did_not_come(settings: Settings, hub: ModelHub) -> None:
    beside = DownloadBeside(settings, [whisper_download("medium")], silent)
    assert "Whisper medium: " in await beside.wait()
    await beside.aclose()
