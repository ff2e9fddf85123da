"""The store of one call in a worker: the call's own notes, and what is known about its caller.

Notes for the call (timers, facts of a caller who is not known) never leave memory. The database
with what known callers asked to be remembered is opened when the first of them is looked up, in
the event loop of the call: calls of a worker run in loops of their own.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from functools import cache
from typing import Any

from langgraph.store.base import BaseStore, GetOp, Op, PutOp, Result, SearchOp
from langgraph.store.memory import InMemoryStore

from .memory import IN_MEMORY, DatabaseError, open_store


class CallStore(BaseStore):
    """Opens nothing before it is needed. Close it with `aclose`.

    Args:
        database_url: As for `flows.memory.open_memory`; "memory" is shared by all calls of the
            process.
        keep_days: Days for which a caller's facts are kept; None for until they are forgotten.
    """

    def __init__(self, database_url: str, *, keep_days: float | None = None) -> None:
        self._database_url = database_url
        self._keep_days = keep_days
        self._notes = InMemoryStore()
        self._callers: BaseStore | None = None
        self._opening = asyncio.Lock()
        self._stack = contextlib.AsyncExitStack()

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Hand each operation to the store that it belongs to.

        Raises:
            DatabaseError: The database with the callers can't be used.
        """
        ops = list(ops)
        results: list[Result] = [None] * len(ops)
        for about_callers in (False, True):
            places = [i for i, op in enumerate(ops) if _is_about_callers(op) is about_callers]
            if not places:
                continue
            mine = [ops[i] for i in places]
            answers = await (self._of_callers(mine) if about_callers else self._notes.abatch(mine))
            for place, answer in zip(places, answers, strict=True):
                results[place] = answer
        return results

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Not offered: graphs run in the event loop."""
        raise NotImplementedError("use the asynchronous methods of this store")

    async def aclose(self) -> None:
        """Close the database, if it was opened; safe to call twice."""
        async with self._opening:
            self._callers = None
            await self._stack.aclose()

    async def _of_callers(self, ops: list[Op]) -> list[Result]:
        try:
            return await (await self._opened()).abatch(ops)
        except DatabaseError:
            raise
        except Exception as e:
            # Each database has errors of its own, and so has each of its drivers.
            raise DatabaseError(f"The database does not work: {e}") from e

    async def _opened(self) -> BaseStore:
        async with self._opening:
            if self._callers is None:
                if self._database_url == IN_MEMORY:
                    self._callers = _of_this_process()
                else:
                    opened = open_store(self._database_url, keep_days=self._keep_days)
                    self._callers = await self._stack.enter_async_context(opened)
            return self._callers


@cache
def _of_this_process() -> BaseStore:
    return InMemoryStore()


def _is_about_callers(op: Any) -> bool:
    match op:
        case GetOp() | PutOp():
            return op.namespace[:1] == ("callers",)
        case SearchOp():
            return op.namespace_prefix[:1] == ("callers",)
    return False
