"""The C interface of libespeak-ng, as far as a voice needs it (speak_lib.h of espeak-ng 1.52).

The library keeps its voice, its parameters and its callback in global variables of the process:
whoever calls it, to speak or only for phonemes, holds `process_lock()` and sets its voice first.
"""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path
from typing import Any

SAMPLE_RATE = 22050
"""Hertz, of every voice but the MBROLA ones, which the pip package does not carry."""

BUFFER_MS = 80
"""Audio per callback; the library hands it over as soon as so much exists."""

AUDIO_OUTPUT_SYNCHRONOUS = 2
"""Audio goes to the callback, in the thread that called `espeak_Synth`."""
INITIALIZE_DONT_EXIT = 0x8000
"""Without it the library ends the process when its data is missing."""

EVENT_LIST_TERMINATED = 0
EVENT_WORD = 1

POSITION_IS_CHARACTER = 1
CHARS_UTF8 = 0x0001
END_PAUSE = 0x1000
"""Keeps the pause after the last clause, so that phrases do not run into each other."""

PHONEMES_IPA = 0x02
PHONEMES_TIED = 0x80
"""Bits 8 to 23 hold the character that ties what is written as two and sounds as one."""

RATE, VOLUME, PITCH, PITCH_RANGE, WORD_GAP = 1, 2, 3, 4, 7


class Event(ctypes.Structure):
    """`espeak_EVENT`; the union at its end is as long as its longest member."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


class VoiceRecord(ctypes.Structure):
    """`espeak_VOICE`."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


SynthCallback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event)
)


def open_library(path: str) -> Any:
    """Loads the shared library and declares the functions that are called.

    Raises:
        OSError: The file is not there or is not a library for this machine.
    """
    lib = ctypes.CDLL(path)
    lib.espeak_Initialize.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
    lib.espeak_Initialize.restype = ctypes.c_int
    lib.espeak_SetSynthCallback.argtypes = [SynthCallback]
    lib.espeak_SetSynthCallback.restype = None
    lib.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
    lib.espeak_SetVoiceByName.restype = ctypes.c_int
    lib.espeak_SetParameter.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int]
    lib.espeak_SetParameter.restype = ctypes.c_int
    lib.espeak_ListVoices.argtypes = [ctypes.c_void_p]
    lib.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(VoiceRecord))
    lib.espeak_Synth.argtypes = [
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_uint,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint,
        ctypes.c_void_p,
        ctypes.c_void_p,
    ]
    lib.espeak_Synth.restype = ctypes.c_int
    lib.espeak_TextToPhonemes.argtypes = [
        ctypes.POINTER(ctypes.c_void_p),
        ctypes.c_int,
        ctypes.c_int,
    ]
    lib.espeak_TextToPhonemes.restype = ctypes.c_char_p
    return lib


_locks: dict[int, threading.Lock] = {}
"""By process: a lock that was held during a fork would stay locked in the child."""


def process_lock() -> threading.Lock:
    """The lock that is held during each call into the library, by whichever engine makes it."""
    return _locks.setdefault(os.getpid(), threading.Lock())


def start_library(path: str, data_path: Path) -> Any:
    """Loads the library and its data (about a millisecond); as often as one likes.

    Raises:
        OSError: The library is not there, or does not start with this data.
    """
    lib = open_library(path)
    rate = lib.espeak_Initialize(
        AUDIO_OUTPUT_SYNCHRONOUS, BUFFER_MS, os.fsencode(data_path), INITIALIZE_DONT_EXIT
    )
    if rate != SAMPLE_RATE:
        raise OSError(f"espeak-ng did not start with its data in {data_path} ({rate=})")
    return lib


def c_string(text: str) -> bytes:
    """UTF-8 for the library: a zero byte would end the text, a lone surrogate cannot be encoded."""
    return text.replace("\0", " ").encode("utf-8", "replace")


def read_languages(address: int | None) -> tuple[str, ...]:
    """Reads a voice's language list: a priority byte, a C string, and so on, up to a zero byte."""
    found: list[str] = []
    while address and ctypes.string_at(address, 1) != b"\0":
        tag = ctypes.string_at(address + 1)
        found.append(tag.decode("utf-8", "replace"))
        address += len(tag) + 2
    return tuple(found)
