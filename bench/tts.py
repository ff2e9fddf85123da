"""Measures the voices: first sound, first phrase, gaps.

    python -m bench.tts [--json] [--voice VOICE.onnx] [--kokoro FOLDER] [--repeats N]

Without `--voice` Piper is measured on a voice of the medium size with random weights, which
`bench.medium_piper` makes: as much work as a trained one, and no download. Kokoro is measured with
its real weights: those of the folder, else the ones that the tests have (`bench.real_parts`).
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

from livekit.plugins import espeak, kokoro, piper

from . import real_parts, tts_first_phrase, tts_gaps, tts_speed
from .machine import machine
from .medium_piper import build
from .tts_replies import replies


async def measure(voice: Path | None, kokoro_folder: Path, repeats: int) -> dict[str, Any]:
    """Runs everything; a minute or two."""
    with tempfile.TemporaryDirectory() as folder:
        if voice is None:
            model = Path(folder) / "medium-random.onnx"
            name = f"medium size, random weights (by {build(model)})"
        else:
            model, name = voice, voice.stem
        print("first audio …", file=sys.stderr)
        speed = await tts_speed.measure_piper(model, repeats)
        quick = await tts_speed.measure_voice(espeak.TTS(), repeats)
        natural = kokoro.TTS(**_kokoro_voice(kokoro_folder), num_threads=1)
        phrased = await tts_speed.measure_voice(natural, repeats)
        difference = tts_speed.difference_db(model)
        print("gaps between phrases …", file=sys.stderr)
        some = replies("en")[::2]
        spoken = piper.TTS(model=model, num_threads=1)
        spoken._engine.load()
        gaps = await tts_gaps.gaps_ms(spoken, some)
        espeak_gaps = await tts_gaps.gaps_ms(espeak.TTS(), some)
        kokoro_gaps = await tts_gaps.gaps_ms(natural, some[:_SOME_FOR_KOKORO])
    phrases = {language: tts_first_phrase.measure(language) for language in ("en", "zh")}
    return {
        "piper.first_audio_ratio_2s": speed["2s"]["first_audio_ratio"],
        "piper.first_audio_ratio_7s": speed["7s"]["first_audio_ratio"],
        "first_phrase.ratio_en": phrases["en"]["ratio"],
        "first_phrase.ratio_zh": phrases["zh"]["ratio"],
        "gap_ms_p95": round(tts_gaps.percentile(gaps, 0.95), 1),
        "piper": speed,
        "piper.whole_sentence_difference_db": difference,
        "espeak": quick,
        "kokoro": phrased,
        "first_phrase": phrases,
        "gaps": {
            "piper_ms_max": round(max(gaps), 1),
            "espeak_ms_p95": round(tts_gaps.percentile(espeak_gaps, 0.95), 1),
            "kokoro_ms_p95": round(tts_gaps.percentile(kokoro_gaps, 0.95), 1),
            "kokoro_borders": len(kokoro_gaps),
            "borders": len(gaps),
            "replies": len(some),
        },
        "models": {
            "piper": name,
            "piper_threads": 1,
            "espeak": espeak.TTS().model,
            "kokoro": natural.model,
            "kokoro_threads": 1,
        },
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
    }


_SOME_FOR_KOKORO = 3
"""Replies: it takes seven times a Piper voice's work."""


def _kokoro_voice(folder: Path) -> dict[str, Any]:
    """American English where the folder has such a voice, else its first one, with its accent."""
    names = kokoro.find_files(folder).voice_names()
    voice = next((name for name in names if name.startswith("a")), names[0])
    return {"voice": voice, "language": "en-US", "models_dir": folder}


def table(found: dict[str, Any]) -> str:
    """The same figures for people."""
    lines = [
        f"{found['machine']['processor']}, {found['machine']['cores']} cores, "
        f"{found['models']['piper']}, {found['date']}",
        "",
        "voice, sentence          audio   first sound   (whole sentence)   ratio    total ratio",
    ]
    for name, row in found["piper"].items():
        lines.append(
            f"piper {name:18} {row['audio_s']:5.1f} s {row['first_audio_ms']:8.0f} ms "
            f"{row['whole_first_audio_ms']:12.0f} ms {row['first_audio_ratio']:12.2f} "
            f"{row['total_ratio']:12.2f}"
        )
    for engine in ("espeak", "kokoro"):
        for name, row in found[engine].items():
            lines.append(
                f"{engine} {name:17} {row['audio_s']:5.1f} s {row['first_audio_ms']:8.1f} ms "
                f"{row['total_ms']:12.0f} ms in all"
            )
    lines += ["", "first phrase, 40 tokens a second       ours      LiveKit's default     ratio"]
    for language, row in found["first_phrase"].items():
        lines.append(
            f"{language}, mean of {row['replies']} replies {row['ours_ms']:16.0f} ms "
            f"({row['ours_characters']:.0f} chars) {row['livekit_ms']:8.0f} ms "
            f"({row['livekit_characters']:.0f} chars) {row['ratio']:6.2f}"
        )
    lines += [
        "",
        f"gap between phrases, 95th percentile: piper {found['gap_ms_p95']} ms, "
        f"espeak {found['gaps']['espeak_ms_p95']} ms ({found['gaps']['borders']} borders), "
        f"kokoro {found['gaps']['kokoro_ms_p95']} ms ({found['gaps']['kokoro_borders']})",
        f"windows against the whole sentence: {found['piper.whole_sentence_difference_db']} dB",
    ]
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Measure the voices.")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--voice", type=Path, help="a Piper voice's .onnx file")
    parser.add_argument("--kokoro", type=Path, help="a folder with Kokoro's two files")
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    found = asyncio.run(measure(given.voice, given.kokoro or real_parts.kokoro(), given.repeats))
    print(json.dumps(found) if given.json else table(found))


if __name__ == "__main__":
    main()
