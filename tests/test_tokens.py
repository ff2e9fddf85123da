"""What a token grants, and what a caller can't have."""

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livekit.api import TokenVerifier
from livekit.api.access_token import Claims

from agent_worker.serving.exposure import InsecureConfigurationError, check_exposure, is_loopback
from agent_worker.web.tokens import (
    ALL_FIELDS,
    STRANGER_FIELDS,
    TokenPolicy,
    TokenRefusedError,
    TokenRequest,
    issue,
)

KEY, SECRET = "APItest", "0123456789abcdef0123456789abcdef"
POLICY = TokenPolicy(
    server_url="ws://127.0.0.1:7880",
    api_key=KEY,
    api_secret=SECRET,
    agent_name="voice",
    choices={"flow": frozenset({"assistant", "router"}), "language": frozenset({"en"})},
)


def ask(
    fields: object, policy: TokenPolicy = POLICY, user: str | None = None
) -> tuple[dict[str, str], Claims]:
    request = TokenRequest.from_json(json.dumps(fields).encode())
    answer = issue(request, policy, user=user)
    claims = TokenVerifier(KEY, SECRET, leeway=timedelta(0)).verify(answer["participant_token"])
    return answer, claims


def dispatch(metadata: object, agent_name: str = "voice") -> dict[str, object]:
    agent = {"agent_name": agent_name, "metadata": json.dumps(metadata)}
    return {"room_config": {"agents": [agent]}}


def test_an_empty_request_gets_a_room_of_its_own_and_the_agent_in_it() -> None:
    (first, claims), (second, _) = ask({}), ask({})
    assert first["server_url"] == "ws://127.0.0.1:7880"
    assert claims.video is not None and claims.video.room == first["room_name"]
    assert first["room_name"] != second["room_name"]
    assert claims.identity.startswith("caller-")
    assert claims.room_config is not None
    assert [agent.agent_name for agent in claims.room_config.agents] == ["voice"]


def test_a_caller_may_speak_listen_and_type_and_nothing_else() -> None:
    _, claims = ask({})
    grants = claims.video
    assert grants is not None
    assert grants.room_join and grants.can_subscribe and grants.can_publish_data
    assert grants.can_publish_sources == ["microphone"]
    assert not grants.room_admin and not grants.room_create and not grants.room_list
    assert not grants.hidden and not grants.agent and not grants.can_update_own_metadata
    assert claims.sip is not None and not claims.sip.admin and not claims.sip.call


def test_every_field_of_the_convention_reaches_the_token() -> None:
    answer, claims = ask(
        {
            "room_name": "kitchen",
            "participant_identity": "ada",
            "participant_name": "Ada",
            "participant_metadata": "m",
            "participant_attributes": {"desk": "4"},
            **dispatch({"flow": "router", "language": "en"}),
        }
    )
    assert answer["room_name"] == "kitchen" and answer["participant_name"] == "Ada"
    assert (claims.identity, claims.name, claims.metadata) == ("ada", "Ada", "m")
    assert claims.attributes == {"desk": "4"}
    assert claims.room_config is not None
    assert json.loads(claims.room_config.agents[0].metadata) == {"flow": "router", "language": "en"}


def test_null_fields_count_as_left_out() -> None:
    strangers = TokenPolicy(
        server_url="ws://x", api_key=KEY, api_secret=SECRET, fields=STRANGER_FIELDS
    )
    answer, claims = ask(dict.fromkeys(ALL_FIELDS), strangers)
    assert answer["room_name"].startswith("call-") and claims.room_config is None


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"room_name": ""}, 422),
        ({"room_name": "a b"}, 422),
        ({"room_name": "x" * 65}, 422),
        ({"room_name": 7}, 422),
        ({"participant_identity": "a\nb"}, 422),
        ({"participant_metadata": "x" * 1025}, 422),
        ({"participant_attributes": {"k": 1}}, 422),
        ({"participant_attributes": {str(i): "" for i in range(17)}}, 422),
        ({"participant_attributes": {"lk.agent.state": "idle"}}, 403),
        ({"video": {"roomAdmin": True}}, 422),
        ({"ttl": 99999}, 422),
        ({"room_config": {"egress": {}}}, 422),
        ({"room_config": {"max_participants": 100}}, 422),
        ({"room_config": {"agents": [{}, {}]}}, 422),
        (dispatch({}, agent_name="someone-else"), 403),
        (dispatch({"flow": "secret"}), 403),
        (dispatch({"tools": "all"}), 403),
        (dispatch({"flow": ["assistant"]}), 403),
        (dispatch([1]), 422),
        ({"room_config": {"agents": [{"metadata": "{"}]}}, 422),
        ([], 400),
        ("token", 400),
    ],
)
def test_what_is_not_allowed_is_refused(fields: object, status: int) -> None:
    with pytest.raises(TokenRefusedError) as refusal:
        ask(fields)
    assert refusal.value.status == status
    assert refusal.value.message


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"[" * 15_000, b'{"room_name": NaN}', b"nul"])
def test_a_body_that_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(TokenRefusedError) as refusal:
        TokenRequest.from_json(body)
    assert refusal.value.status in (400, 422)


@given(st.binary(max_size=200))
def test_no_bytes_at_all_bring_the_reader_down(body: bytes) -> None:
    try:
        request = TokenRequest.from_json(body)
    except TokenRefusedError as refusal:
        assert 400 <= refusal.status < 500
    else:
        assert request == TokenRequest()


def test_a_stranger_can_choose_neither_room_nor_identity() -> None:
    strangers = TokenPolicy(
        server_url="wss://x", api_key=KEY, api_secret=SECRET, fields=STRANGER_FIELDS
    )
    for name in ("room_name", "participant_identity"):
        with pytest.raises(TokenRefusedError, match=name):
            ask({name: "ada"}, strangers)


def test_the_signed_in_user_is_the_identity_whatever_the_body_says() -> None:
    _, claims = ask({}, user="ada@example.org")
    assert claims.identity == "ada@example.org"
    with pytest.raises(TokenRefusedError) as refusal:
        ask({"participant_identity": "bob"}, user="ada@example.org")
    assert refusal.value.status == 403


def test_a_worker_that_takes_every_room_gets_no_dispatch() -> None:
    unnamed = TokenPolicy(server_url="ws://x", api_key=KEY, api_secret=SECRET)
    assert ask({}, unnamed)[1].room_config is None


def test_a_token_soon_stops_opening_doors() -> None:
    expired = TokenPolicy(server_url="ws://x", api_key=KEY, api_secret=SECRET, ttl_s=-1.0)
    with pytest.raises(Exception, match="expired"):
        ask({}, expired)


def test_the_secret_is_not_in_the_policys_repr() -> None:
    assert SECRET not in repr(POLICY)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.4", False),
        ("localhost.evil.example", False),
        ("", False),
    ],
)
def test_loopback_is_told_from_the_network(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(("key", "secret"), [("devkey", SECRET), (KEY, "secret"), (KEY, "")])
def test_development_keys_are_kept_on_loopback(key: str, secret: str) -> None:
    check_exposure("127.0.0.1", key, secret)
    with pytest.raises(InsecureConfigurationError, match="generate-keys"):
        check_exposure("0.0.0.0", key, secret)


def test_keys_of_ones_own_may_serve_the_network() -> None:
    check_exposure("0.0.0.0", KEY, SECRET)
