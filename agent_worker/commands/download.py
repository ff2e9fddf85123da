"""Fetches the configured models: the only place of the worker that does, and only when asked."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from threading import Event

from agent_worker.engines.chosen import Choices
from agent_worker.engines.found_model import find_model_server
from agent_worker.engines.hearing_device import suited_whisper
from agent_worker.engines.house_model import EXTRA, find_machine, in_cache, llama_installed
from agent_worker.engines.local_models import LocalModel, suited_local_model
from agent_worker.settings import DEFAULT_HUB, Settings

from .model_hub import Fetcher, cache_target, name_revision
from .model_sources import About, HubError, HubFile, Release, Source, source_of

_VOICES = "rhasspy/piper-voices"
_VOICE_MB = 64
"""Of a medium one."""
_KOKORO_MB = 121


class DownloadError(Exception):
    """A file could not be fetched. The message says which and why."""


@dataclasses.dataclass(frozen=True)
class Download:
    """One model, and what it is made of."""

    stage: str
    """hearing, thinking, speaking or documents."""
    name: str
    """As people know it, such as Whisper base."""
    megabytes: int
    """About; the hub tells exactly. 0 = not known."""
    files: tuple[HubFile, ...]
    """The one by which the model counts as here comes last."""
    folder: Path | None = None
    """Where they go; None = the hub's own cache, where every program finds them."""
    release: str = ""
    """Address that they are at; empty = the hub, or what stands in for it."""

    def target(self, file: HubFile, about: About) -> Path:
        """Where one of its files goes."""
        if self.folder is None:
            return cache_target(file, about)
        return self.folder / (Path(file.name).name if self.stage == "speaking" else file.name)


Told = Callable[[int, int, str], None]
"""Called with the bytes that are there, those in all, and the name of what is being fetched."""


def whisper_download(model: str) -> Download:
    """A size of Whisper, or a repository of one in CTranslate2's format.

    Raises:
        ValueError: there is no such model.
    """
    from livekit.plugins.faster_whisper import model_costs, models

    repository = models.repository_of(model)
    cost = model_costs.cost_of(model)
    files = [HubFile(repository, name) for name in ("config.json", "tokenizer.json")]
    # either of the first two is there, and the third for the large ones only
    for name in ("vocabulary.json", "vocabulary.txt", "preprocessor_config.json"):
        files.append(HubFile(repository, name, optional=True))
    files.append(HubFile(repository, "model.bin"))
    return Download("hearing", f"Whisper {model}", cost.disk_mb if cost else 0, tuple(files))


def model_download(model: LocalModel) -> Download:
    """A Qwen3 for the worker's own llama.cpp."""
    file = HubFile(model.repository, model.file, model.revision, model.sha256)
    return Download("thinking", model.name, model.megabytes, (file,))


def voice_download(voice: str, folder: Path) -> Download:
    """An official Piper voice.

    Raises:
        ValueError: it is no name of one.
    """
    locale, dash, rest = voice.partition("-")
    speaker, second_dash, quality = rest.rpartition("-")
    if not (dash and second_dash and "_" in locale) or "/" in voice:
        raise ValueError(f"{voice!r} is not a voice's name, as 'en_US-ljspeech-medium' is")
    path = f"{locale.partition('_')[0]}/{locale}/{speaker}/{quality}/{voice}.onnx"
    files = (HubFile(_VOICES, path), HubFile(_VOICES, f"{path}.json"))
    return Download("speaking", f"Piper {voice}", _VOICE_MB, files, folder)


def kokoro_download(settings: Settings) -> Download:
    """The graph and the pack of all voices.

    They were published as a release of another host. A mirror of the hub, or a folder, stands in
    for that too: there the repository is asked that has the same files, but for the small graph.
    """
    from livekit.plugins import kokoro

    def file(name: str, *, optional: bool = False, unless: str = "") -> HubFile:
        about = kokoro.RELEASE[name]
        return HubFile(
            kokoro.HUB_REPOSITORY,
            name,
            sha256=about.digest,
            bytes=about.size,
            optional=optional,
            unless=unless,
        )

    small, large = kokoro.MODEL_FILES
    voices = file(kokoro.VOICES_FILE)
    name, folder = "Kokoro with all its voices", settings.kokoro_dir()
    if settings.kokoro_url is None and settings.model_hub != DEFAULT_HUB:
        graphs = file(small, optional=True), file(large, unless=small)
        return Download("speaking", name, 0, (*graphs, voices), folder)
    release = settings.kokoro_url or kokoro.RELEASE_URL
    name = f"{name} ({_KOKORO_MB} MB)"
    return Download("speaking", name, _KOKORO_MB, (file(small), voices), folder, release)


def improvements(settings: Settings, choices: Choices) -> tuple[Download, ...]:
    """What would replace the parts that everybody has, as far as it is left to us to choose."""
    wanted = []
    found = choices.found
    if choices.stt.detail == "bundled" and settings.stt == "auto" and settings.stt_model is None:
        wanted.append(whisper_download(found.suited_whisper or "base"))
    rules = choices.llm.engine == "offline" and settings.llm == "auto"
    if rules and found.suited_llm is not None and llama_installed():
        wanted.append(model_download(found.suited_llm))
    stopgap = choices.tts.engine == "espeak" and settings.tts_voice is None
    missing = choices.tts.engine == "piper" and bool(choices.tts.problem)
    if settings.tts == "auto" and (stopgap or missing) and found.voices_of("piper").installed:
        wanted.append(voice_download(_voice_name(settings), settings.voices_dir()))
    return tuple(wanted)


@dataclasses.dataclass(frozen=True)
class _Part:
    """Tells the progress of one file as that of all."""

    told: Told
    before: int
    total: int
    name: str

    def __call__(self, done: int) -> None:
        self.told(self.before + done, self.total, self.name)


def fetch(
    settings: Settings,
    downloads: Sequence[Download],
    told: Told,
    *,
    source: Source | None = None,
    cancelled: Event | None = None,
) -> None:
    """Fetches models, each as far as it goes: one that fails keeps no other from coming.

    Blocks. What was cut off goes on where it ended.

    Args:
        settings: where from, and where parts are kept.
        downloads: in order.
        told: of the progress; called in this thread.
        source: instead of the one of the settings.
        cancelled: set to stop.

    Raises:
        DownloadError: some did not come; a line for each.
    """
    parts = settings.cache_dir / "downloads"
    with contextlib.ExitStack() as stack:
        fetchers: dict[str, Fetcher] = {}
        for release in {download.release for download in downloads}:
            taken = Release(release) if release else source or source_of(settings.model_hub)
            fetcher = Fetcher(taken, parts, cancelled=cancelled)
            fetchers[release] = stack.enter_context(contextlib.closing(fetcher))
        failures = _fetch_each(fetchers, downloads, told)
    if failures:
        raise DownloadError("\n".join(f"{name}: {why}" for name, why in failures.items()))


def _fetch_each(
    fetchers: Mapping[str, Fetcher], downloads: Sequence[Download], told: Told
) -> dict[str, str]:
    """By the name of what did not come: why."""
    failures: dict[str, str] = {}
    there: list[tuple[Download, list[tuple[HubFile, About]]]] = []
    for download in downloads:
        try:
            there.append((download, _look(fetchers[download.release], download.files)))
        except HubError as e:
            failures[download.name] = str(e)
    total = sum(about.bytes for _, files in there for _, about in files)
    done = 0
    for download, files in there:
        begins_at = done
        try:
            for file, about in files:
                fetchers[download.release].fetch(
                    file,
                    about,
                    download.target(file, about),
                    _Part(told, done, total, download.name),
                )
                done += about.bytes
                if download.folder is None:
                    name_revision(file, about)
        except HubError as e:
            failures[download.name] = str(e)
            total -= sum(about.bytes for _, about in files)
            done = begins_at
    return failures


def _look(fetcher: Fetcher, files: Iterable[HubFile]) -> list[tuple[HubFile, About]]:
    found: list[tuple[HubFile, About]] = []
    for file in files:
        if file.unless and any(there.name == file.unless for there, _ in found):
            continue
        looked = fetcher.look(file)
        if looked is not None:
            found.append(looked)
    return found


def download_files(settings: Settings, *, say: Callable[[str], None], told: Told) -> None:
    """Fetches the models that are set, else what suits this machine.

    Args:
        settings: of the worker.
        say: prints a line for people.
        told: of the progress.

    Raises:
        DownloadError: the hub can't be reached, has no such model, …
    """
    downloads = []
    for plan in (_whisper, _model, _voice, _embeddings):
        try:
            download = plan(settings, say)
        except ValueError as e:
            raise DownloadError(str(e)) from e
        if download is not None:
            say(f"{download.stage}: {download.name} …")
            downloads.append(download)
    fetch(settings, downloads, told)


Say = Callable[[str], None]


def _whisper(settings: Settings, say: Say) -> Download | None:
    if "bundled" in (settings.stt, settings.stt_model):
        say("hearing: the bundled model needs no download")
        return None
    model = settings.stt_model or suited_whisper(settings)
    if Path(model).is_dir():
        say(f"hearing: {model} is a folder of yours")
        return None
    return whisper_download(model)


def _model(settings: Settings, say: Say) -> Download | None:
    if settings.llm_gguf is not None or settings.llm not in ("auto", "local"):
        return None
    if settings.llm == "auto":
        if settings.llm_url is not None:
            return None
        server = asyncio.run(find_model_server(settings, say=lambda line: say(f"thinking: {line}")))
        if server.models:
            say(f"thinking: {server.models[0]} at {server.endpoint} is there already")
            return None
    if not llama_installed():
        say(f"thinking: no model is fetched, since llama.cpp is not installed: {EXTRA}")
        return None
    model = suited_local_model(find_machine(), max_sessions=settings.max_sessions)
    if model is None:
        say("thinking: no model is fetched: none has room in this machine's memory")
        return None
    if (path := in_cache(model)) is not None:
        say(f"thinking: {model.name} is there already: {path}")
        return None
    return model_download(model)


def _voice(settings: Settings, say: Say) -> Download | None:
    if settings.tts == "kokoro":
        return kokoro_download(settings)
    if settings.tts not in ("auto", "piper"):
        say(f"speaking: {settings.tts} fetches nothing here")
        return None
    return voice_download(_voice_name(settings), settings.voices_dir())


def _voice_name(settings: Settings) -> str:
    from livekit.plugins import piper

    return settings.tts_voice or piper.DEFAULT_VOICE


def _embeddings(settings: Settings, say: Say) -> Download | None:
    if settings.documents is None:
        return None
    from flows.documents.onnx_embedder import FILES, MODELS

    name = next(iter(MODELS)) if settings.documents_model == "auto" else settings.documents_model
    if name not in MODELS:
        say(f"documents: {name} needs no download")
        return None
    files = tuple(HubFile(MODELS[name].repository, file) for file in FILES)
    return Download("documents", name, 0, files, settings.embeddings_dir() / name)
