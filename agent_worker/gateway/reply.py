"""What the agent does, as the messages that tell a client of it. Decisions only, no I/O."""

from __future__ import annotations

from .protocol import AudioFormat, Send


class Reply:
    """Turns what the agent does into the messages of one answer after the other."""

    def __init__(self, audio: AudioFormat, *, last_seq: int = -1) -> None:
        self._audio = audio
        self._first_token = True
        self._open = False
        self._cut = False
        self._streaming = False
        self._seq = last_seq

    @property
    def last_seq(self) -> int:
        """The last `tts_audio`; -1 before the first."""
        return self._seq

    def begin_again(self) -> None:
        """Another connection: what the last one was told of the answer under way is gone."""
        self._first_token = True
        self._open = self._cut = self._streaming = False

    def token(self, text: str) -> list[Send]:
        """The model wrote some text."""
        first, self._first_token = self._first_token, False
        self._open = True
        return [Send({"type": "llm_token", "token": text, "is_first": first})]

    def spoken(self, text: str) -> list[Send]:
        """The voice has come to these words."""
        return [Send({"type": "spoken", "text": text})] if self._open else []

    def audio(self) -> list[Send]:
        """A frame of the voice is about to be sent: what goes before it."""
        messages = []
        if not self._streaming:
            self._streaming = self._open = True
            messages.append(Send({"type": "audio_stream_start", **self._audio.model_dump()}))
        self._seq += 1
        messages.append(Send({"type": "tts_audio", "seq": self._seq}))
        return messages

    def audio_stopped(self, *, interrupted: bool) -> list[Send]:
        """The voice has come to its end, or was cut off."""
        self._cut = self._cut or interrupted
        if not self._streaming:
            return []
        self._streaming = False
        return [Send({"type": "audio_stream_stop", "interrupted": interrupted})]

    def ended(self) -> list[Send]:
        """The agent listens again."""
        if not self._open:
            return []
        messages = self.audio_stopped(interrupted=False)
        messages.append(Send({"type": "response_end", "interrupted": self._cut}))
        self._open = self._cut = False
        self._first_token = True
        return messages
