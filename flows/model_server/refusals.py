"""What does a refusal want of the next request? Decided from its status and words alone."""

import re
from dataclasses import replace
from typing import Any

from flows.model_server import conversation
from flows.model_server.habits import NEVER_LEFT_OUT, Habits
from flows.model_server.too_long import TooLong, too_long
from flows.model_server.wording import Refusal

_ABOUT_THE_REQUEST = (0, 400, 404, 405, 406, 409, 415, 422, 500, 501)
_OTHER_NAMES = {
    "stream_options": r"stream[ _]options|include_usage|stream usage",
    "parallel_tool_calls": r"parallel[ _](?:tool|function)[ _]call",
    "chat_template_kwargs": r"chat_template_kwargs|enable_thinking|template kwargs|thinking",
    "reasoning_effort": r"reasoning|\bthink(?:ing)?\b",
    "reasoning": r"\breasoning\b|\bthink(?:ing)?\b",
    "tools": r"\btools?\b|tool[-_ ]c(?:all|hoice)|function[-_ ]call",
    "max_tokens": r"max_completion_tokens|max_new_tokens",
}
_IN_TURN = re.compile(
    r"alternat|same role|consecutive (?:user|assistant|messages)|(?:first|last) (?:message|role)"
    r"|must (?:start|begin|end) with|prefill|assistant messages at the end"
    r"|system message must be|only (?:one|a single) system|after the optional system message",
    re.IGNORECASE,
)
_NO_SYSTEM = re.compile(
    r"system (?:role|message|prompt|instruction)s?\W+(?:is |are )?(?:not|un)"
    r"|(?:does(?:n't| not)|no) support\w* (?:for )?(?:the |a )?['\"`]?(?:system|developer)"
    r"|only (?:the )?['\"`]?user['\"`]?(?:,? and|,) ['\"`]?(?:assistant|model)"
    r"|(?:unsupported|unknown|invalid|unexpected) (?:message )?role\W+(?:system|developer)"
    r"|['\"`]?(?:system|developer)['\"`]?(?: role| instruction)? is not"
    r" (?:supported|enabled|allowed)",
    re.IGNORECASE,
)
_OF_SUPPORT = re.compile(
    r"support|parse|template|jinja|unknown|unexpected|invalid|allowed|require|implement|enabled",
    re.IGNORECASE,
)
_OF_REQUEST = re.compile(
    r"request|invalid|un(?:known|expected|supported|recogni[sz]ed)|not (?:supported|permitted"
    r"|allowed|implemented|valid)|validat|parse|deseriali[sz]e|schema|field|param|argument|option"
    r"|extra|unprocess|malformed|illegal|<html|syntax|bad ",
    re.IGNORECASE,
)
_OF_MESSAGES = re.compile(r"\bmessages?\b|\bcontent\b", re.IGNORECASE)
_STREAMING = r"\bstream(?:ing|ed|s)?\b(?![ _]options| usage)"
_NOT = r"(?:\bnot\b|n't\b|\bun\w+ed\b|\bno\b|\bfalse\b|disabled|forbidden|unavailable)"
_OF_STREAMING = re.compile(
    rf"{_STREAMING}[^.;]{{0,60}}{_NOT}|{_NOT}[^.;]{{0,40}}{_STREAMING}", re.IGNORECASE
)
_SUGGESTED = re.compile(r"use\W+max_completion_tokens", re.IGNORECASE)
_CEILING = re.compile(
    r"(?:less than or equal to|at most|<=|maximum(?: value)?(?: is| of)?|up to|supports)"
    r"\D{0,20}(\d+)",
    re.IGNORECASE,
)
_UNNAMED = (
    frozenset({"stream_options", "parallel_tool_calls", "reasoning_effort"}),
    frozenset({"tools", "tool_choice"}),
    frozenset({"presence_penalty", "frequency_penalty", "top_p", "temperature", "seed"}),
)
"""What to leave out where nothing is named, one after the other; all extras go with the first."""
_LOADING = re.compile(
    r"loading (?:the )?model|model[^.]{0,40}(?:(?:is|still|currently) loading|being loaded)"
    r"|warming up|starting up|initiali[sz]ing|not (?:yet )?(?:ready|loaded)|model (?:was )?unloaded"
    r"|(?:is|still) loading",
    re.IGNORECASE,
)
_LONGEST_WAIT_S = 20.0


_NO_MODEL = re.compile(
    r"model\W{0,4}(?:\S{0,80} )?(?:was )?(?:not found|(?:does not|doesn't|not) exist)"
    r"|no models? (?:is |are )?loaded|(?:unknown|invalid|no such) model\b(?! (?:param|field))",
    re.IGNORECASE,
)


def is_no_model(refusal: Refusal) -> bool:
    """Whether the server has no model of the name that it was asked for."""
    return refusal.status in (0, 400, 404, 422) and bool(_NO_MODEL.search(refusal.said))


def is_loading(refusal: Refusal) -> bool:
    """Whether the server says that its model will be there soon."""
    if refusal.status == 425:
        return True
    return refusal.status in (0, 400, 409, 500, 502, 503) and bool(_LOADING.search(refusal.said))


def wait_s(refusal: Refusal, patience_s: float) -> float | None:
    """Seconds after which the same request may be taken; None where waiting is of no use.

    Args:
        refusal: The refusal.
        patience_s: How long somebody waits for the answer.
    """
    if is_loading(refusal):
        return 0.5
    if refusal.status in (429, 503) and refusal.retry_after_s is not None:
        wait = refusal.retry_after_s
        return wait if wait <= min(patience_s, _LONGEST_WAIT_S) else None
    return None


def learn(habits: Habits, refusal: Refusal, payload: dict[str, Any]) -> Habits | None:
    """How to ask again after a refusal, or None where no other request would fare better.

    Args:
        habits: What the refused request was made from.
        refusal: The refusal.
        payload: The refused request, its extras in `extra_body`.
    """
    if refusal.status not in (*_ABOUT_THE_REQUEST, 413):
        return None
    # A model's name may hold any word.
    refusal = replace(refusal, said=refusal.said.replace(str(payload.get("model")), ""))
    if is_no_model(refusal):
        return None
    for learnt in (
        _shorter(habits, refusal, payload),
        _from_places(habits, refusal, payload),
        _other_roles(habits, refusal),
        _in_one_piece(habits, refusal, payload),
        _from_words(habits, refusal, payload),
        _from_nothing(habits, refusal, payload),
    ):
        if learnt is not None and learnt != habits:
            return learnt
    return None


def _fields(payload: dict[str, Any]) -> frozenset[str]:
    return frozenset(payload) | frozenset(payload.get("extra_body") or {})


def _from_places(habits: Habits, refusal: Refusal, payload: dict[str, Any]) -> Habits | None:
    """Where the server points to the place of the fault."""
    fields = _fields(payload) - NEVER_LEFT_OUT
    named = set()
    for place in refusal.places:
        first = next((part for part in place if part not in ("body", "extra_body")), "")
        if first in fields:
            named.add(first)
        elif first == "messages" and place[-1] == "role":
            habits = replace(habits, no_system=True, in_turn=True)
        elif first == "messages" and refusal.status != 500 and not _about_roles(refusal):
            habits = replace(habits, plain=True)
    return _leave_out(habits, refusal, frozenset(named)) if named else habits


def _shorter(habits: Habits, refusal: Refusal, payload: dict[str, Any]) -> Habits | None:
    told = too_long(refusal)
    fields = _fields(payload) - {"messages", "tools", "max_tokens"}
    elsewhere = any(fields.intersection(place) for place in refusal.places)
    return None if told is None or elsewhere else shortened(habits, told, payload)


def shortened(habits: Habits, told: TooLong, payload: dict[str, Any]) -> Habits:
    """Ask for less: down to the limit that was told, else to three quarters of what was sent."""
    sent_bytes = conversation.size(payload["messages"], payload.get("tools"))
    density = habits.bytes_per_token
    if told.sent:
        density = min(density, sent_bytes / told.sent)
    guess = int(sent_bytes / density) + (payload.get("max_tokens") or 0)
    limit = told.limit
    if limit is None:
        limit = min(int(guess * 0.7), habits.context_tokens or guess)
        if limit == habits.context_tokens:
            limit = int(limit * 0.7)
    elif limit == habits.context_tokens and density == habits.bytes_per_token:
        # It was made to fit and is still too long: the text is denser than thought.
        density *= 0.75
    return replace(habits, context_tokens=limit, bytes_per_token=density)


def _about_roles(refusal: Refusal) -> bool:
    return bool(_IN_TURN.search(refusal.said) or _NO_SYSTEM.search(refusal.said))


def _other_roles(habits: Habits, refusal: Refusal) -> Habits | None:
    if _NO_SYSTEM.search(refusal.said) and not habits.no_system:
        return replace(habits, no_system=True, in_turn=True)
    if _IN_TURN.search(refusal.said):
        # One that still sees two of a kind counts the system prompt as one of them.
        return replace(habits, no_system=habits.in_turn or habits.no_system, in_turn=True)
    return None


def _in_one_piece(habits: Habits, refusal: Refusal, payload: dict[str, Any]) -> Habits | None:
    """Where the server does not stream; one that only can't with tools goes without those."""
    if not payload.get("stream") or habits.whole:
        return None
    named = any(place[-1:] == ("stream",) for place in refusal.places)
    of_tools = "tools" in payload and _matches("tools", refusal)
    says_so = _OF_STREAMING.search(refusal.said) and not of_tools
    return replace(habits, whole=True) if named or says_so else None


def _from_words(habits: Habits, refusal: Refusal, payload: dict[str, Any]) -> Habits | None:
    """Where the server names what it does not take; the longest name first, exact ones first."""
    fields = sorted(_fields(payload) - NEVER_LEFT_OUT, key=len, reverse=True)
    if refusal.status >= 500 and not _OF_SUPPORT.search(refusal.said):
        return None
    exact = [n for n in fields if re.search(rf"(?<![\w-]){re.escape(n)}(?![\w-])", refusal.said)]
    if exact:
        return _leave_out(habits, refusal, frozenset(exact))
    for name in fields:
        if name in _OTHER_NAMES and re.search(_OTHER_NAMES[name], refusal.said, re.IGNORECASE):
            same = {f for f in fields if f in _OTHER_NAMES and _matches(f, refusal)}
            return _leave_out(habits, refusal, frozenset(same))
    if refusal.status in (400, 422) and _OF_MESSAGES.search(refusal.said) and not habits.plain:
        return replace(habits, plain=True)
    return None


def _matches(name: str, refusal: Refusal) -> bool:
    return bool(re.search(_OTHER_NAMES[name], refusal.said, re.IGNORECASE))


def _leave_out(habits: Habits, refusal: Refusal, names: frozenset[str]) -> Habits:
    if names & {"max_tokens", "max_completion_tokens"}:
        if _SUGGESTED.search(refusal.said) and habits.max_tokens_field == "max_tokens":
            return replace(habits, max_tokens_field="max_completion_tokens")
        ceiling = _CEILING.search(refusal.said)
        if ceiling and habits.max_tokens is None and int(ceiling[1]) >= 16:
            return replace(habits, max_tokens=int(ceiling[1]))
    return replace(habits, without=habits.without | names)


def _from_nothing(habits: Habits, refusal: Refusal, payload: dict[str, Any]) -> Habits | None:
    """A bare "bad request": leave out what is not needed, step by step, the odd things first."""
    speaks_of_it = not refusal.said.strip() or _OF_REQUEST.search(refusal.said)
    if refusal.status not in (400, 422) or not speaks_of_it:
        return None
    extras = frozenset(payload.get("extra_body") or {})
    fields = _fields(payload)
    for at, step in enumerate(_UNNAMED):
        names = (step | extras if at == 0 else step) & fields
        if names:
            return replace(habits, without=habits.without | names)
    if not habits.in_turn:
        return replace(habits, plain=True, in_turn=True)
    return replace(habits, whole=True) if payload.get("stream") and not habits.whole else None
