"""A caller is remembered from one call to the next, behind every door."""

from __future__ import annotations

import asyncio
import json
import stat
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from livekit.agents import llm
from websockets.asyncio.client import connect

from agent_worker.__main__ import main
from agent_worker.call.who_calls import WhoCalls, caller_of, told_by_client
from agent_worker.commands.serve_web import open_gateway, serve_app
from agent_worker.engines.build import build_engines
from agent_worker.engines.choice import choose
from agent_worker.engines.inventory import Found
from agent_worker.session import build_call
from agent_worker.settings import Settings, load_settings
from agent_worker.telemetry.outlets import Telemetry
from agent_worker.web.app import WebConfig, create_app
from agent_worker.web.tokens import TokenRefusedError, TokenRequest, issue
from flows.call_store import CallStore
from flows.flow import Flow
from flows.graphs import offline
from flows.memory import forget_old_facts, open_memory, open_store
from livekit import rtc
from tests.fake_openai_server import FakeOpenAIServer, Reply
from tests.flow_server import flow_server
from tests.test_documents_websocket import DocumentsClient
from tests.voices_at_hand import ESPEAK

ALICE = "+441134960001"
STRANGER = "You have not told me your name yet."
SIP = rtc.ParticipantKind.PARTICIPANT_KIND_SIP
STANDARD = rtc.ParticipantKind.PARTICIPANT_KIND_STANDARD


@dataclass
class Caller:
    """A participant as the room tells of it."""

    identity: str = "caller-0123456789ab"
    kind: int = STANDARD
    attributes: Mapping[str, str] = field(default_factory=dict)


PHONE = Caller("sip_+441134960001", SIP, {"sip.phoneNumber": ALICE})


@pytest.mark.parametrize(
    ("caller", "setting", "expected"),
    [
        (PHONE, "", None),
        (PHONE, "sip.phoneNumber", ALICE),
        (PHONE, "identity", "sip_+441134960001"),
        (PHONE, "identity, sip.phoneNumber", "sip_+441134960001"),
        (Caller("sip_anonymous", SIP, {"sip.phoneNumber": "anonymous"}),
         "sip.phoneNumber, identity", None),
        (Caller("sip_x", SIP, {"sip.phoneNumber": " "}), "sip.phoneNumber", None),
        # a browser that says it was a phone
        (Caller("eve", STANDARD, {"sip.phoneNumber": ALICE}), "sip.phoneNumber", None),
        (Caller("alice"), "sip.phoneNumber, identity", "alice"),
        (Caller("caller-0123456789ab"), "identity", None),
        (Caller("caller-0123456789ab", STANDARD, {"user_id": "7"}), "identity,user_id", "7"),
        (Caller("alice", STANDARD, {"user_id": "x" * 257}), "user_id", None),
        (Caller("session_start"), "session_start", None),
    ],
)  # fmt: skip
def test_a_caller_is_known_by_what_the_setting_names(
    caller: Caller, setting: str, expected: str | None
) -> None:
    assert caller_of(caller, setting) == expected


def test_the_id_that_a_websocket_client_says_is_believed_only_where_the_setting_says_so() -> None:
    assert told_by_client("alice", "session_start") == "alice"
    assert told_by_client("alice", "identity") is None
    assert told_by_client(None, "session_start") is None


def test_a_stranger_can_not_choose_the_attribute_that_callers_are_known_by() -> None:
    def page(host: str) -> WebConfig:
        return WebConfig(
            livekit_url="ws://livekit",
            api_key="key",
            api_secret="x" * 32,
            host=host,
            caller_attributes=frozenset({"user_id"}),
        )

    asked = TokenRequest(participant_attributes={"user_id": "7"})
    other = TokenRequest(participant_attributes={"mood": "calm"})
    with pytest.raises(TokenRefusedError, match="user_id can't be chosen here"):
        issue(asked, page("0.0.0.0").policy())
    assert issue(other, page("0.0.0.0").policy())["participant_token"]
    assert issue(asked, page("127.0.0.1").policy())["participant_token"]
    # and an identity that is made up here is nobody's
    made_up = issue(other, page("0.0.0.0").policy())["participant_name"]
    assert caller_of(Caller(made_up), "identity") is None


def test_who_calls_follows_the_participant_of_the_room() -> None:
    here: list[Caller] = []
    who = WhoCalls("identity")
    who.follow(lambda: here[-1] if here else None)
    assert who() is None
    here.append(Caller("alice"))
    assert who() == "alice"
    here.append(Caller("bob"))
    assert who() == "bob"


def settings_in(folder: Path, **more: object) -> Settings:
    return load_settings(
        **{
            "llm": "offline",
            "greeting": "",
            "stt": "bundled",
            "tts": "espeak",
            "database_url": f"sqlite:///{folder}/data/callers.sqlite3",
            **more,
        }
    )


_hanging_up: list[asyncio.Task[None]] = []


@pytest.fixture(autouse=True)
async def hung_up() -> AsyncIterator[None]:
    """No call outlives its test."""
    yield
    await asyncio.gather(*_hanging_up)
    _hanging_up.clear()


async def call(
    settings: Settings, caller_id: str | None, *said: str, found: Found | None = None
) -> str:
    """One whole call: a new session with engines of its own; returns the last answer."""
    choices = choose(settings, found or Found(voices=ESPEAK))
    one = build_call(settings, build_engines(settings, choices), caller_id=caller_id)
    await one.start()
    try:
        for text in said:
            await one.session.run(user_input=text)
        answers = [
            item.text_content
            for item in one.session.history.items
            if isinstance(item, llm.ChatMessage) and item.role == "assistant"
        ]
        return answers[-1] or ""
    finally:
        # LiveKit's session takes two seconds to close: the next call does not wait for it
        _hanging_up.append(asyncio.create_task(one.aclose()))


async def test_a_caller_is_remembered_in_the_next_call_and_nobody_else_is(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    asked = "what is my name"
    said = await call(settings, ALICE, "remember that my name is Alice")
    assert said == "Nice to meet you, Alice. I will remember your name."
    assert await call(settings, ALICE, asked) == "Your name is Alice."
    assert await call(settings, "bob", asked) == STRANGER
    # somebody unknown is remembered within the call, and leaves nothing on the disk
    assert await call(settings, None, "my name is Zebedee", asked) == "Your name is Zebedee."
    assert await call(settings, None, asked) == STRANGER
    files = list((tmp_path / "data").iterdir())
    assert not any(b"ebedee" in file.read_bytes() for file in files)
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


async def test_a_caller_has_it_forgotten_by_voice(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    await call(settings, ALICE, "my name is Alice", "remember that i am allergic to nuts")
    said = await call(
        settings, ALICE, "please forget my name", "don't forget my name", "what do you remember"
    )
    assert said == "You asked me to remember that you are allergic to nuts."
    said = await call(settings, ALICE, "what is my name")
    assert said == STRANGER
    said = await call(settings, ALICE, "forget everything about me")
    assert said == "I have forgotten what you asked me to remember."
    async with open_store(settings.database_url) as store:
        assert await store.asearch(("callers",)) == []


async def test_a_caller_is_forgotten_by_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_in(tmp_path)
    await call(settings, ALICE, "my name is Alice")
    monkeypatch.setenv("AGENT_WORKER_DATABASE_URL", settings.database_url)
    assert await asyncio.to_thread(main, ["forget", ALICE]) == 0
    assert capsys.readouterr().out == "forgotten: 1\n"
    assert await call(settings, ALICE, "what is my name") == STRANGER
    monkeypatch.setenv("AGENT_WORKER_DATABASE_URL", "memory")
    assert await asyncio.to_thread(main, ["forget", ALICE]) == 1
    assert "database_url is memory" in capsys.readouterr().err


async def test_the_flow_server_knows_the_same_callers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = settings_in(tmp_path)
    await call(here, ALICE, "my name is Alice")
    async with open_memory(here.database_url) as memory:
        graph = offline.build(store=memory.store, checkpointer=memory.checkpointer)
        flow = Flow("offline", "", graph, offline.SPEAKABLE_NODES)
        async with flow_server([flow], memory=memory) as url:
            there = settings_in(tmp_path, llm="remote", flow_url=url, flow_id="offline")
            found = Found(voices=ESPEAK, remote_flows=("offline",))
            asked = "what is my name"
            assert await call(there, ALICE, asked, found=found) == "Your name is Alice."
            assert await call(there, "bob", asked, found=found) == STRANGER
            await call(there, ALICE, "forget my name", found=found)
            assert await call(here, ALICE, asked) == STRANGER
            await call(there, ALICE, "my name is Alice", found=found)
            monkeypatch.setenv("AGENT_WORKER_LLM", "remote")
            monkeypatch.setenv("AGENT_WORKER_FLOW_URL", url)
            assert await asyncio.to_thread(main, ["forget", ALICE]) == 0
            assert capsys.readouterr().out == "forgotten: 1\n"
            assert await call(there, ALICE, asked, found=found) == STRANGER


async def answered(client: DocumentsClient, text: str) -> str:
    """The answer to what a client of the WebSocket writes, as the model writes it."""
    before = len(client.written())
    await client.send({"type": "text", "text": text})
    await client.when(lambda: client.written()[before:].rstrip().endswith("."))
    return client.written()[before:].strip()


async def test_a_client_of_the_websocket_is_remembered_and_has_it_forgotten(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, caller_id="session_start")
    choices = choose(settings, Found(voices=ESPEAK))
    config = WebConfig(livekit_url="ws://127.0.0.1:1", api_key="devkey", api_secret="x" * 32)
    app = create_app(config, gateway=await open_gateway(settings, choices, Telemetry()))

    async def ask(caller: dict[str, str], said: str) -> str:
        """A connection and a session of its own."""
        async with connect(f"{address.replace('http', 'ws', 1)}/ws/s2s") as socket:
            client = DocumentsClient(socket)
            await client.send({"type": "session_start", **caller})
            await client.event("session_started")
            answer = await answered(client, said)
        await client.listening
        return answer

    async with serve_app(app, host="127.0.0.1", port=0) as address:
        alice, asked = {"caller_id": ALICE}, "what is my name"
        await ask(alice, "remember that my name is Alice")
        assert await ask(alice, asked) == "Your name is Alice."
        assert await ask({"caller_id": "bob"}, asked) == STRANGER
        assert await ask({}, asked) == STRANGER
        # the same caller by telephone
        assert await call(settings, ALICE, asked) == "Your name is Alice."
        await ask(alice, "forget my name")
        assert await ask(alice, asked) == STRANGER


async def test_a_model_is_told_what_the_caller_asked_to_be_remembered(tmp_path: Path) -> None:
    await call(settings_in(tmp_path), ALICE, "my name is Alice")
    async with FakeOpenAIServer(Reply("You are Alice."), Reply("Who are you?")) as server:
        settings = settings_in(tmp_path, llm="assistant", llm_url=server.base_url, llm_model="m")
        found = Found(
            voices=ESPEAK, llm_endpoint=server.base_url, llm_models=("m",), llm_kind="vllm"
        )
        assert await call(settings, ALICE, "who am i", found=found) == "You are Alice."
        assert await call(settings, None, "who am i", found=found) == "Who are you?"
        prompts = [request.body["messages"][0]["content"] for request in server.requests]
    assert prompts[0].endswith("What this caller asked you to remember: name: Alice.")
    assert "remember:" not in prompts[1]


async def test_a_database_that_fails_costs_neither_the_turn_nor_the_call(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, database_url="sqlite:////proc/nothing/callers.sqlite3")
    said = await call(settings, ALICE, "remember that my name is Alice")
    assert said == "I can't reach my memory right now."
    assert await call(settings, ALICE, "what is one plus one") == "One plus one is two."


def test_calls_in_threads_of_their_own_open_one_new_database_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new/callers.sqlite3"
    faults: list[BaseException] = []

    async def one_call(number: int) -> None:
        store = CallStore(url)
        try:
            await store.aput(("callers", f"c{number}", "facts"), "name", {"value": str(number)})
        finally:
            await store.aclose()

    def run(number: int) -> None:
        try:
            asyncio.run(one_call(number))
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []

    async def kept() -> int:
        async with open_store(url) as store:
            return len(await store.asearch(("callers",), limit=100))

    assert asyncio.run(kept()) == 8


async def test_what_is_older_than_the_setting_says_is_deleted(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/callers.sqlite3"
    async with open_store(url) as store:
        for number in range(250):
            await store.aput(("callers", f"c{number}", "facts"), "name", {"value": "x"})
        now = datetime.now(UTC)
        assert await forget_old_facts(store, 30, now=now + timedelta(days=29)) == 0
        assert await forget_old_facts(store, 30, now=now + timedelta(days=31)) == 250
        await store.aput(("callers", "alice", "facts"), "name", {"value": "Alice"})
    async with open_store(url, keep_days=1e-9) as store:
        assert await store.asearch(("callers",)) == []


async def test_a_flow_server_deletes_what_is_too_old_while_it_runs(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/callers.sqlite3"
    async with open_store(url) as store:
        await store.aput(("callers", "alice", "facts"), "name", {"value": "Alice"})
    async with open_memory(url, keep_days=1e-9) as memory:
        async with asyncio.timeout(20):
            while await memory.store.asearch(("callers",)):
                await asyncio.sleep(0.01)


async def test_the_tokens_of_an_answer_are_counted_for_the_call(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    choices = choose(settings, Found(voices=ESPEAK))
    one = build_call(settings, build_engines(settings, choices))
    await one.start()
    try:
        await one.session.run(user_input="what is one plus one")
        latency = one.agent.latency
        latency.speech_ended(0.0)
        latency.heard("committed")
        latency.count(latency.begin_generation(), 1, 0, 1)
        latency.speaking()
        latency.answer_ended()
        tokens = latency.ended()[-1].tokens
        assert tokens is not None and tokens.call > tokens.prompt + tokens.completion
    finally:
        await one.aclose()


@pytest.mark.parametrize(("llm_engine", "cost"), [("assistant", 0.00102), ("offline", None)])
async def test_what_a_model_costs_is_told_where_a_price_is_set_and_rules_cost_nothing(
    tmp_path: Path, llm_engine: str, cost: float | None
) -> None:
    async with FakeOpenAIServer(Reply("Hello.", usage=(1000, 10, 0))) as server:
        settings = settings_in(
            tmp_path,
            llm=llm_engine,
            llm_url=server.base_url,
            llm_model="m",
            llm_price_prompt=1,
            llm_price_completion=2,
            llm_currency="EUR",
        )
        found = Found(
            voices=ESPEAK, llm_endpoint=server.base_url, llm_models=("m",), llm_kind="vllm"
        )
        one = build_call(settings, build_engines(settings, choose(settings, found)))
        await one.start()
        try:
            await one.session.run(user_input="hello")
            summary = one.agent.latency.summary()
        finally:
            await one.aclose()
    assert summary.cost == cost
    assert summary.completion > 0 and summary.uncounted == 0


def test_the_settings_of_memory_and_tools_reach_a_worker_in_a_process_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from agent_worker.settings import export_environment

    servers = [{"name": "files", "command": ["files-server"]}]
    monkeypatch.setenv("AGENT_WORKER_MCP_SERVERS", json.dumps(servers))
    monkeypatch.setenv("AGENT_WORKER_CALLER_ID", "identity")
    monkeypatch.setenv("AGENT_WORKER_MEMORY_DAYS", "30")
    own = load_settings()
    for name, value in export_environment(own).items():
        monkeypatch.setenv(name, value)
    again = load_settings()
    assert (again.mcp_servers, again.caller_id, again.memory_days) == (
        own.mcp_servers, "identity", 30.0,
    )  # fmt: skip
    assert again.mcp_servers[0].command == ("files-server",)
