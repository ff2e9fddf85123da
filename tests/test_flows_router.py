"""The router: which agent answers, and what its tools do to the data."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import BaseTool
from langgraph.checkpoint.memory import InMemorySaver

from flows.business.data import BusinessData
from flows.business.tools import crm_tools, erp_tools, it_tools, oa_tools
from flows.flow import Flow
from flows.gate import has_side_effects
from flows.graphs import router
from flows.model import ModelOptions, chat_model
from graph_speech.events import Speech, VoiceEvent
from graph_speech.runner import GraphSpeech
from graph_speech.turn import TurnRequest
from tests.fake_openai_server import FakeOpenAIServer, Reply, ToolCall


@pytest.fixture
def data() -> Any:
    business = BusinessData()
    yield business
    business.close()


class Desk:
    """Calls the router and tells what was spoken."""

    def __init__(self, upstream: FakeOpenAIServer, flow: Flow) -> None:
        self.upstream = upstream
        self._flow = flow
        self._history: list[Any] = []

    async def say(self, text: str, **configurable: Any) -> str:
        assert self._flow.graph is not None
        self._history.append(HumanMessage(text))
        events: list[VoiceEvent] = []
        speech = GraphSpeech(
            self._flow.graph,
            thread_id="t",
            speakable_nodes=self._flow.speakable_nodes,
            is_new=True,
        )
        turn = TurnRequest("turn", self._history, configurable=configurable)
        await speech.run(turn, events.append)
        answer = "".join(event.text for event in events if isinstance(event, Speech))
        self._history.append(AIMessage(answer))
        return answer

    def tools_offered(self, request: int) -> set[str]:
        tools = self.upstream.requests[request].body.get("tools", ())
        return {tool["function"]["name"] for tool in tools}


@contextlib.asynccontextmanager
async def desk(data: BusinessData, *replies: Reply) -> AsyncIterator[Desk]:
    async with FakeOpenAIServer(*replies) as upstream:
        model = chat_model(ModelOptions(upstream.base_url, upstream.model))
        graph = router.build(
            model=model,
            data=data,
            clock=lambda: datetime(2026, 3, 4, 12, 0, tzinfo=UTC),
            checkpointer=InMemorySaver(),
        )
        yield Desk(upstream, Flow("router", "", graph, router.SPEAKABLE_NODES))
        await model.aclose()


@pytest.mark.parametrize(
    ("said", "agent"),
    [
        ("Where is my order 1001?", "erp"),
        ("do we have the office chair in stock", "erp"),
        ("what deals are open", "crm"),
        ("the VPN does not work", "it"),
        ("how many days off do I have left", "oa"),
        ("我想请假", "oa"),
        ("what about that", None),
        ("the customer has not paid the order", None),
    ],
)
def test_words_decide_where_they_leave_no_doubt(said: str, agent: str | None) -> None:
    assert router.route_by_words(said) == agent


async def test_an_order_is_looked_up_by_the_erp_agent(data: BusinessData) -> None:
    call = ToolCall("order_status", {"number": 1002})
    async with desk(
        data, Reply(tool_calls=[call]), Reply("It waits for two standing desks.")
    ) as caller:
        assert await caller.say("where is order 1002") == "It waits for two standing desks."
        assert "order_status" in caller.tools_offered(0)
        assert "open_ticket" not in caller.tools_offered(0)
        result = json.loads(caller.upstream.requests[1].messages[-1]["content"])
        assert result["order"]["status"] == "waiting for stock"


async def test_the_models_choice_is_never_spoken(data: BusinessData) -> None:
    async with desk(data, Reply("it"), Reply("Have you tried it again?")) as caller:
        assert await caller.say("nothing works any more") == "Have you tried it again?"
        assert caller.tools_offered(0) == set()
        assert "open_ticket" in caller.tools_offered(1)


async def test_a_follow_up_stays_with_its_agent_and_a_new_subject_does_not(
    data: BusinessData,
) -> None:
    async with desk(data, Reply("One."), Reply("Two."), Reply("Three.")) as caller:
        await caller.say("any open tickets")
        assert await caller.say("and the other one") == "Two."
        assert "ticket_status" in caller.tools_offered(1)
        await caller.say("who is our customer in Leeds")
        assert "find_customer" in caller.tools_offered(2)


async def test_a_choice_that_makes_no_sense_still_gets_an_answer(data: BusinessData) -> None:
    async with desk(data, Reply("I would say: nobody."), Reply("Hello.")) as caller:
        assert await caller.say("good evening") == "Hello."


async def test_a_ticket_is_opened_once_the_turn_is_committed(data: BusinessData) -> None:
    committed = asyncio.Event()
    call = ToolCall("open_ticket", {"summary": "screen is black", "priority": "high"})
    async with desk(data, Reply(tool_calls=[call]), Reply("Done.")) as caller:
        turn = asyncio.create_task(
            caller.say("open a ticket, my screen is black", turn_committed=committed)
        )
        await caller.upstream.wait_until(
            lambda server: any(r.outcome == "completed" for r in server.requests)
        )
        await asyncio.sleep(0.1)
        assert len(data.rows("SELECT * FROM tickets")) == 2
        committed.set()
        assert await turn == "Done."
        assert data.rows("SELECT summary FROM tickets WHERE number = 503") == [
            {"summary": "screen is black"}
        ]


def by_name(tools: list[BaseTool]) -> dict[str, BaseTool]:
    return {tool.name: tool for tool in tools}


def test_every_agent_has_tools_and_only_the_changing_ones_are_gated(data: BusinessData) -> None:
    gated = {
        tool.name
        for tools in (erp_tools, crm_tools, it_tools, oa_tools)
        for tool in tools(data)
        if has_side_effects(tool)
    }
    assert gated == {"place_order", "log_contact", "open_ticket", "request_leave", "book_room"}


async def use(tool: BaseTool, **arguments: Any) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(await tool.ainvoke(arguments))
    return answer


async def test_an_order_takes_from_stock_or_waits(data: BusinessData) -> None:
    erp = by_name(erp_tools(data))
    ordered = {"customer": "Acme", "product": "office chair"}
    assert await use(erp["place_order"], quantity=5, **ordered) == {
        "number": 1004,
        "status": "accepted",
    }
    assert (await use(erp["place_order"], quantity=5, **ordered))["status"] == "waiting for stock"
    assert (await use(erp["check_stock"], product="Chair"))["products"][0]["stock"] == 2
    assert "error" in await use(erp["place_order"], quantity=0, **ordered)
    assert "error" in await use(erp["place_order"], customer="Acme", product="desk", quantity=1)


async def test_a_note_about_a_customer_is_found_again(data: BusinessData) -> None:
    crm = by_name(crm_tools(data))
    await use(crm["log_contact"], customer="acme", note="wants a discount")
    found = await use(crm["find_customer"], name="Acme")
    assert found["customers"][0]["notes"] == ["wants a discount"]
    assert "error" in await use(crm["log_contact"], customer="nobody", note="x")
    deals = (await use(crm["open_deals"], customer="globex"))["deals"]
    assert [deal["stage"] for deal in deals] == ["negotiation"]


async def test_leave_and_rooms_are_granted_within_limits(data: BusinessData) -> None:
    oa = by_name(oa_tools(data))
    leave = {"employee": "alice", "first_day": "2026-04-01"}
    assert (await use(oa["request_leave"], days=10, **leave)) == {"requested": True, "left": 2}
    assert (await use(oa["request_leave"], days=3, **leave))["error"] == "not enough days"
    assert (await use(oa["leave_balance"], employee="Alice"))["employee"]["leave_days"] == 2
    room = {"room": "atlas", "day": "2026-03-05", "booked_for": "Alice"}
    assert (await use(oa["book_room"], hour=10, **room)) == {"error": "taken", "by": "Bob"}
    assert (await use(oa["book_room"], hour=11, **room))["booked"]


def test_the_data_outlives_the_process_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "business.sqlite3"
    first = BusinessData(path)
    first.change("DELETE FROM orders WHERE number = 1001")
    first.close()
    second = BusinessData(path)
    assert [row["number"] for row in second.rows("SELECT number FROM orders")] == [1002, 1003]
    second.close()
