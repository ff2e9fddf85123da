"""Higgs Audio over chat completions: a voice and a scene as a conversation.

The model speaks as the assistant of a chat. What it is to sound like is told by earlier turns:
first the reference recording with its text, then what it has just said, which keeps the voice
the same from sentence to sentence.

Source: the model card and examples of Higgs Audio v2 (Boson AI).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
from livekit.agents import NOT_GIVEN, NotGivenOr
from livekit.agents.utils import is_given

from local_tts.options import Tokenizer, checked

from .character import SAMPLE_RATE, Character, VoiceMemory
from .reference import read_recording
from .request import SpeechRequest, headers_with_key
from .server_tts import ServerTTS

STOP = ("<|eot_id|>", "<|end_of_text|>", "<|audio_eos|>")

MAX_CONTEXT_PIECES = 5


@dataclass(frozen=True)
class HiggsOptions:
    """How one stream speaks."""

    url: str
    model: str
    api_key: str | None = field(repr=False)
    character: Character
    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    seed: int | None
    ras_window: int | None
    ras_repeats: int | None
    extra_fields: Mapping[str, Any] = field(repr=False)
    extra_headers: Mapping[str, str] = field(repr=False)
    max_characters: int

    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return headers_with_key(self.api_key, self.extra_headers)


@dataclass
class HiggsVoice:
    """One stream's way to speak: its options, and the memory that all streams share."""

    opts: HiggsOptions
    memory: VoiceMemory = field(repr=False)
    epoch: int
    requests_ahead: int
    sample_rate: int = SAMPLE_RATE

    @property
    def max_characters(self) -> int:
        """Of one request."""
        return self.opts.max_characters

    def request(self, text: str, request_id: str) -> SpeechRequest:
        """Makes the request that speaks one piece after those in the memory."""
        opts, character = self.opts, self.opts.character
        recent = self.memory.messages() if self.epoch == self.memory.epoch else []
        fields: dict[str, Any] = {
            "model": opts.model,
            "messages": [
                *character.messages(),
                *recent,
                {"role": "user", "content": character.tagged(text)},
            ],
            "modalities": ["text", "audio"],
            "stream": True,
            "stop": list(STOP),
            "temperature": opts.temperature,
            "top_p": opts.top_p,
            "top_k": opts.top_k,
            "max_tokens": opts.max_tokens,
            "seed": opts.seed,
            "ras_win_len": opts.ras_window,
            "ras_win_max_num_repeat": opts.ras_repeats,
            **opts.extra_fields,
        }
        return SpeechRequest(
            url=opts.url,
            body={name: value for name, value in fields.items() if value is not None},
            headers={**opts.headers(), "X-Request-ID": request_id},
            sample_rate=SAMPLE_RATE,
            expect_events=True,
        )

    def spoken(self, text: str, audio: bytes) -> None:
        """Keeps the piece for the next ones."""
        self.memory.add(self.opts.character.tagged(text), audio, self.epoch)


class HiggsTTS(ServerTTS):
    """Higgs Audio v2 and its successors, on a server with `POST /v1/chat/completions`.

    One object speaks for one conversation: the voice's memory is in it.

    Args:
        base_url: Of the API. Without a path, `/v1` is added.
        model: As the server names it.
        api_key: Sent as a bearer token.
        character: A name for who speaks; changing it begins a new voice.
        scene: Where and how it is spoken, in words.
        speakers: What each speaker sounds like, by tag (`SPEAKER0`, ...), in words.
        speaker: The tag put before each piece, when there are several.
        ref_audio: A recording of the voice, a WAV: a path or its bytes.
        ref_text: What is said in it; needed with it.
        context_pieces: How many of the last pieces are sent along, so that the voice stays the
            same: 3 to 5 do. Each piece then waits for the one before it. With 0 the voice hangs
            on the reference alone, and the next piece is asked for ahead.
        temperature: 0 to 2.
        top_p: 0 to 1.
        top_k: Of the model's tokens.
        max_tokens: Of audio in one piece; 25 are a second.
        seed: For the same audio each time.
        ras_window: Of repetition-aware sampling: in so many of the last audio tokens none may come
            more often than `ras_repeats`, or another is taken, which ends humming and stuck
            syllables. Boson's own code takes 7 and 2; if not given, the server's defaults hold.
        ras_repeats: See `ras_window`.
        extra_fields: Anything else for the request; wins over the fields above, and a value of
            None takes a field away.
        extra_headers: Anything else for its headers.
        tokenizer: Cuts the text that `stream()` is given; a request is made for each piece.
        max_characters: Of one request.
        http_client: To use in place of an own one; it is not closed.

    Raises:
        ValueError: An argument makes no sense.
    """

    def __init__(
        self,
        *,
        base_url: str = "http://127.0.0.1:8000/v1",
        model: str = "higgs-audio-v2-generation-3B-base",
        api_key: NotGivenOr[str | None] = NOT_GIVEN,
        character: NotGivenOr[str] = NOT_GIVEN,
        scene: NotGivenOr[str] = NOT_GIVEN,
        speakers: NotGivenOr[Mapping[str, str]] = NOT_GIVEN,
        speaker: NotGivenOr[str] = NOT_GIVEN,
        ref_audio: NotGivenOr[Path | bytes | None] = NOT_GIVEN,
        ref_text: NotGivenOr[str] = NOT_GIVEN,
        context_pieces: int = 3,
        temperature: NotGivenOr[float] = NOT_GIVEN,
        top_p: NotGivenOr[float] = NOT_GIVEN,
        top_k: NotGivenOr[int] = NOT_GIVEN,
        max_tokens: NotGivenOr[int] = NOT_GIVEN,
        seed: NotGivenOr[int | None] = NOT_GIVEN,
        ras_window: NotGivenOr[int | None] = NOT_GIVEN,
        ras_repeats: NotGivenOr[int | None] = NOT_GIVEN,
        extra_fields: NotGivenOr[Mapping[str, Any]] = NOT_GIVEN,
        extra_headers: NotGivenOr[Mapping[str, str]] = NOT_GIVEN,
        tokenizer: NotGivenOr[Tokenizer] = NOT_GIVEN,
        max_characters: int = 1000,
        http_client: httpx.AsyncClient | None = None,
    ) -> None:
        checked("context_pieces", context_pieces, 0, MAX_CONTEXT_PIECES)
        checked("max_characters", max_characters, 16, 1_000_000)
        super().__init__(
            base_url=base_url,
            sample_rate=SAMPLE_RATE,
            tokenizer=tokenizer,
            http_client=http_client,
        )
        self._memory = VoiceMemory(context_pieces)
        self._requests_ahead = 0 if context_pieces else 1
        self._opts = HiggsOptions(
            url=f"{self._base_url}/chat/completions",
            model=model,
            api_key=api_key or None,
            character=Character(),
            temperature=0.7,
            top_p=0.95,
            top_k=50,
            max_tokens=1024,
            seed=None,
            ras_window=None,
            ras_repeats=None,
            extra_fields=dict(extra_fields or {}),
            extra_headers=dict(extra_headers or {}),
            max_characters=max_characters,
        )
        self.update_options(
            character=character,
            scene=scene,
            speakers=speakers,
            speaker=speaker,
            ref_audio=ref_audio,
            ref_text=ref_text,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            max_tokens=max_tokens,
            seed=seed,
            ras_window=ras_window,
            ras_repeats=ras_repeats,
        )

    @property
    def model(self) -> str:
        """The name that the server is asked for."""
        return self._opts.model

    def update_options(
        self,
        *,
        model: NotGivenOr[str] = NOT_GIVEN,
        character: NotGivenOr[str] = NOT_GIVEN,
        scene: NotGivenOr[str] = NOT_GIVEN,
        speakers: NotGivenOr[Mapping[str, str]] = NOT_GIVEN,
        speaker: NotGivenOr[str] = NOT_GIVEN,
        ref_audio: NotGivenOr[Path | bytes | None] = NOT_GIVEN,
        ref_text: NotGivenOr[str] = NOT_GIVEN,
        temperature: NotGivenOr[float] = NOT_GIVEN,
        top_p: NotGivenOr[float] = NOT_GIVEN,
        top_k: NotGivenOr[int] = NOT_GIVEN,
        max_tokens: NotGivenOr[int] = NOT_GIVEN,
        seed: NotGivenOr[int | None] = NOT_GIVEN,
        ras_window: NotGivenOr[int | None] = NOT_GIVEN,
        ras_repeats: NotGivenOr[int | None] = NOT_GIVEN,
    ) -> None:
        """Changes how streams speak that begin from now on; another character, another memory.

        Raises:
            ValueError: An argument makes no sense; nothing was changed.
        """
        who: dict[str, Any] = {}
        if is_given(ref_audio):
            who["ref_audio"] = (
                "" if ref_audio is None else base64.b64encode(read_recording(ref_audio)).decode()
            )
        if is_given(speakers):
            who["speakers"] = dict(speakers)
        words = {"name": character, "scene": scene, "speaker": speaker, "ref_text": ref_text}
        who |= {name: value for name, value in words.items() if is_given(value)}
        new = replace(self._opts.character, **who)
        if new.ref_audio and not new.ref_text:
            raise ValueError("ref_audio needs ref_text: the words that are said in it")
        changes: dict[str, Any] = {"character": new}
        if is_given(temperature):
            changes["temperature"] = checked("temperature", temperature, 0, 2)
        if is_given(top_p):
            changes["top_p"] = checked("top_p", top_p, 0, 1)
        if is_given(ras_window):
            changes["ras_window"] = _count("ras_window", ras_window)
        if is_given(ras_repeats):
            changes["ras_repeats"] = _count("ras_repeats", ras_repeats)
        plain = {"model": model, "top_k": top_k, "max_tokens": max_tokens, "seed": seed}
        changes |= {name: value for name, value in plain.items() if is_given(value)}
        changed = new != self._opts.character
        self._opts = replace(self._opts, **changes)
        if changed:
            self.reset()

    def reset(self) -> None:
        """Forgets what was spoken: for a new conversation. Streams that run are not added to it."""
        self._memory.clear()

    def _voice(self) -> HiggsVoice:
        return HiggsVoice(self._opts, self._memory, self._memory.epoch, self._requests_ahead)

    def _headers(self) -> Mapping[str, str]:
        return self._opts.headers()


def _count(name: str, value: int | None) -> int | None:
    return None if value is None else int(checked(name, value, 1, 1000))
