"""Requests that no honest client sends to the flow server."""

from __future__ import annotations

import copy
import json
import random
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

FULL_TURN: dict[str, Any] = {
    "messages": [
        {"id": "m1", "role": "system", "content": "Be brief."},
        {"id": "m2", "role": "user", "content": [{"type": "text", "text": "hello"}], "name": "Al"},
        {
            "id": "m3",
            "role": "assistant",
            "content": "One moment.",
            "tool_calls": [{"id": "c1", "function": {"name": "clock", "arguments": "{}"}}],
        },
        {"id": "m4", "role": "tool", "tool_call_id": "c1", "content": "noon"},
        {"id": "m5", "role": "user", "content": "what is two plus three"},
    ],
    "turn_id": "t1",
    "context": {"caller_id": "caller", "language": "en"},
    "tools": [
        {"type": "function", "function": {"name": "transfer", "parameters": {"type": "object"}}}
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "committed": True,
    "filler": False,
}
FULL_CHAT: dict[str, Any] = {
    "model": "offline",
    "messages": FULL_TURN["messages"],
    "stream": True,
    "stream_options": {"include_usage": True},
    "tools": FULL_TURN["tools"],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "user": "somebody",
}


@dataclass(frozen=True)
class Request:
    """One request; `may_pass` where what is wrong with it may be harmless."""

    method: str
    url: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    may_pass: bool = True


def turn(text: str) -> bytes:
    """The body of an honest turn."""
    return json.dumps({"messages": [{"role": "user", "content": text}]}).encode()


def post(path: str, body: bytes) -> bytes:
    """An honest POST as bytes."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def wrong_values(rng: random.Random) -> Any:
    """A value that most fields don't take."""
    deep: Any = 1
    for _ in range(rng.choice([30, 60, 300, 900])):
        deep = {"a": deep} if rng.random() < 0.5 else [deep]
    return rng.choice(
        [
            None,
            True,
            -1,
            2**70,
            0.5,
            float("nan"),
            float("-inf"),
            "",
            "\x00",
            "\ud800",
            "../../etc/passwd",
            "x" * 100_000,
            "9" * 6_000,
            " " * 19_000,
            "9" * 19_000,
            [],
            {},
            [[]],
            {"": None},
            {"$ne": 1},
            list(range(5_000)),
            {str(n): n for n in range(2_000)},
            deep,
        ]
    )


def with_one_wrong_field(rng: random.Random, whole: dict[str, Any]) -> dict[str, Any]:
    """The body with one value, at any depth, replaced, left out or made twice."""
    body = copy.deepcopy(whole)
    places: list[tuple[Any, Any]] = []

    def visit(inside: Any) -> None:
        keys = inside if isinstance(inside, dict) else range(len(inside))
        for key in keys:
            places.append((inside, key))
            if isinstance(inside[key], dict | list):
                visit(inside[key])

    visit(body)
    container, key = rng.choice(places)
    kind = rng.random()
    if kind < 0.1:
        del container[key]
    elif kind < 0.2 and isinstance(container, list):
        container.extend([container[key]] * 3_000)
    else:
        container[key] = wrong_values(rng)
    return body


def hostile_json(rng: random.Random, whole: dict[str, Any]) -> bytes:
    """A body that is not JSON, or JSON of a wrong form."""
    honest = json.dumps(whole).encode()
    noise = rng.randbytes(rng.randrange(1, 3000))
    cut = rng.randrange(1, len(honest) - 1)
    depth = rng.choice([100, 900, 100_000])
    nested = b'{"messages": ' + b"[" * depth + b"]" * depth + b"}"
    return rng.choice(
        [
            noise,
            honest[:cut],
            honest[:cut] + noise + honest[cut:],
            honest.decode().encode("utf-16"),
            b"\xff\xfe" + honest,
            b'{"messages": [{"role": "user", "content": "\xed\xa0\x80\xff"}]}',
            b'{"messages": [{"role": "user", "content": "\\ud800 hello"}]}',
            b'{"messages": [{"role": "user", "content": "hi"}], "context": {"x": NaN}}',
            b'{"messages": [{"role": "user", "content": "hi"}], "turn_id": 1e999}',
            b"[" * 100_000,
            nested,
            b"",
            b"null",
            b"[]",
            b'"messages"',
            b"0" * 10_000,
            b'{"messages": [], "messages": 5}',
        ]
    )


def hostile_id(rng: random.Random) -> str:
    """A session's or flow's id that is none, ready for a URL."""
    return rng.choice(
        [
            "..",
            "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
            "..%5c..%5cwindows",
            "%00",
            "hostile%00",
            "%ff%fe",
            "%",
            "%zz",
            "a" * 40_000,
            quote("a b;rm -rf /"),
            quote("\u202e\u0000\ud7ff"),
            "hostile/../../v1",
            "",
            "a:b:c",
            "__proto__",
            quote("' OR 1=1 --"),
            "{session_id}",
        ]
    ).replace("{", "%7B")


def hostile_request(rng: random.Random) -> Request:
    """One hostile request of any kind."""
    stream = "/api/flows/offline/stream/hostile"
    json_type = {"Content-Type": "application/json"}
    kind = rng.random()
    if kind < 0.3:
        body = json.dumps(with_one_wrong_field(rng, FULL_TURN)).encode()
        return Request("POST", stream, body, json_type)
    if kind < 0.45:
        body = json.dumps(with_one_wrong_field(rng, FULL_CHAT)).encode()
        return Request("POST", "/v1/chat/completions", body, json_type)
    if kind < 0.6:
        path = rng.choice([stream, "/v1/chat/completions"])
        whole = FULL_CHAT if path.startswith("/v1") else FULL_TURN
        return Request("POST", path, hostile_json(rng, whole), json_type, may_pass=False)
    if kind < 0.7:
        reference = rng.choice([{"turn_id": wrong_values(rng)}, wrong_values(rng), {}])
        path = f"{stream}/{rng.choice(['commit', 'cancel'])}"
        return Request("POST", path, json.dumps(reference).encode(), json_type)
    if kind < 0.8:
        where = rng.choice(
            [
                "/api/flows/offline/stream/{}",
                "/api/flows/{}/stream/hostile",
                "/api/flows/offline/stream/{}/commit",
                "/api/callers/{}",
                "/{}",
            ]
        )
        method = rng.choice(["GET", "POST", "DELETE", "PUT"])
        return Request(method, where.format(hostile_id(rng)), turn("hi"), json_type)
    if kind < 0.88:
        query = rng.choice(
            [
                "message=%00%ff",
                "message=",
                "message=hi&turn_id=" + "t" * 500,
                "message=hi&turn_id=%0a",
            ]
        )
        return Request("GET", f"{stream}?{query}")
    if kind < 0.94:
        headers = rng.choice(
            [
                {"Content-Type": "text/plain"},
                {"Content-Type": "application/x-www-form-urlencoded"},
                {"Content-Type": "multipart/form-data; boundary=x"},
                {"Content-Type": "\x7f" * 300},
                {**json_type, "Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
            ]
        )
        return Request("POST", stream, turn("hello"), headers, may_pass=False)
    method = rng.choice(["PUT", "PATCH", "OPTIONS", "TRACE", "BREW"])
    return Request(method, stream, turn("hello"), json_type, may_pass=False)


def hostile_bytes(rng: random.Random) -> tuple[bytes, bool]:
    """Bytes for a bare socket, and whether a success would be wrong."""
    path = "/api/flows/offline/stream/raw"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\n".encode()
    body = turn("hello")
    noise = rng.randbytes(rng.randrange(1, 4000))
    return rng.choice(
        [
            (noise, True),
            (noise + b"\r\n\r\n", True),
            (b"GET " + b"/" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", True),
            (f"POST /api/flows/offline/stream/{'s' * 100_000} HTTP/1.1\r\n".encode(), True),
            (b"GET /healthz HTTP/1.1\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", True),
            (head + b"Content-Length: -1\r\n\r\n" + body, True),
            (head + b"Content-Length: 99999999999999999999\r\n\r\n" + body, True),
            (head + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + body, True),
            (head + b"Content-Length: 4\r\n\r\n" + body, True),
            (head + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n" + body, True),
            (head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + body, True),
            (head + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", True),
            (head + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n", True),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", True),
            (b"GET http://169.254.169.254/latest HTTP/1.1\r\nHost: x\r\n\r\n", True),
            (b"GET /healthz HTTP/1.0\r\n\r\n" * 50, False),
            (b"".join(post(f"{path}-{rng.random()}", body) for _ in range(5)), False),
            (b"\r\n" * 2_000, True),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + noise, True),
        ]
    )
