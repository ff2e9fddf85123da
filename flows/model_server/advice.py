"""Each outcome in one sentence, for the person who runs the server. None of it is a caller's."""

from collections.abc import Sequence

from flows.model_server.habits import Habits
from flows.model_server.refusals import is_no_model
from flows.model_server.too_long import too_long
from flows.model_server.wording import Refusal

_VLLM_TOOL_FLAGS = "--enable-auto-tool-choice --tool-call-parser hermes"


def of_refusal(
    refusal: Refusal, *, url: str, model: str, there: Sequence[str] = (), kind: str = ""
) -> str:
    """Why the server does not answer, and what to do."""
    status = 404 if is_no_model(refusal) else refusal.status
    match status:
        case 401 | 403:
            return f"{url} refuses the key (status {refusal.status}): set llm_api_key to its key"
        case 404 if there:
            names = ", ".join(there[:8])
            return f"{url} has no model {model!r}, it has {names}: set llm_model to one of them"
        case 404 if kind == "ollama":
            return f"{url} has no model {model!r}: `ollama pull {model}`"
        case 404:
            return f"{url} has no model {model!r}, or no chat: see that llm_url ends in /v1"
        case 429:
            return f"{url} has too many requests; it takes new ones later"
    if too_long(refusal) is not None:
        return f"the conversation is too long for {model!r} at {url}, even without its oldest turns"
    return f"{url} refuses every way of asking {model!r} (status {refusal.status})"


def of_loading(url: str) -> str:
    """The model is not in memory yet."""
    return f"the model server at {url} is still loading its model"


def of_habits(before: Habits, after: Habits, *, url: str, kind: str = "") -> list[str]:
    """What is asked of a server differently from now on, and what would be better."""
    said = []
    new = after.without - before.without
    if "tools" in new:
        flags = (
            f" (vLLM: start it with {_VLLM_TOOL_FLAGS})" if kind in ("vllm", "other", "") else ""
        )
        said.append(f"{url} takes no tools, so the agent goes without them{flags}")
    if names := sorted(new - {"tools", "tool_choice", "parallel_tool_calls"}):
        why = ""
        if kind == "ollama" and "reasoning_effort" in new:
            why = "; Ollama takes reasoning_effort from 0.12.4 on, for models that can think"
        said.append(f"{url} does not take {', '.join(names)} and is asked without{why}")
    elif "tools" not in new and new:
        said.append(f"{url} does not take {', '.join(sorted(new))} and is asked without")
    if after.max_tokens_field != before.max_tokens_field:
        said.append(f"{url} wants the limit of an answer as {after.max_tokens_field}")
    if after.max_tokens != before.max_tokens:
        said.append(f"{url} gives at most {after.max_tokens} tokens for an answer")
    if after.no_system and not before.no_system:
        said.append(f"{url}'s template has no system prompt, so it goes into the caller's words")
    elif after.in_turn and not before.in_turn:
        said.append(f"{url}'s template wants user and assistant in turn, so neighbours are merged")
    if after.plain and not before.plain:
        said.append(f"{url} wants messages of plain text and gets them")
    if after.whole and not before.whole:
        said.append(
            f"{url} does not stream, so an answer is heard only once it is all written; one that "
            "streams is heard seconds sooner"
        )
    if after.context_tokens != before.context_tokens and after.context_tokens is not None:
        said.append(
            f"{url} holds about {after.context_tokens} tokens, so a long call's oldest turns are "
            "left out; start the server with a larger context for longer memory"
        )
    if after.thinks > before.thinks:
        said.append(
            f"{url} thinks before it answers although it is asked not to; switch thinking off at "
            "the server, or serve a model that does not think"
        )
    return said


def of_silent_cut(url: str, tokens: int) -> str:
    """Ollama drops what is beyond its context and tells nobody."""
    return (
        f"Ollama at {url} keeps {tokens} tokens of a call and drops the rest silently, so the "
        "oldest turns are left out before it does; OLLAMA_CONTEXT_LENGTH=16384 gives it more"
    )
