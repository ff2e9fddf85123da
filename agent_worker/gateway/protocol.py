"""The WebSocket protocol for clients without WebRTC, as decisions: messages in, actions out.

No I/O and no clock but the one it is given, so that every order of messages can be tried.
`docs/websocket.md` describes the messages for people who write a client.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

SUBPROTOCOL = "s2s.v1"
SAMPLE_RATE = 16_000
"""Hertz at which the caller is heard; what comes at another rate is brought to it."""

VOICE_RATE = 24_000
"""Hertz of the voice, unless the client says otherwise."""

INPUT_RATES = (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
OUTPUT_RATES = (8_000, 16_000, 24_000, 48_000)
"""Those that Opus has, and that make 20 ms a whole number of samples."""

MAX_TEXT_BYTES = 16 * 1024
MAX_FRAME_S = 1.0
"""Seconds of PCM in one frame. Clients send 20 to 40 ms at a time, or the 4,096 samples of a
browser's script processor, or what they record in a quarter of a second."""

MAX_OPUS_BYTES = 1275
"""The longest frame that Opus knows (RFC 6716, section 3.2.1)."""

MAX_TYPED = 8_000
"""Characters of a message that is written."""

MAX_BUFFERED_S = 30.0
_ROUNDING_S = 1e-6
MAX_ERRORS = 100
"""Refused messages after which the connection is closed: such a client won't come right."""

SessionId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")]

Wish = Annotated[str, StringConstraints(max_length=64)]
"""An id out of what callers may choose; see `agent_worker.engines.offers`."""


class _Message(BaseModel):
    # Fields of a later version of the protocol are skipped, values of the wrong type are not.
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class AudioFormat(_Message):
    """What binary frames hold."""

    sample_rate: int = SAMPLE_RATE
    format: str = "pcm16"
    channels: int = 1


def _or_a_fresh_one(session_id: object) -> object:
    return secrets.token_hex(16) if session_id is None else session_id


class SessionStart(_Message):
    """Opens a session. Its id is the key to take it up again, so it should be a random one: who
    names none is given such a one."""

    type: Literal["session_start"]
    session_id: Annotated[SessionId, BeforeValidator(_or_a_fresh_one)] = Field(
        default=None, validate_default=True
    )
    lang: Annotated[str, StringConstraints(pattern=r"^[A-Za-z-]{2,16}$")] | None = Field(
        default=None, validation_alias=AliasChoices("lang", "language")
    )
    audio: AudioFormat = AudioFormat()
    """What the client sends."""
    output_sample_rate: int | None = None
    """Hertz of the voice."""
    flow: Wish | None = None
    character: Wish | None = None
    voice: Wish | None = None
    economy: Literal["on", "off"] | None = None
    caller_id: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    """Who calls, for a server whose setting `caller_id` names `session_start`."""


class SessionResume(_Message):
    """Takes a session up again after a lost connection."""

    type: Literal["session_resume"]
    session_id: SessionId | None = None
    """None: the one that this caller lost."""
    last_seq: int = Field(ge=-1)
    """The last `tts_audio` that the client received; -1 for none."""


class AudioChunk(_Message):
    """Announces the binary frame that follows."""

    type: Literal["audio_chunk"]
    seq: int = Field(ge=0, lt=2**53)
    timestamp_ms: float | int | None = Field(default=None, allow_inf_nan=False)


class AudioEnd(_Message):
    """The caller stopped sending; what was said is complete."""

    type: Literal["audio_end"]


class Interrupt(_Message):
    """The caller wants the agent to be quiet."""

    type: Literal["interrupt", "tts_interrupt"]


class Typed(_Message):
    """The caller writes instead of talking; it interrupts the agent, and is answered."""

    type: Literal["text"]
    text: Annotated[str, StringConstraints(pattern=r"\S", max_length=MAX_TYPED)]


class Reset(_Message):
    """The caller wants to begin anew: what was said is forgotten."""

    type: Literal["reset"]


ClientMessage = SessionStart | SessionResume | AudioChunk | AudioEnd | Interrupt | Typed | Reset
_ADAPTER: TypeAdapter[ClientMessage] = TypeAdapter(
    Annotated[ClientMessage, Field(discriminator="type")]
)


# What the shell is to do.


@dataclass(frozen=True)
class Send:
    """Send a JSON message."""

    message: dict[str, Any]


@dataclass(frozen=True)
class Start:
    """Start a session."""

    request: SessionStart


@dataclass(frozen=True)
class Resume:
    """Take a session up again."""

    request: SessionResume


@dataclass(frozen=True)
class Hear:
    """Pass a frame on to the session: PCM16, or one Opus packet."""

    data: bytes


@dataclass(frozen=True)
class EndOfAudio:
    """Nothing more is coming: let the session hear silence."""


@dataclass(frozen=True)
class Silence:
    """Interrupt the agent."""


@dataclass(frozen=True)
class Answer:
    """Take what the caller wrote for their turn."""

    text: str


@dataclass(frozen=True)
class BeginAnew:
    """Have the session forget what was said."""


@dataclass(frozen=True)
class Close:
    """Close the connection."""

    code: int
    reason: str


Action = Send | Start | Resume | Hear | EndOfAudio | Silence | Answer | BeginAnew | Close


def error(code: str, message: str, *, recoverable: bool = True) -> Send:
    """An `error` message; the session goes on after a recoverable one."""
    return Send({"type": "error", "code": code, "message": message, "recoverable": recoverable})


class _State(Enum):
    NEW = "new"
    WAITING = "waiting"
    ACTIVE = "active"
    CLOSED = "closed"


class Connection:
    """One client's side of the protocol, from its first message to its last.

    Args:
        one_rate: the client has agreed on the subprotocol, in which the rate that a client states
            is that of both directions.
        clock: seconds, monotonic.
    """

    def __init__(
        self, *, one_rate: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._one_rate = one_rate
        self._clock = clock
        self._state = _State.NEW
        self._opus = False
        self._sample_rate = SAMPLE_RATE
        self._errors = 0
        self._header: AudioChunk | None = None
        self._last_seq = -1
        self._heard_s = 0.0
        self._started_at = 0.0

    @property
    def active(self) -> bool:
        """Whether a session is attached."""
        return self._state is _State.ACTIVE

    def opened(self, audio: AudioFormat) -> None:
        """The session that was asked for is there."""
        if self._state is _State.WAITING:
            self._state = _State.ACTIVE
            self._opus = audio.format == "opus"
            self._sample_rate = audio.sample_rate
            self._started_at = self._clock()

    def refused(self) -> None:
        """The session that was asked for is not to be had; the client may ask again."""
        if self._state is _State.WAITING:
            self._state = _State.NEW

    def receive_text(self, text: str) -> list[Action]:
        """A text frame arrived."""
        if self._state is _State.CLOSED:
            return []
        if len(text) > MAX_TEXT_BYTES:
            return self._refuse("too_large", f"messages hold at most {MAX_TEXT_BYTES} characters")
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            return self._refuse("bad_json", "the message is not valid JSON")
        if not isinstance(fields, dict):
            return self._refuse("bad_message", "a message is a JSON object with a type")
        try:
            message = _ADAPTER.validate_python(fields)
        except ValidationError as e:
            return self._refuse("bad_message", _explain(e))
        return self._take(message)

    def receive_audio(self, data: bytes) -> list[Action]:
        """A binary frame arrived."""
        if self._state is _State.CLOSED:
            return []
        header, self._header = self._header, None
        if self._state is not _State.ACTIVE:
            return self._refuse("no_session", "send session_start before audio")
        limit = MAX_OPUS_BYTES if self._opus else int(self._sample_rate * MAX_FRAME_S) * 2
        if not data or len(data) > limit:
            return self._refuse("bad_audio", f"a frame holds 1 to {limit} bytes")
        if not self._opus and len(data) % 2:
            return self._refuse("bad_audio", "PCM16 has two bytes a sample")
        if header is not None:
            if header.seq <= self._last_seq:
                return self._refuse("old_audio", f"frame {header.seq} came after {self._last_seq}")
            self._last_seq = header.seq
        # An Opus packet is counted as 20 ms. What runs ahead of the clock waits in the buffer.
        frame_s = 0.02 if self._opus else len(data) / 2 / self._sample_rate
        ahead_s = self._heard_s - (self._clock() - self._started_at)
        if ahead_s + frame_s > MAX_BUFFERED_S + _ROUNDING_S:
            return self._refuse("audio_overflow", f"over {MAX_BUFFERED_S:.0f} s ahead; dropped")
        # Time that passed in silence is no credit for a burst.
        self._heard_s += frame_s + max(0.0, -ahead_s)
        return [Hear(data)]

    def _take(self, message: object) -> list[Action]:
        if isinstance(message, SessionStart | SessionResume):
            if self._state is not _State.NEW:
                return self._refuse("session_exists", "this connection has its session already")
            if isinstance(message, SessionResume):
                self._state = _State.WAITING
                return [Resume(message)]
            rate = self._voice_rate(message)
            if (advice := _unsupported(message.audio, rate)) is not None:
                return self._refuse("unsupported_audio", advice)
            self._state = _State.WAITING
            return [Start(message.model_copy(update={"output_sample_rate": rate}))]
        if self._state is not _State.ACTIVE:
            return self._refuse("no_session", "send session_start first")
        match message:
            case AudioChunk():
                if self._header is not None:
                    return self._refuse("wrong_order", "an audio_chunk is followed by its frame")
                self._header = message
                return []
            case AudioEnd():
                return [EndOfAudio()]
            case Interrupt():
                return [Silence()]
            case Typed():
                return [Answer(message.text)]
            case Reset():
                return [BeginAnew()]
        raise AssertionError(message)

    def _voice_rate(self, start: SessionStart) -> int:
        if start.output_sample_rate is not None:
            return start.output_sample_rate
        stated = "audio" in start.model_fields_set and "sample_rate" in start.audio.model_fields_set
        both_ways = self._one_rate and stated and start.audio.sample_rate in OUTPUT_RATES
        return start.audio.sample_rate if both_ways else VOICE_RATE

    def _refuse(self, code: str, message: str) -> list[Action]:
        self._errors += 1
        if self._errors < MAX_ERRORS:
            return [error(code, message)]
        self._state = _State.CLOSED
        return [
            error("too_many_errors", f"closed after {MAX_ERRORS} bad messages", recoverable=False),
            Close(1008, "too many bad messages"),
        ]


def _unsupported(audio: AudioFormat, voice_rate: int) -> str | None:
    """What is wrong with the audio that was asked for; None for nothing."""
    if audio.format not in ("pcm16", "opus"):
        return f"the format {audio.format[:32]!r} is not known; there are pcm16 and opus"
    if audio.channels != 1:
        return f"send mono audio, not {audio.channels} channels"
    if audio.sample_rate not in INPUT_RATES:
        rates = ", ".join(map(str, INPUT_RATES))
        return f"a sample_rate of {audio.sample_rate} Hz is not taken; there are {rates}"
    if voice_rate not in OUTPUT_RATES:
        rates = ", ".join(map(str, OUTPUT_RATES))
        return f"an output_sample_rate of {voice_rate} Hz is not given; there are {rates}"
    return None


def _explain(problem: ValidationError) -> str:
    first = problem.errors(include_url=False, include_input=False)[0]
    told = first.get("ctx", {})
    if first["type"] == "union_tag_invalid":
        return f"there is no type {str(told['tag'])[:80]!r}; there are {told['expected_tags']}"
    if first["type"] == "union_tag_not_found":
        return "a message is a JSON object with a type"
    where = ".".join(str(part) for part in first["loc"])[:80]
    return f"{where}: {first['msg'][:200]}" if where else first["msg"][:200]
