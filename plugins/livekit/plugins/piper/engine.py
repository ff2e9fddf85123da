"""The one owner of a voice in a process: its graph, its phonemizer, its loudness, its threads."""

from __future__ import annotations

import importlib.util
import os
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local_tts.threads import WorkThreads

from .log import logger
from .split import CannotSplitError
from .voices import VoiceFiles

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from .graph import Inputs, Samples, Utterance, VoiceGraph

PEAK = 0.8
"""Loudest sample of the calibration sentence after the gain. Other sentences are up to 2 dB
louder in some voices; what is beyond full scale is clipped."""

MOST_PHONEMES = 400
"""Per run of the encoder, whose memory grows with the square of it."""

# Read aloud in every language, so that every voice can be calibrated with it.
_CALIBRATION_TEXT = "0 1 2 3 4 5 6 7 8 9."


class VoiceError(RuntimeError):
    """A voice cannot speak, and will not on another try either."""


@dataclass(frozen=True)
class SpeechOptions:
    """How one utterance is to be spoken; a snapshot, so that it cannot change midway."""

    speaker: int | None = None
    """None: the voice's default one."""
    speed: float = 1.0
    """2.0 is twice as fast."""
    noise_scale: float | None = None
    """Variation of the voice; None: as the voice was made for."""
    noise_w_scale: float | None = None
    """Variation of the phonemes' lengths; None: as the voice was made for."""
    volume: float = 1.0


@dataclass(frozen=True)
class Sentence:
    """What the encoder takes."""

    phonemes: tuple[str, ...]
    ids: tuple[int, ...]


def require_piper() -> None:
    """Checks that Piper is there, without loading it.

    Raises:
        ImportError: The `piper` extra is not installed.
    """
    if importlib.util.find_spec("piper") is None:
        raise ImportError("Piper is not installed; run: pip install 'livekit-agent-worker[piper]'")


class Engine:
    """Loads a voice when first used. Every method but `load` is quick or one step of work."""

    def __init__(self, files: VoiceFiles, num_threads: int) -> None:
        """Remembers what to load.

        Args:
            files: The voice.
            num_threads: Of one step of inference. As many steps run at once as the machine's
                cores allow.
        """
        self.files = files
        at_once = max(1, (os.cpu_count() or 1) // num_threads)
        self.threads = WorkThreads(at_once, f"piper-{files.name}")
        self._num_threads = num_threads
        self._lock = threading.Lock()
        self._voice: Any = None
        self._graph: VoiceGraph | None = None
        self._gains: dict[int | None, float] = {}

    @property
    def loaded(self) -> bool:
        """Whether it can speak at once, with one of its speakers at least."""
        return bool(self._gains)

    def load(self, speaker: int | None = None) -> None:
        """Loads the voice, cuts its graph and measures its loudness, once; a second or two.

        Raises:
            ImportError: The `piper` extra is not installed.
            VoiceError: The files are no voice.
        """
        with self._lock:
            if self._graph is None:
                self._voice = self._open_voice()
                self._graph = self._open_graph()
            if speaker not in self._gains:
                self._gains[speaker] = self._measure_gain(self._graph, speaker)

    def phonemize(self, text: str) -> list[Sentence]:
        """Returns the sentences of `text`; none if there is nothing to speak in it."""
        sentences: list[Sentence] = []
        for phonemes in self._voice.phonemize(text):
            for piece in _cut(phonemes):
                known = [p for p in piece if p in self._voice.config.phoneme_id_map]
                if self._is_pinyin or any(p.isalpha() for p in "".join(known)):
                    ids = self._voice.phonemes_to_ids(piece if self._is_pinyin else known)
                    sentences.append(Sentence(tuple(known), tuple(ids)))
        return sentences

    def spoken_alone(self, word: str) -> list[list[str]]:
        """Returns the phonemes of a word, spoken by itself."""
        phonemes: list[list[str]] = self._voice.phonemize(word)
        return phonemes

    def id_count(self, phoneme: str) -> int:
        """Number of ids of a phoneme of this voice."""
        return len(self._voice.config.phoneme_id_map.get(phoneme, ()))

    def begin(self, sentence: Sentence, options: SpeechOptions) -> Utterance:
        """Encodes a sentence."""
        assert self._graph is not None, "load() comes first"
        return self._graph.begin(self._inputs(sentence.ids, options))

    def to_pcm(self, samples: Samples, options: SpeechOptions) -> bytes:
        """Applies the voice's gain and returns signed 16 bit."""
        import numpy as np

        scaled = samples * (self._gains[options.speaker] * options.volume * 32767.0)
        pcm: bytes = np.clip(scaled, -32767, 32767).round().astype("<i2").tobytes()
        return pcm

    @property
    def _is_pinyin(self) -> bool:
        return bool(self._voice.config.phoneme_type == "pinyin")

    def _open_voice(self) -> Any:
        require_piper()
        from piper import PiperVoice
        from piper.config import PiperConfig

        folder = self.files.model.parent
        config = PiperConfig.from_dict(self.files.read_config())
        if config.phoneme_type == "pinyin" and not (folder / "g2pW").is_dir():
            # Piper would fetch it in the middle of a call.
            raise VoiceError(f"voice {self.files.name} needs the g2pW model in {folder / 'g2pW'}")
        return PiperVoice(session=None, config=config, download_dir=folder)

    def _open_graph(self) -> VoiceGraph:
        from .graph import SplitVoice, WholeVoice

        try:
            try:
                import onnx
            except ImportError as e:
                raise CannotSplitError("the onnx package is not installed") from e
            model = onnx.load(str(self.files.model))
            split = SplitVoice(model, self._open_session)
            split.check(self._calibration_inputs(None))
            return split
        except CannotSplitError as e:
            logger.warning(
                "this voice speaks whole sentences: its first sound comes later",
                extra={"voice": self.files.name, "reason": str(e)},
            )
        except Exception as e:
            raise VoiceError(f"{self.files.model} is not a Piper voice") from e
        return WholeVoice(self.files.model, self._voice.config.hop_length, self._open_session)

    def _open_session(self, model: bytes | str) -> Any:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = self._num_threads
        options.inter_op_num_threads = 1
        # Idle threads would otherwise spin, at the cost of the other stages of the pipeline.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def _inputs(self, ids: Sequence[int], options: SpeechOptions) -> Inputs:
        import numpy as np

        config = self._voice.config
        noise = config.noise_scale if options.noise_scale is None else options.noise_scale
        noise_w = config.noise_w_scale if options.noise_w_scale is None else options.noise_w_scale
        scales = [noise, config.length_scale / options.speed, noise_w]
        inputs: dict[str, npt.NDArray[np.generic]] = {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array(scales, np.float32),
        }
        if config.num_speakers > 1:
            speaker = config.default_speaker_id if options.speaker is None else options.speaker
            inputs["sid"] = np.array([speaker], np.int64)
        return inputs

    def _calibration_inputs(self, speaker: int | None) -> Inputs:
        sentences = self.phonemize(_CALIBRATION_TEXT)
        if sentences:
            ids = [i for sentence in sentences for i in sentence.ids]
        else:  # an alphabet without digits
            ids = [i for entry in self._voice.config.phoneme_id_map.values() for i in entry]
        return self._inputs(ids[:MOST_PHONEMES], SpeechOptions(speaker=speaker))

    def _measure_gain(self, graph: VoiceGraph, speaker: int | None) -> float:
        import numpy as np

        parts = graph.begin(self._calibration_inputs(speaker)).parts
        loudest = max(float(np.abs(part()).max(initial=0.0)) for part in parts)
        return PEAK / loudest if loudest > 1e-6 else 1.0


def _cut(phonemes: list[str]) -> list[list[str]]:
    """Cuts a very long sentence, between words where it can."""
    pieces: list[list[str]] = []
    while len(phonemes) > MOST_PHONEMES:
        head = phonemes[:MOST_PHONEMES]
        at = len(head) - head[::-1].index(" ") if " " in head else MOST_PHONEMES
        pieces.append(phonemes[:at])
        phonemes = phonemes[at:]
    return [*pieces, phonemes]


_shared: weakref.WeakValueDictionary[tuple[int, str, int], Engine] = weakref.WeakValueDictionary()
_shared_lock = threading.Lock()


def shared(files: VoiceFiles, num_threads: int) -> Engine:
    """Returns the process's engine for a voice; it lives as long as somebody speaks with it.

    A forked child gets its own: threads do not survive a fork.
    """
    key = (os.getpid(), str(files.model.resolve()), num_threads)
    with _shared_lock:
        engine = _shared.get(key)
        if engine is None:
            engine = _shared[key] = Engine(files, num_threads)
        return engine


def queue_depths() -> dict[str, int]:
    """Returns how many steps wait for each voice of this process, of all its streams."""
    with _shared_lock:
        engines = list(_shared.values())
    depths: dict[str, int] = {}
    for engine in engines:
        depths[engine.files.name] = depths.get(engine.files.name, 0) + engine.threads.waiting
    return depths
