"""The short form of `python -m tests.hostile`."""

import pytest

from .hostile import attack


@pytest.mark.timeout(120)
async def test_hostile_messages_are_refused_in_words_and_disturb_nobody() -> None:
    report = await attack(400)
    assert report.faults == []
    assert report.sent >= 400 and report.turns_beside >= 1
    assert report.answers["bad_json"] and report.answers["bad_message"]
