"""PostgreSQL as one context sees it: its own schema, its own role, short transactions.

Invariants: application code never commits; leaving :meth:`Database.transaction` does, raising rolls back. A session
keeps no state (the pool does not reset connections), so only ``SET LOCAL`` is allowed. With context roles on (tests,
sandbox) each statement runs under the role of its context, and a query into a foreign schema fails.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import asyncpg

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    _Connection = PoolConnectionProxy[asyncpg.Record]

_statements: ContextVar[list[str] | None] = ContextVar("statements", default=None)


@asynccontextmanager
async def record_statements() -> AsyncIterator[list[str]]:
    """Collect the text of every statement run inside the block by this task and its children."""
    collected: list[str] = []
    token = _statements.set(collected)
    try:
        yield collected
    finally:
        _statements.reset(token)


def _note(statement: str) -> None:
    collected = _statements.get()
    if collected is not None:
        collected.append(statement)


class Transaction:
    """An open transaction. Statements take positional arguments ``$1, $2, ...``."""

    def __init__(self, connection: "_Connection") -> None:
        self._connection = connection

    async def execute(self, statement: str, *arguments: Any) -> str:
        """Run a statement; returns PostgreSQL's command tag, such as ``UPDATE 1``."""
        _note(statement)
        return await self._connection.execute(statement, *arguments)

    async def execute_many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement once for each row of arguments, pipelined."""
        _note(statement)
        await self._connection.executemany(statement, rows)

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """Return all rows."""
        _note(query)
        return await self._connection.fetch(query, *arguments)

    async def fetch_row(self, query: str, *arguments: Any) -> asyncpg.Record | None:
        """Return the first row or None."""
        _note(query)
        return await self._connection.fetchrow(query, *arguments)

    async def fetch_value(self, query: str, *arguments: Any) -> Any:
        """Return the first column of the first row, or None."""
        _note(query)
        return await self._connection.fetchval(query, *arguments)


class Database:
    """A pool of connections used under the role of one context.

    ``role`` is the context's database role (``civium_ctx_<context>``), or None to stay with the login role.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", role: str | None = None) -> None:
        self._pool = pool
        self._role = role

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Open a transaction: commits when the block ends, rolls back when it raises."""
        async with self._pool.acquire() as connection, connection.transaction():
            if self._role is not None:
                await connection.execute(f'SET LOCAL ROLE "{self._role}"')
            yield Transaction(connection)

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """Return all rows of a single read. One round trip when context roles are off."""
        async with self._reader() as transaction:
            return await transaction.fetch(query, *arguments)

    async def fetch_row(self, query: str, *arguments: Any) -> asyncpg.Record | None:
        """Return the first row of a single read, or None. One round trip when context roles are off."""
        async with self._reader() as transaction:
            return await transaction.fetch_row(query, *arguments)

    async def fetch_value(self, query: str, *arguments: Any) -> Any:
        """Return the first column of the first row of a single read, or None."""
        async with self._reader() as transaction:
            return await transaction.fetch_value(query, *arguments)

    async def execute(self, statement: str, *arguments: Any) -> str:
        """Run one statement as a transaction of its own. One round trip when context roles are off."""
        async with self._reader() as transaction:
            return await transaction.execute(statement, *arguments)

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[Transaction]:
        if self._role is not None:
            async with self.transaction() as transaction:
                yield transaction
        else:
            async with self._pool.acquire() as connection:
                yield Transaction(connection)


async def _keep(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Skip asyncpg's reset query: sessions keep no state here, and it costs a quarter of a short transaction."""


async def open_pool(dsn: str, *, size: int) -> "asyncpg.Pool[asyncpg.Record]":
    """Open a pool at start-up (never lazily under load). ``dsn`` names a login role that is no superuser."""
    return await asyncpg.create_pool(
        dsn, min_size=1, max_size=size, reset=_keep, server_settings={"application_name": "civium"}
    )
