"""Fetches the configured models: the only place of the worker that does, and only when asked."""

from __future__ import annotations

from collections.abc import Callable

from agent_worker.engines.hearing_device import suited_whisper
from agent_worker.settings import Settings


class DownloadError(Exception):
    """A file could not be fetched. The message says which and why."""


def download_files(settings: Settings, *, say: Callable[[str], None]) -> None:
    """Fetches the Whisper model and the voice that are set, else what suits this machine.

    Raises:
        DownloadError: the hub can't be reached, or has no such model.
    """
    failures = []
    for what, fetch in (
        ("Whisper", _fetch_whisper),
        ("voice", _fetch_voice),
        ("embeddings", _fetch_embeddings),
    ):
        try:
            fetch(settings, say)
        except DownloadError as e:
            failures.append(f"{what}: {e}")
    if failures:
        raise DownloadError("\n".join(failures))


def _fetch_whisper(settings: Settings, say: Callable[[str], None]) -> None:
    from livekit.plugins import faster_whisper

    if "bundled" in (settings.stt, settings.stt_model):
        say("hearing: the bundled model needs no download")
        return
    model = settings.stt_model or suited_whisper(settings)
    say(f"hearing: Whisper {model} …")
    try:
        say(f"         {faster_whisper.download(model)}")
    except Exception as e:
        # the hub's client raises many kinds; all mean that there is no model
        raise DownloadError(_one_line(e)) from e


def _fetch_voice(settings: Settings, say: Callable[[str], None]) -> None:
    if settings.tts not in ("auto", "piper"):
        say(f"speaking: {settings.tts} fetches nothing here")
        return
    try:
        from livekit.plugins import piper
    except ImportError as e:
        raise DownloadError(_one_line(e)) from e
    say("speaking: a Piper voice …")
    try:
        voice = piper.download_voice(
            settings.tts_voice or piper.DEFAULT_VOICE, models_dir=settings.voices_dir()
        )
    except Exception as e:
        raise DownloadError(_one_line(e)) from e
    say(f"          {voice}")


def _fetch_embeddings(settings: Settings, say: Callable[[str], None]) -> None:
    if settings.documents is None:
        return
    from huggingface_hub import hf_hub_download

    from flows.documents.onnx_embedder import FILES, MODELS

    name = next(iter(MODELS)) if settings.documents_model == "auto" else settings.documents_model
    if name not in MODELS:
        say(f"documents: {name} needs no download")
        return
    folder = settings.embeddings_dir() / name
    say(f"documents: {name} …")
    try:
        for file in FILES:
            hf_hub_download(MODELS[name].repository, file, local_dir=folder)
    except Exception as e:
        # the hub's client raises many kinds; all mean that there is no model
        raise DownloadError(_one_line(e)) from e
    say(f"           {folder}")


def _one_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
