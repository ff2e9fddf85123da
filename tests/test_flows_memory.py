"""What is kept between turns and calls, and what is not."""

import asyncio
from pathlib import Path

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig

from flows.flow import Flow
from flows.graphs import offline
from flows.memory import DatabaseError, Memory, open_memory
from flows.memory_keys import caller_namespace, session_namespace
from flows.serving.sessions import Sessions, TurnInput, thread_of
from flows.serving.turns import EarlyCommits


def flow_on(memory: Memory) -> Flow:
    graph = offline.build(store=memory.store, checkpointer=memory.checkpointer)
    return Flow("offline", "", graph, offline.SPEAKABLE_NODES)


async def say(sessions: Sessions, memory: Memory, text: str, caller: str | None = None) -> str:
    context = {"caller_id": caller} if caller else {}
    turn = await sessions.start(
        flow_on(memory), "s1", TurnInput("t", [HumanMessage(text)], False, context)
    )
    events = [event async for batch in turn.batches(ping_s=60) for event in batch]
    return "".join(event["content"] for event in events if event["type"] == "token")


def url_in(folder: Path) -> str:
    return f"sqlite:///{folder}/deeper/flows.sqlite3"


async def stored(database_url: str) -> bytes:
    """Everything that is on disk."""
    folder = Path(database_url.removeprefix("sqlite:///")).parent
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def test_a_callers_name_outlives_the_process(tmp_path: Path) -> None:
    url = url_in(tmp_path)
    async with open_memory(url) as memory, Sessions(memory) as sessions:
        await say(sessions, memory, "my name is alice", caller="anna@example.org")
    async with open_memory(url) as memory, Sessions(memory) as sessions:
        asked = "what is my name"
        assert await say(sessions, memory, asked, "anna@example.org") == "Your name is Alice."
        assert await say(sessions, memory, asked, "ben") == "You have not told me your name yet."
        assert await memory.forget_caller("anna@example.org") == 1
        said = await say(sessions, memory, asked, "anna@example.org")
        assert said == "You have not told me your name yet."


async def test_a_conversation_is_not_kept_by_default(tmp_path: Path) -> None:
    url = url_in(tmp_path)
    async with open_memory(url) as memory, Sessions(memory) as sessions:
        await say(sessions, memory, "remember that the code is xyzzy")
        assert await say(sessions, memory, "what do you remember") == (
            "You asked me to remember that the code is xyzzy."
        )
    async with open_memory(url) as memory, Sessions(memory) as sessions:
        said = await say(sessions, memory, "what do you remember")
        assert said == "You have not asked me to remember anything yet."


async def test_a_crash_leaves_no_conversation_behind(tmp_path: Path) -> None:
    url = url_in(tmp_path)
    async with open_memory(url) as memory:
        await memory.store.aput(("sessions", "offline:s1", "facts"), "note", {"value": "xyzzy"})
    async with open_memory(url) as memory:
        assert await memory.store.asearch(("sessions",)) == []


async def test_conversations_are_kept_where_the_setting_says_so_until_deleted(
    tmp_path: Path,
) -> None:
    url = url_in(tmp_path)
    async with (
        open_memory(url, keep_conversations=True) as memory,
        Sessions(memory) as sessions,
    ):
        await say(sessions, memory, "what is one plus one")
    assert b"one plus one" in await stored(url)
    async with open_memory(url, keep_conversations=True) as memory:
        async with Sessions(memory) as sessions:
            assert await say(sessions, memory, "say that again") == "One plus one is two."
            await sessions.forget("offline", "s1")
            said = await say(sessions, memory, "say that again")
            assert said == "I have not said anything yet."
            await sessions.forget("offline", "s1")
        thread: RunnableConfig = {"configurable": {"thread_id": thread_of("offline", "s1")}}
        assert await memory.checkpointer.aget_tuple(thread) is None


async def test_an_idle_session_is_over_after_its_time() -> None:
    async with open_memory() as memory, Sessions(memory, ttl_s=0.05) as sessions:
        await say(sessions, memory, "what is one plus one")
        thread: RunnableConfig = {"configurable": {"thread_id": thread_of("offline", "s1")}}
        while await memory.checkpointer.aget_tuple(thread) is not None:
            await asyncio.sleep(0.01)
        assert await say(sessions, memory, "say that again") == "I have not said anything yet."


@pytest.mark.parametrize("url", ["mysql://x", "sqlite:////proc/nothing/flows.sqlite3", ""])
async def test_a_database_that_can_not_be_used_is_refused_in_a_sentence(url: str) -> None:
    with pytest.raises(DatabaseError) as fault:
        async with open_memory(url):
            pass
    assert "\n" not in str(fault.value)


def test_ids_that_look_alike_are_kept_apart() -> None:
    ids = ["a.b", "a%2Eb", "a/b", "a b", "", "名"]
    spaces = [session_namespace({"configurable": {"thread_id": one}}) for one in ids]
    assert len(set(spaces)) == len(ids)
    assert spaces[4] is None
    assert caller_namespace({}) is None
    assert not any("." in label for space in spaces if space for label in space)


def test_commits_that_nobody_fetches_do_not_pile_up() -> None:
    commits = EarlyCommits(size=2)
    for number in range(4):
        commits.add("s1", f"t{number}")
    assert [commits.take("s1", f"t{number}") for number in range(4)] == [False, False, True, True]
    assert not commits.take("s1", "t3")
