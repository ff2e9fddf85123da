"""The one owner of Kokoro in a process: its graph, its styles, its phonemizer, its threads."""

from __future__ import annotations

import importlib.util
import os
import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

from local_tts.threads import WorkThreads

from .languages import LANGUAGES, Language
from .phonemes import Phonemizer, require_phonemizer
from .phrases import plan_phrases
from .voices import KokoroFiles

if TYPE_CHECKING:
    from .graph import KokoroGraph, Rendered, Samples, Stop, Style

SAMPLE_RATE = 24000
"""Hertz."""


class VoiceError(RuntimeError):
    """Kokoro cannot speak, and will not on another try either."""


@dataclass(frozen=True)
class SpeechOptions:
    """How one utterance is to be spoken; a snapshot, so that it cannot change midway."""

    voice: str = "af_heart"
    language: Language = LANGUAGES[0]
    speed: float = 1.0
    """2.0 is twice as fast."""
    volume: float = 1.0


def require_kokoro() -> None:
    """Checks that what Kokoro needs is there, without loading it.

    Raises:
        ImportError: The `kokoro` extra is not installed.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise ImportError(
            "Kokoro is not installed; run: pip install 'livekit-agent-worker[kokoro]'"
        )
    require_phonemizer()


class Engine:
    """Loads Kokoro when first used. All its voices share one graph."""

    def __init__(self, files: KokoroFiles, num_threads: int) -> None:
        """Remembers what to load.

        Args:
            files: The graph and the voices' styles.
            num_threads: Of one phrase. As many phrases are made at once as the machine's cores
                allow.
        """
        self.files = files
        at_once = max(1, (os.cpu_count() or 1) // num_threads)
        self.threads = WorkThreads(at_once, "kokoro")
        self._num_threads = num_threads
        self._lock = threading.Lock()
        self._phonemizer = Phonemizer()
        self._graph: KokoroGraph | None = None
        self._styles: dict[str, Style] = {}

    @property
    def loaded(self) -> bool:
        """Whether it can speak at once."""
        return self._graph is not None

    def load(self) -> None:
        """Loads the graph, once; some seconds.

        Raises:
            ImportError: The `kokoro` extra is not installed.
            VoiceError: The files are not Kokoro's.
        """
        with self._lock:
            if self._graph is not None:
                return
            from .graph import GraphError, KokoroGraph

            require_kokoro()
            try:
                self._graph = KokoroGraph(self.files.model, self._num_threads)
            except (GraphError, OSError, ValueError) as e:
                raise VoiceError(str(e)) from e

    def phrases(self, text: str, language: Language) -> list[str]:
        """Phonemes of each stretch that is made in one go; none if there is nothing to speak."""
        return plan_phrases(self._phonemizer.clauses(text, language))

    def spoken_alone(self, word: str, language: Language) -> list[str]:
        """Phonemes of a word, spoken by itself."""
        return self._phonemizer.clauses(word, language)

    def render(self, phrase: str, options: SpeechOptions, stop: Stop) -> Rendered:
        """Makes a phrase; `load` comes first."""
        assert self._graph is not None, "load() comes first"
        return self._graph.render(phrase, self._style(options.voice), options.speed, stop)

    def to_pcm(self, samples: Samples, options: SpeechOptions) -> bytes:
        """Applies the volume and returns signed 16 bit."""
        import numpy as np

        scaled = samples * (options.volume * 32767.0)
        pcm: bytes = np.clip(scaled, -32767, 32767).round().astype("<i2").tobytes()
        return pcm

    def _style(self, voice: str) -> Style:
        if (known := self._styles.get(voice)) is not None:
            return known
        import numpy as np

        try:
            with np.load(self.files.voices) as pack:
                style: Style = pack[voice]
        except (OSError, ValueError, KeyError) as e:
            raise VoiceError(f"{self.files.voices} has no style of {voice}") from e
        if style.ndim != 3 or style.shape[1:] != (1, 256):
            raise VoiceError(f"{voice} in {self.files.voices} is not the style of a Kokoro voice")
        self._styles[voice] = style
        return style


_shared: weakref.WeakValueDictionary[tuple[int, str, str, int], Engine] = (
    weakref.WeakValueDictionary()
)
_shared_lock = threading.Lock()


def shared(files: KokoroFiles, num_threads: int) -> Engine:
    """Returns the process's engine for these files; it lives as long as somebody speaks with it.

    A forked child gets its own: threads do not survive a fork.
    """
    paths = str(files.model.resolve()), str(files.voices.resolve())
    key = (os.getpid(), *paths, num_threads)
    with _shared_lock:
        engine = _shared.get(key)
        if engine is None:
            engine = _shared[key] = Engine(files, num_threads)
        return engine


def queue_depths() -> dict[str, int]:
    """Returns how many phrases wait for Kokoro in this process, of all streams."""
    with _shared_lock:
        engines = list(_shared.values())
    return {"kokoro": sum(engine.threads.waiting for engine in engines)} if engines else {}
