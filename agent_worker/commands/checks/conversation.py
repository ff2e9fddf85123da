"""Does the voice speak, do the ears understand it, does the model answer and call tools?"""

from __future__ import annotations

import difflib
import re
import time
from typing import Any

from livekit.agents import APIConnectOptions, APIError, function_tool, llm

from agent_worker.engines.build import Engines
from agent_worker.engines.languages import languages
from agent_worker.language_tags import primary
from agent_worker.settings import Settings
from livekit import rtc

from .finding import Finding

_SENTENCE = "What is two plus three?"
_ONCE = APIConnectOptions(max_retry=0, timeout=60.0)
_UNDERSTOOD = 0.6
_TOOL = "check_line"
_ASK = f"This is a test of the line. Call the tool {_TOOL} now."


async def try_voice_and_ears(settings: Settings, engines: Engines) -> list[Finding]:
    """Has the voice say a sentence, and the ears hear it."""
    language = languages().get(primary(settings.spoken_language))
    english = primary(settings.spoken_language) == "en"
    sentence = _SENTENCE if english or language is None else language.greeting
    began = time.monotonic()
    try:
        sound = await engines.tts.synthesize(sentence, conn_options=_ONCE).collect()
    except APIError as e:
        return [Finding("voice", "broken", f"it does not speak: {e.message}")]
    if not any(bytes(sound.data)):
        return [Finding("voice", "broken", "it makes no sound")]
    took_s = time.monotonic() - began
    spoke = Finding("voice", "ok", f"spoke {sound.duration:.1f} s of sound in {took_s:.1f} s")
    began = time.monotonic()
    try:
        event = await engines.stt.recognize(_with_silence(sound), conn_options=_ONCE)
    except APIError as e:
        return [spoke, Finding("ears", "broken", f"they don't hear: {e.message}")]
    heard = event.alternatives[0].text if event.alternatives else ""
    return [spoke, ears_finding(sentence, heard, time.monotonic() - began)]


def _with_silence(sound: rtc.AudioFrame) -> rtc.AudioFrame:
    # a recording that ends with its last sample loses its last word
    pause = bytes(2 * sound.num_channels * (sound.sample_rate // 2))
    data = pause + bytes(sound.data) + pause
    samples = len(data) // 2 // sound.num_channels
    return rtc.AudioFrame(data, sound.sample_rate, sound.num_channels, samples)


def ears_finding(said: str, heard: str, took_s: float) -> Finding:
    """Judges what was heard of what the voice said."""
    if not heard.strip():
        advice = "set another stt_model, or another tts_voice"
        return Finding("ears", "broken", "they heard nothing of what the voice said", advice)
    likeness = difflib.SequenceMatcher(None, _plain(said), _plain(heard)).ratio()
    told = f"heard {heard.strip()!r} for {said!r} in {took_s:.1f} s"
    if likeness >= _UNDERSTOOD:
        return Finding("ears", "ok", told)
    advice = "a larger stt_model understands more; espeak-ng is harder to understand than Piper"
    return Finding("ears", "doubtful", told, advice)


def _plain(text: str) -> str:
    spelled = re.sub(r"\b[235]\b", lambda n: {"2": "two", "3": "three", "5": "five"}[n[0]], text)
    return re.sub(r"[\W_]+", " ", spelled.replace("+", " plus ").lower()).strip()


@function_tool(name=_TOOL)
async def _check_line() -> str:
    """Tests the line."""
    return "the line works"


async def try_model(model: llm.LLM[Any], *, rules_only: bool = False) -> list[Finding]:
    """Asks for one tool call, through the whole flow.

    Args:
        model: of a call.
        rules_only: it has no model behind it, and knows no tools but its own.
    """
    context = llm.ChatContext()
    context.add_message(role="user", content="What is two plus three?" if rules_only else _ASK)
    began, words, called = time.monotonic(), "", False
    try:
        stream = model.chat(
            chat_ctx=context, tools=[] if rules_only else [_check_line], conn_options=_ONCE
        )
        async with stream:
            async for chunk in stream:
                if chunk.delta is not None:
                    words += chunk.delta.content or ""
                    called = called or any(c.name == _TOOL for c in chunk.delta.tool_calls)
    except APIError as e:
        return [Finding("model", "broken", f"it does not answer: {e.message}")]
    return [model_finding(words, called, time.monotonic() - began, rules_only=rules_only)]


def model_finding(words: str, called: bool, took_s: float, *, rules_only: bool) -> Finding:
    """Judges what came back."""
    if called:
        return Finding("model", "ok", f"called a tool when it was asked to, in {took_s:.1f} s")
    if not words.strip():
        return Finding("model", "broken", "it answers, and says nothing")
    if rules_only:
        return Finding("model", "ok", f"the rules answer, in {took_s:.1f} s")
    said = f"answers in {took_s:.1f} s, and did not call a tool when it was asked to"
    advice = "with tools (time, memory, documents) it does better as a model that calls them"
    return Finding("model", "doubtful", said, advice)
