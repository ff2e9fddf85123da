"""The one owner of libespeak-ng in a process.

The library keeps its voice, its parameters and its callback in global variables, so one lock
guards every call and one thread makes them. Utterances of several rooms take turns in it, a
sentence at a time; it is a few hundred times faster than speech.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_tts import espeak_library as c
from local_tts.espeak_library import c_string
from local_tts.threads import WorkThreads


class EspeakError(RuntimeError):
    """The library refused or failed."""


@dataclass(frozen=True)
class Voice:
    """One voice that the library knows."""

    name: str
    """For people: "English (America)"."""
    identifier: str
    """For `espeak.TTS(voice=...)`: "gmw/en-US"."""
    languages: tuple[str, ...]
    """Tags, the best one first: ("en-us", "en")."""


@dataclass(frozen=True)
class SpeechOptions:
    """How one utterance is to be spoken; a snapshot, so that it cannot change midway."""

    voice: str = "en-us"
    rate_wpm: int = 175
    """Words a minute, 80 to 450."""
    pitch: int = 50
    """0 to 100."""
    pitch_range: int = 50
    """0 (monotone) to 100."""
    volume: int = 100
    """0 to 200; above 100 the library may clip."""
    word_gap_ms: int = 0
    """Extra pause between words, in steps of 10 ms."""


@dataclass(frozen=True)
class WordEvent:
    """A word begins at this character of the text and this sample of the audio."""

    character: int
    sample: int


Sink = Callable[[bytes, list[WordEvent]], bool]
"""Takes PCM (signed 16 bit, mono) and the words that begin in it; False stops the synthesis."""


def require_library() -> None:
    """Checks that the pip package is there, without loading anything.

    Raises:
        ImportError: The `espeak` extra is not installed.
    """
    if importlib.util.find_spec("espeakng_loader") is None:
        raise ImportError(
            "espeak-ng is not installed; run: pip install 'livekit-agent-worker[espeak]'"
        )


class Engine:
    """Loads the library when first used and makes every call into it."""

    def __init__(self) -> None:
        self.lock = c.process_lock()
        """Held during each call into the library, by whichever engine makes it."""
        self.thread = WorkThreads(1, "espeak-ng")
        self._lib: Any = None
        self._data_path = Path()
        self._sink: Sink | None = None
        self._failure: BaseException | None = None
        # ctypes frees a callback that nothing refers to, and the library would then jump into it.
        self._callback = c.SynthCallback(self._on_audio)

    def load(self) -> None:
        """Loads the library and its data (about a millisecond), once.

        Raises:
            ImportError: The `espeak` extra is not installed.
            EspeakError: The library or its data is broken.
        """
        with self.lock:
            self._ensure_loaded()

    def voices(self) -> tuple[Voice, ...]:
        """Returns all voices, in the library's order."""
        with self.lock:
            lib = self._ensure_loaded()
            records = lib.espeak_ListVoices(None)
            found: list[Voice] = []
            while records[len(found)]:
                record = records[len(found)].contents
                found.append(
                    Voice(
                        name=record.name.decode("utf-8", "replace"),
                        identifier=record.identifier.decode("utf-8", "replace"),
                        languages=c.read_languages(record.languages),
                    )
                )
            return tuple(found)

    def has_voice(self, voice: str) -> bool:
        """Says whether the library can speak with this voice and variant ("en-us+f3")."""
        name, _, variant = voice.partition("+")
        with self.lock:
            lib = self._ensure_loaded()
            # An unknown variant is ignored without a word, so it is looked up here.
            variants = self._data_path / "voices" / "!v"
            if variant and variant not in {file.name for file in variants.iterdir()}:
                return False
            return bool(name) and lib.espeak_SetVoiceByName(c_string(voice)) == 0

    def synthesize(self, text: str, options: SpeechOptions, sink: Sink) -> None:
        """Speaks `text` into `sink`; blocks until it has been spoken or `sink` says stop.

        Positions of words are indices into `text`; samples are counted from its beginning.

        Raises:
            EspeakError: The library refused the voice or failed on the text.
        """
        with self.lock:
            lib = self._ensure_loaded()
            if lib.espeak_SetVoiceByName(c_string(options.voice)) != 0:
                raise EspeakError(f"espeak-ng has no voice {options.voice!r}")
            # Loading a voice resets the parameters, so they come after it.
            for parameter, value in (
                (c.RATE, options.rate_wpm),
                (c.PITCH, options.pitch),
                (c.PITCH_RANGE, options.pitch_range),
                (c.VOLUME, options.volume),
                (c.WORD_GAP, options.word_gap_ms // 10),
            ):
                lib.espeak_SetParameter(parameter, value, 0)
            self._sink, self._failure = sink, None
            # Each time: another engine may have put in its own, which dies with that engine.
            lib.espeak_SetSynthCallback(self._callback)
            try:
                data = c_string(text)
                status = lib.espeak_Synth(
                    data,
                    len(data) + 1,
                    0,
                    c.POSITION_IS_CHARACTER,
                    0,
                    c.CHARS_UTF8 | c.END_PAUSE,
                    None,
                    None,
                )
            finally:
                self._sink = None
            if self._failure is not None:
                raise EspeakError("the audio could not be handed over") from self._failure
            if status != 0:
                raise EspeakError(f"espeak-ng failed with status {status:#x}")

    def _ensure_loaded(self) -> Any:
        if self._lib is not None:
            return self._lib
        require_library()
        import espeakng_loader

        try:
            path, data_path = espeakng_loader.get_library_path(), espeakng_loader.get_data_path()
            lib = c.start_library(path, data_path)
        except (OSError, RuntimeError) as e:
            raise EspeakError(f"espeak-ng could not be loaded: {e}") from e
        self._data_path = Path(data_path)
        self._lib = lib
        return lib

    def _on_audio(self, samples: Any, count: int, events: Any) -> int:
        """The library's callback: 0 goes on, 1 stops the synthesis."""
        try:
            if self._sink is None:
                return 1
            words: list[WordEvent] = []
            index = 0
            while (event := events[index]).type != c.EVENT_LIST_TERMINATED:
                if event.type == c.EVENT_WORD:
                    words.append(WordEvent(event.text_position - 1, event.sample))
                index += 1
            pcm = ctypes.string_at(samples, count * 2) if samples and count > 0 else b""
            return 0 if self._sink(pcm, words) else 1
        except BaseException as e:  # an exception must not pass through the C frames
            self._failure = e
            return 1


@functools.cache
def _engine_of_process(process_id: int) -> Engine:
    return Engine()


_shared_lock = threading.Lock()


def shared() -> Engine:
    """Returns the process's engine. A forked child gets its own: threads do not survive a fork."""
    with _shared_lock:
        return _engine_of_process(os.getpid())


def queue_depths() -> dict[str, int]:
    """Returns how many pieces of text wait for the library, of all streams in this process."""
    return {"espeak-ng": shared().thread.waiting}
