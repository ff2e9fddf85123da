"""The soak: what it calls drift, what it draws, what it refuses."""

from __future__ import annotations

import os
import time
import xml.etree.ElementTree as ElementTree

import pytest

from agent_worker.commands.worker_process import RunError
from bench import soak


def _run(growth_mib: float, slower_ms: float) -> dict[str, object]:
    samples = [
        soak.Sample(at, 300 + growth_mib * at / 600, 40 + int(at >= 300), 100, 3)
        for at in range(0, 600, 5)
    ]
    turns = [soak.Turn(at, 400 + slower_ms * at / 600) for at in range(0, 600, 4)]
    turns.append(soak.Turn(599, None))
    return soak.drift(samples, turns, 600.0)


def test_a_worker_that_stays_as_it_is_does_not_drift() -> None:
    for figure, change in _run(0, 0).items():
        assert isinstance(change, dict)
        assert change["change"] == (1.0 if figure == "threads" else 0.0), figure


def test_a_worker_that_grows_and_slows_down_is_told_by_its_last_third() -> None:
    figures = _run(60, 120)
    # two thirds of what came in nine of ten minutes
    assert figures["rss_mib"] == pytest.approx(
        {"first_third": 314.8, "last_third": 350.8, "change": 36.0}, abs=0.5
    )
    p50 = figures["p50_ms"]
    assert isinstance(p50, dict) and p50["change"] == pytest.approx(72, abs=2)


def test_a_run_without_an_answer_has_no_times() -> None:
    figures = soak.drift([], [soak.Turn(10, None)], 30.0)
    assert figures["p95_ms"] == {"first_third": None, "last_third": None, "change": None}


def test_a_look_counts_this_process() -> None:
    seen = soak.look(os.getpid(), time.monotonic() - 5)
    assert seen.at_s >= 5
    assert seen.rss_mib > 10 and seen.threads >= 1 and seen.descriptors >= 3
    assert seen.processes >= 1
    with pytest.raises(RunError, match="gone"):
        soak.look(2**22 + 1, 0.0)


def test_the_drawing_has_a_line_for_each_figure_and_a_dot_for_each_answer() -> None:
    result = {
        "minutes": 10,
        "calls_at_once": 3,
        "turns": 3,
        "unanswered": 1,
        "samples": [vars(soak.Sample(at, 300, 40, 100, 3)) for at in (0.0, 300.0, 600.0)],
        "turn_times": [[10.0, 400.0], [20.0, None], [600.0, 800.0]],
    }
    root = ElementTree.fromstring(soak.drawing(result))
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{space}polyline")) == 3
    dots = root.findall(f"{space}circle")
    assert len(dots) == 2
    assert float(dots[0].attrib["cy"]) > float(dots[1].attrib["cy"]), "longer is higher"
    words = [text.text for text in root.findall(f"{space}text")]
    assert any(word and "1 unanswered" in word for word in words)
    assert "10 min" in words


@pytest.mark.parametrize("bad", [["--minutes", "0"], ["--calls", "65"], ["--minutes", "2000"]])
def test_a_run_without_bounds_is_refused(
    bad: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        soak.arguments(bad)
    assert "must be" in capsys.readouterr().err
