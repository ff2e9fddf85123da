"""A voice's graph, ready to run: cut in two where it can be, whole where it cannot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .split import CannotSplitError, split_graph
from .windows import Window, plan_windows

Samples = npt.NDArray[np.float32]
Inputs = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Utterance:
    """A sentence that can be rendered stretch by stretch."""

    parts: Sequence[Callable[[], Samples]]
    """Each renders the next stretch; joined they are the sentence."""
    frames: Sequence[int] | None
    """Duration of each phoneme id in frames, where the voice tells it."""
    hop: int
    """Samples per frame."""


class VoiceGraph(Protocol):
    """What the engine needs of a graph."""

    def begin(self, inputs: Inputs) -> Utterance:
        """Does what must be done before the first stretch of a sentence."""
        ...


class SplitVoice:
    """Renders while the sentence is being spoken."""

    def __init__(self, model: Any, open_session: Callable[[bytes], Any]) -> None:
        """Cuts the graph (`onnx.ModelProto`) and loads both halves.

        Raises:
            CannotSplitError: The graph cannot be cut.
        """
        self._split = split_graph(model)
        self._encoder = open_session(self._split.encoder)
        self._decoder = open_session(self._split.decoder)

    def begin(self, inputs: Inputs) -> Utterance:
        """Encodes the sentence."""
        outputs = self._encoder.run(None, inputs)
        carried = dict(zip(self._split.carried, outputs, strict=False))
        latent_frames = int(outputs[0].shape[2])
        frames: list[int] | None = None
        if self._split.durations is not None:
            frames = [int(n) for n in outputs[len(carried)].reshape(-1)]
            if sum(frames) != latent_frames:
                frames = None
        windows = plan_windows(latent_frames, self._split.context)
        parts = [partial(self._decode, carried, window) for window in windows]
        return Utterance(parts, frames, self._split.hop)

    def check(self, inputs: Inputs) -> None:
        """Compares the beginning of a sentence, decoded in windows, with the same decoded at once.

        Raises:
            CannotSplitError: They differ by more than rounding: the decoder looks further, or at
                more, than its convolutions tell.
        """
        outputs = self._encoder.run(None, inputs)
        carried = dict(zip(self._split.carried, outputs, strict=False))
        latent = self._split.carried[0]
        carried[latent] = carried[latent][:, :, : 3 * self._split.context + 16]
        length = int(carried[latent].shape[2])
        at_once = self._decode(carried, Window(0, length, 0, length))
        pieces = [self._decode(carried, w) for w in plan_windows(length, self._split.context)]
        in_windows = np.concatenate(pieces)
        loudest = float(np.abs(at_once).max(initial=1e-9))
        if in_windows.shape != at_once.shape or (
            float(np.abs(in_windows - at_once).max(initial=0.0)) > 1e-5 * loudest
        ):
            raise CannotSplitError("windows of the decoder do not join to the whole")

    def _decode(self, carried: dict[str, npt.NDArray[Any]], window: Window) -> Samples:
        latent, hop = self._split.carried[0], self._split.hop
        piece = carried[latent][:, :, window.first : window.last]
        audio = self._decoder.run(None, {**carried, latent: piece})[0].reshape(-1)
        samples: Samples = audio[
            (window.start - window.first) * hop : (window.end - window.first) * hop
        ]
        return samples


class WholeVoice:
    """Renders a sentence at once: slower to the first sound, and right for any voice."""

    def __init__(self, model_path: Path, hop: int, open_session: Callable[[str], Any]) -> None:
        self._session = open_session(str(model_path))
        self._hop = hop

    def begin(self, inputs: Inputs) -> Utterance:
        """Leaves all the work to the one part."""
        return Utterance([partial(self._render, inputs)], None, self._hop)

    def _render(self, inputs: Inputs) -> Samples:
        samples: Samples = self._session.run(None, inputs)[0].reshape(-1)
        return samples
