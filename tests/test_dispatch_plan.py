"""Who needs an agent, and who must not get one: the decision of the watch over the rooms."""

from __future__ import annotations

from itertools import pairwise

from agent_worker.dispatch.plan import (
    DEAD_AFTER_S,
    AgentView,
    CallAgain,
    DispatchPlan,
    DispatchView,
    JobView,
    RoomView,
)

CALLED = (DispatchView("AD_1"),)
TAKEN = (DispatchView("AD_1", (JobView("AJ_1", "agent-1"),)),)
LONG_AGO = (DispatchView("AD_1", (JobView("AJ_1", "agent-1", age_s=60.0),)),)


def _room(
    *agents: AgentView,
    callers: int = 1,
    sid: str = "RM_1",
    dispatches: tuple[DispatchView, ...] = (),
) -> RoomView:
    return RoomView("room", sid, callers, agents, dispatches)


def _decide(plan: DispatchPlan, view: RoomView, now: float) -> CallAgain | None:
    plan.needs_dispatches(view, now)
    return plan.decide(view, now)


def _agent(beat: str = "1") -> AgentView:
    return AgentView("agent-1", beat)


def test_a_caller_who_came_before_any_worker_is_served_after_a_moment() -> None:
    plan = DispatchPlan()
    view = _room(dispatches=CALLED)
    assert _decide(plan, view, 0.0) is None
    assert _decide(plan, view, 1.0) == CallAgain((), ("AD_1",), took_over=False, tell_busy=False)


def test_a_room_that_never_called_this_agent_gets_none() -> None:
    plan = DispatchPlan()
    assert all(_decide(plan, _room(), now) is None for now in range(100))


def test_a_worker_for_itself_may_serve_every_room() -> None:
    plan = DispatchPlan(every_room=True)
    _decide(plan, _room(), 0.0)
    assert _decide(plan, _room(), 1.0) is not None


def test_an_agent_that_starts_is_given_time() -> None:
    plan = DispatchPlan()
    assert _decide(plan, _room(dispatches=TAKEN), 0.0) is None
    assert _decide(plan, _room(dispatches=TAKEN), 4.0) is None
    again = _decide(plan, _room(dispatches=TAKEN), 5.5)
    assert again is not None and not again.took_over, "it never came"


def test_an_agent_that_beats_is_left_alone() -> None:
    plan = DispatchPlan()
    for tick in range(50):
        assert _decide(plan, _room(_agent(str(tick)), dispatches=TAKEN), tick * 1.0) is None
        assert not plan.suspicious("room")


def test_an_agent_of_another_make_is_taken_for_alive() -> None:
    plan = DispatchPlan()
    for now in range(50):
        assert _decide(plan, _room(_agent(""), dispatches=TAKEN), now) is None


def test_an_agent_whose_beat_stands_still_is_thrown_out_and_replaced() -> None:
    plan = DispatchPlan()
    _decide(plan, _room(_agent("7"), dispatches=TAKEN), 0.0)
    still = _room(_agent("7"), dispatches=TAKEN)
    assert _decide(plan, still, DEAD_AFTER_S - 0.1) is None
    assert _decide(plan, still, DEAD_AFTER_S) == CallAgain(
        ("agent-1",), ("AD_1",), took_over=True, tell_busy=False, jobs=("AJ_1",)
    )


def test_an_agent_whose_process_lives_is_slow_and_not_dead() -> None:
    # all the machine's cores were busy for five seconds: the calls of seven callers were taken away
    plan = DispatchPlan(lives=lambda process: process == "ours/17" or None)
    view = _room(AgentView("agent-1", "1", "ours/17"), dispatches=TAKEN)
    assert all(_decide(plan, view, now) is None for now in range(12))
    again = _decide(plan, view, 13.0)
    assert again is not None and again.remove == ("agent-1",)


def test_an_agent_whose_process_is_gone_is_replaced_before_its_beat_is_missed() -> None:
    running = {"ours/17"}
    plan = DispatchPlan(lives=lambda process: process in running)
    view = _room(AgentView("agent-1", "1", "ours/17"), dispatches=TAKEN)
    assert _decide(plan, view, 0.0) is None
    running.clear()
    again = _decide(plan, view, 0.4)
    assert again is not None and again.remove == ("agent-1",)


def test_an_agent_that_is_known_to_be_dead_is_replaced_at_once() -> None:
    plan = DispatchPlan()
    _decide(plan, _room(_agent("7"), dispatches=TAKEN), 0.0)
    plan.agent_died("room", "agent-1")
    again = _decide(plan, _room(_agent("8"), dispatches=TAKEN), 0.1)
    assert again is not None and again.remove == ("agent-1",) and again.took_over


def test_an_agent_that_has_left_behind_its_dispatch_is_replaced_soon() -> None:
    plan = DispatchPlan()
    _decide(plan, _room(_agent(), dispatches=TAKEN), 0.0)
    assert _decide(plan, _room(dispatches=TAKEN), 1.0) is None
    again = _decide(plan, _room(dispatches=TAKEN), 2.0)
    assert again == CallAgain((), ("AD_1",), took_over=True, tell_busy=False, jobs=("AJ_1",))


def test_a_watch_that_is_new_knows_an_old_job_for_what_it_is() -> None:
    plan = DispatchPlan()
    _decide(plan, _room(dispatches=LONG_AGO), 0.0)
    again = _decide(plan, _room(dispatches=LONG_AGO), 1.0)
    assert again is not None and again.took_over


def test_an_agent_that_left_of_its_own_accord_took_its_dispatch_and_is_not_replaced() -> None:
    plan = DispatchPlan()
    _decide(plan, _room(_agent(), dispatches=TAKEN), 0.0)
    assert all(_decide(plan, _room(), 1.0 + now) is None for now in range(100))


def test_a_room_that_opened_again_under_its_caller_without_a_dispatch_is_served() -> None:
    plan = DispatchPlan()
    _decide(plan, _room(_agent(), dispatches=TAKEN), 0.0)
    assert _decide(plan, _room(sid="RM_2", callers=0), 2.0) is None
    assert _decide(plan, _room(sid="RM_2"), 3.0) is None
    again = _decide(plan, _room(sid="RM_2"), 4.0)
    assert again is not None and again.replace == ()


def test_a_room_whose_people_had_left_does_not_want_the_agent_when_it_opens_again() -> None:
    plan = DispatchPlan()
    _decide(plan, _room(_agent(), dispatches=TAKEN), 0.0)
    _decide(plan, _room(_agent(), dispatches=TAKEN, callers=0), 1.0)
    assert all(_decide(plan, _room(sid="RM_2"), 2.0 + now) is None for now in range(20))


def test_without_a_free_worker_it_is_tried_less_and_less_often_and_the_caller_is_told() -> None:
    plan = DispatchPlan()
    view = _room(dispatches=CALLED)
    tried = [(now, again) for now in range(60) if (again := _decide(plan, view, now)) is not None]
    times = [now for now, _ in tried]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert pauses[:4] == [3, 5, 8, 12]
    assert max(pauses) == 12
    assert [again.tell_busy for _, again in tried] == [False, *([True] * (len(tried) - 1))]


def test_of_rooms_that_are_gone_nothing_is_kept_for_long() -> None:
    plan = DispatchPlan()
    _decide(plan, _room(_agent(), dispatches=TAKEN), 0.0)
    plan.forget_closed([], 30.0)
    assert not plan.suspicious("room"), "it may open again"
    plan.forget_closed([], 100.0)
    assert plan.suspicious("room"), "known no more"
