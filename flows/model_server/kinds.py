"""The servers whose ways are known."""

from enum import StrEnum


class ServerKind(StrEnum):
    """The servers whose ways are known."""

    VLLM = "vllm"
    SGLANG = "sglang"
    LLAMA_CPP = "llama.cpp"
    OLLAMA = "ollama"
    LM_STUDIO = "lm-studio"
    OPENROUTER = "openrouter"
    OTHER = "other"
