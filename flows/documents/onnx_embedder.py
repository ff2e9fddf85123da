"""Embeddings by an ONNX model on this machine's CPU, such as BGE-M3.

Sources: the model cards of BAAI/bge-m3 (the first token's state, no prefixes), and of
intfloat/multilingual-e5-small (the mean of all states, with "query: " and "passage: ").
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

_LONGEST = 512
"""Tokens; a passage is shorter."""
_BATCH = 16


class EmbedderError(RuntimeError):
    """The model can't be used; the message is one line of advice."""


@dataclass(frozen=True)
class EmbeddingModel:
    """Where a model is to be had, and how its vectors are made."""

    repository: str
    pooling: Literal["first", "mean"]
    enough: float
    """From the spread of similarities that the cards report; not measured by this project."""
    question_prefix: str = ""
    passage_prefix: str = ""


MODELS = {
    "multilingual-e5-small": EmbeddingModel(
        "Xenova/multilingual-e5-small", "mean", 0.82, "query: ", "passage: "
    ),
    "bge-m3": EmbeddingModel("Xenova/bge-m3", "first", 0.5),
}
"""By the name that `documents_model` takes. The first is an eighth of the second's size."""

FILES = ("tokenizer.json", "onnx/model_quantized.onnx")
"""Of each repository: 8-bit weights, which a CPU runs two to three times as fast."""


class OnnxEmbedder:
    """One model in memory, for all threads.

    Args:
        folder: With the files of `FILES`; `model.onnx` beside `tokenizer.json` will do too.
        model: How its vectors are made.

    Raises:
        EmbedderError: The files are not there, or are no model.
    """

    def __init__(self, folder: Path, model: EmbeddingModel) -> None:
        # Both are there with faster-whisper; they load slowly, and only where they are used.
        import onnxruntime
        from tokenizers import Tokenizer

        weights = folder / FILES[1]
        if not weights.is_file():
            weights = folder / "model.onnx"
        try:
            self._tokenizer: Any = Tokenizer.from_file(str(folder / FILES[0]))
            options = onnxruntime.SessionOptions()
            # A call's own work must not wait behind a search on every core.
            options.intra_op_num_threads = 2
            self._session: Any = onnxruntime.InferenceSession(
                str(weights), options, providers=["CPUExecutionProvider"]
            )
        except Exception as e:
            # Both raise bare exceptions of their own.
            reason = str(e).splitlines()[0] if str(e) else type(e).__name__
            raise EmbedderError(f"The embedding model in {folder} can't be used: {reason}") from e
        self._tokenizer.enable_truncation(_LONGEST)
        self._tokenizer.enable_padding()
        self._takes = {one.name for one in self._session.get_inputs()}
        self._model = model
        self._lock = threading.Lock()
        self.name = f"{folder.name}-{weights.stat().st_size}"
        self.enough = model.enough

    def passages(self, texts: Sequence[str]) -> Vectors:
        """One row of length 1 for each text."""
        prefixed = [self._model.passage_prefix + text for text in texts]
        rows = [self._embed(prefixed[i : i + _BATCH]) for i in range(0, len(prefixed), _BATCH)]
        return np.concatenate(rows) if rows else np.zeros((0, 0), np.float32)

    def question(self, text: str) -> Vectors:
        """One vector of length 1."""
        row: Vectors = self._embed([self._model.question_prefix + text])[0]
        return row

    def _embed(self, texts: list[str]) -> Vectors:
        with self._lock:
            encoded = self._tokenizer.encode_batch(texts)
        ids = np.array([one.ids for one in encoded], np.int64)
        mask = np.array([one.attention_mask for one in encoded], np.int64)
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        states = self._session.run(
            None, {name: feed for name, feed in feeds.items() if name in self._takes}
        )[0]
        if states.ndim == 2:
            pooled = states
        elif self._model.pooling == "first":
            pooled = states[:, 0]
        else:
            weights = mask[:, :, None].astype(np.float32)
            pooled = (states * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1.0)
        lengths = np.linalg.norm(pooled, axis=1, keepdims=True)
        unit: Vectors = (pooled / np.maximum(lengths, 1e-9)).astype(np.float32)
        return unit
