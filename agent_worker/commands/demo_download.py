"""The demo's one question, and the download that goes on beside it."""

from __future__ import annotations

import asyncio
import contextlib
import enum
from collections.abc import Sequence
from threading import Event, Thread

from agent_worker.engines.chosen import Choices
from agent_worker.settings import Settings

from .download import Download, DownloadError, Told, fetch

_STOP_S = 0.5
"""A thread that is in the middle of a read that hangs ends with the program."""


class Consent(enum.Enum):
    """Whether the demo may download."""

    YES = "yes"
    NO = "no"
    ASK = "ask"


def consent(given: bool | None, *, terminal: bool, stays: bool) -> Consent:
    """What the command line says, else whether there is somebody to ask.

    Args:
        given: `--download` is True, `--no-download` False.
        terminal: both the question and the answer go through one.
        stays: the demo goes on after its conversation; else the models would come too late.
    """
    if given is not None:
        return Consent.YES if given else Consent.NO
    return Consent.ASK if terminal and stays else Consent.NO


def question(wanted: Sequence[Download]) -> str:
    """What is asked, in one line."""
    total = sum(download.megabytes for download in wanted)
    parts = ", ".join(f"{one.name} {one.megabytes} MB" for one in wanted)
    return f"Download real models for this machine ({total} MB: {parts})? [Y/n] "


def is_yes(answer: str) -> bool:
    """An empty answer is one too."""
    return answer.strip().lower() in ("", "y", "yes", "j", "ja", "o", "oui", "s", "si", "sí")


def did_not_come(fault: str) -> str:
    """What is said where a download failed, and what still works."""
    again = (
        "What is here goes on; `agent-worker download-files` goes on where it ended. "
        "The setting model_hub names a mirror, or a folder."
    )
    return f"Not everything came:\n{fault}\n{again}"


def next_step(choices: Choices, *, on_its_way: bool = False) -> str:
    """What to do after the demo's conversation, in one line."""
    if on_its_way:
        return (
            "Next: talk; real models are on their way, and new calls get them when they are here."
        )
    if choices.stt.detail == "bundled":
        return (
            "Next: `agent-worker demo --download`, for a conversation of your own; the bundled "
            "model hears the demo's words only."
        )
    if choices.llm.engine == "offline":
        better = choices.llm.better.removeprefix("for free conversation: ")
        return f"Next: a language model: {better}"
    return "Next: your own LiveKit server: set LIVEKIT_URL and its keys, then `agent-worker start`."


class DownloadBeside:
    """A download in a thread, for an event loop that has something else to do."""

    def __init__(self, settings: Settings, wanted: Sequence[Download], told: Told) -> None:
        """Starts it at once.

        Args:
            settings: where from.
            wanted: what.
            told: of the progress, in the download's thread.
        """
        self._cancelled = Event()
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[str] = self._loop.create_future()
        # not the loop's own threads: a program that ends would wait for a read that hangs
        self._thread = Thread(
            target=self._fetch, args=(settings, wanted, told), name="download", daemon=True
        )
        self._thread.start()

    async def wait(self) -> str:
        """Waits for its end. Returns what went wrong, a line for each model; empty = nothing."""
        # whoever waits may be cancelled; the thread is stopped by `aclose`
        return await asyncio.shield(self._ended)

    async def aclose(self) -> None:
        """Stops it at its next byte; what has come is kept. Safe to call twice."""
        self._cancelled.set()
        await asyncio.wait([self._ended], timeout=_STOP_S)

    def _fetch(self, settings: Settings, wanted: Sequence[Download], told: Told) -> None:
        fault = ""
        try:
            fetch(settings, wanted, told, cancelled=self._cancelled)
        except DownloadError as e:
            fault = str(e)
        except Exception as e:
            # nobody would ever hear of it otherwise, and the demo would wait
            fault = f"{type(e).__name__}: {e}"
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            self._loop.call_soon_threadsafe(self._ended.set_result, fault)


async def ask_on_terminal(asked: str) -> str:
    """Asks in a thread that ends with the program: a Ctrl-C must not wait for the answer."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def give(text: str) -> None:
        if not answer.done():
            answer.set_result(text)

    def read() -> None:
        try:
            text = input(asked)
        except (EOFError, OSError):
            text = "n"
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(give, text)

    Thread(target=read, name="question", daemon=True).start()
    return await answer
