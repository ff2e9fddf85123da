"""The simulation on paper: that it counts as it says, and what it refuses."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from bench import capacity
from bench.capacity import Inputs, plan

ONE = Inputs(cell_calls=1000)
"""A thousand calls in one cluster."""


def test_ten_calls_are_one_machine_and_no_redis() -> None:
    few = plan(10, Inputs(), gpu=False)
    assert (few.cells, few.livekit_nodes, few.worker_machines, few.redis) == (1, 1, 1, 0)
    assert few.call_processes == 3
    assert few.hearing_gpus == few.model_gpus == 0


def test_a_machine_that_may_be_away_is_counted_once_for_each_cluster() -> None:
    one = plan(1000, ONE, gpu=True)
    without = plan(1000, dataclasses.replace(ONE, spare=0), gpu=True)
    assert one.worker_machines == without.worker_machines + 1
    assert one.hearing_gpus == without.hearing_gpus + 1 == 33
    hundred = plan(100_000, ONE, gpu=True)
    assert hundred.cells == 100
    assert hundred.worker_machines == 100 * one.worker_machines


def _plan(**changes: float) -> capacity.Plan:
    inputs = dataclasses.replace(ONE, spare=0, hearing_cores=0.0001)
    return plan(800, dataclasses.replace(inputs, **changes), gpu=False)  # type: ignore[arg-type]


def test_cores_memory_and_the_interpreter_each_may_be_what_there_is_too_little_of() -> None:
    by_interpreter = _plan(call_cores=0.001, hearing_cores=0.001)
    assert by_interpreter.worker_machines == 200 // 8
    by_cores = _plan(call_cores=1.0)
    assert by_cores.worker_machines == -(-800 // 9.6)
    by_memory = _plan(call_cores=0.001, call_mib=2048.0)
    assert by_memory.worker_machines > by_interpreter.worker_machines


def test_smaller_clusters_notice_a_dead_agent_sooner_and_read_less() -> None:
    big, small = plan(1000, ONE, gpu=False), plan(1000, Inputs(cell_calls=100), gpu=False)
    assert small.alone_for_s < big.alone_for_s
    assert small.room_list_mib_s < big.room_list_mib_s / 50


def test_every_figure_is_in_the_table() -> None:
    made = capacity.table([plan(10, Inputs(), gpu=True)])
    assert made.count("\n") == len(dataclasses.fields(capacity.Plan))


@pytest.mark.parametrize("gpu", [False, True])
def test_the_tables_in_the_documentation_are_those_of_the_script(gpu: bool) -> None:
    page = (Path(__file__).parent.parent / "docs/scaling.md").read_text(encoding="utf-8")
    assert capacity.table([plan(calls, Inputs(), gpu=gpu) for calls in (10, 1000, 100_000)]) in page
    cell = plan(1000, ONE, gpu=gpu)
    assert f"it is {cell.alone_for_s:.0f} s" in page
    assert f"lists alone are {cell.room_list_mib_s:.0f} MB" in page


def test_inputs_are_set_by_name_and_nonsense_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls, inputs, as_json = capacity.arguments(
        ["--calls", "5,6", "--set", "call_cores=0.5", "--set", "machine_cores=64"]
    )
    assert (calls, inputs.call_cores, inputs.machine_cores, as_json) == ([5, 6], 0.5, 64, False)
    for bad in (["--set", "cores=1"], ["--set", "call_cores=x"], ["--calls", "0"]):
        with pytest.raises(SystemExit):
            capacity.arguments(bad)
    assert "call_cores" in capsys.readouterr().err
