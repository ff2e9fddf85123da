"""Where passages with their vectors are kept: what `index` asks of a store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from .embedders import Vectors
from .reading import Passage


class DocumentsError(RuntimeError):
    """The documents can't be used; the message is one line of advice."""


@dataclass(frozen=True)
class Found:
    """A passage that may answer a question."""

    passage: Passage
    match: float
    """The dot product of its vector with the question's."""


class PassageStore(Protocol):
    """The passages of one folder by one embedder. For all threads; every method blocks."""

    def stamps(self) -> Mapping[str, str]:
        """What was read: the path of each file, relative to the folder, and its stamp then."""

    def put(self, path: str, stamp: str, passages: Sequence[Passage], vectors: Vectors) -> None:
        """Keep the passages of a file instead of what it had."""

    def forget(self, path: str) -> None:
        """Drop a file and its passages."""

    def nearest(self, question: Vectors, limit: int, enough: float) -> list[Found]:
        """The passages that match a question's vector best, the best first.

        Args:
            question: One vector.
            limit: How many at most.
            enough: The dot product that a match has at least.
        """

    def count(self) -> int:
        """How many passages there are."""

    def close(self) -> None:
        """Close it; safe to call twice."""
