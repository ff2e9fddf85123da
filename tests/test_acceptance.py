"""Which calls a worker takes when many are offered at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit.agents import JobRequest
from livekit.protocol.agent import Job

from agent_worker.dispatch.acceptance import Acceptance


class Offered:
    """A call that LiveKit offers, and assigns after a moment."""

    def __init__(self, there: list[Offered]) -> None:
        self._there = there
        self.rejected: bool | None = None
        self.request = JobRequest(
            job=Job(id="AJ_1"),
            on_reject=self._on_reject,
            on_accept=self._on_accept,
        )

    async def _on_accept(self, _: Any) -> None:
        await asyncio.sleep(0.01)
        self._there.append(self)

    async def _on_reject(self, terminate: bool) -> None:
        self.rejected = terminate


async def test_of_a_burst_no_more_are_taken_than_there_is_room_for() -> None:
    there: list[Offered] = []
    acceptance = Acceptance(most_calls=3, calls=lambda: len(there))
    burst = [Offered(there) for _ in range(12)]
    await asyncio.gather(*(acceptance.answer(offered.request) for offered in burst))
    assert len(there) == 3
    refused = [offered for offered in burst if offered not in there]
    assert all(offered.rejected is False for offered in refused), "left to other workers"
    there.pop()
    later = Offered(there)
    await acceptance.answer(later.request)
    assert later in there


async def test_a_call_that_was_given_to_another_leaves_its_place() -> None:
    there: list[Offered] = []
    acceptance = Acceptance(most_calls=1, calls=lambda: len(there))

    class Lost(Offered):
        async def _on_accept(self, _: Any) -> None:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        await acceptance.answer(Lost(there).request)
    taken = Offered(there)
    await acceptance.answer(taken.request)
    assert there == [taken]
