"""From a checkpoint to the folder that faster-whisper loads: CTranslate2's format, in INT8."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from ctranslate2.specs import whisper_spec

from models.training import tokens
from models.training.network import Shape, TinyWhisper
from models.training.optimise import ALIGNMENT_HEADS

Weights = dict[str, npt.NDArray[np.float32]]

PREPROCESSOR = {
    "feature_size": 80,
    "sampling_rate": 16000,
    "hop_length": 160,
    "chunk_length": 30,
    "n_fft": 400,
    "feature_extractor_type": "WhisperFeatureExtractor",
}


def write_model(
    checkpoint: Path, folder: Path, quantization: str | None = "int8"
) -> dict[str, int]:
    """Writes the model of ``checkpoint`` into ``folder``.

    Returns:
        The size of each file in bytes.
    """
    network = TinyWhisper(Shape())
    network.load_state_dict(torch.load(checkpoint, weights_only=True)["network"])
    weights: Weights = {name: value.numpy() for name, value in network.state_dict().items()}
    with torch.no_grad():
        embeddings = network.embeddings().numpy()
    spec = _specification(weights, embeddings, network.shape)
    spec.validate()
    spec.optimize(quantization=quantization)
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))
    tokens.write_tokenizer(folder / "tokenizer.json")
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR, indent=2) + "\n")
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir())}


def _specification(weights: Weights, embeddings: npt.NDArray[np.float32], shape: Shape) -> Any:
    spec = whisper_spec.WhisperSpec(
        shape.encoder_layers, shape.heads, shape.decoder_layers, shape.heads
    )
    encoder, decoder = spec.encoder, spec.decoder
    _linear(encoder.conv1, weights, "conv1")
    _linear(encoder.conv2, weights, "conv2")
    encoder.position_encodings.encodings = weights["encoder_positions"]
    _norm(encoder.layer_norm, weights, "encoder_norm")
    for index, layer in enumerate(encoder.layer):
        _self_attention(layer.self_attention, weights, f"encoder.{index}")
        _feed_forward(layer.ffn, weights, f"encoder.{index}")
    decoder.embeddings.weight = embeddings
    decoder.projection.weight = embeddings.copy()
    decoder.position_encodings.encodings = weights["decoder_positions"]
    _norm(decoder.layer_norm, weights, "decoder_norm")
    for index, layer in enumerate(decoder.layer):
        name = f"decoder.{index}"
        _self_attention(layer.self_attention, weights, name)
        _cross_attention(layer.attention, weights, name)
        _feed_forward(layer.ffn, weights, name)
    spec.register_vocabulary(tokens.TOKENS)
    config = spec.config
    config.suppress_ids = [
        tokens.SOT,
        tokens.START_OF_PREV,
        tokens.NO_SPEECH,
        tokens.TRANSLATE,
        tokens.TRANSCRIBE,
        tokens.START_OF_LM,
        *tokens.LANGUAGES.values(),
    ]
    # Unlike Whisper's own list this one leaves <|endoftext|> out: the model may say at once that
    # there is nothing to write, instead of being made to name a first word in silence.
    config.suppress_ids_begin = [tokens.BLANK]
    config.lang_ids = list(tokens.LANGUAGES.values())
    config.alignment_heads = [(shape.decoder_layers - 1, head) for head in range(ALIGNMENT_HEADS)]
    return spec


def _linear(part: Any, weights: Weights, name: str) -> None:
    part.weight = weights[f"{name}.weight"]
    part.bias = weights[f"{name}.bias"]


def _norm(part: Any, weights: Weights, name: str) -> None:
    part.gamma = weights[f"{name}.weight"]
    part.beta = weights[f"{name}.bias"]


def _joined(part: Any, weights: Weights, names: list[str]) -> None:
    """Several projections as one; a missing bias (keys have none) is zero."""
    part.weight = np.concatenate([weights[f"{name}.weight"] for name in names])
    width = part.weight.shape[0] // len(names)
    zeros = np.zeros(width, np.float32)
    part.bias = np.concatenate([weights.get(f"{name}.bias", zeros) for name in names])


def _self_attention(part: Any, weights: Weights, layer: str) -> None:
    _norm(part.layer_norm, weights, f"{layer}.attention_norm")
    names = [f"{layer}.attention.{projection}" for projection in ("query", "key", "value")]
    _joined(part.linear[0], weights, names)
    _linear(part.linear[1], weights, f"{layer}.attention.out")


def _cross_attention(part: Any, weights: Weights, layer: str) -> None:
    _norm(part.layer_norm, weights, f"{layer}.cross_norm")
    _linear(part.linear[0], weights, f"{layer}.cross_attention.query")
    names = [f"{layer}.cross_attention.{projection}" for projection in ("key", "value")]
    _joined(part.linear[1], weights, names)
    _linear(part.linear[2], weights, f"{layer}.cross_attention.out")


def _feed_forward(part: Any, weights: Weights, layer: str) -> None:
    _norm(part.layer_norm, weights, f"{layer}.feed_norm")
    _linear(part.linear_0, weights, f"{layer}.feed_in")
    _linear(part.linear_1, weights, f"{layer}.feed_out")
