"""All SQL of access."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from civium.platform.database import Database, Transaction


@dataclass(frozen=True, slots=True)
class StoredLogin:
    """What is known of a name when someone logs in with it."""

    version: int
    box: bytes | None = field(repr=False)
    """None for an unknown name."""
    failures: int


class Store:
    """Rows of the schema ``access``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def login(self, name_hash: bytes, *, window_start: datetime) -> StoredLogin:
        """Return the account of a name and its failures since ``window_start``. One round trip."""
        row = await self._database.fetch_row(
            "SELECT account.version, account.box, failed.failures FROM (SELECT $1::bytea AS name_hash) AS asked"
            " LEFT JOIN access.account USING (name_hash)"
            " LEFT JOIN access.failed_login AS failed ON failed.name_hash = asked.name_hash AND failed.since > $2",
            name_hash,
            window_start,
        )
        assert row is not None
        return StoredLogin(row["version"] or 0, row["box"], row["failures"] or 0)

    async def known(self, name_hashes: Sequence[bytes]) -> frozenset[bytes]:
        """Return those of the names that have an account."""
        rows = await self._database.fetch(
            "SELECT name_hash FROM access.account WHERE name_hash = ANY($1::bytea[])", name_hashes
        )
        return frozenset(row["name_hash"] for row in rows)

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

    async def count_failure(
        self, transaction: Transaction, name_hash: bytes, *, at: datetime, window_start: datetime
    ) -> None:
        """Count one more failed log-in; a window that has passed starts anew."""
        await transaction.execute(
            "INSERT INTO access.failed_login AS stored (name_hash, failures, since) VALUES ($1, 1, $2)"
            " ON CONFLICT (name_hash) DO UPDATE SET"
            " failures = CASE WHEN stored.since > $3 THEN stored.failures + 1 ELSE 1 END,"
            " since = CASE WHEN stored.since > $3 THEN stored.since ELSE $2 END",
            name_hash,
            at,
            window_start,
        )

    async def forget_failures(self, transaction: Transaction, name_hash: bytes) -> None:
        """Start again at no failure."""
        await transaction.execute("DELETE FROM access.failed_login WHERE name_hash = $1", name_hash)

    async def revoke(self, transaction: Transaction, jti: str, expires_at: datetime) -> None:
        """Note a token as revoked until it expires."""
        await transaction.execute(
            "INSERT INTO access.revoked_token (jti, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            jti,
            expires_at,
        )

    async def revoked(self, *, now: datetime) -> frozenset[str]:
        """Return the ids of all revoked tokens that have not expired."""
        rows = await self._database.fetch("SELECT jti FROM access.revoked_token WHERE expires_at > $1", now)
        return frozenset(row["jti"] for row in rows)

    async def purge(self, *, now: datetime, window_start: datetime) -> None:
        """Delete what no longer matters: expired revocations and past failures."""
        async with self._database.transaction() as transaction:
            await transaction.execute("DELETE FROM access.revoked_token WHERE expires_at <= $1", now)
            await transaction.execute("DELETE FROM access.failed_login WHERE since <= $1", window_start)
