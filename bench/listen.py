"""Makes recordings of ten replies for a listener: python -m bench.listen FOLDER.

The text goes the way of a call: tokens, phrases, one synthesis per phrase, frames put after one
another. Beside the WAV files lies `listen.txt`, which says what each should sound like. The jumps
between samples where two frames meet are compared with those inside the frames: a click would
stand out. espeak-ng speaks, or the Piper voices that are named.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import wave
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from livekit.agents import tts

from agent_worker.streaming_buffer import SentenceStreamBuffer
from livekit.plugins import espeak, piper

from .tts_replies import tokens

Pcm = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Reply:
    """One thing to listen to."""

    name: str
    text: str
    listen_for: str
    language: str = "en"
    cut_after_s: float | None = None


REPLIES = (
    Reply("greeting", "Hello! How can I help you today?", "A short first phrase, then a question."),
    Reply(
        "long",
        "The museum is closed on Mondays. On all other days it is open from ten to six, and on "
        "Thursdays it stays open until nine. Children under twelve need no ticket.",
        "Three sentences with a natural pause between them, and a whole last word.",
    ),
    Reply("chinese", "好的，我来帮您查一下。明天上午天气晴朗，下午多云。", "Mandarin.", "zh"),
    Reply("chinese-numbers", "总共是43.50元，列车7点15分出发。", "The numbers in Mandarin.", "zh"),
    Reply(
        "numbers",
        "Pi is about 3.14159. The bill is $1,234.50, which is 12.5% more than in 2023.",
        "No pause inside a number.",
    ),
    Reply("times", "The train leaves at 7:15 a.m. and arrives at 12:45.", "No pause in a time."),
    Reply(
        "url",
        "You will find it at www.example.com/help, or write to info@example.com.",
        "No pause inside the addresses.",
    ),
    Reply(
        "abbreviations",
        "Dr. Smith, e.g., moved to the U.S. in May. Mr. Jones didn't.",
        "No sentence pause after Dr., Mr., e.g.",
    ),
    Reply("short", "Yes. No. Maybe!", "Three short sentences, none lost."),
    Reply(
        "cut",
        "This reply is interrupted by the caller in the middle of a word, so you will not hear "
        "the end of it.",
        "It stops after two seconds.",
        cut_after_s=2.0,
    ),
)


async def record(voice: tts.TTS[Any], reply: Reply) -> list[Pcm]:
    """Speaks a reply as a call would; returns the frames."""

    async def written() -> AsyncIterator[str]:
        for token in tokens(reply.text):
            yield token

    frames: list[Pcm] = []
    async for phrase in SentenceStreamBuffer().stream_with_sentences(written()):
        async with voice.synthesize(phrase) as stream:
            async for event in stream:
                frames.append(np.frombuffer(event.frame.data, np.int16))
                spoken_s = sum(map(len, frames)) / voice.sample_rate
                if reply.cut_after_s is not None and spoken_s >= reply.cut_after_s:
                    return frames
    return frames


def largest_jumps(frames: list[Pcm]) -> tuple[int, int]:
    """Returns the largest step between two samples where frames meet, and inside frames."""
    steps = np.abs(np.diff(np.concatenate(frames).astype(np.int32)))
    borders = np.cumsum([len(frame) for frame in frames])[:-1] - 1
    inside = np.delete(steps, borders)
    return int(steps[borders].max(initial=0)), int(inside.max(initial=0))


async def make_recordings(folder: Path, voices: dict[str, tts.TTS[Any]]) -> list[str]:
    """Writes the WAV files and `listen.txt`; returns its lines.

    Args:
        folder: Made if it is not there.
        voices: For "en" and "zh".
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    for number, reply in enumerate(REPLIES, 1):
        voice = voices[reply.language]
        frames = await record(voice, reply)
        audio = np.concatenate(frames)
        name = f"{number:02}-{reply.name}.wav"
        with wave.open(str(folder / name), "wb") as out:
            out.setparams((1, 2, voice.sample_rate, 0, "NONE", ""))
            out.writeframes(audio.tobytes())
        at_borders, inside = largest_jumps(frames)
        lines.append(
            f"{name}  {len(audio) / voice.sample_rate:.1f} s, {voice.provider} {voice.model}\n"
            f"    {reply.text}\n    {reply.listen_for} Largest jump where frames meet: "
            f"{at_borders}; inside frames: {inside}."
        )
    (folder / "listen.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Record ten replies to listen to.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--voice", help="Piper voice for English, by name or path")
    parser.add_argument("--voice-zh", help="Piper voice for Chinese")
    given = parser.parse_args(arguments)
    voices: dict[str, tts.TTS[Any]] = {
        language: piper.TTS(model=name) if name else espeak.TTS(language=language)
        for language, name in (("en", given.voice), ("zh", given.voice_zh))
    }
    for line in asyncio.run(make_recordings(given.folder, voices)):
        print(line, file=sys.stderr)
    print(given.folder)


if __name__ == "__main__":
    main()
