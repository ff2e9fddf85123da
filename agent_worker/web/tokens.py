"""What a caller may ask for, and the token that grants it.

The wire format is LiveKit's TokenSource convention, so that every LiveKit client SDK can use the
endpoint as it is.

Source: https://docs.livekit.io/frontends/build/authentication/endpoint/
"""

from __future__ import annotations

import datetime
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from agent_worker.settings import ChoiceKind
from livekit import api

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:@-]{0,63}$")]
"""A room or identity: printable, no spaces, safe in a log line and in a URL."""

Text = Annotated[str, StringConstraints(max_length=1024)]

RequestField = Literal[
    "room_name",
    "participant_identity",
    "participant_name",
    "participant_metadata",
    "participant_attributes",
    "room_config",
]

ALL_FIELDS: frozenset[RequestField] = frozenset(
    {
        "room_name",
        "participant_identity",
        "participant_name",
        "participant_metadata",
        "participant_attributes",
        "room_config",
    }
)

STRANGER_FIELDS: frozenset[RequestField] = ALL_FIELDS - {"room_name", "participant_identity"}
"""What a caller from the network may set: with a room's name or an identity of their own choice
they could walk into another caller's room, or push another caller out of it."""


class TokenRefusedError(Exception):
    """A request that gets no token.

    Attributes:
        status: the HTTP status to answer with, 4xx.
        message: what was wrong, in words for the person who calls.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class _Agent(BaseModel):
    model_config = ConfigDict(extra="forbid")

    agent_name: Annotated[str, StringConstraints(max_length=64)] | None = None
    metadata: Text | None = None


class _RoomConfig(BaseModel):
    # Egress, limits and timeouts of a room are the operator's business: unknown keys are refused.
    model_config = ConfigDict(extra="forbid")

    agents: list[_Agent] | None = Field(default=None, max_length=1)


class TokenRequest(BaseModel):
    """The body of a TokenSource request. Every field is optional."""

    model_config = ConfigDict(extra="forbid", strict=True)

    room_name: Name | None = None
    participant_identity: Name | None = None
    participant_name: Annotated[str, StringConstraints(max_length=64)] | None = None
    participant_metadata: Text | None = None
    participant_attributes: (
        Annotated[
            dict[
                Annotated[str, StringConstraints(max_length=64)],
                Annotated[str, StringConstraints(max_length=256)],
            ],
            Field(max_length=16),
        ]
        | None
    ) = None
    room_config: _RoomConfig | None = None

    @classmethod
    def from_json(cls, body: bytes) -> TokenRequest:
        """Reads a request body; an empty one asks for nothing in particular.

        Raises:
            TokenRefusedError: 400 for what is not a JSON object, 422 for a field that is unknown
                or has a value out of bounds.
        """
        if not body.strip():
            return cls()
        try:
            fields = json.loads(body)
        except (ValueError, RecursionError) as e:
            raise TokenRefusedError(400, "the body is not valid JSON") from e
        if not isinstance(fields, dict):
            raise TokenRefusedError(400, "the body must be a JSON object")
        try:
            return cls.model_validate(fields)
        except ValidationError as e:
            first = e.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise TokenRefusedError(422, f"{where[:100]}: {first['msg']}") from e


@dataclass(frozen=True, kw_only=True)
class TokenPolicy:
    """Who gives out the tokens, for which server, and what a caller may set.

    Attributes:
        server_url: the LiveKit server as the caller's browser reaches it, ws:// or wss://.
        agent_name: the name the worker registers with; its dispatch goes into every token. Empty
            when the worker takes every room by itself.
        ttl_s: how long a token lets its holder join. A caller who is in the room stays: the
            server renews the token of a connected participant.
        choices: what a caller may choose, as kind → allowed ids.
        fields: the request fields that a caller may set.
        kept_attributes: attributes that a caller may not set.
    """

    server_url: str
    api_key: str
    api_secret: str = field(repr=False)
    agent_name: str = ""
    ttl_s: float = 600.0
    choices: Mapping[ChoiceKind, frozenset[str]] = field(default_factory=dict)
    fields: frozenset[RequestField] = ALL_FIELDS
    kept_attributes: frozenset[str] = frozenset()


def issue(request: TokenRequest, policy: TokenPolicy, *, user: str | None = None) -> dict[str, str]:
    """Grants what was asked for, as far as the policy allows it.

    Args:
        request: what the caller asks for.
        policy: what callers may have.
        user: the signed-in user as a proxy names them; becomes the identity.

    Returns:
        The TokenSource response: `server_url` and `participant_token`, and beside them
        `room_name` and `participant_name`, which older clients read.

    Raises:
        TokenRefusedError: 403 for a field or a value that callers may not set.
    """
    for name in sorted(request.model_fields_set):
        if getattr(request, name) is not None and name not in policy.fields:
            raise TokenRefusedError(403, f"{name} can't be chosen here; leave it out")
    attributes = request.participant_attributes or {}
    if any(key.startswith("lk.") for key in attributes):
        raise TokenRefusedError(403, "participant_attributes: names that begin with lk. are taken")
    if kept := sorted(policy.kept_attributes.intersection(attributes)):
        raise TokenRefusedError(403, f"participant_attributes: {kept[0]} can't be chosen here")

    identity = _identity(request, user)
    room = request.room_name or f"call-{secrets.token_hex(8)}"
    token = (
        api.AccessToken(policy.api_key, policy.api_secret)
        .with_identity(identity)
        .with_ttl(datetime.timedelta(seconds=policy.ttl_s))
        .with_grants(
            api.VideoGrants(
                room_join=True,
                room=room,
                can_publish=True,
                can_publish_sources=["microphone"],
                can_subscribe=True,
                can_publish_data=True,
                can_update_own_metadata=False,
            )
        )
    )
    if request.participant_name:
        token = token.with_name(request.participant_name)
    if request.participant_metadata:
        token = token.with_metadata(request.participant_metadata)
    if attributes:
        token = token.with_attributes(attributes)
    if (dispatch := _dispatch(request, policy)) is not None:
        token = token.with_room_config(api.RoomConfiguration(agents=[dispatch]))
    return {
        "server_url": policy.server_url,
        "participant_token": token.to_jwt(),
        "room_name": room,
        "participant_name": request.participant_name or identity,
    }


def _identity(request: TokenRequest, user: str | None) -> str:
    if user is None:
        return request.participant_identity or f"caller-{secrets.token_hex(6)}"
    if request.participant_identity not in (None, user):
        raise TokenRefusedError(403, "participant_identity must be the signed-in user's")
    return user


def _dispatch(request: TokenRequest, policy: TokenPolicy) -> api.RoomAgentDispatch | None:
    agents = (request.room_config and request.room_config.agents) or []
    asked = agents[0] if agents else _Agent()
    if asked.agent_name and asked.agent_name != policy.agent_name:
        raise TokenRefusedError(403, "room_config: this agent_name is not served here")
    metadata = _choices(asked.metadata, policy)
    if not policy.agent_name:
        if metadata:
            raise TokenRefusedError(403, "room_config: choices need a worker with a name")
        return None
    return api.RoomAgentDispatch(agent_name=policy.agent_name, metadata=metadata)


def _choices(metadata: str | None, policy: TokenPolicy) -> str:
    """Checks the dispatch's metadata: a JSON object of choices, each among the allowed ones."""
    if not metadata:
        return ""
    try:
        chosen: Any = json.loads(metadata)
    except (ValueError, RecursionError) as e:
        raise TokenRefusedError(422, "room_config: agent metadata must be JSON") from e
    if not isinstance(chosen, dict):
        raise TokenRefusedError(422, "room_config: agent metadata must be a JSON object")
    for kind, value in chosen.items():
        allowed: frozenset[str] = policy.choices.get(kind, frozenset())
        if not isinstance(value, str) or value not in allowed:
            raise TokenRefusedError(403, f"room_config: {kind[:32]} can't be set to that here")
    return json.dumps(chosen, sort_keys=True) if chosen else ""
