"""Kokoro's graph, ready to run, with the lengths of its phonemes as a second output."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .log import logger
from .phonemes import VOCABULARY

SAMPLE_RATE = 24000
"""Hertz."""
_HOP = 600
"""Samples in a frame of the durations."""
_QUIET = 0.01
"""Of full scale: the pause before the first sound is below it."""
_LEAD_S = 0.03
"""What is left of that pause."""

Samples = npt.NDArray[np.float32]
Style = npt.NDArray[np.float32]


class GraphError(ValueError):
    """The file is not Kokoro's graph."""


class Stop:
    """Ends a run of the graph from another thread, and keeps the next one from beginning."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: Any = None
        self._set = False

    @property
    def is_set(self) -> bool:
        """Whether nobody wants the result any more."""
        return self._set

    def set(self) -> None:
        """Ends the run under way at its next node."""
        with self._lock:
            self._set = True
            if self._running is not None:
                self._running.terminate = True

    def options(self) -> Any:
        """For the run that begins now."""
        import onnxruntime as ort

        with self._lock:
            self._running = ort.RunOptions()
            self._running.terminate = self._set
            return self._running


@dataclass(frozen=True)
class Rendered:
    """A phrase as sound."""

    samples: Samples
    starts: tuple[int, ...] | None
    """Sample at which each phoneme begins, and at which the phrase ends; None where the graph
    does not tell."""


class KokoroGraph:
    """Turns phonemes and a style into sound."""

    def __init__(self, model: Path, num_threads: int) -> None:
        """Loads it, in some seconds.

        Raises:
            GraphError: It is none of Kokoro's.
        """
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.inter_op_num_threads = 1
        # Idle threads would otherwise spin, at the cost of the other stages of the pipeline.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            graph = _with_durations(model)
            self._session = ort.InferenceSession(graph, options, ["CPUExecutionProvider"])
        except Exception as e:
            raise GraphError(f"{model} is not Kokoro's graph") from e
        inputs = {one.name: one.type for one in self._session.get_inputs()}
        ids = next((name for name in ("tokens", "input_ids") if name in inputs), None)
        if ids is None or not inputs.keys() >= {"style", "speed"}:
            raise GraphError(f"{model} is not Kokoro's graph: it takes {', '.join(inputs)}")
        self._ids = ids
        self._speed_type = np.int32 if "int32" in inputs["speed"] else np.float32
        self.tells_durations = len(self._session.get_outputs()) > 1
        """Whether the words' times are measured, or spread evenly."""

    def render(self, phonemes: str, style: Style, speed: float, stop: Stop) -> Rendered:
        """Makes a phrase, of phonemes that are all in the vocabulary.

        Args:
            phonemes: 508 at most.
            style: Shape (510, 1, 256): by the number of phonemes the style of a voice.
            speed: 2.0 is twice as fast.
            stop: Ends the run.
        """
        ids = [VOCABULARY[phoneme] for phoneme in phonemes]
        inputs = {
            self._ids: np.array([[0, *ids, 0]], np.int64),
            "style": style[min(len(ids), len(style)) - 1].reshape(1, 256),
            "speed": np.array([speed], self._speed_type),
        }
        samples, *lengths = self._session.run(None, inputs, stop.options())
        samples = samples.reshape(-1)
        frames = [int(n) for n in lengths[0].reshape(-1)] if lengths else []
        if len(frames) != len(ids) + 2 or sum(frames) * _HOP != len(samples):
            return Rendered(samples[_pause(samples, len(samples) // 2) :], None)
        first = _pause(samples, frames[0] * _HOP)
        at = np.cumsum(frames[:-1]) * _HOP - first
        starts = (0, *(int(start) for start in at[1:-1]), len(samples) - first)
        return Rendered(samples[first:], starts)


def _pause(samples: Samples, most: int) -> int:
    """How many samples before the first sound can be left out: 0.3 s that nobody wants to wait."""
    loud = np.abs(samples[:most]) > _QUIET
    sound = int(loud.argmax()) if loud.any() else most
    return max(0, sound - int(_LEAD_S * SAMPLE_RATE))


def _with_durations(model: Path) -> bytes | str:
    """The graph with the phonemes' lengths as a second output, if it has none."""
    try:
        import onnx
    except ImportError:
        logger.warning("words are spread evenly over a phrase: the onnx package is not installed")
        return str(model)
    whole = onnx.load(str(model))
    if len(whole.graph.output) == 1:
        # The one rounding in it is that of the durations, to frames; then they are at least one.
        rounded = [node.output[0] for node in whole.graph.node if node.op_type == "Round"]
        at_least = [
            node.output[0]
            for node in whole.graph.node
            if node.op_type == "Clip" and node.input[0] in rounded
        ]
        if len(at_least) != 1:
            logger.warning("words are spread evenly over a phrase: the graph hides their lengths")
            return str(model)
        whole.graph.output.append(onnx.ValueInfoProto(name=at_least[0]))
    serialised: bytes = whole.SerializeToString()
    return serialised
