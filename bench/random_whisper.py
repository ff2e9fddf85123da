"""Makes Whisper models of the real sizes with random weights, to measure what a run costs.

The cost of a run depends on the shapes and the number of tokens, not on what the weights say; so
no weights need to be fetched. The text that such a model writes means nothing.

Usage: python -m bench.random_whisper FOLDER [--size base]
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.float32]

_AUDIO_POSITIONS = 1500
_TEXT_POSITIONS = 448
_TEXT_TOKENS = 50257
_TIME_TOKENS = 1501


@dataclass(frozen=True)
class Shape:
    """The dimensions of one size of Whisper (Radford et al., 2022, table 1)."""

    width: int
    encoder_layers: int
    decoder_layers: int
    heads: int
    mels: int = 80


SHAPES = {
    "tiny": Shape(384, 4, 4, 6),
    "base": Shape(512, 6, 6, 8),
    "small": Shape(768, 12, 12, 12),
    "turbo": Shape(1280, 32, 4, 20, mels=128),
}


def _printable_bytes() -> list[str]:
    """GPT-2's printable stand-in for each byte, in the order of its vocabulary."""
    direct = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in direct]
    return [chr(byte) for byte in direct] + [chr(256 + i) for i in range(len(others))]


def _vocabulary() -> tuple[list[str], list[str], list[str]]:
    """Returns text tokens, languages and special tokens, laid out as in Whisper's vocabulary."""
    from faster_whisper.tokenizer import _LANGUAGE_CODES

    text = _printable_bytes()
    text += [f"\u0120w{i}" for i in range(_TEXT_TOKENS - 1 - len(text))]
    # CTranslate2 tells a multilingual model by an empty entry.
    text.append("")
    languages = [code for code in _LANGUAGE_CODES if code != "yue"]
    special = ["<|endoftext|>", "<|startoftranscript|>"]
    special += [f"<|{code}|>" for code in languages]
    special += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>"]
    special += ["<|nospeech|>", "<|notimestamps|>"]
    special += [f"<|{i * 0.02:.2f}|>" for i in range(_TIME_TOKENS)]
    return text, languages, special


class _Filler:
    """Fills the layers of a CTranslate2 specification with random weights."""

    def __init__(self, width: int, seed: int) -> None:
        self._width = width
        self._rng = np.random.default_rng(seed)

    def random(self, *shape: int, scale: float | None = None) -> Weights:
        factor = np.float32(scale or 1 / np.sqrt(np.prod(shape[1:])))
        return np.asarray(self._rng.standard_normal(shape, dtype=np.float32) * factor)

    def norm(self, spec: Any) -> None:
        spec.gamma = np.ones(self._width, np.float32)
        spec.beta = np.zeros(self._width, np.float32)

    def linear(self, spec: Any, rows: int, columns: int) -> None:
        spec.weight = self.random(rows, columns)
        spec.bias = np.zeros(rows, np.float32)

    def attention(self, spec: Any, *, cross: bool) -> None:
        width = self._width
        self.norm(spec.layer_norm)
        shapes = (width, 2 * width, width) if cross else (3 * width, width)
        for layer, rows in zip(spec.linear, shapes, strict=True):
            self.linear(layer, rows, width)

    def feed_forward(self, spec: Any) -> None:
        self.norm(spec.layer_norm)
        self.linear(spec.linear_0, 4 * self._width, self._width)
        self.linear(spec.linear_1, self._width, 4 * self._width)


def _positions(length: int, width: int) -> Weights:
    steps = np.exp(-np.log(10000) / (width // 2 - 1) * np.arange(width // 2))
    angles = np.arange(length)[:, None] * steps[None]
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def make_random_whisper(folder: Path, size: str = "base", seed: int = 0) -> None:
    """Writes a model that faster-whisper loads, in INT8.

    Args:
        folder: Where to; it is made where it is missing.
        size: One of `SHAPES`.
        seed: Of the weights.
    """
    import tokenizers
    from ctranslate2.specs import WhisperSpec

    shape = SHAPES[size]
    fill = _Filler(shape.width, seed)
    spec: Any = WhisperSpec(shape.encoder_layers, shape.heads, shape.decoder_layers, shape.heads)
    encoder, decoder = spec.encoder, spec.decoder
    for convolution, channels in ((encoder.conv1, shape.mels), (encoder.conv2, shape.width)):
        convolution.weight = fill.random(shape.width, channels, 3)
        convolution.bias = np.zeros(shape.width, np.float32)
    encoder.position_encodings.encodings = _positions(_AUDIO_POSITIONS, shape.width)
    fill.norm(encoder.layer_norm)
    for layer in encoder.layer:
        fill.attention(layer.self_attention, cross=False)
        fill.feed_forward(layer.ffn)

    text, languages, special = _vocabulary()
    vocabulary = text + special
    decoder.embeddings.weight = fill.random(len(vocabulary), shape.width, scale=0.02)
    decoder.projection.weight = decoder.embeddings.weight
    decoder.position_encodings.encodings = fill.random(_TEXT_POSITIONS, shape.width, scale=0.02)
    fill.norm(decoder.layer_norm)
    for layer in decoder.layer:
        fill.attention(layer.self_attention, cross=False)
        fill.attention(layer.attention, cross=True)
        fill.feed_forward(layer.ffn)

    spec.register_vocabulary(vocabulary)
    end = vocabulary.index("<|endoftext|>")
    start = end + 1
    task = start + 1 + len(languages)
    spec.config.suppress_ids = [start, *range(task, task + 5)]
    spec.config.suppress_ids_begin = [end]
    spec.config.lang_ids = list(range(start + 1, task))
    spec.config.alignment_heads = [
        (layer, head)
        for layer in range(shape.decoder_layers // 2, shape.decoder_layers)
        for head in range(shape.heads)
    ]
    spec.validate()
    spec.optimize(quantization="int8")
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))

    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocab={token: i for i, token in enumerate(text)}, merges=[])
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [tokenizers.AddedToken(token, special=True, normalized=False) for token in special]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": shape.mels}))


def main() -> None:
    """Writes one model, as asked on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", choices=SHAPES, default="base")
    arguments = parser.parse_args()
    make_random_whisper(arguments.folder, arguments.size)
    print(f"wrote {arguments.folder}")


if __name__ == "__main__":
    main()
