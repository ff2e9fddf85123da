"""The offline graph: rules that choose real tools, streamed like a language model's answer."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langgraph.store.memory import InMemoryStore

from flows.graphs import offline
from flows.rules.model import decide
from flows.rules.plan import Say
from flows.rules.texts import STORY
from flows.tools.toolbox import everyday_tools


class FixedClock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 4, 15, 7, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class Caller:
    """Talks to a graph turn by turn and keeps the history, as the voice side does."""

    def __init__(self, graph: Any, thread_id: str = "call", **configurable: Any) -> None:
        self._graph = graph
        self._config = {"configurable": {"thread_id": thread_id, **configurable}}
        self.history: list[BaseMessage] = []
        self.tokens: list[str] = []

    async def say(self, text: str) -> str:
        self.history.append(HumanMessage(text))
        self.tokens = []
        stream = self._graph.astream(
            {"messages": self.history}, self._config, stream_mode=["messages"], version="v2"
        )
        async for part in stream:
            message, metadata = part["data"]
            if metadata["langgraph_node"] in offline.SPEAKABLE_NODES and isinstance(
                message, AIMessageChunk
            ):
                self.tokens.append(message.text)
        answer = "".join(self.tokens)
        self.history.append(AIMessage(answer))
        return answer


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def caller(clock: FixedClock) -> Caller:
    return Caller(offline.build(clock=clock))


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("what is two plus three", "Two plus three is five."),
        ("What is two plus three?", "Two plus three is five."),
        ("what's twenty-five minus forty", "Twenty-five minus forty is minus fifteen."),
        ("what is one divided by four", "One divided by four is zero point two five."),
        ("how much is 10 - 4?", "Ten minus four is six."),
        ("what is 12 divided by 0", "I can't divide by zero."),
        ("what time is it", "It is three oh seven in the afternoon."),
        ("What's the time?", "It is three oh seven in the afternoon."),
        ("what day is it today", "Today is Wednesday, March the fourth."),
        ("what is minus two times three", "Minus two times three is minus six."),
        ("count to five", "One, two, three, four, five."),
        ("stop", "Okay."),
        ("no wait", "Okay."),
        ("thank you", "You are welcome."),
        ("Goodbye.", "Goodbye. It was nice to talk to you."),
        ("what is the weather in london", "I have no weather service configured."),
        ("book a table for two", "I don't have a booking service configured."),
        ("one two three", "I heard one two three. What shall I do with it?"),
        ("你好", "你好，我能为你做什么？"),
        ("现在几点？", "现在是下午三点零七分。"),
        ("現在幾點", "现在是下午三点零七分。"),
        ("谢谢", "不客气。"),
        ("再见", "再见，很高兴和你聊天。"),
        ("一加二", "一加二等于三。"),
        ("一百一十五减一等于多少", "一百一十五减一等于一百一十四。"),
        ("今天星期几", "今天是三月四日，星期三。"),
    ],
)
async def test_an_utterance_gets_the_true_answer(caller: Caller, said: str, answer: str) -> None:
    assert await caller.say(said) == answer


async def test_an_utterance_outside_the_rules_is_owned_up_to(caller: Caller) -> None:
    assert (await caller.say("banana xylophone")).startswith("I did not understand")
    assert (await caller.say("香蕉木琴")).startswith("我没听懂")


async def test_an_answer_arrives_word_by_word(caller: Caller) -> None:
    answer = await caller.say("tell me a story")
    assert answer == STORY
    spoken = [token for token in caller.tokens if token]
    assert len(spoken) == len(STORY.split())
    assert answer.count(".") >= 6


async def test_a_name_is_remembered_for_the_rest_of_the_call(caller: Caller) -> None:
    assert await caller.say("what is my name") == "You have not told me your name yet."
    await caller.say("remember that my name is alice")
    await caller.say("tell me a joke")
    assert await caller.say("What is my name?") == "Your name is Alice."


async def test_a_name_given_in_mandarin_is_remembered(caller: Caller) -> None:
    await caller.say("我叫小明。")
    assert await caller.say("我的名字是什么？") == "你的名字是小明。"


async def test_a_name_in_the_history_is_known_to_a_new_process(clock: FixedClock) -> None:
    caller = Caller(offline.build(clock=clock))
    caller.history = [HumanMessage("my name is maria"), AIMessage("Nice to meet you.")]
    assert await caller.say("what is my name") == "Your name is Maria."


async def test_two_calls_never_share_a_name_or_a_timer(clock: FixedClock) -> None:
    graph = offline.build(clock=clock)
    alice, bob = Caller(graph, "room.1"), Caller(graph, "room%2E1")
    await alice.say("my name is alice")
    await alice.say("set a timer for five minutes")
    assert await bob.say("what is my name") == "You have not told me your name yet."
    assert await bob.say("how long is left on my timer") == "No timer is running."


async def test_a_known_caller_is_remembered_in_the_next_call(clock: FixedClock) -> None:
    store = InMemoryStore()
    first = Caller(offline.build(clock=clock, store=store), "monday", caller_id="+44 20")
    await first.say("my name is alice")
    second = Caller(offline.build(clock=clock, store=store), "tuesday", caller_id="+44 20")
    stranger = Caller(offline.build(clock=clock, store=store), "wednesday", caller_id="+44 21")
    assert await second.say("what is my name") == "Your name is Alice."
    assert await stranger.say("what is my name") == "You have not told me your name yet."


async def test_a_timer_runs_on_the_clock(caller: Caller, clock: FixedClock) -> None:
    assert (await caller.say("set a timer for five minutes")).startswith(
        "I set a timer for five minutes."
    )
    clock.now += timedelta(minutes=3, seconds=59)
    assert (
        await caller.say("how long is left on my timer")
        == "Your timer has one minute and one second left."
    )
    clock.now += timedelta(minutes=2)
    assert await caller.say("how long is left on my timer") == "Your timer has run out."
    assert await caller.say("cancel the timer") == "I cancelled your timers."
    assert await caller.say("how much is left on the timer") == "No timer is running."


@pytest.mark.parametrize(
    ("said", "length"),
    [
        ("set a timer for thirty seconds", "thirty seconds"),
        ("set a timer for an hour and a half", "one hour and thirty minutes"),
        ("set a timer for two hours and five minutes", "two hours and five minutes"),
        ("set a 10 minute timer", "ten minutes"),
        ("set a timer for half an hour", "thirty minutes"),
        ("设一个半小时的定时器", "一小时三十分钟"),
        ("定时半个小时", "三十分钟"),
        ("定时两小时五分钟", "两小时五分钟"),
    ],
)
async def test_a_timer_is_set_for_the_time_that_was_said(
    caller: Caller, said: str, length: str
) -> None:
    answer = await caller.say(said)
    assert answer.startswith((f"I set a timer for {length}.", f"好的，定时{length}。"))


async def test_the_last_answer_is_repeated_on_request(caller: Caller) -> None:
    answer = await caller.say("what is two plus two")
    assert await caller.say("say that again") == answer


async def test_a_story_that_was_cut_off_goes_on_where_it_was_heard(caller: Caller) -> None:
    await caller.say("tell me a story")
    heard = STORY[: STORY.index("lamp. One") + 2]
    caller.history[-1] = AIMessage(heard)
    await caller.say("stop")
    assert await caller.say("continue") == STORY[STORY.index("lamp. One") :]


async def test_a_side_effect_waits_for_the_commit_of_the_turn(clock: FixedClock) -> None:
    store = InMemoryStore()
    committed = asyncio.Event()
    graph = offline.build(clock=clock, store=store)
    guarded = Caller(graph, "call", turn_committed=committed)
    turn = asyncio.create_task(guarded.say("my name is alice"))
    for _ in range(50):
        await asyncio.sleep(0.002)
    assert not turn.done()
    assert store.search(("sessions",)) == []
    committed.set()
    assert await turn == "Nice to meet you, Alice. I will remember your name."
    assert len(store.search(("sessions",))) == 1


async def test_a_lookup_does_not_wait_for_the_commit(clock: FixedClock) -> None:
    guarded = Caller(offline.build(clock=clock), "call", turn_committed=asyncio.Event())
    assert await guarded.say("what time is it") == "It is three oh seven in the afternoon."


async def test_an_abandoned_turn_leaves_nothing_behind(clock: FixedClock) -> None:
    store = InMemoryStore()
    guarded = Caller(
        offline.build(clock=clock, store=store), "call", turn_committed=asyncio.Event()
    )
    turn = asyncio.create_task(guarded.say("set a timer for one hour"))
    await asyncio.sleep(0.05)
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn
    assert store.search(("sessions",)) == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


WORDS = (
    "what is my name the time two plus three twenty minus times divided by zero set a timer for "
    "minutes seconds hours count to remember that and point stop wait how much weather in london "
    "order book 现在 几点 加 乘以 一 十 百 零 点 我叫 数到 定时 < > * # - . , ? 1 2 3.5 1e9 ( ) ^ %"
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(st.sampled_from(WORDS.split()), st.text(max_size=6)), max_size=12))
def test_no_utterance_breaks_the_rules(words: list[str]) -> None:
    decided = decide([HumanMessage(" ".join(words))])
    if isinstance(decided, Say):
        assert decided.text.strip()
    else:
        assert decided.tool in {tool.name for tool in everyday_tools()}


@pytest.mark.parametrize("piece", ["two plus ", "twenty ", "- ", "一加", "set a timer for ", "( "])
async def test_a_very_long_utterance_is_answered(caller: Caller, piece: str) -> None:
    assert await caller.say(piece * 2000)


async def test_the_graph_answers_before_the_caller_spoke(clock: FixedClock) -> None:
    result = await offline.build(clock=clock).ainvoke({"messages": []})
    assert result["messages"][-1].text == "Hello. What can I do for you?"
