"""All SQL of the audit trail."""

import uuid
from collections.abc import Sequence

from civium.audit.domain import Head, Record
from civium.platform.database import Database, Transaction


class Store:
    """Rows of the schema ``audit``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def lock_head(self, transaction: Transaction) -> Head:
        """Return the last link; other writers wait until the transaction ends."""
        row = await transaction.fetch_row("SELECT seq, digest, mac FROM audit.head FOR UPDATE")
        assert row is not None
        return Head(**row)

    async def recorded(self, transaction: Transaction, event_ids: Sequence[uuid.UUID]) -> frozenset[uuid.UUID]:
        """Return those events that the trail has already."""
        rows = await transaction.fetch("SELECT event_id FROM audit.record WHERE event_id = ANY($1::uuid[])", event_ids)
        return frozenset(row["event_id"] for row in rows)

    async def append(self, transaction: Transaction, records: Sequence[Record], head: Head) -> None:
        """Add records and move the head."""
        await transaction.execute(
            "INSERT INTO audit.record (seq, event_id, content, previous, digest)"
            " SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::bytea[], $5::bytea[])",
            [record.seq for record in records],
            [record.event_id for record in records],
            [record.content for record in records],
            [record.previous for record in records],
            [record.digest for record in records],
        )
        await transaction.execute(
            "UPDATE audit.head SET seq = $1, digest = $2, mac = $3", head.seq, head.digest, head.mac
        )

    async def head(self) -> Head:
        """Return the last link."""
        row = await self._database.fetch_row("SELECT seq, digest, mac FROM audit.head")
        assert row is not None
        return Head(**row)

    async def records(self, *, after: int, until: int, limit: int) -> list[Record]:
        """Return records with ``after < seq <= until`` in order."""
        rows = await self._database.fetch(
            "SELECT seq, event_id, content, previous, digest FROM audit.record"
            " WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3",
            after,
            until,
            limit,
        )
        return [Record(**row) for row in rows]

    async def first_beyond_head(self) -> int | None:
        """Return the first record that the head of the same instant does not reach: there should be none."""
        seq: int | None = await self._database.fetch_value(
            "SELECT min(seq) FROM audit.record WHERE seq > (SELECT seq FROM audit.head)"
        )
        return seq
