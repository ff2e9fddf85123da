"""The short form of `python -m tests.hostile`."""

import pytest

from .hostile import attack


@pytest.mark.timeout(180)
async def test_hostile_messages_are_refused_in_words_and_disturb_nobody() -> None:
    report = await attack(300)
    assert report.faults == []
    assert report.sent >= 300
    assert all(beside.quiet_s and beside.delays_s for beside in report.beside)
    for answer in ("gateway: bad_json", "gateway: bad_message", "token: 400", "flows: 400"):
        assert report.answers[answer], answer
    for cut in ("flows: deaf, cut", "gateway, half open: cut", "flows, slow: 408"):
        assert report.answers[cut], cut
