"""An output that is held loses nothing, repeats nothing, and drops what was interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from livekit.agents import AgentSession
from livekit.agents.voice import io

from agent_worker.speech.steady_output import SteadyOutput
from livekit import rtc
from tests.fake_conversation import Loudspeaker

RATE = 24_000


def frames(seconds: float, *, frame_s: float = 0.02) -> list[rtc.AudioFrame]:
    """Frames whose samples count up, so that a gap or a repetition shows."""
    size = int(RATE * frame_s)
    total = int(RATE * seconds)
    return [
        rtc.AudioFrame(
            b"".join(((start + i) % 30_000 + 1).to_bytes(2, "little") for i in range(size)),
            RATE,
            1,
            size,
        )
        for start in range(0, total, size)
    ]


@asynccontextmanager
async def outputs(
    *, received: asyncio.Future[None] | None = None
) -> AsyncIterator[tuple[SteadyOutput, Loudspeaker, list[io.PlaybackFinishedEvent]]]:
    speaker = Loudspeaker()
    steady = SteadyOutput(speaker, received=received)
    finished: list[io.PlaybackFinishedEvent] = []
    steady.on("playback_finished", finished.append)
    try:
        yield steady, speaker, finished
    finally:
        await steady.aclose()
        await steady.aclose()
        await speaker.aclose()


async def test_everything_comes_through_once_although_it_was_held() -> None:
    async with outputs() as (steady, speaker, finished):
        sent = frames(0.6)
        for frame in sent:
            await steady.capture_frame(frame)
        steady.flush()
        await asyncio.sleep(0.2)
        steady.pause()
        await asyncio.sleep(0.2)
        held = len(speaker.heard)
        assert 0 < held < len(sent) * len(bytes(sent[0].data))
        await asyncio.sleep(0.1)
        assert len(speaker.heard) == held, "silent while it is held"
        assert speaker.pauses == 0
        steady.resume()
        await steady.wait_for_playout()
        assert bytes(speaker.heard) == b"".join(bytes(frame.data) for frame in sent)
        assert [event.interrupted for event in finished] == [False]
        assert finished[0].playback_position == pytest.approx(0.6)


async def test_frames_are_handed_on_in_time_not_all_at_once() -> None:
    async with outputs() as (steady, speaker, _):
        for frame in frames(5.0):
            await steady.capture_frame(frame)
        await asyncio.sleep(0.1)
        assert 0 < len(speaker.captured) < 2 * RATE * 4
        steady.flush()
        steady.clear_buffer()


@pytest.mark.parametrize("flushed_first", [True, False])
@pytest.mark.parametrize("held", [True, False])
async def test_an_interruption_drops_the_rest_and_ends_the_segment_once(
    flushed_first: bool, held: bool
) -> None:
    async with outputs() as (steady, speaker, finished):
        for frame in frames(1.0):
            await steady.capture_frame(frame)
        if flushed_first:
            steady.flush()
        await asyncio.sleep(0.15)
        if held:
            steady.pause()
        steady.clear_buffer()
        if not flushed_first:
            await steady.capture_frame(frames(0.02)[0])
            steady.flush()
        event = await asyncio.wait_for(steady.wait_for_playout(), 5)
        assert event.interrupted
        assert event.playback_position < 0.9
        assert len(finished) == 1
        steady.resume()
        heard = len(speaker.heard)
        again = frames(0.1)
        for frame in again:
            await steady.capture_frame(frame)
        steady.flush()
        event = await asyncio.wait_for(steady.wait_for_playout(), 5)
        assert not event.interrupted
        assert speaker.heard[heard:] == b"".join(bytes(frame.data) for frame in again)


async def test_what_was_cleared_before_it_began_is_reported_as_unheard() -> None:
    async with outputs() as (steady, speaker, finished):
        steady.pause()
        for frame in frames(0.2):
            await steady.capture_frame(frame)
        steady.flush()
        steady.clear_buffer()
        assert [(e.playback_position, e.interrupted) for e in finished] == [(0.0, True)]
        assert not speaker.captured
        steady.clear_buffer()
        steady.flush()
        assert len(finished) == 1


@pytest.mark.parametrize("flushed_first", [True, False])
async def test_what_was_cleared_before_anybody_received_it_silences_nothing_later(
    flushed_first: bool,
) -> None:
    received = asyncio.Future[None]()
    async with outputs(received=received) as (steady, speaker, finished):
        for frame in frames(0.2):
            await steady.capture_frame(frame)
        if flushed_first:
            steady.flush()
        await asyncio.sleep(0.05)
        steady.clear_buffer()
        if not flushed_first:
            steady.flush()
        assert [(e.playback_position, e.interrupted) for e in finished] == [(0.0, True)]
        sent = frames(0.1)
        for frame in sent:
            await steady.capture_frame(frame)
        steady.flush()
        await asyncio.sleep(0.05)
        assert not speaker.captured, "nobody hears it yet"
        received.set_result(None)
        event = await asyncio.wait_for(steady.wait_for_playout(), 5)
        assert not event.interrupted
        assert bytes(speaker.heard) == b"".join(bytes(frame.data) for frame in sent)


async def test_a_call_that_ends_unheard_leaves_what_others_wait_for() -> None:
    received = asyncio.Future[None]()
    async with outputs(received=received) as (steady, _, _):
        await steady.capture_frame(frames(0.02)[0])
        await asyncio.sleep(0.01)
    assert not received.cancelled()


class Wrapper(io.AudioOutput):
    """Passes everything on, as LiveKit's transcript synchronizer does."""

    def __init__(self, following: io.AudioOutput) -> None:
        super().__init__(
            label="wrapper",
            capabilities=io.AudioOutputCapabilities(pause=True),
            next_in_chain=following,
            sample_rate=following.sample_rate,
        )

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        assert self.next_in_chain is not None
        await self.next_in_chain.capture_frame(frame)

    def flush(self) -> None:
        super().flush()
        assert self.next_in_chain is not None
        self.next_in_chain.flush()

    def clear_buffer(self) -> None:
        assert self.next_in_chain is not None
        self.next_in_chain.clear_buffer()


@pytest.mark.parametrize("wrapped", [True, False])
async def test_it_goes_in_front_of_the_output_that_plays(wrapped: bool) -> None:
    speaker = Loudspeaker()
    session: AgentSession[None] = AgentSession()
    session.output.audio = Wrapper(speaker) if wrapped else speaker
    steady = SteadyOutput.put_in_place(session)
    assert steady is not None
    output = session.output.audio
    assert isinstance(output, Wrapper if wrapped else SteadyOutput)
    assert output.can_pause
    sent = frames(0.3)
    for frame in sent:
        await output.capture_frame(frame)
    output.flush()
    output.pause()
    await asyncio.sleep(0.2)
    assert speaker.pauses == 0
    assert len(speaker.heard) < 2 * RATE * 0.2
    output.resume()
    event = await asyncio.wait_for(output.wait_for_playout(), 5)
    assert not event.interrupted
    assert bytes(speaker.heard) == b"".join(bytes(frame.data) for frame in sent)
    await steady.aclose()
    await speaker.aclose()


async def test_a_session_that_only_writes_needs_none() -> None:
    assert SteadyOutput.put_in_place(AgentSession()) is None
