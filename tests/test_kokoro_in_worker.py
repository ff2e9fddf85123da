"""The worker finds Kokoro, chooses it, offers its voices, builds it and fetches it."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from agent_worker.commands.download import DownloadError, download_files
from agent_worker.engines.build import build_engines
from agent_worker.engines.call_options import CallOptions, for_call
from agent_worker.engines.choice import choose
from agent_worker.engines.found import look_around
from agent_worker.engines.inventory import Found, VoicesFound
from agent_worker.engines.offers import find_offers
from agent_worker.settings import load_settings
from livekit.plugins import kokoro
from livekit.plugins.kokoro import download
from local_tts.fetch import RemoteFile
from tests import tiny_kokoro
from tests.fake_model_hub import ModelHub
from tests.tts_probe import pcm, speak
from tests.voices_at_hand import ESPEAK, piper

KOKORO = VoicesFound(voices={"af_heart": "en-US", "bf_emma": "en-GB", "ff_siwis": "fr"})
NO_VOICES = {"kokoro": VoicesFound()}
FOUND = Found(
    whisper_models=("base",),
    voices={**ESPEAK, "kokoro": KOKORO},
    llm_endpoint="http://127.0.0.1:8000/v1",
    llm_models=("qwen",),
)


def spoken_by(found: Found = FOUND, **settings: object) -> str:
    return choose(load_settings(**settings), found).tts.name


def test_kokoro_is_taken_where_it_is_and_the_language_names_its_voice() -> None:
    assert spoken_by() == "kokoro (af_heart)"
    assert spoken_by(language="en-GB") == "kokoro (bf_emma)"
    assert spoken_by(language="fr-CA") == "kokoro (ff_siwis)"
    assert spoken_by(language="de") == "espeak (de)"


def test_a_piper_voice_is_lighter_and_stays_the_first_unless_kokoros_is_named() -> None:
    both = dataclasses.replace(
        FOUND, voices={**piper({"en_US-lessac-high": "en"}), "kokoro": KOKORO}
    )
    assert spoken_by(both) == "piper (en_US-lessac-high)"
    assert spoken_by(both, tts_voice="bf_emma") == "kokoro (bf_emma)"
    assert spoken_by(both, tts="kokoro") == "kokoro (af_heart)"


@pytest.mark.parametrize(
    ("settings", "found", "problem"),
    [
        ({}, Found(), r"pip install 'livekit-agent-worker\[kokoro\]'"),
        ({}, Found(voices=NO_VOICES), "not in the cache: run `agent-worker download-files`"),
        ({"language": "de"}, FOUND, "no Kokoro voice speaks de; there are voices for en-US, en-GB"),
        ({"tts_voice": "nobody"}, FOUND, "no voice 'nobody'; it has af_heart, bf_emma, ff_siwis"),
    ],
)
def test_what_kokoro_lacks_is_said_with_what_to_do(
    settings: dict[str, str], found: Found, problem: str
) -> None:
    import re

    [told] = choose(load_settings(stt="bundled", tts="kokoro", **settings), found).problems
    assert re.search(problem, told), told


def test_callers_may_choose_a_voice_which_brings_its_language() -> None:
    settings = load_settings()
    choices = choose(settings, FOUND)
    offers = find_offers(settings, choices)
    assert [(one.id, one.name, one.note, one.language) for one in offers.voices] == [
        ("af_heart", "Heart", "en-US", "en"),
        ("bf_emma", "Emma", "en-GB", "en"),
        ("ff_siwis", "Siwis", "fr", "fr"),
    ]
    assert [one.id for one in offers.languages] == ["en", "fr"]
    french, by_voice = for_call(settings, choices, CallOptions(voice="ff_siwis"))
    assert (french.language, by_voice.tts.detail) == ("fr", "ff_siwis")
    _, by_language = for_call(settings, choices, CallOptions(language="fr"))
    assert by_language.tts.detail == "ff_siwis"


async def test_a_worker_with_the_files_speaks_with_them(tmp_path: Path) -> None:
    tiny_kokoro.build(tmp_path / "voices" / "kokoro")
    settings = load_settings(cache_dir=tmp_path, stt="bundled", llm="offline", language="en-GB")
    found = await look_around(settings)
    # jf_alpha is there too, but nobody here can tell it what to say in Japanese
    assert dict(found.voices_of("kokoro").voices) == {
        "af_heart": "en-US", "am_adam": "en-US", "bf_emma": "en-GB", "ff_siwis": "fr",
    }  # fmt: skip
    engines = build_engines(settings, choose(settings, found))
    assert len(pcm(await speak(engines.tts, "Good day."))) > 5000
    assert engines.voices is not None
    assert engines.voices("am_adam") is not engines.tts
    assert engines.voices("nobody") is engines.tts
    await engines.aclose()


def wanted(folder: Path) -> list[Path]:
    return [folder / "kokoro-v1.0.int8.onnx", folder / "voices-v1.0.bin"]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """A mirror on loopback with small files, and where they lie."""
    folder = tiny_kokoro.build(tmp_path / "mirror")
    for file in folder.iterdir():
        data = file.read_bytes()
        about = RemoteFile(len(data), "sha256", hashlib.sha256(data).hexdigest())
        monkeypatch.setitem(download.RELEASE, file.name, about)
        if file.name == "kokoro-v1.0.int8.onnx":
            monkeypatch.setitem(download.RELEASE, "kokoro-v1.0.onnx", about)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", folder
    server.shutdown()
    server.server_close()
    thread.join()


async def test_download_files_fetches_kokoro_when_it_is_set(
    mirror: tuple[str, Path], tmp_path: Path
) -> None:
    settings = load_settings(
        cache_dir=tmp_path, stt="bundled", llm="offline", tts="kokoro", kokoro_url=mirror[0]
    )
    said: list[str] = []
    told: list[tuple[int, int, str]] = []
    download_files(settings, say=said.append, told=lambda *progress: told.append(progress))
    assert "speaking: Kokoro with all its voices (121 MB) …" in said
    size = sum(file.stat().st_size for file in wanted(mirror[1]))
    assert told[-1] == (size, size, "Kokoro with all its voices (121 MB)")
    tts = kokoro.TTS(models_dir=settings.kokoro_dir())
    assert len(pcm(await speak(tts, "Fetched."))) > 5000
    for file in wanted(mirror[1]):
        # what is there is not fetched again
        file.unlink()
    download_files(settings, say=said.append, told=lambda *progress: told.append(progress))
    assert len(pcm(await speak(tts, "Still there."))) > 5000


def test_a_broken_or_missing_file_is_none_and_is_said(
    mirror: tuple[str, Path], tmp_path: Path
) -> None:
    url, folder = mirror
    settings = load_settings(
        cache_dir=tmp_path, stt="bundled", llm="offline", tts="kokoro", kokoro_url=url
    )
    pack = folder / "voices-v1.0.bin"
    pack.write_bytes(b"x" * pack.stat().st_size)
    with pytest.raises(
        DownloadError, match=r"voices-v1\.0\.bin from http.* came with the wrong sum"
    ):
        download_files(settings, say=lambda line: None, told=lambda *progress: None)
    pack.unlink()
    with pytest.raises(DownloadError, match=r"Kokoro with .*voices-v1\.0\.bin: status 404"):
        download_files(settings, say=lambda line: None, told=lambda *progress: None)
    with pytest.raises(kokoro.VoiceNotFoundError):
        kokoro.find_files(settings.kokoro_dir())
    with pytest.raises(kokoro.DownloadError, match=r"none of Kokoro's graphs"):
        kokoro.download_kokoro("kokoro-v9.onnx", models_dir=tmp_path)


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("where", ["mirror of the hub", "folder"])
async def test_a_mirror_of_the_hub_or_a_folder_stands_in_for_the_release(
    where: str, small: bool, mirror: tuple[str, Path], tmp_path: Path
) -> None:
    _, folder = mirror
    graph = "kokoro-v1.0.int8.onnx" if small else "kokoro-v1.0.onnx"
    files = {
        f"{kokoro.HUB_REPOSITORY}/{graph}": (folder / "kokoro-v1.0.int8.onnx").read_bytes(),
        f"{kokoro.HUB_REPOSITORY}/voices-v1.0.bin": (folder / "voices-v1.0.bin").read_bytes(),
    }
    with closing(ModelHub(files)) as hub:
        for name, data in files.items():
            path = tmp_path / "stick" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        source = hub.url if where == "mirror of the hub" else str(tmp_path / "stick")
        settings = load_settings(
            cache_dir=tmp_path, stt="bundled", llm="offline", tts="kokoro", model_hub=source
        )
        download_files(settings, say=lambda line: None, told=lambda *progress: None)
    assert kokoro.find_files(settings.kokoro_dir()).model.name == graph
    voice = kokoro.TTS(models_dir=settings.kokoro_dir())
    assert len(pcm(await speak(voice, "Fetched."))) > 5000


def test_another_file_of_the_same_name_is_not_taken_from_a_mirror(
    mirror: tuple[str, Path], tmp_path: Path
) -> None:
    names = [file.name for file in wanted(tmp_path)]
    other = {f"{kokoro.HUB_REPOSITORY}/{name}": b"x" * 5000 for name in names}
    with closing(ModelHub(other)) as hub:
        settings = load_settings(
            cache_dir=tmp_path, stt="bundled", llm="offline", tts="kokoro", model_hub=hub.url
        )
        with pytest.raises(DownloadError, match="is not the file that is known here"):
            download_files(settings, say=lambda line: None, told=lambda *progress: None)
    assert not list(settings.kokoro_dir().glob("*"))
