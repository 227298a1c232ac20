"""The outbox and inbox: how contexts tell each other what happened, at least once sent, effectively once taken.

A context writes an event in the transaction of its own change; the dispatcher delivers it to every consumer of its
topic, in order per key, with back-off; a consumer writes ``(consumer, event id)`` to the inbox in its own
transaction, so that a second delivery has no effect. Payloads are sealed at rest and deleted once all consumers have
acknowledged. A ``key`` is opaque: a UUID or a keyed hash, never a clear identifier.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeVar

import asyncpg
import msgspec
import structlog

from civium.kernel.clock import Clock
from civium.platform.database import Database, Transaction
from civium.platform.sealing import Place, Sealer

_log = structlog.get_logger(__name__)

PURPOSE = "outbox"
ANNOUNCE_SECONDS = 0.005

E = TypeVar("E", bound="Event")


class Event(msgspec.Struct, frozen=True):
    """Base of events. A subclass is declared in the `api.py` of the context that publishes or consumes it.

    Subclasses set ``topic`` by overriding :meth:`topic`. Their members are ids, opaque values and sealed blobs; a
    clear personal value may travel only because the whole payload is sealed at rest.
    """

    @classmethod
    def topic(cls) -> str:
        """Return the name that consumers subscribe to."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event as a consumer gets it. ``payload`` is msgspec JSON of the event's class."""

    id: uuid.UUID
    topic: str
    key: str
    at: datetime
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Consumer:
    """A named subscription. ``handle`` must be idempotent: call :func:`first_time` in its transaction."""

    name: str
    topics: frozenset[str]
    handle: Callable[[Delivery], Awaitable[None]]


class Outbox(Protocol):
    """Where a context publishes."""

    async def publish(self, transaction: Transaction, event: Event, *, key: str) -> None:
        """Write ``event`` in ``transaction``. It is delivered after the commit, within milliseconds."""
        ...


class SealedOutbox:
    """The outbox table of one security context (schema ``outbox_core`` or ``outbox_auth``)."""

    def __init__(self, schema: str, sealer: Sealer, clock: Clock) -> None:
        self._table = f"{schema}.outbox"
        self._channel = schema
        self._sealer = sealer
        self._clock = clock

    async def publish(self, transaction: Transaction, event: Event, *, key: str) -> None:
        row = await self.prepare(event, key=key)
        await transaction.execute(
            f"INSERT INTO {self._table} (id, topic, key, at, payload) VALUES ($1, $2, $3, $4, $5)",  # noqa: S608
            *row,
        )
        await transaction.execute("SELECT pg_notify($1, '')", self._channel)

    async def prepare(self, event: Event, *, key: str) -> tuple[uuid.UUID, str, str, datetime, bytes]:
        """Return the row (id, topic, key, at, payload), for a store that inserts it within a statement of its own."""
        event_id = uuid.uuid4()
        topic = type(event).topic()
        box = await self._sealer.seal(PURPOSE, place_of(event_id, topic), msgspec.json.encode(event))
        return event_id, topic, key, self._clock.now(), box


class Announcer:
    """Wakes a dispatcher after commits: once for all that fall into a few milliseconds.

    For transactions too frequent to notify each by itself: PostgreSQL lets commits that notify wait for one another,
    each until the one before is on disk. What is not announced, the dispatcher's poll finds within a second.
    """

    def __init__(self, database: Database, channel: str) -> None:
        self._database = database
        self._channel = channel
        self._due = False
        self._task: asyncio.Task[None] | None = None

    def announce(self) -> None:
        """Have the dispatcher look soon; call it after the commit."""
        self._due = True
        if self._task is None or self._task.done():
            # In a context of its own: it belongs to no request.
            self._task = asyncio.create_task(self._notify(), context=Context())

    async def _notify(self) -> None:
        while self._due:
            await asyncio.sleep(ANNOUNCE_SECONDS)
            self._due = False
            try:
                await self._database.execute("SELECT pg_notify($1, '')", self._channel)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as problem:
                _log.warning("announcement_lost", schema=self._channel, error=type(problem).__name__)


def place_of(event_id: uuid.UUID, topic: str) -> Place:
    """Return the place that an event's payload is sealed to."""
    return Place("outbox", str(event_id), topic)


async def first_time(transaction: Transaction, schema: str, consumer: str, event_id: uuid.UUID) -> bool:
    """Note in the inbox of ``schema`` that ``consumer`` takes the event; False if it did so before."""
    tag = await transaction.execute(
        f"INSERT INTO {schema}.inbox (consumer, event_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",  # noqa: S608
        consumer,
        event_id,
    )
    return tag.endswith(" 1")


def decode(payload: bytes, kind: type[E]) -> E:
    """Return the typed event of a payload; raises msgspec.ValidationError when the shape differs."""
    return msgspec.json.decode(payload, type=kind)
