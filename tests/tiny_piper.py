"""Makes a Piper voice of some 100 KB that is built as the real ones are, with random weights.

    python -m tests.tiny_piper OUT.onnx [--speakers N] [--rate HERTZ] [--unsplittable]

It has their inputs and outputs, a `Ceil` that tells each phoneme's frames, noise in the latent,
256 samples per frame, and a decoder of convolutions whose samples depend on the frames around
them. So the real `PiperVoice` speaks with it (it hums, each phoneme differently), and everything
that the plugin does with a voice can be tested on it in milliseconds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper, save

HOP = 256
LATENT = 8
_FRAMES_PER_VOWEL = 7


class _Graph:
    """Nodes and weights as they come; each call returns the name of its result."""

    def __init__(self, seed: int) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._random = np.random.default_rng(seed)

    def constant(self, value: npt.ArrayLike, dtype: Any = np.int64) -> str:
        return self.weight(f"constant_{len(self.weights)}", np.array(value, dtype))

    def weight(self, name: str, value: npt.NDArray[Any]) -> str:
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def random(self, name: str, *shape: int) -> str:
        scale = 1.0 / np.sqrt(np.prod(shape[1:]))
        return self.weight(name, self._random.normal(0, scale, shape).astype(np.float32))

    def add(self, op: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        out = out or f"/{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [out], **attributes))
        return out


def _frames_of(phonemes: dict[str, list[int]]) -> npt.NDArray[np.float32]:
    """Frames for each id: long vowels, short consonants, pads and marks of one frame."""
    frames = np.ones(256, np.float32)
    for phoneme, ids in phonemes.items():
        if phoneme in "aeiouyɐɑɒɔəɛɜɪʊʌæ":
            frames[ids] = _FRAMES_PER_VOWEL
        elif phoneme in ",.;:?!":
            frames[ids] = 12
        elif phoneme[0].isalpha():
            frames[ids] = 4
    return frames


def _encoder(g: _Graph, frames: npt.NDArray[np.float32]) -> str:
    """Ids → latent [1, LATENT, frames]: one vector per phoneme, repeated, noise added."""
    zero, one, axis0, axis1 = (g.constant(v) for v in (0, 1, [0], [1]))
    ids = g.add("Reshape", "input", g.constant([-1]))
    noise, length = (g.add("Gather", "scales", place) for place in (zero, one))
    raw = g.add("Mul", g.add("Gather", g.weight("frames", frames), ids), length)
    shaped = g.add("Reshape", raw, g.constant([1, 1, -1]))
    ceil = g.add("Ceil", shaped)
    whole = g.add("Cast", g.add("Reshape", ceil, g.constant([-1])), to=TensorProto.INT64)
    ends = g.add("CumSum", whole, zero)
    total = g.add("ReduceSum", whole, axis0, keepdims=0)
    place = g.add("Unsqueeze", g.add("Range", zero, total, one), axis1)
    passed = g.add("GreaterOrEqual", place, g.add("Unsqueeze", ends, axis0))
    which = g.add("ReduceSum", g.add("Cast", passed, to=TensorProto.INT64), axis1, keepdims=0)
    means = g.add("Gather", g.random("emb.weight", 256, LATENT), g.add("Gather", ids, which))
    latent = g.add("Unsqueeze", g.add("Transpose", means, perm=[1, 0]), axis0)
    return g.add("Add", latent, g.add("Mul", g.add("RandomNormalLike", latent), noise))


def _decoder(g: _Graph, latent: str, speakers: int) -> None:
    """Latent → audio, as HiFi-GAN does it: convolutions and two upsamplings, 256 in all."""
    x = g.add("Conv", latent, g.random("dec.conv_pre.weight", 16, LATENT, 7), pads=[3, 3])
    if speakers > 1:
        speaker = g.add("Gather", g.random("emb_g.weight", speakers, 12), "sid")
        speaker = g.add("Unsqueeze", speaker, g.constant([2]))
        x = g.add("Add", x, g.add("Conv", speaker, g.random("dec.cond.weight", 16, 12, 1)))
    for stage, (wide, narrow) in enumerate(((16, 8), (8, 4))):
        x = g.add("LeakyRelu", x, alpha=0.1)
        up = g.random(f"dec.ups.{stage}.weight", wide, narrow, 32)
        x = g.add("ConvTranspose", x, up, strides=[16], pads=[8, 8])
        block = g.add("LeakyRelu", x, alpha=0.1)
        kernel = g.random(f"dec.resblocks.{stage}.weight", narrow, narrow, 5)
        block = g.add("Conv", block, kernel, dilations=[3], pads=[6, 6])
        x = g.add("Add", x, block)
    x = g.add("LeakyRelu", x, alpha=0.01)
    x = g.add("Conv", x, g.random("dec.conv_post.weight", 1, 4, 7), pads=[3, 3])
    g.add("Unsqueeze", g.add("Tanh", x), g.constant([1]), out="output")


def build(
    path: Path,
    *,
    speakers: int = 1,
    rate: int = 22050,
    seed: int = 7,
    splittable: bool = True,
    language: str = "en-us",
) -> Path:
    """Writes the voice and its JSON file.

    Args:
        path: Ends in .onnx.
        speakers: How many; they are named "speaker0" and so on.
        rate: Hertz.
        seed: Another one is another voice.
        splittable: False adds a mean over the whole sentence in the middle of the decoder, as no
            real voice has it: its windows do not join to the whole.
        language: The espeak-ng voice that makes the phonemes.
    """
    from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP

    phonemes = {phoneme: list(ids) for phoneme, ids in DEFAULT_PHONEME_ID_MAP.items()}
    g = _Graph(seed)
    latent = _encoder(g, _frames_of(phonemes))
    _decoder(g, latent, speakers)
    if not splittable:
        last = next(node for node in g.nodes if node.op_type == "Tanh")
        mean = g.add("ReduceMean", last.input[0], axes=[2], keepdims=1)
        shifted = g.add("Add", last.input[0], mean)
        last.input[0] = shifted
        at = g.nodes.index(last)
        g.nodes[at:] = [*g.nodes[-2:], *g.nodes[at:-2]]
    inputs = [
        helper.make_tensor_value_info("input", TensorProto.INT64, ["batch_size", "phonemes"]),
        helper.make_tensor_value_info("input_lengths", TensorProto.INT64, ["batch_size"]),
        helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
    ]
    if speakers > 1:
        inputs.append(helper.make_tensor_value_info("sid", TensorProto.INT64, ["batch_size"]))
    output = helper.make_tensor_value_info(
        "output", TensorProto.FLOAT, ["batch_size", 1, 1, "time"]
    )
    graph = helper.make_graph(g.nodes, "tiny_voice", inputs, [output], g.weights)
    model: ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8
    )
    checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(model, str(path))
    config = {
        "audio": {"sample_rate": rate, "quality": "tiny"},
        "espeak": {"voice": language},
        "phoneme_type": "espeak",
        "num_symbols": 256,
        "num_speakers": speakers,
        "speaker_id_map": {f"speaker{i}": i for i in range(speakers)} if speakers > 1 else {},
        "inference": {"noise_scale": 0.1, "length_scale": 1.0, "noise_w": 0.0},
        "phoneme_id_map": phonemes,
        "hop_length": HOP,
        "piper_version": "1.0.0",
    }
    Path(f"{path}.json").write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8")
    return path


def main() -> None:
    """Builds one from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("out", type=Path)
    parser.add_argument("--speakers", type=int, default=1)
    parser.add_argument("--rate", type=int, default=22050)
    parser.add_argument("--unsplittable", action="store_true")
    given = parser.parse_args()
    build(given.out, speakers=given.speakers, rate=given.rate, splittable=not given.unsplittable)


if __name__ == "__main__":
    main()
