"""Delivers the events of an outbox to their consumers.

Every consumer gets the events of its topics at least once, in order per key; the inbox makes that once in effect.
An event goes through three steps, each one statement: *spread* (one delivery row for each consumer), *claim* (a lease
on the oldest due delivery of each consumer and key) and *acknowledge*. When the last consumer has acknowledged, the
event is deleted. A delivery that keeps failing blocks only its own consumer and key, until it becomes a dead letter.

Several dispatchers may serve one outbox; each must be given all consumers of it, because an event that nobody is
subscribed to is deleted.
"""

import asyncio
import secrets
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg
import structlog

from civium.kernel.clock import Clock
from civium.kernel.errors import CiviumError
from civium.kernel.faults import point
from civium.platform.listener import Listener
from civium.platform.outbox import PURPOSE, Consumer, Delivery, place_of
from civium.platform.sealing import Sealer
from civium.platform.telemetry import correlation

if TYPE_CHECKING:
    _Pool = asyncpg.Pool[asyncpg.Record]

_log = structlog.get_logger(__name__)

_SPREAD_AT_ONCE = 500
_POLL_SECONDS = 1.0
_GATHER_SECONDS = 0.02
"""How long a busy dispatcher lets deliveries end before it looks for more: one look then serves many."""
_INBOX_KEPT = timedelta(days=1)
_TIDY_EVERY = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Retrying:
    """When a failed delivery is tried again, and when no more. Delays double and are spread by chance."""

    attempts: int = 8
    first_delay: timedelta = timedelta(milliseconds=500)
    longest_delay: timedelta = timedelta(minutes=1)
    lease: timedelta = timedelta(minutes=1)

    def delay(self, attempt: int) -> timedelta:
        """Return how long to wait after the failure of ``attempt`` (1 for the first)."""
        full = min(self.first_delay * (1 << min(attempt - 1, 30)), self.longest_delay)
        return full * secrets.SystemRandom().uniform(0.5, 1.0)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A delivery that was given up. ``reason`` is the name of the last error's class."""

    event_id: uuid.UUID
    consumer: str
    topic: str
    reason: str
    attempts: int
    died_at: datetime


@dataclass(frozen=True, slots=True)
class _Claim:
    delivery: Delivery
    consumer: Consumer
    attempt: int


class Dispatcher:
    """Serves one outbox schema until told to stop.

    ``pool`` is of the schema's login role (``civium_core`` or ``civium_auth``), not a context's. An event reaches its
    handler a few milliseconds after the commit: the publisher's NOTIFY wakes us, with a poll each second besides.
    """

    def __init__(
        self,
        pool: "_Pool",
        schema: str,
        consumers: Iterable[Consumer],
        sealer: Sealer,
        clock: Clock,
        *,
        concurrency: int = 32,
        retrying: Retrying | None = None,
    ) -> None:
        self._pool = pool
        self._schema = schema
        self._consumers = {consumer.name: consumer for consumer in consumers}
        self._sealer = sealer
        self._clock = clock
        self._concurrency = concurrency
        self._retrying = retrying or Retrying()
        self._subscriptions = [
            (topic, consumer.name) for consumer in self._consumers.values() for topic in sorted(consumer.topics)
        ]
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._handled: list[_Claim] = []
        self._acknowledging = asyncio.Lock()
        self._stopping = False
        self._listener = Listener(pool)
        self._wakeup = self._listener.subscribe(schema)
        self._tidied: datetime | None = None

    async def run(self) -> None:
        """Deliver until :meth:`stop`; then let the handlers that run finish. Reconnects when the database went away."""
        async with self._listener:
            session = None
            while not self._stopping:
                self._wakeup.clear()
                try:
                    if session != self._listener.backend:
                        await self._release_lost_leases()
                        session = self._listener.backend
                    claimed = await self._cycle()
                except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as problem:
                    _log.warning("dispatcher_waits", schema=self._schema, error=type(problem).__name__)
                    claimed = 0
                if claimed == 0 or len(self._tasks) >= self._concurrency:
                    await self._listener.wait(self._wakeup, _POLL_SECONDS)
                await self._gather()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def stop(self) -> None:
        """Ask :meth:`run` to return once the handlers in progress are done."""
        self._stopping = True
        self._wakeup.set()

    async def _gather(self) -> None:
        if len(self._tasks) > self._concurrency // 2:
            self._room.clear()
            await self._listener.wait(self._room, _GATHER_SECONDS)

    async def _cycle(self) -> int:
        await self._acknowledge()
        await self._spread()
        claims = await self._claim(self._concurrency - len(self._tasks))
        for claim in claims:
            task = asyncio.create_task(self._deliver(claim))
            self._tasks.add(task)
            task.add_done_callback(self._finished)
        await self._tidy()
        return len(claims)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (problem := task.exception()) is not None:
            # The database went away between the handler and our note of it: it comes again with our next session.
            _log.warning("delivery_not_settled", schema=self._schema, error=type(problem).__name__)
        if len(self._tasks) <= self._concurrency // 2:
            self._room.set()
        self._wakeup.set()

    async def _spread(self) -> None:
        """Make deliveries of new events, delete events that are done. One dispatcher at a time keeps the order."""
        topics = [topic for topic, _ in self._subscriptions]
        names = [name for _, name in self._subscriptions]
        async with self._pool.acquire() as connection, connection.transaction():
            if await connection.fetchval("SELECT pg_try_advisory_xact_lock(hashtext($1))", self._schema):
                await connection.execute(_SPREAD.format(schema=self._schema), topics, names, _SPREAD_AT_ONCE)
            await connection.execute(f"DELETE FROM {self._schema}.outbox WHERE remaining = 0")  # noqa: S608

    async def _claim(self, limit: int) -> Sequence[_Claim]:
        now = self._clock.now()
        async with self._pool.acquire() as connection:
            rows = await connection.fetch(
                _CLAIM.format(schema=self._schema),
                now,
                list(self._consumers),
                limit,
                now + self._retrying.lease,
                self._listener.backend,
            )
        return [
            _Claim(
                Delivery(row["event_id"], row["topic"], row["key"], row["at"], row["payload"]),
                self._consumers[row["consumer"]],
                row["attempts"],
            )
            for row in rows
        ]

    async def _deliver(self, claim: _Claim) -> None:
        sealed = claim.delivery
        # Well before the lease ends, so that no other dispatcher has the event in hand at the same time.
        allowed = self._retrying.lease.total_seconds() * 0.8
        correlation.set(f"event-{sealed.id}")
        try:
            async with asyncio.timeout(allowed):
                payload = await self._sealer.unseal(PURPOSE, place_of(sealed.id, sealed.topic), sealed.payload)
                await claim.consumer.handle(Delivery(sealed.id, sealed.topic, sealed.key, sealed.at, payload))
        except Exception as problem:  # noqa: BLE001 - whatever a consumer raises is retried, then set aside
            await self._failed(claim, type(problem).__name__)
        else:
            point("dispatcher.handled")
            self._handled.append(claim)
            await self._acknowledge()

    async def _acknowledge(self) -> None:
        """Note which deliveries are done; those that end while others are being noted go together in one statement.

        What could not be noted stays for the next time.
        """
        async with self._acknowledging:
            batch = list(self._handled)
            if not batch:
                return
            async with self._pool.acquire() as connection:
                await connection.execute(
                    _ACKNOWLEDGE.format(schema=self._schema),
                    [each.delivery.id for each in batch],
                    [each.consumer.name for each in batch],
                    [each.attempt for each in batch],
                )
            del self._handled[: len(batch)]

    async def _failed(self, claim: _Claim, reason: str) -> None:
        _log.warning(
            "delivery_failed",
            schema=self._schema,
            event_id=str(claim.delivery.id),
            topic=claim.delivery.topic,
            consumer=claim.consumer.name,
            attempt=claim.attempt,
            error=reason,
        )
        now = self._clock.now()
        key = (claim.delivery.id, claim.consumer.name, claim.attempt)
        async with self._pool.acquire() as connection:
            if claim.attempt >= self._retrying.attempts:
                await connection.execute(_GIVE_UP.format(schema=self._schema), *key, reason, now)
                return
            delay = self._retrying.delay(claim.attempt)
            await connection.execute(_RETRY.format(schema=self._schema), *key, now + delay)
        asyncio.get_running_loop().call_later(delay.total_seconds(), self._wakeup.set)

    async def _release_lost_leases(self) -> None:
        """Make due at once what a session that is gone had in hand, instead of waiting for its lease to end."""
        async with self._pool.acquire() as connection:
            await connection.execute(_RELEASE.format(schema=self._schema))

    async def _tidy(self) -> None:
        now = self._clock.now()
        if self._tidied is not None and now - self._tidied < _TIDY_EVERY:
            return
        self._tidied = now
        async with self._pool.acquire() as connection:
            await connection.execute(_TIDY_INBOX.format(schema=self._schema), now - _INBOX_KEPT)


async def dead_letters(pool: "_Pool", schema: str) -> list[DeadLetter]:
    """Return what was given up in an outbox schema, oldest first."""
    rows = await pool.fetch(
        f"SELECT event_id, consumer, topic, reason, attempts, died_at FROM {schema}.dead_letter ORDER BY died_at"  # noqa: S608
    )
    return [DeadLetter(**row) for row in rows]


async def replay(pool: "_Pool", schema: str, event_id: uuid.UUID, consumer: str) -> None:
    """Deliver a dead letter again, as if it were new; raises NoDeadLetter. It comes after what waits for its key."""
    async with pool.acquire() as connection, connection.transaction():
        if await connection.fetchval(_REPLAY.format(schema=schema), event_id, consumer) is None:
            raise NoDeadLetter("no such dead letter")
        await connection.execute("SELECT pg_notify($1, '')", schema)


class NoDeadLetter(CiviumError):
    """There is no dead letter of this event and consumer."""


_SPREAD = """
WITH fresh AS MATERIALIZED (
    SELECT id, seq, key, topic FROM {schema}.outbox WHERE remaining IS NULL ORDER BY seq LIMIT $3 FOR UPDATE
), spread AS (
    INSERT INTO {schema}.delivery (event_id, consumer, seq, key)
    SELECT id, consumer, seq, key
    FROM fresh JOIN unnest($1::text[], $2::text[]) AS subscription (topic, consumer) USING (topic)
    RETURNING event_id
)
UPDATE {schema}.outbox SET remaining = (SELECT count(*) FROM spread WHERE event_id = id)
WHERE id IN (SELECT id FROM fresh)
"""

_CLAIM = """
WITH due AS MATERIALIZED (
    SELECT event_id, consumer FROM {schema}.delivery AS this
    WHERE due <= $1 AND consumer = ANY ($2::text[]) AND NOT EXISTS (
        SELECT FROM {schema}.delivery AS earlier
        WHERE earlier.consumer = this.consumer AND earlier.key = this.key AND earlier.seq < this.seq)
    ORDER BY seq LIMIT $3 FOR UPDATE SKIP LOCKED
)
UPDATE {schema}.delivery AS taken SET attempts = attempts + 1, due = $4, holder = $5
FROM due JOIN {schema}.outbox AS event ON event.id = due.event_id
WHERE taken.event_id = due.event_id AND taken.consumer = due.consumer
RETURNING taken.event_id, taken.consumer, taken.attempts, event.topic, event.key, event.at, event.payload
"""

_ACKNOWLEDGE = """
WITH events AS MATERIALIZED (
    SELECT id FROM {schema}.outbox WHERE id = ANY ($1::uuid[]) ORDER BY id FOR UPDATE
), done AS (
    DELETE FROM {schema}.delivery AS handled USING unnest($1::uuid[], $2::text[], $3::int[]) AS claim (id, by, attempt)
    WHERE event_id IN (SELECT id FROM events) AND event_id = claim.id AND consumer = by AND attempts = claim.attempt
    RETURNING event_id
)
UPDATE {schema}.outbox SET remaining = remaining - acknowledged
FROM (SELECT event_id, count(*) AS acknowledged FROM done GROUP BY event_id) AS each WHERE id = event_id
"""

_RETRY = """
UPDATE {schema}.delivery SET due = $4, holder = NULL WHERE event_id = $1 AND consumer = $2 AND attempts = $3
"""

_GIVE_UP = """
WITH done AS (
    DELETE FROM {schema}.delivery WHERE event_id = $1 AND consumer = $2 AND attempts = $3
    RETURNING event_id, consumer, attempts
), dead AS (
    INSERT INTO {schema}.dead_letter (event_id, consumer, topic, key, at, payload, attempts, reason, died_at)
    SELECT id, consumer, topic, key, at, payload, attempts, $4, $5
    FROM done JOIN {schema}.outbox ON id = event_id
)
UPDATE {schema}.outbox SET remaining = remaining - 1 WHERE id IN (SELECT event_id FROM done)
"""

_RELEASE = """
UPDATE {schema}.delivery SET due = '-infinity', holder = NULL
WHERE holder IS NOT NULL AND holder NOT IN (SELECT pid FROM pg_stat_activity)
"""

_TIDY_INBOX = """
DELETE FROM {schema}.inbox WHERE at < $1
  AND event_id NOT IN (SELECT id FROM {schema}.outbox) AND event_id NOT IN (SELECT event_id FROM {schema}.dead_letter)
"""

_REPLAY = """
WITH raised AS (
    DELETE FROM {schema}.dead_letter WHERE event_id = $1 AND consumer = $2
    RETURNING event_id, consumer, topic, key, at, payload
), event AS (
    INSERT INTO {schema}.outbox AS o (id, topic, key, at, payload, remaining)
    SELECT event_id, topic, key, at, payload, 1 FROM raised
    ON CONFLICT (id) DO UPDATE SET remaining = o.remaining + 1
    RETURNING id, seq
)
INSERT INTO {schema}.delivery (event_id, consumer, seq, key)
SELECT event_id, consumer, seq, key FROM raised JOIN event ON id = event_id
RETURNING event_id
"""
