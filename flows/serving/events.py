"""From the parts of a LangGraph stream to the events of the wire."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage

from flows.speakable import SpeakableFilter

Event = dict[str, Any]
"""One server-sent event; `type` tells which."""


_QUESTION_KEYS = ("text", "question", "prompt", "message", "content")
"""Where the question stands in an interrupt's value, if that is not the question itself."""


class EventTranslator:
    """Translates one run's stream: `messages`, `custom` and `updates` parts, in order.

    Args:
        speakable_nodes: Nodes whose messages are spoken.
        client_tools: Names of tools that the client runs itself.
        known_calls: Ids of the tool calls in the history, which are not told again.
    """

    def __init__(
        self,
        speakable_nodes: Collection[str],
        client_tools: Collection[str] = (),
        known_calls: Collection[str] = (),
    ) -> None:
        self._speakable = frozenset(speakable_nodes)
        self._client_tools = frozenset(client_tools)
        self._filters: dict[str, SpeakableFilter] = {}
        self._started_calls = set(known_calls)
        self._ended_calls = set(known_calls)
        self._last_text = ""
        self._speaker_id = ""
        self.question: str | None = None
        """The id of what the graph stopped to ask, the first where it is several things."""

    def translate(self, part: Any) -> Iterator[Event]:
        """The events for one part of `astream(..., version="v2", subgraphs=True)`."""
        match part["type"]:
            case "messages":
                message, metadata = part["data"]
                if self._may_be_heard(part["ns"], metadata.get("langgraph_node", "")):
                    yield from self._message(message)
            case "custom":
                yield from self._custom(part["data"])
            case "updates":
                yield from self._updates(part["data"], is_root=not part["ns"])

    def finish(self) -> Iterator[Event]:
        """What the filters still held back when the run ended."""
        for held in self._filters.values():
            yield from self._token(held.flush())
        self._filters.clear()

    def _may_be_heard(self, namespace: Sequence[str], node: str) -> bool:
        """Whether a node speaks: by its own name, or by that of a subgraph around it."""
        around = (part.partition(":")[0] for part in namespace)
        return node in self._speakable or any(name in self._speakable for name in around)

    def _message(self, message: Any) -> Iterator[Event]:
        if not isinstance(message, AIMessage):
            return
        key = message.id or ""
        if message.text:
            spoken = self._filters.setdefault(key, SpeakableFilter())
            yield from self._token(spoken.push(message.text), key)
        complete = not isinstance(message, AIMessageChunk) or message.chunk_position == "last"
        if complete and key in self._filters:
            yield from self._token(self._filters.pop(key).flush(), key)

    def _token(self, text: str, message_id: str = "") -> Iterator[Event]:
        if not text:
            return
        # Two messages of one turn are two sentences, not one word.
        if message_id != self._speaker_id and self._last_text and not self._last_text[-1].isspace():
            text = " " + text.lstrip()
        self._speaker_id, self._last_text = message_id, text
        yield {"type": "token", "content": text}

    def _custom(self, data: Any) -> Iterator[Event]:
        match data:
            case {"type": "speak", "text": str(text)}:
                yield from self._token(text)
            case {"type": "filler", "text": str(text)} if text:
                yield {"type": "filler", "content": text}
            case {"type": "speaker", "name": str(name)}:
                yield {
                    "type": "speaker",
                    "name": name,
                    "tag": data.get("tag"),
                    "voice": data.get("voice"),
                }

    def _updates(self, data: Any, *, is_root: bool) -> Iterator[Event]:
        for node, update in data.items():
            if node == "__interrupt__":
                # A subgraph's interrupt comes up again at the root.
                if is_root:
                    yield from self._interrupts(update)
                continue
            for message in _messages_of(update):
                if isinstance(message, AIMessage):
                    yield from self._calls(message)
                elif isinstance(message, ToolMessage):
                    yield from self._result(message)

    def _interrupts(self, interrupts: Any) -> Iterator[Event]:
        for interrupt in interrupts:
            value = interrupt.value
            self.question = self.question or interrupt.id
            text = value if isinstance(value, str) else ""
            if isinstance(value, dict):
                text = next((str(value[key]) for key in _QUESTION_KEYS if value.get(key)), "")
            yield {"type": "interrupt", "id": interrupt.id, "content": text, "value": value}

    def _calls(self, message: AIMessage) -> Iterator[Event]:
        for call in message.tool_calls:
            call_id = call["id"] or ""
            if call_id in self._started_calls:
                continue
            self._started_calls.add(call_id)
            kind = "tool_call" if call["name"] in self._client_tools else "tool_start"
            yield {"type": kind, "id": call_id, "name": call["name"], "arguments": call["args"]}

    def _result(self, message: ToolMessage) -> Iterator[Event]:
        # An agent in a subgraph hands its messages up: each result is told once.
        if (
            message.tool_call_id in self._ended_calls
            or message.tool_call_id not in self._started_calls
        ):
            return
        self._ended_calls.add(message.tool_call_id)
        yield {
            "type": "tool_end",
            "id": message.tool_call_id,
            "name": message.name,
            "status": message.status,
            "output": message.text,
        }


def _messages_of(update: Any) -> list[Any]:
    # A node's update is a dict, or a list of them where it ran several times in a step.
    updates = update if isinstance(update, list) else [update]
    found: list[Any] = []
    for one in updates:
        messages = one.get("messages") if isinstance(one, dict) else None
        if messages is not None:
            found += messages if isinstance(messages, list) else [messages]
    return found
