"""Makes a Piper voice of the size "medium" with random weights, to measure speed with.

    python -m bench.medium_piper OUT.onnx

It costs to run what a trained one costs, and sounds like nothing. Where torch is installed, the
model and the exporter of piper's own training code make it (`torch`, about 63 MB, the graph of
the published voices); otherwise a graph of the same layers and sizes is put together here
(`layers`), without the relative positions in the attention and without the splines of the
duration predictor, which cost little. Phonemes last about three frames, as in speech.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save

HIDDEN, FILTER, HEADS, LAYERS = 192, 768, 2, 6
UPSAMPLE = ((8, 16), (8, 16), (4, 8))
RESBLOCKS = ((3, (1, 2)), (5, (2, 6)), (7, (3, 12)))
Maker = Literal["torch", "layers"]


def build(path: Path, maker: Maker | None = None) -> Maker:
    """Writes the voice and its JSON file.

    Args:
        path: Ends in .onnx.
        maker: By default "torch" if it is installed.

    Returns:
        What made it.
    """
    made_by: Maker = maker or ("torch" if find_spec("torch") else "layers")
    path.parent.mkdir(parents=True, exist_ok=True)
    length_scale = _export_with_torch(path) if made_by == "torch" else _build_layers(path)
    from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP

    config = {
        "audio": {"sample_rate": 22050, "quality": "medium"},
        "espeak": {"voice": "en-us"},
        "phoneme_type": "espeak",
        "num_symbols": 256,
        "num_speakers": 1,
        "speaker_id_map": {},
        "inference": {"noise_scale": 0.667, "length_scale": length_scale, "noise_w": 0.8},
        "phoneme_id_map": DEFAULT_PHONEME_ID_MAP,
        "hop_length": 256,
        "piper_version": "1.0.0",
    }
    Path(f"{path}.json").write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8")
    return made_by


def _export_with_torch(path: Path) -> float:
    """The untrained model of piper's training code, through the same export. Returns its scale."""
    import torch
    from piper.train.vits.models import SynthesizerTrn

    torch.manual_seed(0)
    model = SynthesizerTrn(
        n_vocab=256,
        spec_channels=513,
        segment_size=32,
        inter_channels=HIDDEN,
        hidden_channels=HIDDEN,
        filter_channels=FILTER,
        n_heads=HEADS,
        n_layers=LAYERS,
        kernel_size=3,
        p_dropout=0.1,
        resblock="2",
        resblock_kernel_sizes=tuple(kernel for kernel, _ in RESBLOCKS),
        resblock_dilation_sizes=tuple(dilations for _, dilations in RESBLOCKS),
        upsample_rates=tuple(rate for rate, _ in UPSAMPLE),
        upsample_initial_channel=256,
        upsample_kernel_sizes=tuple(kernel for _, kernel in UPSAMPLE),
    ).eval()
    with torch.no_grad():
        model.dec.remove_weight_norm()

    def infer(ids: Any, lengths: Any, scales: Any, sid: Any = None) -> Any:
        audio, *_ = model.infer(
            ids,
            lengths,
            noise_scale=scales[0],
            length_scale=scales[1],
            noise_scale_w=scales[2],
            sid=sid,
        )
        return audio.unsqueeze(1)

    model.forward = infer
    example = (torch.zeros(1, 50, dtype=torch.long), torch.tensor([50]), torch.ones(3), None)
    torch.onnx.export(
        model,
        example,
        str(path),
        opset_version=15,
        input_names=["input", "input_lengths", "scales", "sid"],
        output_names=["output"],
        dynamic_axes={"input": {1: "phonemes"}, "output": {2: "time"}},
        dynamo=False,
    )
    # Untrained, every phoneme id lasts one frame and a little noise.
    return 2.8


class _Layers:
    """Nodes and random weights as they come; each call returns the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._random = np.random.default_rng(0)

    def weight(self, value: Any, dtype: Any = np.float32, name: str = "") -> str:
        name = name or f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(self, op: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        out = out or f"/{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [out], **attributes))
        return out

    def conv(
        self, x: str, wide: int, out: int, kernel: int = 1, dilation: int = 1, groups: int = 1
    ) -> str:
        shape = (out, wide // groups, kernel)
        values = self._random.normal(0, 1 / np.sqrt(wide // groups * kernel), shape)
        pad = (kernel - 1) * dilation // 2
        return self.node(
            "Conv",
            x,
            self.weight(values),
            self.weight(np.zeros(out)),
            pads=[pad, pad],
            dilations=[dilation],
            group=groups,
        )

    def norm(self, x: str) -> str:
        """Layer norm over the channels of [1, channels, time]."""
        centred = self.node("Sub", x, self.node("ReduceMean", x, axes=[1]))
        power = self.node("ReduceMean", self.node("Mul", centred, centred), axes=[1])
        return self.node("Div", centred, self.node("Sqrt", self.node("Add", power, self.tiny)))

    @property
    def tiny(self) -> str:
        return self.weight([1e-5])

    def half(self, x: str, first: bool, width: int) -> str:
        ends = (0, width) if first else (width, 2 * width)
        begin, end = (self.weight([place], np.int64) for place in ends)
        return self.node("Slice", x, begin, end, self.weight([1], np.int64))

    def gelu(self, x: str) -> str:
        erf = self.node("Erf", self.node("Mul", x, self.weight(2**-0.5)))
        return self.node("Mul", self.node("Mul", x, self.weight(0.5)), self.node(
            "Add", erf, self.weight(1.0)
        ))  # fmt: skip


def _text_encoder(g: _Layers, ids: str) -> str:
    x = g.node("Gather", g.weight(np.random.default_rng(1).normal(0, 1, (256, HIDDEN))), ids)
    x = g.node("Transpose", x, perm=[0, 2, 1])
    heads = g.weight([1, HEADS, HIDDEN // HEADS, -1], np.int64)
    joined = g.weight([1, HIDDEN, -1], np.int64)
    for _ in range(LAYERS):
        q, k, v = (g.node("Reshape", g.conv(x, HIDDEN, HIDDEN), heads) for _ in range(3))
        scores = g.node("MatMul", g.node("Transpose", q, perm=[0, 1, 3, 2]), k)
        weights = g.node("Softmax", g.node("Mul", scores, g.weight(96**-0.5)), axis=-1)
        mixed = g.node("MatMul", v, g.node("Transpose", weights, perm=[0, 1, 3, 2]))
        attended = g.conv(g.node("Reshape", mixed, joined), HIDDEN, HIDDEN)
        x = g.norm(g.node("Add", x, attended))
        fed = g.node("Relu", g.conv(x, HIDDEN, FILTER, 3))
        x = g.norm(g.node("Add", x, g.conv(fed, FILTER, HIDDEN, 3)))
    return x


def _duration_predictor(g: _Layers, x: str) -> str:
    """The dilated, depth-wise convolutions of the predictor; returns about 0 for each id."""
    for flow in range(4):  # its own, and one for each of three flows
        x = g.conv(x, HIDDEN, HIDDEN)
        for layer in range(3):
            y = g.gelu(g.norm(g.conv(x, HIDDEN, HIDDEN, 3, 3**layer, HIDDEN)))
            x = g.node("Add", x, g.gelu(g.norm(g.conv(y, HIDDEN, HIDDEN))))
        g.conv(x, HIDDEN, 29 if flow else HIDDEN)
    return g.node("Mul", g.conv(x, HIDDEN, 1), g.weight(0.2))


def _regulate(g: _Layers, stats: str, log_lengths: str) -> str:
    """Repeats each id's statistics for as many frames as it lasts; [1, 2 * HIDDEN, frames]."""
    zero, one = (g.weight(n, np.int64) for n in (0, 1))
    first, flat = g.weight([0], np.int64), g.weight([-1], np.int64)
    length = g.node("Gather", "scales", one)
    frames = g.node("Ceil", g.node("Mul", g.node("Exp", log_lengths), length))
    whole = g.node("Cast", g.node("Reshape", frames, flat), to=TensorProto.INT64)
    ends = g.node("CumSum", whole, zero)
    times = g.node("Range", zero, g.node("ReduceSum", whole, first, keepdims=0), one)
    passed = g.node(
        "GreaterOrEqual",
        g.node("Unsqueeze", times, g.weight([1], np.int64)),
        g.node("Unsqueeze", ends, first),
    )
    which = g.node(
        "ReduceSum",
        g.node("Cast", passed, to=TensorProto.INT64),
        g.weight([1], np.int64),
        keepdims=0,
    )
    return g.node("Gather", stats, which, axis=2)


def _flow(g: _Layers, z: str) -> str:
    for _ in range(4):
        kept, changed = g.half(z, True, HIDDEN // 2), g.half(z, False, HIDDEN // 2)
        h = g.conv(kept, HIDDEN // 2, HIDDEN)
        skips: list[str] = []
        for layer in range(4):
            both = g.conv(h, HIDDEN, 2 * HIDDEN, 5)
            gated = g.node(
                "Mul",
                g.node("Tanh", g.half(both, True, HIDDEN)),
                g.node("Sigmoid", g.half(both, False, HIDDEN)),
            )
            if layer == 3:
                skips.append(g.conv(gated, HIDDEN, HIDDEN))
            else:
                out = g.conv(gated, HIDDEN, 2 * HIDDEN)
                h = g.node("Add", h, g.half(out, True, HIDDEN))
                skips.append(g.half(out, False, HIDDEN))
        shift = g.conv(g.node("Sum", *skips), HIDDEN, HIDDEN // 2)
        z = g.node("Concat", g.node("Sub", changed, shift), kept, axis=1)
    return z


def _decoder(g: _Layers, z: str) -> None:
    x, wide = g.conv(z, HIDDEN, 256, 7), 256
    for rate, kernel in UPSAMPLE:
        x = g.node("LeakyRelu", x, alpha=0.1)
        values = np.random.default_rng(rate).normal(
            0, 1 / np.sqrt(wide * 2), (wide, wide // 2, kernel)
        )
        pad = (kernel - rate) // 2
        x = g.node("ConvTranspose", x, g.weight(values), strides=[rate], pads=[pad, pad])
        wide //= 2
        branches: list[str] = []
        for size, dilations in RESBLOCKS:
            y = x
            for dilation in dilations:
                turned = g.conv(g.node("LeakyRelu", y, alpha=0.1), wide, wide, size, dilation)
                y = g.node("Add", y, turned)
            branches.append(y)
        x = g.node("Div", g.node("Sum", *branches), g.weight(3.0))
    x = g.conv(g.node("LeakyRelu", x, alpha=0.01), wide, 1, 7)
    x = g.node("Tanh", g.node("Mul", x, g.weight(0.1)))
    g.node("Unsqueeze", x, g.weight([1], np.int64), out="output")


def _build_layers(path: Path) -> float:
    g = _Layers()
    x = _text_encoder(g, "input")
    lengths = _duration_predictor(g, x)
    stats = _regulate(g, g.conv(x, HIDDEN, 2 * HIDDEN), lengths)
    means, logs = g.half(stats, True, HIDDEN), g.half(stats, False, HIDDEN)
    noise = g.node("Mul", g.node("RandomNormalLike", means), g.node("Exp", logs))
    scale = g.node("Gather", "scales", g.weight(0, np.int64))
    _decoder(g, _flow(g, g.node("Add", means, g.node("Mul", noise, scale))))
    value = helper.make_tensor_value_info
    inputs = [
        value("input", TensorProto.INT64, [1, "phonemes"]),
        value("input_lengths", TensorProto.INT64, [1]),
        value("scales", TensorProto.FLOAT, [3]),
    ]
    output = value("output", TensorProto.FLOAT, [1, 1, 1, "time"])
    graph = helper.make_graph(g.nodes, "medium_voice", inputs, [output], g.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    checker.check_model(model)
    save(model, str(path))
    return 2.3


def main() -> None:
    """Builds one from the command line."""
    parser = argparse.ArgumentParser(description="Make a medium-size Piper voice, random weights.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--maker", choices=["torch", "layers"])
    given = parser.parse_args()
    made_by = build(given.out, given.maker)
    print(f"{given.out}: {given.out.stat().st_size / 1e6:.0f} MB, by {made_by}", file=sys.stderr)


if __name__ == "__main__":
    main()
