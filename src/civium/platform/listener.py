"""Wake-ups by PostgreSQL's NOTIFY, on a connection of their own, with a time-out so that a lost one costs little."""

import asyncio
import contextlib
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import asyncpg

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    _Pool = asyncpg.Pool[asyncpg.Record]


class Listener:
    """Sets events when channels are notified. Subscribe first, then use it as an async context manager.

    It holds one connection of ``pool``. When that connection breaks, the next :meth:`wait` opens another.
    """

    def __init__(self, pool: "_Pool") -> None:
        self._pool = pool
        self._events: dict[str, list[asyncio.Event]] = {}
        self._connection: PoolConnectionProxy[asyncpg.Record] | None = None
        self._reconnecting = asyncio.Lock()

    def subscribe(self, channel: str) -> asyncio.Event:
        """Return an event that each notification on ``channel`` sets. Its owner clears it before looking for work."""
        event = asyncio.Event()
        self._events.setdefault(channel, []).append(event)
        return event

    @property
    def backend(self) -> int | None:
        """The server's process id of the listening session: it is gone when this process is gone."""
        if self._connection is None:
            return None
        try:
            return None if self._connection.is_closed() else self._connection.get_server_pid()
        except asyncpg.InterfaceError:
            return None  # the pool took the broken connection back already

    async def __aenter__(self) -> Self:
        await self._connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._disconnect()

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Return when ``event`` is set, at the latest after ``seconds``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()
        if self.backend is None:
            async with self._reconnecting:
                await self._reconnect()

    async def _reconnect(self) -> None:
        if self.backend is not None:
            return
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await self._disconnect()
            await self._connect()

    async def _connect(self) -> None:
        connection = await self._pool.acquire()
        self._connection = connection
        for channel in self._events:
            await connection.add_listener(channel, self._notified)

    async def _disconnect(self) -> None:
        connection, alive = self._connection, self.backend is not None
        self._connection = None
        if connection is None:
            return
        if alive:
            for channel in self._events:
                await connection.remove_listener(channel, self._notified)
        await self._pool.release(connection)

    def _notified(self, _connection: Any, _pid: int, channel: str, _payload: object) -> None:
        for event in self._events.get(channel, ()):
            event.set()
