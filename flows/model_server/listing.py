"""Reading a server's list of models: which of them chat, which speak, and whose server it is."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from .kinds import ServerKind

_OWNERS = {
    "vllm": ServerKind.VLLM,
    "sglang": ServerKind.SGLANG,
    "llamacpp": ServerKind.LLAMA_CPP,
    "library": ServerKind.OLLAMA,
    "ollama": ServerKind.OLLAMA,
    "organization_owner": ServerKind.LM_STUDIO,
    "lmstudio": ServerKind.LM_STUDIO,
    "lm-studio": ServerKind.LM_STUDIO,
}
_SPEAKS = re.compile(
    r"kokoro|piper|\btts\b|tts[-_]|[-_]tts|speecht5|xtts|\bbark\b|orpheus|chatterbox|f5[-_]?tts"
    r"|cosyvoice|parler|styletts|fish[-_]?speech|higgs[-_]audio|outetts|vibevoice|melo[-_]?tts"
    r"|dia-1\.6b|kitten|matcha|\bvits\b|voxcpm|zonos|sesame|csm-1b|text-to-speech",
    re.IGNORECASE,
)
_HEARS = re.compile(
    r"whisper|[-_/]asr\b|\basr[-_]|parakeet|canary-|wav2vec|moonshine|sensevoice|paraformer"
    r"|speech-recognition|speech-to-text|\bstt\b|vosk|silero|pyannote|diari[sz]",
    re.IGNORECASE,
)
_EMBEDS = re.compile(
    r"embed|rerank|\bbge\b|bge[-_]|all-minilm|minilm|\be5\b|[-_/]e5[-_]|\bgte[-_]|[-_/]gte[-_]"
    r"|mxbai|arctic-embed|nomic-bert|colbert|splade|sentence-transformers|paraphrase-|\blabse\b"
    r"|jina-(?:clip|colbert|reranker)|cross-encoder|instructor-(?:base|large|xl)|granite-embedding",
    re.IGNORECASE,
)
_DRAWS = re.compile(
    r"stable-diffusion|\bsdxl?\b|flux\.?1|dall-e|qwen-image|\bclip-vit|moderation|llama-guard|qwen3-?guard"
    r"|prompt-guard|shieldgemma|\bocr\b|deepseek-ocr",
    re.IGNORECASE,
)
_CHAT_TASKS = ("text-generation", "chat", "llm", "vlm", "image-text-to-text", "language")
_OTHER_TASKS = re.compile(
    r"speech|audio|transcri|embed|rerank|feature|similarity|classif|moderat|\basr\b|\btts\b|to-image"
)

Entry = Mapping[str, Any]


def entries_of(data: Any) -> list[Entry] | None:
    """The entries of a list of models, or None where this is none."""
    listed = data.get("data") if isinstance(data, dict) else data
    if listed is None and isinstance(data, dict) and data.get("object") == "list":
        # Ollama without a model.
        listed = []
    if not isinstance(listed, list):
        return None
    if listed and not any(isinstance(e, dict) and isinstance(e.get("id"), str) for e in listed):
        return None
    return [e for e in listed if isinstance(e, dict) and isinstance(e.get("id"), str)]


def models_for_chat(entries: Sequence[Entry]) -> tuple[str, ...]:
    """The names of those that can chat, Qwen3 first."""
    names = [entry["id"] for entry in entries if _chats(entry)]
    return tuple(sorted(names, key=lambda name: "qwen3" not in name.lower()))


def speech_models(entries: Sequence[Entry]) -> tuple[str, ...]:
    """The names of those that speak."""
    return tuple(e["id"] for e in entries if _SPEAKS.search(e["id"]) or _task(e) in _SPEECH_TASKS)


_SPEECH_TASKS = ("text-to-speech", "tts")


def _task(entry: Entry) -> str:
    task = entry.get("task") or entry.get("type") or entry.get("pipeline_tag")
    return task.lower() if isinstance(task, str) else ""


def _chats(entry: Entry) -> bool:
    task = _task(entry)
    if task in _CHAT_TASKS:
        return True
    if _OTHER_TASKS.search(task) or isinstance(entry.get("voices"), list):
        return False
    name = entry["id"]
    return not any(kind.search(name) for kind in (_SPEAKS, _HEARS, _EMBEDS, _DRAWS))


def context_of_entries(entries: Sequence[Entry]) -> int | None:
    """The context in tokens, where all that chat have the same."""
    told = {_context(entry) for entry in entries if _chats(entry)}
    return told.pop() if len(told) == 1 else None


def _context(entry: Entry) -> int | None:
    meta = entry.get("meta")
    # llama.cpp tells in `meta` what it runs with (n_ctx), beside what the model was trained for.
    places = (entry, meta if isinstance(meta, dict) else {})
    for name in ("max_model_len", "n_ctx", "loaded_context_length", "context_length"):
        for place in places:
            if isinstance(place.get(name), int) and place[name] > 0:
                return int(place[name])
    return None


def kind_of(base_url: str, server: str, entries: Sequence[Entry]) -> ServerKind:
    """Whose server this is.

    Args:
        base_url: Its address.
        server: Its header of that name.
        entries: Its models.
    """
    address = urlsplit(base_url)
    host = address.hostname or ""
    if host == "openrouter.ai" or host.endswith(".openrouter.ai"):
        return ServerKind.OPENROUTER
    if "llama.cpp" in server:
        return ServerKind.LLAMA_CPP
    for entry in entries:
        owner = str(entry.get("owned_by", "")).lower()
        if owner in _OWNERS:
            return _OWNERS[owner]
    # Ollama names the user of a pushed model as its owner; its port tells it all the same.
    return ServerKind.OLLAMA if address.port == 11434 else ServerKind.OTHER


def lm_studio_models(data: Any) -> tuple[tuple[str, ...], int | None] | None:
    """LM Studio's own list: models for chat, loaded ones first, and the context of the first.

    Returns:
        None where this is no list of LM Studio's.
    """
    entries = entries_of(data)
    if entries is None or not all("state" in e and "type" in e for e in entries):
        return None
    chat = [e for e in entries if e["type"] in ("llm", "vlm")]
    chat.sort(key=lambda e: (e["state"] != "loaded", "qwen3" not in e["id"].lower()))
    context = chat[0].get("loaded_context_length") if chat else None
    return tuple(e["id"] for e in chat), context if isinstance(context, int) else None
