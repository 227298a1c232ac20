"""All SQL of access."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from civium.platform.database import Database, Transaction


@dataclass(frozen=True, slots=True)
class StoredAccount:
    """An account as it lies in the database."""

    name_hash: bytes
    version: int
    box: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session as it lies in the database."""

    id: uuid.UUID
    name_hash: bytes
    generation: int
    box: bytes = field(repr=False)
    idle_until: datetime
    ends_at: datetime


class AttemptLimit(Protocol):
    """How many failures are free, and how many are the last."""

    @property
    def free(self) -> int: ...
    @property
    def stop(self) -> int: ...


class Store:
    """Rows of the schema ``access``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def accounts(self, name_hashes: Collection[bytes] | None = None) -> Sequence[StoredAccount]:
        """Return the accounts of names, or all. One round trip."""
        rows = await self._database.fetch(
            "SELECT name_hash, version, box FROM access.account"
            " WHERE $1::bytea[] IS NULL OR name_hash = ANY($1::bytea[]) ORDER BY name_hash",
            None if name_hashes is None else list(name_hashes),
        )
        return [StoredAccount(row["name_hash"], row["version"], row["box"]) for row in rows]

    async def next_version(self, transaction: Transaction, name_hash: bytes) -> int:
        """Return the version that the account's next box has; holds the row until the transaction ends."""
        version: int | None = await transaction.fetch_value(
            "SELECT version FROM access.account WHERE name_hash = $1 FOR UPDATE", name_hash
        )
        return (version or 0) + 1

    async def save(self, transaction: Transaction, name_hash: bytes, version: int, box: bytes) -> None:
        """Add or replace an account."""
        await transaction.execute(
            "INSERT INTO access.account (name_hash, version, box) VALUES ($1, $2, $3)"
            " ON CONFLICT (name_hash) DO UPDATE SET version = excluded.version, box = excluded.box",
            name_hash,
            version,
            box,
        )

    async def count_attempt(
        self, transaction: Transaction, key_hash: bytes, limit: AttemptLimit, at: datetime, since: datetime
    ) -> bool:
        """Count an attempt as failed until it succeeds; False, and not counted, when it is one too many or too early.

        The wait after failure ``n`` is ``2 ** (n - free)`` seconds. A window that began before ``since`` is over.
        """
        counted = await transaction.fetch_value(
            "INSERT INTO access.failed_login AS stored (key_hash, failures, since, last_at) VALUES ($1, 1, $2, $2)"
            " ON CONFLICT (key_hash) DO UPDATE SET"
            " failures = CASE WHEN stored.since > $3 THEN stored.failures + 1 ELSE 1 END,"
            " since = CASE WHEN stored.since > $3 THEN stored.since ELSE $2 END,"
            " last_at = $2"
            " WHERE stored.since <= $3 OR (stored.failures < $5 AND ("
            "   stored.failures < $4 OR stored.last_at + make_interval(secs => 2 ^ (stored.failures - $4)) <= $2))"
            " RETURNING failures",
            key_hash,
            at,
            since,
            limit.free,
            limit.stop,
        )
        return counted is not None

    async def forget_failures(self, transaction: Transaction, key_hash: bytes) -> None:
        """Start again at no failure."""
        await transaction.execute("DELETE FROM access.failed_login WHERE key_hash = $1", key_hash)

    async def take_attempt_back(self, transaction: Transaction, key_hash: bytes) -> None:
        """Count one attempt less: it succeeded."""
        await transaction.execute(
            "UPDATE access.failed_login SET failures = failures - 1 WHERE key_hash = $1 AND failures > 0", key_hash
        )

    async def revoke(self, transaction: Transaction, token_id: str, expires_at: datetime) -> None:
        """Note a token, or a session, as revoked until it expires."""
        await transaction.execute(
            "INSERT INTO access.revoked_token (jti, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            token_id,
            expires_at,
        )

    async def revoked(self, *, now: datetime) -> frozenset[str]:
        """Return the ids of all revoked tokens and sessions that have not expired."""
        rows = await self._database.fetch("SELECT jti FROM access.revoked_token WHERE expires_at > $1", now)
        return frozenset(row["jti"] for row in rows)

    async def add_session(self, transaction: Transaction, session: StoredSession) -> None:
        """Add a session."""
        await transaction.execute(
            "INSERT INTO access.session (id, name_hash, generation, box, idle_until, ends_at)"
            " VALUES ($1, $2, $3, $4, $5, $6)",
            session.id,
            session.name_hash,
            session.generation,
            session.box,
            session.idle_until,
            session.ends_at,
        )

    async def session(self, session_id: uuid.UUID) -> StoredSession | None:
        """Return a session."""
        row = await self._database.fetch_row(
            "SELECT id, name_hash, generation, box, idle_until, ends_at FROM access.session WHERE id = $1", session_id
        )
        return None if row is None else StoredSession(**row)

    async def advance_session(
        self, transaction: Transaction, session_id: uuid.UUID, generation: int, idle_until: datetime
    ) -> bool:
        """Move a session on from ``generation`` to the next; False when somebody did so before."""
        tag = await transaction.execute(
            "UPDATE access.session SET generation = $2 + 1, idle_until = $3 WHERE id = $1 AND generation = $2",
            session_id,
            generation,
            idle_until,
        )
        return tag.endswith(" 1")

    async def end_session(self, transaction: Transaction, session_id: uuid.UUID) -> None:
        """Delete a session."""
        await transaction.execute("DELETE FROM access.session WHERE id = $1", session_id)

    async def end_sessions(self, transaction: Transaction, name_hash: bytes) -> Sequence[uuid.UUID]:
        """Delete all sessions of an account; returns their ids."""
        rows = await transaction.fetch("DELETE FROM access.session WHERE name_hash = $1 RETURNING id", name_hash)
        return [row["id"] for row in rows]

    async def use_assertion(self, transaction: Transaction, id_hash: bytes, expires_at: datetime) -> bool:
        """Note a client's assertion as used; False when it was used before."""
        tag = await transaction.execute(
            "INSERT INTO access.used_assertion (id_hash, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            id_hash,
            expires_at,
        )
        return tag.endswith(" 1")

    async def purge(self, *, now: datetime, window_start: datetime) -> None:
        """Delete what no longer matters: expired revocations, sessions and assertions, past failures."""
        async with self._database.transaction() as transaction:
            await transaction.execute("DELETE FROM access.revoked_token WHERE expires_at <= $1", now)
            await transaction.execute("DELETE FROM access.session WHERE idle_until <= $1 OR ends_at <= $1", now)
            await transaction.execute("DELETE FROM access.used_assertion WHERE expires_at <= $1", now)
            await transaction.execute("DELETE FROM access.failed_login WHERE since <= $1", window_start)
