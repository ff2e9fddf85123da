"""What a client says in an address, without a body."""

from collections.abc import Sequence
from dataclasses import dataclass

from .faults import RequestRefusedError
from .wire import MAX_SAID

_SAID = ("input", "message")
_IN_AN_ADDRESS = (*_SAID, "turn_id")


@dataclass(frozen=True)
class SaidInAddress:
    """The query of `GET /api/flows/{flow_id}/stream/{session_id}`."""

    text: str
    turn_id: str = ""


def read_query(parameters: Sequence[tuple[str, str]]) -> SaidInAddress:
    """What was said, as `?input=…` or `?message=…`, which mean the same.

    Raises:
        RequestRefusedError: A parameter is unknown, comes twice or says too much, or there is
            nothing said: a client that is answered all the same would not know what it lost.
    """
    given: dict[str, str] = {}
    for name, value in parameters:
        if name not in _IN_AN_ADDRESS:
            known = ", ".join(_IN_AN_ADDRESS)
            said = f"The parameter {name[:64]!r} is not known here; there are {known}."
            raise RequestRefusedError(400, "unknown_parameter", said)
        other = next((known for known in _SAID if known in given and name in _SAID), name)
        if other in given:
            twice = f"The parameter {name!r} says again what {other!r} said; send one of them."
            raise RequestRefusedError(400, "repeated_parameter", twice)
        given[name] = value
    text = next((given[name] for name in _SAID if name in given), "").strip()
    if not text:
        raise RequestRefusedError(
            400, "no_input", "Say what the caller said, as ?input=… in the address."
        )
    if len(text) > MAX_SAID:
        raise RequestRefusedError(400, "too_long", f"What is said has up to {MAX_SAID} characters.")
    return SaidInAddress(text, given.get("turn_id", ""))
