"""What is kept in Postgres, on a real server: the same as in SQLite, shared by several at once."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import psycopg
import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig

from agent_worker.__main__ import main
from flows.call_store import CallStore
from flows.flow import Flow
from flows.graphs import offline
from flows.memory import DatabaseError, Memory, forget_old_facts, open_memory, open_store
from flows.serving.sessions import Sessions, TurnInput, thread_of
from tests.postgres import postgres_server

STRANGER = "You have not told me your name yet."


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture
async def url(server: str) -> AsyncIterator[str]:
    """An empty database of this test's own."""
    name = f"t{secrets.token_hex(6)}"
    async with await psycopg.AsyncConnection.connect(server, autocommit=True) as connection:
        await connection.execute(f"CREATE DATABASE {name}".encode())
    yield server.rsplit("/", 1)[0] + f"/{name}"


async def say(sessions: Sessions, memory: Memory, text: str, caller: str | None = None) -> str:
    graph = offline.build(store=memory.store, checkpointer=memory.checkpointer)
    turn = await sessions.start(
        Flow("offline", "", graph, offline.SPEAKABLE_NODES),
        "s1",
        TurnInput("t", [HumanMessage(text)], False, {"caller_id": caller} if caller else {}),
    )
    events = [event async for batch in turn.batches(ping_s=60) for event in batch]
    return "".join(event["content"] for event in events if event["type"] == "token")


async def test_a_callers_name_outlives_the_process_and_is_forgotten(url: str) -> None:
    async with open_memory(url) as memory, Sessions(memory) as sessions:
        await say(sessions, memory, "my name is alice", caller="anna@example.org")
    async with open_memory(url) as memory, Sessions(memory) as sessions:
        asked = "what is my name"
        assert await say(sessions, memory, asked, "anna@example.org") == "Your name is Alice."
        assert await say(sessions, memory, asked, "ben") == STRANGER
        assert await memory.forget_caller("anna@example.org") == 1
        assert await say(sessions, memory, asked, "anna@example.org") == STRANGER


async def test_a_conversation_is_kept_where_the_setting_says_so_until_it_is_deleted(
    url: str,
) -> None:
    thread: RunnableConfig = {"configurable": {"thread_id": thread_of("offline", "s1")}}
    for keep, later in ((False, "I have not said anything yet."), (True, "One plus one is two.")):
        async with open_memory(url, keep_conversations=keep) as memory, Sessions(memory) as one:
            await say(one, memory, "what is one plus one")
        async with open_memory(url, keep_conversations=keep) as memory, Sessions(memory) as one:
            assert await say(one, memory, "say that again") == later
    async with open_memory(url, keep_conversations=True) as memory, Sessions(memory) as one:
        assert await memory.checkpointer.aget_tuple(thread) is not None
        await one.forget("offline", "s1")
        assert await memory.checkpointer.aget_tuple(thread) is None


async def test_several_flow_servers_begin_on_one_empty_database_at_once(url: str) -> None:
    async def one(number: int) -> None:
        async with open_memory(url, keep_conversations=True) as memory:
            await memory.store.aput(("callers", str(number), "facts"), "name", {"value": "x"})

    await asyncio.gather(*(one(number) for number in range(4)))
    async with open_store(url) as store:
        assert len(await store.asearch(("callers",))) == 4


async def test_a_call_keeps_what_it_is_told_beside_a_flow_server_that_is_running(url: str) -> None:
    async with open_memory(url) as memory:
        call = CallStore(url)
        await call.aput(("callers", "alice", "facts"), "name", {"value": "Alice"})
        await call.aclose()
        (kept,) = await memory.store.asearch(("callers", "alice"))
        assert kept.value == {"value": "Alice"}


async def test_a_connection_that_broke_costs_no_later_turn(url: str) -> None:
    async with open_memory(url) as memory, Sessions(memory) as sessions:
        await say(sessions, memory, "my name is alice", caller="alice")
        database = urlsplit(url).path.lstrip("/")
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as other:
            cut = await other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = %s AND pid <> pg_backend_pid()",
                (database,),
            )
            assert len(await cut.fetchall()) >= 1
        assert await say(sessions, memory, "what is my name", "alice") == "Your name is Alice."


async def test_what_is_older_than_the_setting_says_is_deleted(url: str) -> None:
    async with open_store(url) as store:
        for number in range(130):
            await store.aput(("callers", f"c{number}", "facts"), "name", {"value": "x"})
        now = datetime.now(UTC)
        assert await forget_old_facts(store, 30, now=now + timedelta(days=29)) == 0
        assert await forget_old_facts(store, 30, now=now + timedelta(days=31)) == 130


async def test_a_caller_is_forgotten_by_command(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_store(url) as store:
        await store.aput(("callers", "alice", "facts"), "name", {"value": "Alice"})
    monkeypatch.setenv("AGENT_WORKER_DATABASE_URL", url)
    assert await asyncio.to_thread(main, ["forget", "alice"]) == 0
    assert capsys.readouterr().out == "forgotten: 1\n"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda url: url.replace("swordfish", "perch"), "password authentication failed"),
        (lambda url: url + "x", "does not exist"),
        (lambda url: "postgresql://tests@127.0.0.1:1/none", "refused"),
    ],
)
async def test_a_database_that_can_not_be_used_is_told_without_its_password(
    url: str, wrong: object, said: str
) -> None:
    assert callable(wrong)
    with pytest.raises(DatabaseError) as fault:
        async with open_memory(wrong(url)):
            pass
    assert said in str(fault.value)
    assert "\n" not in str(fault.value)
    assert "swordfish" not in str(fault.value)
    assert "perch" not in str(fault.value)
