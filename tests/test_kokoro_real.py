"""Kokoro with its real weights: the graph that users download, and the voices that an index has.

They were made for Japanese, so they speak English with an accent; Whisper understands them.
"""

from __future__ import annotations

import threading

import numpy as np
import pytest
from livekit.agents import APIConnectOptions

from bench import real_parts
from livekit import rtc
from livekit.plugins import faster_whisper, kokoro
from livekit.plugins.kokoro.graph import KokoroGraph, Stop
from tests.tts_probe import pcm, times, words

PATIENT = APIConnectOptions(max_retry=0, timeout=60)
TEXT = "When the rain has stopped, we can go to the market."


@pytest.fixture(scope="module")
def tts() -> kokoro.TTS:
    return kokoro.TTS(voice="jf_alpha", language="en-US", models_dir=real_parts.kokoro())


@pytest.mark.timeout(180)
async def test_what_kokoro_says_is_understood_and_each_word_has_its_time(tts: kokoro.TTS) -> None:
    async with tts.synthesize(TEXT, conn_options=PATIENT) as stream:
        events = [event async for event in stream]
    samples, spoken = pcm(events), words(events)
    seconds = len(samples) / 24000
    assert 2.0 < seconds < 6.0
    # the pause that the model begins every phrase with is not waited for
    assert np.abs(samples[: int(0.1 * 24000)]).max() > 0.01 * 32767
    assert "".join(spoken) == TEXT
    at = times(spoken)
    assert at == sorted(at) and at[0] == 0.0 and at[-1] == pytest.approx(seconds, abs=0.06)

    ears = faster_whisper.STT(model=str(real_parts.whisper_base()), language="en", device="cpu")
    pause = bytes(24000)
    data = pause + samples.tobytes() + pause
    heard = await ears.recognize(rtc.AudioFrame(data, 24000, 1, len(data) // 2))
    await ears.aclose()
    said = heard.alternatives[0].text.lower()
    assert all(word in said for word in ("rain", "stopped", "we can go", "market")), said

    # a loud word is where its time says, and the pause between the clauses is before "we"
    begins = dict(zip((str(word).strip() for word in spoken), at[::2], strict=True))
    before = samples[int((begins["we"] - 0.15) * 24000) : int(begins["we"] * 24000)]
    within = samples[int(begins["rain"] * 24000) : int((begins["rain"] + 0.3) * 24000)]
    assert np.abs(within.astype(int)).max() > 4 * np.abs(before.astype(int)).max()


@pytest.mark.timeout(180)
def test_a_run_of_the_real_graph_ends_as_soon_as_nobody_wants_it() -> None:
    files = kokoro.find_files(real_parts.kokoro())
    graph = KokoroGraph(files.model, 1)
    assert graph.tells_durations
    with np.load(files.voices) as pack:
        style = pack["jf_alpha"]
    stop = Stop()
    ended: list[Exception] = []

    def run() -> None:
        try:
            graph.render("ə " * 200, style, 1.0, stop)
        except Exception as e:  # the runtime's own kind
            ended.append(e)

    thread = threading.Thread(target=run)
    thread.start()
    stop.set()
    thread.join(60)
    assert not thread.is_alive()
    # made whole, there would be no error
    assert len(ended) == 1 and "terminate" in str(ended[0]).lower()
