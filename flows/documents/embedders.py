"""From text to vectors. The real ones are in `onnx_embedder`; here is what needs no weights."""

import zlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .reading import words_in

Vectors = npt.NDArray[np.float32]


class Embedder(Protocol):
    """Turns questions and passages into vectors whose dot product says how well they match."""

    @property
    def name(self) -> str:
        """Names the vectors: those of another name can't be compared with them."""

    @property
    def enough(self) -> float:
        """The dot product under which a passage does not answer the question."""

    def passages(self, texts: Sequence[str]) -> Vectors:
        """One row for each text."""

    def question(self, text: str) -> Vectors:
        """One vector."""


class WordEmbedder:
    """Finds words, not meanings: the match is the share of a question's words in the passage.

    It stands in where no model was downloaded. "When may I send it back" does not find "Returns
    within thirty days": a model would.
    """

    name = "words-1"
    enough = 0.5
    _SIZE = 4096

    def passages(self, texts: Sequence[str]) -> Vectors:
        """Which words are there."""
        rows = np.zeros((len(texts), self._SIZE), np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[[self._place(word) for word in words_in(text)]] = 1.0
        return rows

    def question(self, text: str) -> Vectors:
        """Each word with its share."""
        row = np.zeros(self._SIZE, np.float32)
        places = {self._place(word) for word in words_in(text)}
        if places:
            row[list(places)] = 1.0 / len(places)
        return row

    def _place(self, word: str) -> int:
        # Python's own hash differs from process to process.
        return zlib.crc32(word.encode()) % self._SIZE
