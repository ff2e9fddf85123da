"""The scripted model of the turn benchmark, in a process of its own: python -m bench.turn_model.

It answers as a local model would, 100 ms to the first token and then 40 tokens a second: a story
to who asks for one, another long text to who asks for a joke, else two short sentences.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import Any

from tests.fake_openai_server import FakeOpenAIServer, Reply

FIRST_TOKEN_S = 0.1
TOKENS_PER_SECOND = 40.0

REPLY = "Sure, here is what I found for you. It should be just right."
STORY = (
    "Once there was a small wooden boat that left the harbour every day before the sun was up "
    "and sailed along the coast past the white cliffs and the old lighthouse on the hill. "
    "The sailor knew each rock under the water because his mother had shown them to him when he "
    "was a boy and he never needed a map to find the way home. "
    "But that morning a thick fog rolled in from the north and covered the sea and the cliffs "
    "and even the lamp at the top of the lighthouse could not be seen from the boat. "
    "So the sailor sat down beside the mast and listened to the birds until he heard the bell of "
    "the village church and then he turned the boat slowly towards the sound."
)
KNOWN_WORDS = (
    "Good morning. What is the weather like today? My name is Maria. "
    "Book a table for two. What is the weather in London? Set a timer for five minutes. "
    "Remember that my name is Bob. Turn on the lights in the kitchen. "
    "What is three plus four? I want to talk to a human. Tell me about Paris. "
    "Book a room for three nights. What is nine minus two? Turn off the lights. "
    "Set an alarm for eleven. Where is my order? Thank you. Goodbye."
)
"""Sentences of the bundled recogniser, so that an echo of them can be recognised as such."""


def script(body: dict[str, Any]) -> Reply:
    """The answer to the last thing that the caller said."""
    said = next((m["content"] for m in reversed(body["messages"]) if m["role"] == "user"), "")
    asked = json.dumps(said).lower()
    text = STORY if "story" in asked else KNOWN_WORDS if "joke" in asked else REPLY
    return Reply(text, first_token_s=FIRST_TOKEN_S, tokens_per_second=TOKENS_PER_SECOND)


async def serve() -> None:
    """Prints one JSON line with the URL, then serves until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with FakeOpenAIServer(script=script) as server:
        sys.stdout.write(json.dumps({"url": server.base_url, "model": server.model}) + "\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve())
