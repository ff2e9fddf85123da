"""The token endpoint and the page's server, over HTTP."""

import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import jsonschema
import pytest
from starlette.responses import Response
from starlette.routing import Route

from agent_worker.engines.badges import Badge
from agent_worker.engines.offer import Offer
from agent_worker.serving.access import Access, RateLimit
from agent_worker.serving.exposure import InsecureConfigurationError
from agent_worker.web import MAX_BODY_BYTES, WebConfig, create_app

CONFIG = WebConfig(
    livekit_url="ws://127.0.0.1:7880",
    api_key="devkey",
    api_secret="0123456789abcdef0123456789abcdef",
    agent_name="voice",
    flows=[Offer("assistant", "Assistant", "answers with tools")],
    languages=[Offer("en", "English")],
)

RESPONSE_SCHEMA = {
    "type": "object",
    "required": ["server_url", "participant_token"],
    "properties": {
        "server_url": {"type": "string", "pattern": "^wss?://"},
        "participant_token": {"type": "string", "pattern": r"^[\w-]+\.[\w-]+\.[\w-]+$"},
        "participant_name": {"type": "string"},
        "room_name": {"type": "string"},
    },
    "additionalProperties": False,
}
"""livekit.TokenSourceResponse of LiveKit's protocol (livekit_token_source.proto), as JSON."""


class NoGateway:
    def route(self) -> Route:
        return Route("/ws/s2s", lambda request: Response("here"))

    async def aclose(self) -> None:
        pass


@asynccontextmanager
async def browser(peer: str = "127.0.0.1", **changes: object) -> AsyncIterator[httpx.AsyncClient]:
    gateway = changes.pop("gateway", None)
    changes.setdefault("limit", RateLimit())
    app = create_app(dataclasses.replace(CONFIG, **changes), gateway=gateway)  # type: ignore[arg-type]
    transport = httpx.ASGITransport(app, client=(peer, 1234))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8080") as client:
        yield client


async def test_the_answer_has_the_shape_that_client_sdks_read() -> None:
    async with browser() as client:
        starter = {"room_config": {"agents": [{"agent_name": "voice"}]}}
        for body in ({}, starter, {"room_name": "kitchen", "participant_name": "Ada"}):
            answer = await client.post("/api/token", json=body)
            assert answer.status_code == 201
            assert answer.headers["cache-control"] == "no-store"
            jsonschema.validate(answer.json(), RESPONSE_SCHEMA)


async def test_a_request_without_a_body_is_answered() -> None:
    async with browser() as client:
        assert (await client.post("/api/token")).status_code == 201


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"grants": {}}', "application/json", 422),
        (b'{"room_config": {"agents": [{"agent_name": "x"}]}}', "application/json", 403),
        (b"{}", "text/plain", 415),
        (b'"' + b"x" * MAX_BODY_BYTES + b'"', "application/json", 413),
    ],
)
async def test_bad_requests_are_told_what_is_wrong(
    body: bytes, content_type: str, status: int
) -> None:
    async with browser() as client:
        answer = await client.post(
            "/api/token", content=body, headers={"Content-Type": content_type}
        )
        assert answer.status_code == status
        assert answer.json()["error"]
        assert (await client.get("/api/token")).status_code == 405


async def test_an_endless_body_is_cut_off() -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 4096
            yield b" " * 4096

    async with browser() as client:
        answer = await client.post("/api/token", content=endless())
    assert answer.status_code == 413
    assert sent <= MAX_BODY_BYTES + 2 * 4096


async def test_requests_beyond_the_rate_wait_and_others_do_not() -> None:
    now = 0.0
    limit = RateLimit(burst=2, per_minute=60, clock=lambda: now)
    async with browser(limit=limit) as client, browser("10.0.0.9", limit=limit) as other:
        codes = [(await client.post("/api/token")).status_code for _ in range(3)]
        assert codes == [201, 201, 429]
        refused = await client.post("/api/token")
        assert refused.headers["retry-after"] == "1"
        assert (await other.post("/api/token")).status_code == 201
        now = 1.0
        assert (await client.post("/api/token")).status_code == 201


async def test_an_access_key_is_asked_for_when_one_is_set() -> None:
    async with browser(access=Access(bearer_token="open sesame")) as client:
        assert (await client.get("/api/config")).json()["auth"] == "bearer"
        for headers in ({}, {"Authorization": "Bearer no"}, {"Authorization": "Basic open sesame"}):
            refused = await client.post("/api/token", headers=headers)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
        let_in = await client.post("/api/token", headers={"Authorization": "Bearer open sesame"})
        assert let_in.status_code == 201


async def test_a_proxys_word_on_who_signed_in_counts_only_from_the_proxy() -> None:
    access = Access(user_header="X-Forwarded-User", trusted_proxies=("10.0.0.0/8",))
    signed_in = {"X-Forwarded-User": "ada@example.org"}
    async with browser("10.1.2.3", access=access) as behind_proxy:
        answer = await behind_proxy.post("/api/token", headers=signed_in)
        assert answer.json()["participant_name"] == "ada@example.org"
        assert (await behind_proxy.post("/api/token")).status_code == 401
    async with browser("192.0.2.1", access=access) as direct:
        assert (await direct.post("/api/token", headers=signed_in)).status_code == 401


async def test_a_site_pointed_at_loopback_gets_nothing() -> None:
    async with browser() as client:
        for name in ("evil.example", "evil.example:8080", "", "[bad"):
            answer = await client.get("/api/config", headers={"Host": name})
            assert answer.status_code == 421
        for name in ("localhost:8080", "127.0.0.1:8080", "[::1]:8080"):
            assert (await client.get("/health", headers={"Host": name})).status_code == 200


async def test_beyond_loopback_neither_development_keys_nor_chosen_rooms_are_taken() -> None:
    with pytest.raises(InsecureConfigurationError):
        create_app(dataclasses.replace(CONFIG, host="0.0.0.0"))
    async with browser(host="0.0.0.0", api_key="APIown") as client:
        answer = await client.post("/api/token", json={"room_name": "kitchen"})
        assert answer.status_code == 403
        assert (await client.post("/api/token", json={})).status_code == 201


async def test_only_named_origins_may_call_from_another_site() -> None:
    access = Access(allowed_origins=("https://app.example.org",))
    preflight = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    async with browser(access=access) as client:
        for origin, allowed in (("https://app.example.org", True), ("https://evil.example", False)):
            answer = await client.options("/api/token", headers={"Origin": origin, **preflight})
            assert (answer.headers.get("access-control-allow-origin") == origin) is allowed


async def test_the_page_is_told_what_there_is_to_choose_and_no_secret() -> None:
    async with browser() as client:
        answer = await client.get("/api/config")
    assert answer.json()["flows"] == [
        {
            "id": "assistant",
            "name": "Assistant",
            "note": "answers with tools",
            "language": "",
        }
    ]
    assert CONFIG.api_secret not in answer.text
    assert CONFIG.api_secret not in repr(CONFIG)


async def test_the_page_runs_only_its_own_scripts() -> None:
    async with browser() as client:
        answer = await client.get("/")
        assert answer.headers["content-type"].startswith("text/html")
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy and "default-src 'none'" in policy
        assert "connect-src 'self' ws://127.0.0.1:7880 http://127.0.0.1:7880" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        for path in ("/app/../../pyproject.toml", "/app/%2e%2e/%2e%2e/pyproject.toml", "/react/x"):
            assert (await client.get(path)).status_code == 404


async def test_every_file_that_the_pages_name_is_served() -> None:
    web = Path(__file__).parents[1] / "web"
    async with browser(gateway=NoGateway()) as client:
        assert (await client.get("/s2s/")).headers["content-type"].startswith("text/html")
        for folder in ("app", "s2s", "vendor"):
            for file in sorted((web / folder).rglob("*")):
                if file.is_file():
                    answer = await client.get("/" + file.relative_to(web).as_posix())
                    assert answer.status_code == 200, file
                    if file.suffix == ".js":
                        assert "javascript" in answer.headers["content-type"]


async def test_health_answers_without_a_key() -> None:
    async with browser(access=Access(bearer_token="k")) as client:
        assert json.loads((await client.get("/health")).text) == {"status": "ok"}


def test_the_rate_limit_remembers_a_bounded_number_of_callers() -> None:
    limit = RateLimit(burst=1, callers=3, clock=lambda: 0.0)
    assert [limit.wait_s(str(caller)) for caller in range(100)] == [0.0] * 100
    assert limit.wait_s("99") > 0.0
    assert limit.wait_s("0") == 0.0


async def test_the_thin_clients_page_is_there_only_with_the_gateway() -> None:
    async with browser() as without, browser(gateway=NoGateway()) as with_gateway:
        assert (await without.get("/s2s/")).status_code == 404
        assert (await with_gateway.get("/s2s/")).status_code == 200
        assert (await with_gateway.get("/ws/s2s")).text == "here"


async def test_the_page_is_told_what_hears_and_where_it_is_a_toy() -> None:
    toy = Badge("hearing", "Whisper, demo model", True, "knows little", "agent-worker more")
    economy = [Offer("off", "Full answers"), Offer("on", "Short answers")]
    async with browser(engines=[toy], economy=economy) as client:
        told = (await client.get("/api/config")).json()
    assert told["engines"] == [
        {
            "stage": "hearing",
            "name": "Whisper, demo model",
            "toy": True,
            "note": "knows little",
            "command": "agent-worker more",
        }
    ]
    assert [entry["id"] for entry in told["economy"]] == ["off", "on"]
