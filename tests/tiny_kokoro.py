"""Builds graphs and packs with Kokoro's inputs and outputs that cost nothing to run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

FRAMES = 4
"""Of each phoneme at normal speed, 25 ms each."""
VOICES = ("af_heart", "am_adam", "bf_emma", "ff_siwis", "jf_alpha")


def build(folder: Path, *, durations: bool = True) -> Path:
    """Writes both files into a folder, and returns it.

    Each voice is a sine of its own pitch; a phoneme lasts for `FRAMES`.

    Args:
        folder: Made if it is not there.
        durations: Whether the graph lets itself be asked for the phonemes' lengths.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rounding = ["Round", "Clip"] if durations else ["Floor", "Abs"]
    node = helper.make_node
    nodes = [
        node("Cast", ["tokens"], ["numbers"], to=TensorProto.FLOAT),
        node("Mul", ["numbers", "zero"], ["nothing"]),
        node("Add", ["nothing", "frames"], ["long"]),
        node("Div", ["long", "speed"], ["fast"]),
        node(rounding[0], ["fast"], ["whole"]),
        node(rounding[1], ["whole", "one"] if durations else ["whole"], ["lengths"]),
        node("ReduceSum", ["lengths"], ["all"], keepdims=0),
        node("Mul", ["all", "hop"], ["samples"]),
        node("Cast", ["samples"], ["count"], to=TensorProto.INT64),
        node("Range", ["start", "count", "step"], ["index"]),
        node("Cast", ["index"], ["time"], to=TensorProto.FLOAT),
        node("ReduceMax", ["style"], ["pitch"], keepdims=0),
        node("Mul", ["time", "pitch"], ["phase"]),
        node("Sin", ["phase"], ["wave"]),
        node("Mul", ["wave", "half"], ["audio"]),
    ]
    floats = {"zero": 0.0, "frames": float(FRAMES), "one": 1.0, "hop": 600.0, "half": 0.5}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("tokens", TensorProto.INT64, [1, "n"]),
            helper.make_tensor_value_info("style", TensorProto.FLOAT, [1, 256]),
            helper.make_tensor_value_info("speed", TensorProto.FLOAT, [1]),
        ],
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["samples_out"])],
        [
            *(helper.make_tensor(n, TensorProto.FLOAT, [], [v]) for n, v in floats.items()),
            helper.make_tensor("start", TensorProto.INT64, [], [0]),
            helper.make_tensor("step", TensorProto.INT64, [], [1]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(folder / "kokoro-v1.0.int8.onnx"))
    styles = {
        name: np.full((510, 1, 256), 0.05 + 0.02 * number, np.float32)
        for number, name in enumerate(VOICES)
    }
    with (folder / "voices-v1.0.bin").open("wb") as pack:
        np.savez(pack, **styles)  # type: ignore[arg-type]
    return folder
