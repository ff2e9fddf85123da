"""What a model writes besides its answer, by how it begins and how it ends.

Sources: the chat templates of Qwen, Llama, Mistral, DeepSeek, Kimi, GLM, Cohere and gpt-oss
(https://github.com/openai/harmony), and what people report of servers that let it through.
"""

from __future__ import annotations

import re

_THINK_NAMES = ("think", "thinking", "thought", "reasoning")
_CALL_NAMES = ("tool_call", "tool_calls", "function_call", "function_calls", "tools")
_RESPONSE_NAMES = ("tool_response",)

THOUGHTS = {f"<{name}>": f"</{name}>" for name in _THINK_NAMES} | {
    "[think]": "[/think]",
    "<|start_thinking|>": "<|end_thinking|>",
}
"""Openers and closers of thinking, in lower case."""

CALLS = {f"<{name}>": f"</{name}>" for name in _CALL_NAMES} | {
    "<|start_action|>": "<|end_action|>",
    "<｜tool▁calls▁begin｜>": "<｜tool▁calls▁end｜>",
    "<|tool_calls_section_begin|>": "<|tool_calls_section_end|>",
}
"""Openers and closers of tool calls, in lower case."""

HIDDEN = {f"<{name}>": f"</{name}>" for name in _RESPONSE_NAMES}

THINK_CLOSERS = frozenset(THOUGHTS.values())
OPENERS = THOUGHTS | CALLS | HIDDEN
LITERALS = (*OPENERS, *sorted(set(OPENERS.values())))
LONGEST = max(map(len, LITERALS))

HEADERS = {
    # a header ends with what opens the text; the name of a role in it is not for the ear
    "<|start|>": re.compile(r"<\|message\|>|(?=<\|channel\|>)"),
    "<|channel|>": re.compile(r"<\|message\|>"),
    "<|start_header_id|>": re.compile(r"<\|end_header_id\|>"),
    "<|im_start|>": re.compile(r"\n"),
}
"""Control tokens that open a message's header, and what ends it."""

CHANNEL_END = re.compile(r"<\|(?:end|return|call)\|>|(?=<\|(?:channel|start)\|>)")
"""What ends a channel of harmony's; another channel or message does, too."""

PYTHON_TAG = "<|python_tag|>"
TOOL_CALLS = "[tool_calls]"

CONTROL = re.compile(r"<[|｜][^<>\n]{0,40}[|｜]>")
"""Control tokens: <|im_end|>, and the full-width bars of another family's templates."""
CONTROL_START = re.compile(r"<[|｜][^<>\n]{0,41}>?\Z")

FUNCTION = re.compile(r"<(function|invoke)(?:=| name=)[^<>\n]{0,80}>")
"""A function written as XML, as the coder templates do when their wrapper got lost."""
FUNCTION_START = re.compile(r"<(?:function|invoke)(?:=| name=)[^<>\n]{0,80}\Z")
FUNCTION_HEADS = ("<function=", "<invoke name=")

JSON = re.compile(r"\{\s*[\"}]|\[\s*[\[{\"]|\[\s*[A-Za-z_][\w.]{0,79}\(", re.ASCII)
"""Braces in speech are rare, but "[1]" is a citation: only what opens like an object, like a list
of objects or strings, or like a list of calls counts."""
JSON_START = re.compile(r"[{\[]\s*\Z|\[\s*[A-Za-z_][\w.]{0,79}\Z", re.ASCII)

NAME = re.compile(r"[A-Za-z_][\w.]{0,79}", re.ASCII)
"""A function's name, with the module that some models put before it."""

BARE_STRIPPED = ("analysis", "commentary to=")
"""How an answer begins whose server took harmony's control tokens out and left the rest."""
STRIPPED = re.compile(r"assistant(final|analysis|commentary)")
STRIPPED_WORDS = ("assistantfinal", "assistantanalysis", "assistantcommentary")

CALL_FENCES = frozenset({"tool_code", "tool_call", "tool_calls", "tool_use", "function_call"})
"""What a fence is labelled with that holds a call, not code for the reader."""
DATA_FENCES = frozenset({"", "json", "json5", "jsonc"})
"""Labels of a fence that may hold either."""
