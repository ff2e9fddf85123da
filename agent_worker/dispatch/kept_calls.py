"""What was said in a call, kept on this machine until the call ends.

Should the process of the call die, whoever takes the call over knows what was said. The files are
readable by this user alone, hold one call each, and go with it; what a crash left behind goes after
ten minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import tempfile
import time
from pathlib import Path

from livekit.agents import AgentSession, ConversationItemAddedEvent, llm

logger = logging.getLogger(__name__)

_OLD_S = 600.0
_ITEMS = 200
"""Of a long call the latest are enough."""


class KeptCall:
    """The conversation of one room.

    Args:
        folder: for the files of all calls; made when needed.
        key: of the call, such as the room's id: it must not be another's.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._folder = folder
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        self._file = folder / f"{name}.call.json"
        self._saving: asyncio.Task[None] | None = None
        self._again = False
        self._over = False

    def load(self) -> llm.ChatContext | None:
        """What was said so far; None where nothing is kept."""
        try:
            if time.time() - self._file.stat().st_mtime > _OLD_S:
                return None
            return llm.ChatContext.from_dict(json.loads(self._file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except Exception as e:
            logger.warning("a kept call can't be read", extra={"cause": type(e).__name__})
            return None

    def save(self, said: llm.ChatContext) -> None:
        """Keeps it. Blocks for the file.

        Raises:
            OSError: it can't be written.
        """
        items = said.copy(
            exclude_instructions=True, exclude_handoff=True, exclude_config_update=True
        ).items[-_ITEMS:]
        text = json.dumps(llm.ChatContext(items).to_dict(exclude_timestamp=False))
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # made with mode 0600; the renaming leaves no moment with half a file
        handle, temporary = tempfile.mkstemp(dir=self._folder, suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(self._file)

    def follow(self, session: AgentSession[None]) -> None:
        """Keeps what is said in a session from now on."""

        def on_item(event: ConversationItemAddedEvent) -> None:
            self._again = True
            if self._saving is None and not self._over:
                self._saving = asyncio.create_task(self._save_all(session), name="kept_calls.save")

        session.on("conversation_item_added", on_item)

    async def _save_all(self, session: AgentSession[None]) -> None:
        try:
            while self._again and not self._over:
                self._again = False
                said = session.current_agent.chat_ctx.copy()
                await asyncio.to_thread(self.save, said)
        except Exception as e:
            # a full disk must not cost the call
            logger.warning("what was said can't be kept", extra={"cause": type(e).__name__})
        finally:
            self._saving = None

    async def aclose(self, *, over: bool) -> None:
        """Stops keeping; safe to call twice.

        Args:
            over: the call has ended, and is forgotten here.
        """
        self._over = self._over or over
        if self._saving is not None:
            await asyncio.gather(self._saving, return_exceptions=True)
        if over:
            with contextlib.suppress(OSError):
                self._file.unlink()


def forget_old_calls(folder: Path) -> None:
    """Deletes what calls of long ago left behind."""
    for file in folder.glob("*.call.json"):
        with contextlib.suppress(OSError):
            if time.time() - file.stat().st_mtime > _OLD_S:
                file.unlink()
