"""Loads XTTS with coqui-tts. Runs where torch is; nothing of it is imported before `load`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

REFERENCE_SAMPLE_RATE = 22050
"""Hertz, at which the model listens to a recording."""


class LoadError(Exception):
    """The model cannot be had, and a second try would not change that."""


class XttsModel(Protocol):
    """What is used of `TTS.tts.models.xtts.Xtts`."""

    def get_conditioning_latents(self, audio_path: list[str], **settings: Any) -> tuple[Any, Any]:
        """What the model knows of a voice after listening to recordings of it."""

    def inference_stream(
        self, text: str, language: str, gpt_cond_latent: Any, speaker_embedding: Any, **kwargs: Any
    ) -> Iterator[Any]:
        """Yields tensors of samples between -1 and 1, at 24 kHz."""


def load(message: dict[str, Any]) -> XttsModel:
    """Loads what a `load` message asks for.

    Raises:
        LoadError: A package or a file is missing.
    """
    if factory := message.get("model_factory"):
        made: XttsModel = _find_factory(str(factory))()
        return made
    return _load_coqui(
        Path(message["model_dir"]),
        device=message.get("device", "auto"),
        use_deepspeed=bool(message.get("use_deepspeed")),
    )


def _load_coqui(model_dir: Path, *, device: str, use_deepspeed: bool) -> XttsModel:
    try:
        import torch
        from TTS.tts.configs.xtts_config import XttsConfig
        from TTS.tts.models import xtts
    except ImportError as e:
        raise LoadError(
            f"{e}; install it with `pip install 'livekit-agent-worker[xtts]'`, or give the "
            "Python that has it as `python`"
        ) from e
    # Since torchaudio reads files through torchcodec, even a WAV needs FFmpeg's libraries. The
    # recordings are known to be plain WAV, so they are read without.
    xtts.load_audio = lambda path, rate: _read_wav(torch, Path(path), rate)
    config = XttsConfig()
    config.load_json(str(model_dir / "config.json"))
    model = xtts.Xtts.init_from_config(config)
    model.load_checkpoint(
        config, checkpoint_dir=str(model_dir), eval=True, use_deepspeed=use_deepspeed
    )
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded: XttsModel = model.to(device)
    return loaded


def _read_wav(torch: Any, path: Path, sample_rate: int) -> Any:
    """A recording as a tensor of one channel, like the function of coqui-tts that it replaces."""
    import numpy as np
    import torchaudio

    with wave.open(str(path), "rb") as file:
        width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
        data = file.readframes(file.getnframes())
    # Any width in bytes: the sample becomes the upper end of a 32-bit word.
    words = np.zeros((len(data) // width, 4), np.uint8)
    words[:, 4 - width :] = np.frombuffer(data, np.uint8).reshape(-1, width)
    if width == 1:
        words[:, 3] ^= 0x80
    samples = words.reshape(-1).view("<i4").reshape(-1, channels).mean(axis=1) / 2147483648.0
    audio = torch.from_numpy(samples.astype(np.float32))[None, :]
    if rate != sample_rate:
        audio = torchaudio.functional.resample(audio, rate, sample_rate)
    return audio


def stop_between_tokens(model: XttsModel, check: Callable[[], None]) -> None:
    """Has `check` called before each token, where the model lets one in there.

    A chunk is twenty tokens long: without this, an interruption would wait for the end of one.
    """
    inference = getattr(getattr(model, "gpt", None), "gpt_inference", None)
    register = getattr(inference, "register_forward_pre_hook", None)
    if register is not None:
        register(lambda *_: check())


def own_voice(model: XttsModel, speaker: str) -> tuple[Any, Any]:
    """The latents of a voice that came with the model.

    Raises:
        LookupError: It has none of that name.
    """
    manager = getattr(model, "speaker_manager", None)
    speakers = getattr(manager, "speakers", None) or {}
    if speaker not in speakers:
        names = ", ".join(sorted(speakers)) or "none; give a recording as `reference_wav`"
        raise LookupError(f"the model has no speaker {speaker!r}; it has {names}")
    found = speakers[speaker]
    return found["gpt_cond_latent"], found["speaker_embedding"]


def _find_factory(name: str) -> Callable[[], Any]:
    """`package.module:function`, or `path/to/file.py:function`."""
    where, _, function = name.rpartition(":")
    try:
        if where.endswith(".py"):
            spec = importlib.util.spec_from_file_location("xtts_model_factory", where)
            if spec is None or spec.loader is None:
                raise LoadError(f"model factory {where} cannot be loaded")
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(where)
        found: Callable[[], Any] = getattr(module, function)
    except (ImportError, OSError, AttributeError, ValueError) as e:
        raise LoadError(f"model factory {name!r} not found: {e}") from e
    return found
