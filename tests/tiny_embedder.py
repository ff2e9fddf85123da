"""A real ONNX model with a real tokenizer, of four words: what the embedder runs on in tests.

Each word's state is a vector of its own, but "refund" and "money-back" have the same one: so a
test can tell meaning from words.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

VOCABULARY = {"[PAD]": 0, "[UNK]": 1, "refund": 2, "money": 3, "parking": 4}
STATES = np.array([[0, 0, 0], [0, 0, 0.01], [1, 0, 0], [1, 0, 0], [0, 1, 0]], dtype=np.float32)


def write_tiny_embedder(folder: Path) -> Path:
    """Writes `tokenizer.json` and `model.onnx`; gives the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    graph = helper.make_graph(
        [helper.make_node("Gather", ["states", "input_ids"], ["last_hidden_state"])],
        "tiny",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [
            helper.make_tensor_value_info(
                "last_hidden_state", TensorProto.FLOAT, ["batch", "tokens", 3]
            )
        ],
        [numpy_helper.from_array(STATES, "states")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(folder / "model.onnx"))
    return folder
