"""What outlives a turn: threads in a checkpointer, facts about sessions and callers in a store.

SQLite by default, Postgres by URL. A conversation (the thread, and what was noted for the session)
is dropped when its session ends, unless the settings keep conversations; what a known caller asked
to be remembered is kept until it is deleted.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import aiosqlite
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite.aio import AsyncSqliteStore

from flows.memory_keys import Namespace, caller_namespace, session_namespace

IN_MEMORY = "memory"
"""The database URL for nothing on disk."""


class DatabaseError(ValueError):
    """The database can't be used; the message says what to do."""


@dataclass(frozen=True)
class Memory:
    """The two places that graphs keep things in."""

    store: BaseStore
    checkpointer: BaseCheckpointSaver[Any]
    keeps_conversations: bool

    async def forget_session(self, thread_id: str) -> None:
        """Delete the conversation of a session and what was noted for it."""
        await self.checkpointer.adelete_thread(thread_id)
        namespace = session_namespace({"configurable": {"thread_id": thread_id}})
        if namespace is not None:
            await self._delete_under(namespace)

    async def forget_caller(self, caller_id: str) -> int:
        """Delete what is remembered about a caller; returns how many facts that were."""
        namespace = caller_namespace({"configurable": {"caller_id": caller_id}})
        return 0 if namespace is None else await self._delete_under(namespace)

    async def end_session(self, thread_id: str) -> None:
        """A session is over: forget it, unless conversations are kept."""
        if not self.keeps_conversations:
            await self.forget_session(thread_id)

    async def drop_unkept_sessions(self) -> None:
        """Delete what a process that ended abruptly left of its sessions."""
        if not self.keeps_conversations:
            await self._delete_under(("sessions",))

    async def _delete_under(self, namespace: Namespace) -> int:
        deleted = 0
        while items := await self.store.asearch(namespace, limit=100):
            for item in items:
                await self.store.adelete(item.namespace, item.key)
            deleted += len(items)
        return deleted


@contextlib.asynccontextmanager
async def open_memory(
    database_url: str = IN_MEMORY, *, keep_conversations: bool = False
) -> AsyncIterator[Memory]:
    """Open the database and close it at the end.

    Args:
        database_url: "memory", "sqlite:///PATH", or "postgresql://…".
        keep_conversations: Keep threads in the database; otherwise they live in memory only.

    Raises:
        DatabaseError: The URL is of no known kind, can't be opened, or its extra is missing.
    """
    async with contextlib.AsyncExitStack() as stack:
        if database_url == IN_MEMORY:
            memory = Memory(InMemoryStore(), InMemorySaver(), keep_conversations)
        elif database_url.startswith("sqlite:///"):
            path = Path(database_url.removeprefix("sqlite:///")).expanduser()
            memory = await _open_sqlite(stack, path, keep_conversations)
        elif database_url.startswith(("postgresql://", "postgres://")):
            memory = await _open_postgres(stack, database_url, keep_conversations)
        else:
            raise DatabaseError(
                'The database URL is neither "memory", sqlite:///… nor postgresql://…'
            )
        await memory.drop_unkept_sessions()
        yield memory


async def _open_sqlite(
    stack: contextlib.AsyncExitStack, path: Path, keep_conversations: bool
) -> Memory:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        store = await stack.enter_async_context(AsyncSqliteStore.from_conn_string(str(path)))
        stack.push_async_callback(_stop_batching, store)
        await store.setup()
    except (OSError, aiosqlite.Error) as fault:
        raise DatabaseError(f"The database {path} can't be opened: {fault}") from fault
    saver: BaseCheckpointSaver[Any] = InMemorySaver()
    if keep_conversations:
        saver = await stack.enter_async_context(AsyncSqliteSaver.from_conn_string(str(path)))
    return Memory(store, saver, keep_conversations)


async def _open_postgres(
    stack: contextlib.AsyncExitStack, url: str, keep_conversations: bool
) -> Memory:
    try:
        # By name: they are an extra, so neither their types nor they themselves need be there.
        savers = import_module("langgraph.checkpoint.postgres.aio")
        stores = import_module("langgraph.store.postgres.aio")
        psycopg = import_module("psycopg")
        pools = import_module("psycopg_pool")
    except ImportError as fault:
        raise DatabaseError(
            'Postgres needs an extra: pip install "livekit-agent-worker[postgres]"'
        ) from fault
    # A pool: it replaces a connection that broke, and calls don't queue behind each other.
    options = {"autocommit": True, "prepare_threshold": 0, "row_factory": psycopg.rows.dict_row}
    pool = pools.AsyncConnectionPool(
        url,
        kwargs=options,
        min_size=1,
        max_size=8,
        open=False,
        check=pools.AsyncConnectionPool.check_connection,
    )
    try:
        # The pool itself would try for long, and not say why it can't.
        await (await psycopg.AsyncConnection.connect(url, connect_timeout=5)).close()
        await stack.enter_async_context(pool)
        store = stores.AsyncPostgresStore(pool)
        stack.push_async_callback(_stop_batching, store)
        await store.setup()
        saver: BaseCheckpointSaver[Any] = InMemorySaver()
        if keep_conversations:
            kept = savers.AsyncPostgresSaver(pool)
            await kept.setup()
            saver = kept
    except psycopg.Error as fault:
        reason = " ".join(str(fault).split())
        raise DatabaseError(f"The Postgres database can't be used: {reason}") from fault
    return Memory(store, saver, keep_conversations)


async def _stop_batching(store: BaseStore) -> None:
    """End the task in which LangGraph's stores batch their work; they have no way to close it."""
    task: asyncio.Task[None] | None = getattr(store, "_task", None)
    if task is not None:
        task.cancel()
        await asyncio.wait([task])
