"""What outlives a turn: threads in a checkpointer, facts about sessions and callers in a store.

SQLite by default, Postgres by URL. A conversation (the thread, and what was noted for the session)
is dropped when its session ends, unless the settings keep conversations; what a known caller asked
to be remembered is kept until the caller has it forgotten, or for as many days as the settings say.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import aiosqlite
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite.aio import AsyncSqliteStore

from .memory_keys import Namespace, caller_namespace, session_namespace

logger = logging.getLogger("flows")

IN_MEMORY = "memory"
"""The database URL for nothing on disk."""

_CALLERS: Namespace = ("callers",)
_PAGE = 100
_SWEEP_EVERY_S = 3600.0
_SETUP_TRIES = 8
_SETUP_PAUSE_S = 0.05


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
            await _delete_under(self.store, namespace)

    async def forget_caller(self, caller_id: str) -> int:
        """Delete what is remembered about a caller; returns how many facts that were."""
        return await forget_caller(self.store, caller_id)

    async def end_session(self, thread_id: str) -> None:
        """A session is over: forget it, unless conversations are kept."""
        if not self.keeps_conversations:
            await self.forget_session(thread_id)

    async def drop_unkept_sessions(self) -> None:
        """Delete what a process that ended abruptly left of its sessions."""
        if not self.keeps_conversations:
            await _delete_under(self.store, ("sessions",))


async def forget_caller(store: BaseStore, caller_id: str) -> int:
    """Delete what is remembered about a caller; returns how many facts that were."""
    namespace = caller_namespace({"configurable": {"caller_id": caller_id}})
    return 0 if namespace is None else await _delete_under(store, namespace)


async def forget_old_facts(
    store: BaseStore, keep_days: float, *, now: datetime | None = None
) -> int:
    """Delete what callers asked to be remembered longer ago than `keep_days`.

    Returns:
        How many facts that were.
    """
    limit = (now or datetime.now(UTC)) - timedelta(days=keep_days)
    old, offset = [], 0
    while items := await store.asearch(_CALLERS, limit=_PAGE, offset=offset):
        old += [item for item in items if _aware(item.updated_at) < limit]
        offset += len(items)
    for item in old:
        await store.adelete(item.namespace, item.key)
    return len(old)


def _aware(time: datetime) -> datetime:
    # SQLite's own clock writes UTC without saying so.
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


async def _delete_under(store: BaseStore, namespace: Namespace) -> int:
    deleted = 0
    while items := await store.asearch(namespace, limit=_PAGE):
        for item in items:
            await store.adelete(item.namespace, item.key)
        deleted += len(items)
    return deleted


@contextlib.asynccontextmanager
async def open_memory(
    database_url: str = IN_MEMORY,
    *,
    keep_conversations: bool = False,
    keep_days: float | None = None,
) -> AsyncIterator[Memory]:
    """Open the database of a flow server and close it at the end.

    Args:
        database_url: "memory", "sqlite:///PATH", or "postgresql://…".
        keep_conversations: Keep threads in the database; otherwise they live in memory only.
        keep_days: Days for which a caller's facts are kept; None for until they are forgotten.

    Raises:
        DatabaseError: The URL is of no known kind, can't be opened, or its extra is missing.
    """
    async with contextlib.AsyncExitStack() as stack:
        store, saver = await _open(stack, database_url, keep_conversations)
        memory = Memory(store, saver or InMemorySaver(), keep_conversations)
        await memory.drop_unkept_sessions()
        if keep_days is not None:
            sweeper = asyncio.create_task(_sweep(store, keep_days), name="memory sweeper")
            stack.push_async_callback(_cancelled, sweeper)
        yield memory


@contextlib.asynccontextmanager
async def open_store(
    database_url: str, *, keep_days: float | None = None
) -> AsyncIterator[BaseStore]:
    """Open only what is known about callers, beside whoever else has the database open.

    Args:
        database_url: As for `open_memory`.
        keep_days: As for `open_memory`; what is older is deleted at once.

    Raises:
        DatabaseError: As `open_memory`.
    """
    async with contextlib.AsyncExitStack() as stack:
        store, _ = await _open(stack, database_url, keep_conversations=False)
        if keep_days is not None:
            await forget_old_facts(store, keep_days)
        yield store


class _HasTables(Protocol):
    async def setup(self) -> None: ...


_Opened = tuple[BaseStore, BaseCheckpointSaver[Any] | None]


async def _open(
    stack: contextlib.AsyncExitStack, database_url: str, keep_conversations: bool
) -> _Opened:
    if database_url == IN_MEMORY:
        return InMemoryStore(), None
    if database_url.startswith("sqlite:///"):
        path = Path(database_url.removeprefix("sqlite:///")).expanduser()
        return await _open_sqlite(stack, path, keep_conversations)
    if database_url.startswith(("postgresql://", "postgres://")):
        return await _open_postgres(stack, database_url, keep_conversations)
    raise DatabaseError('The database URL is neither "memory", sqlite:///… nor postgresql://…')


async def _sweep(store: BaseStore, keep_days: float) -> None:
    while True:
        try:
            await forget_old_facts(store, keep_days)
        except Exception:
            # The next sweep must come, or facts are kept for longer than was promised.
            logger.exception("old facts could not be deleted")
        await asyncio.sleep(_SWEEP_EVERY_S)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def _open_sqlite(
    stack: contextlib.AsyncExitStack, path: Path, keep_conversations: bool
) -> _Opened:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # What callers said is nobody else's business; SQLite gives its other files the same mode.
        path.touch(mode=0o600)
        store = await stack.enter_async_context(AsyncSqliteStore.from_conn_string(str(path)))
        stack.push_async_callback(_stop_batching, store)
        # The worker's calls and a flow server may write at the same time.
        await store.conn.execute("PRAGMA journal_mode=WAL")
        await _set_up(store, aiosqlite.Error)
    except (OSError, aiosqlite.Error) as e:
        raise DatabaseError(f"The database {path} can't be opened: {e}") from e
    if not keep_conversations:
        return store, None
    return store, await stack.enter_async_context(AsyncSqliteSaver.from_conn_string(str(path)))


async def _set_up(store: _HasTables, fault: type[Exception]) -> None:
    """Bring the tables up to date. LangGraph's migrations know no others that do the same at the
    same moment, and calls that begin together do; whoever is late finds it done."""
    for _ in range(_SETUP_TRIES - 1):
        try:
            return await store.setup()
        except fault:
            await asyncio.sleep(_SETUP_PAUSE_S)
    return await store.setup()


async def _open_postgres(
    stack: contextlib.AsyncExitStack, url: str, keep_conversations: bool
) -> _Opened:
    try:
        # By name: they are an extra, so neither their types nor they themselves need be there.
        savers = import_module("langgraph.checkpoint.postgres.aio")
        stores = import_module("langgraph.store.postgres.aio")
        psycopg = import_module("psycopg")
        pools = import_module("psycopg_pool")
    except ImportError as e:
        raise DatabaseError(
            'Postgres needs an extra: pip install "livekit-agent-worker[postgres]"'
        ) from e
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
        await _set_up(store, psycopg.Error)
        saver: BaseCheckpointSaver[Any] | None = None
        if keep_conversations:
            kept = savers.AsyncPostgresSaver(pool)
            await _set_up(kept, psycopg.Error)
            saver = kept
    except psycopg.Error as e:
        reason = " ".join(str(e).split())
        raise DatabaseError(f"The Postgres database can't be used: {reason}") from e
    return store, saver


async def _stop_batching(store: BaseStore) -> None:
    """End the task in which LangGraph's stores batch their work; they have no way to close it."""
    task: asyncio.Task[None] | None = getattr(store, "_task", None)
    if task is not None:
        task.cancel()
        await asyncio.wait([task])
