"""How well each voice is understood: what it says, heard by Whisper base, against the text.

    uv run python -m bench.voices [--sentences 25] [--json FILE]

The sentences are telephone prompts. The same prompts spoken by people are the measure beside the
voices: what Whisper loses of them is Whisper's doing, and the telephone's (8 kHz). Mandarin has no
such recordings here, so there it is espeak-ng alone, on sentences of our own. Kokoro speaks with a
voice that was made for Japanese, since no other is at hand: its accent counts against it.

The real-time factor is the time to make a sentence over the time to play it.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
from livekit.agents import APIConnectOptions, stt, tts

from livekit import rtc
from livekit.plugins import espeak, faster_whisper, kokoro, piper

from .machine import machine
from .real_parts import kokoro as kokoro_files
from .real_parts import piper_joe, prompts, whisper_base
from .stt_live import word_error_rate
from .stt_scorecard import plain

_RATE = 16_000
_PATIENT = APIConnectOptions(max_retry=0, timeout=120)
_WORDS = (4, 16)
"""Fewest and most of a sentence: a lone word says little, and one that is long is heard well."""
_MANDARIN = (
    "今天天气怎么样", "请帮我订一张去北京的火车票", "我的名字是王小明", "现在几点了",
    "请稍等一下我马上为您查询", "您的订单已经发货了", "会议室在二楼左边", "谢谢您的来电",
    "请问您需要什么帮助", "明天下午三点见", "这个多少钱", "请再说一遍",
)  # fmt: skip


def _from_file(path: Path) -> rtc.AudioFrame:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=_RATE)
    with av.open(str(path)) as container:
        parts = [
            part.to_ndarray().reshape(-1)
            for frame in (*container.decode(audio=0), None)
            for part in resampler.resample(frame)
        ]
    return _padded(np.concatenate(parts).astype(np.int16).tobytes(), _RATE)


def _padded(data: bytes, rate: int) -> rtc.AudioFrame:
    # a recording that ends with its last sample loses its last word
    pause = bytes(rate)
    data = pause + data + pause
    return rtc.AudioFrame(data, rate, 1, len(data) // 2)


async def _said(voice: tts.TTS[Any], text: str) -> tuple[rtc.AudioFrame, float, float]:
    """The sentence, and how long it took to make it and takes to play it, in seconds."""
    began = time.perf_counter()
    frame = await voice.synthesize(text, conn_options=_PATIENT).collect()
    took = time.perf_counter() - began
    return _padded(bytes(frame.data), frame.sample_rate), took, frame.duration


async def _heard(ears: stt.STT[Any], sound: rtc.AudioFrame) -> str:
    event = await ears.recognize(sound)
    return event.alternatives[0].text if event.alternatives else ""


def _spaced(text: str) -> str:
    """Mandarin character by character, so that they are counted like words."""
    return " ".join(character for character in text if character.isalnum())


async def _measure(
    language: str, sentences: list[tuple[str, Path | None]], voices: dict[str, tts.TTS[Any] | None]
) -> list[dict[str, Any]]:
    units: Callable[[str], str] = _spaced if language == "zh" else plain
    ears = faster_whisper.STT(model=str(whisper_base()), language=language, device="cpu")
    rows = []
    for name, voice in voices.items():
        pairs = []
        took = played = 0.0
        if voice is not None:
            await _said(voice, "1")  # loads it
        for text, path in sentences:
            if voice is not None:
                sound, made_in, lasts = await _said(voice, text)
                took, played = took + made_in, played + lasts
            else:
                assert path is not None
                sound = _from_file(path)
            pairs.append((units(text), units(await _heard(ears, sound))))
        rows.append(
            {
                "language": language,
                "voice": name,
                "sentences": len(pairs),
                "units": sum(len(said.split()) for said, _ in pairs),
                "error_rate": round(word_error_rate(pairs), 3),
                "real_time_factor": round(took / played, 3) if played else None,
            }
        )
        speed = f"{took / played:>8.3f} x real time" if played else ""
        print(
            f"{language:<4}{name:<28}{len(pairs):>4} {rows[-1]['error_rate']:>8.1%}{speed}",
            flush=True,
        )
        if voice is not None:
            await voice.aclose()
    await ears.aclose()
    return rows


async def run(sentences: int) -> list[dict[str, Any]]:
    """Measures every language in turn."""
    rows = []
    for language in ("en", "es", "fr", "it", "ru"):
        fewest, most = _WORDS
        chosen = [p for p in prompts(language) if fewest <= len(p.text.split()) <= most]
        step = max(1, len(chosen) // sentences)
        picked: list[tuple[str, Path | None]] = [(p.text, p.path) for p in chosen[::step]]
        voices: dict[str, tts.TTS[Any] | None] = {"people, telephone": None}
        if language == "en":
            model = piper_joe()
            voices["Piper en_US-joe-medium"] = piper.TTS(model=str(model), models_dir=model.parent)
        if language != "ru":
            voices["Kokoro jf_alpha, 8 bits"] = kokoro.TTS(
                voice="jf_alpha", language=language, models_dir=kokoro_files()
            )
        voices["espeak-ng"] = espeak.TTS(language=language)
        rows += await _measure(language, picked[:sentences], voices)
    mandarin: list[tuple[str, Path | None]] = [(text, None) for text in _MANDARIN]
    rows += await _measure("zh", mandarin, {"espeak-ng": espeak.TTS(language="zh")})
    return rows


def main() -> None:
    """Prints a table, and JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=25, help="of each language at most")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    told = {
        "machine": machine(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "ears": "Whisper base, CTranslate2, int8",
        "unit": "words; characters of Mandarin",
    }
    print(json.dumps(told))
    rows = asyncio.run(run(options.sentences))
    if options.json:
        options.json.write_text(json.dumps({**told, "voices": rows}, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
