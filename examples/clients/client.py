"""A client in Python: asks the page for a token, says a WAV in the room, prints both sides' words.

    agent-worker demo &
    python examples/clients/client.py http://127.0.0.1:8088 question.wav

The WAV is mono with 16 bits; the agent's voice is not kept.
"""

from __future__ import annotations

import asyncio
import sys
import wave

import httpx

from livekit import rtc


async def visit(page: str, path: str, listens_s: float = 15.0) -> None:
    """Joins a new room, speaks, and listens for so many seconds more."""
    async with httpx.AsyncClient() as http:
        answer = await http.post(f"{page}/api/token", json={})
        answer.raise_for_status()
    given = answer.json()
    room = rtc.Room()
    printing: set[asyncio.Task[None]] = set()

    async def read(reader: rtc.TextStreamReader, identity: str) -> None:
        text = await reader.read_all()
        attributes = reader.info.attributes or {}
        if attributes.get("lk.transcription_final") == "true":
            mine = identity == room.local_participant.identity
            print(("I said: " if mine else "It said: ") + text, flush=True)

    def print_words(reader: rtc.TextStreamReader, identity: str) -> None:
        task = asyncio.create_task(read(reader, identity))
        printing.add(task)
        task.add_done_callback(printing.discard)

    room.register_text_stream_handler("lk.transcription", print_words)
    await room.connect(given["server_url"], given["participant_token"])
    try:
        await _greeted(room)
        await _speak(room, path)
        await asyncio.sleep(listens_s)
    finally:
        await room.disconnect()


async def _greeted(room: rtc.Room) -> None:
    """Waits until the agent has said its greeting, and listens."""
    spoke = False
    while True:
        states = [p.attributes.get("lk.agent.state") for p in room.remote_participants.values()]
        spoke = spoke or "speaking" in states
        if spoke and "listening" in states:
            return
        await asyncio.sleep(0.05)


async def _speak(room: rtc.Room, path: str) -> None:
    with wave.open(path) as sound:
        rate, pcm = sound.getframerate(), sound.readframes(sound.getnframes())
    source = rtc.AudioSource(rate, 1)
    track = rtc.LocalAudioTrack.create_audio_track("microphone", source)
    options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
    await room.local_participant.publish_track(track, options)
    frame = rate // 50 * 2
    # the agent needs silence after the words to know that they are over
    pcm += bytes(2 * rate)
    for start in range(0, len(pcm) - frame + 1, frame):
        await source.capture_frame(rtc.AudioFrame(pcm[start : start + frame], rate, 1, frame // 2))
    await source.wait_for_playout()


if __name__ == "__main__":
    asyncio.run(visit(sys.argv[1], sys.argv[2], *map(float, sys.argv[3:])))
