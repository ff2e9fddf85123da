"""A voice engine of one's own, in one file: a tone for each word. `tts` = tests.own_voice:TONES."""

from __future__ import annotations

import dataclasses
from typing import Any, Never

import numpy as np
from livekit.agents import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions, tts, utils

from agent_worker.engines.chosen import Choice
from agent_worker.engines.inventory import VoicesFound
from agent_worker.engines.voices.voice_engine import VoiceEngine
from agent_worker.language_tags import same_language
from agent_worker.settings import Settings

RATE = 24_000
PITCHES_HZ = {"low": 300, "high": 900, "tief": 200}
_WORD_S = 0.2


class ToneVoice(tts.TTS[Never]):
    """The plugin: takes a whole text, as many do."""

    def __init__(self, voice: str) -> None:
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=False), sample_rate=RATE, num_channels=1
        )
        self.pitch_hz = PITCHES_HZ[voice]

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        return _Spoken(tts=self, input_text=text, conn_options=conn_options)


class _Spoken(tts.ChunkedStream):
    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        voice = self._tts
        assert isinstance(voice, ToneVoice)
        output_emitter.initialize(
            request_id=utils.shortuuid(), sample_rate=RATE, num_channels=1, mime_type="audio/pcm"
        )
        seconds = len(self.input_text.split()) * _WORD_S
        phase = np.arange(round(seconds * RATE)) * 2 * np.pi * voice.pitch_hz / RATE
        output_emitter.push((np.sin(phase) * 12_000).astype(np.int16).tobytes())


class Tones(VoiceEngine):
    """What the worker has to know of it."""

    name = "tones"
    title = "Tones"

    def find(self, settings: Settings) -> VoicesFound:
        return VoicesFound(voices={"low": "en", "high": "en-GB", "tief": "de"})

    def choose(self, settings: Settings, found: VoicesFound) -> Choice:
        spoken = settings.spoken_language
        fit = (voice for voice, own in found.voices.items() if same_language(own, spoken))
        voice = settings.tts_voice or next(fit, "")
        return self.choice(voice, problem="" if voice in found.voices else f"no voice {voice!r}")

    def build(self, settings: Settings, choice: Choice) -> tts.TTS[Any]:
        return ToneVoice(choice.detail)

    def for_character(self, settings: Settings, choice: Choice, voice: str) -> tts.TTS[Any]:
        return self.build(settings, dataclasses.replace(choice, detail=voice))


TONES = Tones()
