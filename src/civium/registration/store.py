"""All SQL of the registration processor."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from civium.platform.database import Database, Transaction
from civium.registration.domain import Finding, Outcome, Progress, Status, TransactionType

if TYPE_CHECKING:
    import asyncpg

CHANNEL = "registration_work"
"""Notified when there is work."""
_COMPARE_LOCK = 0x72656769  # one packet at a time takes its place in the order of comparison


@dataclass(frozen=True, slots=True)
class SyncRow:
    """What a client announced about a packet."""

    packet_hash: bytes
    rid_hash: bytes
    process: str
    reference: str
    checksum: bytes
    size: int
    supervisor_status: str
    language: str
    version: int
    rid_box: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KnownRegistration:
    """A registration that has a packet already."""

    workflow_id: uuid.UUID
    progress: Progress


@dataclass(frozen=True, slots=True)
class Lease:
    """A packet taken for processing; ``token`` fences what is written about it."""

    workflow_id: uuid.UUID
    token: int
    failures: int
    process: str
    object_name: str
    checksum: bytes
    sync: SyncRow


class LeaseLost(Exception):
    """Another worker has the packet by now: nothing may be written about it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An earlier registration to compare with."""

    workflow_id: uuid.UUID
    seq: int
    fingers_box: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Enlisted:
    """A packet's place in the order of comparison, and the earlier ones with the same demographic data."""

    seq: int
    same_demographics: frozenset[uuid.UUID]


class Store:
    """Rows of the schema ``registration``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- sync and upload

    async def put_sync(self, transaction: Transaction, rows: Sequence[SyncRow], at: datetime) -> None:
        """Write what was announced; a packet announced again is updated.

        What the supervisor said stands once the packet was received: nobody overturns it by announcing again.
        """
        await transaction.execute_many(
            """INSERT INTO registration.sync AS known (packet_hash, rid_hash, process, reference, checksum, size,
                   supervisor_status, language, version, rid_box, synced_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
               ON CONFLICT (packet_hash) DO UPDATE SET rid_hash = EXCLUDED.rid_hash, process = EXCLUDED.process,
                   reference = EXCLUDED.reference, checksum = EXCLUDED.checksum, size = EXCLUDED.size,
                   language = EXCLUDED.language, supervisor_status = CASE WHEN EXISTS (
                       SELECT FROM registration.registration r
                       WHERE r.rid_hash = known.rid_hash AND r.process = known.process
                   ) THEN known.supervisor_status ELSE EXCLUDED.supervisor_status END,
                   version = EXCLUDED.version, rid_box = EXCLUDED.rid_box, synced_at = EXCLUDED.synced_at""",
            [
                (
                    row.packet_hash, row.rid_hash, row.process, row.reference, row.checksum, row.size,
                    row.supervisor_status, row.language, row.version, row.rid_box, at,
                )
                for row in rows
            ],
        )  # fmt: skip

    async def sync_of(self, packet_hash: bytes) -> tuple[SyncRow, KnownRegistration | None] | None:
        """Return the sync entry of a packet, with the registration that its RID already has. One round trip."""
        row = await self._database.fetch_row(
            """SELECT s.*, r.workflow_id, r.status, r.latest_type, r.latest_at, r.last_success_stage, r.retry_count
               FROM registration.sync s
               LEFT JOIN registration.registration r ON r.rid_hash = s.rid_hash AND r.process = s.process
               WHERE s.packet_hash = $1""",
            packet_hash,
        )
        if row is None:
            return None
        known = None if row["workflow_id"] is None else KnownRegistration(row["workflow_id"], _progress(row))
        return _sync_row(row), known

    async def admit(
        self, transaction: Transaction, sync: SyncRow, known: KnownRegistration | None, object_name: str, at: datetime
    ) -> uuid.UUID | None:
        """Write the registration of a received packet and queue it; None when another upload was faster.

        Locks in the order of the workers: first the work, then the registration. After None, roll back.
        """
        if known is None:
            workflow_id: uuid.UUID | None = await transaction.fetch_value(
                """INSERT INTO registration.registration (workflow_id, rid_hash, packet_hash, process, object_name,
                       checksum, status, latest_type, latest_status, latest_at, stage, received_at)
                   VALUES ($1, $2, $3, $4, $5, $6, 'PROCESSING', 'PACKET_RECEIVER', 'SUCCESS', $7,
                       'PacketReceiverStage', $7)
                   ON CONFLICT (rid_hash, process) DO NOTHING RETURNING workflow_id""",
                uuid.uuid4(), sync.rid_hash, sync.packet_hash, sync.process, object_name, sync.checksum, at,
            )  # fmt: skip
            if workflow_id is not None:
                await self.queue(transaction, workflow_id, at)
        else:
            await self.queue(transaction, known.workflow_id, at)
            workflow_id = await transaction.fetch_value(
                """UPDATE registration.registration SET packet_hash = $3, object_name = $4, checksum = $5,
                       status = 'PROCESSING', latest_type = 'PACKET_RECEIVER', latest_status = 'SUCCESS',
                       latest_at = $6, stage = 'PacketReceiverStage', last_success_stage = NULL,
                       retry_count = retry_count + 1
                   WHERE workflow_id = $1 AND latest_at = $2 RETURNING workflow_id""",
                known.workflow_id, known.progress.latest_at, sync.packet_hash, object_name, sync.checksum, at,
            )  # fmt: skip
        return workflow_id

    async def queue(self, transaction: Transaction, workflow_id: uuid.UUID, at: datetime) -> None:
        """Put a registration up for processing, now, whoever works on it."""
        await transaction.execute(
            """INSERT INTO registration.work (workflow_id, due_at, lease) VALUES ($1, $2, nextval('registration.lease'))
               ON CONFLICT (workflow_id)
               DO UPDATE SET due_at = EXCLUDED.due_at, lease = EXCLUDED.lease, holder = NULL, failures = 0""",
            workflow_id,
            at,
        )
        await transaction.execute("SELECT pg_notify($1, '')", CHANNEL)

    async def unqueue(self, transaction: Transaction, workflow_id: uuid.UUID) -> None:
        """Take a registration out of processing."""
        await transaction.execute("DELETE FROM registration.work WHERE workflow_id = $1", workflow_id)

    # --- processing

    async def lease(self, now: datetime, duration: timedelta) -> Lease | None:
        """Take the packet that waits longest, or that was in the hands of a worker that is gone. One round trip."""
        row = await self._database.fetch_row(
            """WITH due AS (
                   SELECT workflow_id FROM registration.work
                   WHERE due_at <= $1 OR holder NOT IN (SELECT pid FROM pg_stat_activity)
                   ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
               ), taken AS (
                   UPDATE registration.work w
                   SET due_at = $2, lease = nextval('registration.lease'), holder = pg_backend_pid()
                   FROM due WHERE w.workflow_id = due.workflow_id RETURNING w.*
               )
               SELECT t.lease, t.failures, r.workflow_id, r.object_name, r.checksum AS received_checksum, s.*
               FROM taken t JOIN registration.registration r USING (workflow_id)
               JOIN registration.sync s USING (packet_hash)""",
            now,
            now + duration,
        )
        if row is None:
            return None
        return Lease(
            row["workflow_id"], row["lease"], row["failures"], row["process"], row["object_name"],
            row["received_checksum"], _sync_row(row),
        )  # fmt: skip

    async def fence(self, transaction: Transaction, lease: Lease) -> None:
        """Lock the packet for the rest of the transaction; raises LeaseLost."""
        held = await transaction.fetch_value(
            "SELECT 1 FROM registration.work WHERE workflow_id = $1 AND lease = $2 FOR UPDATE",
            lease.workflow_id,
            lease.token,
        )
        if held is None:
            raise LeaseLost

    async def renew(self, lease: Lease, until: datetime) -> None:
        """Keep a packet for longer; raises LeaseLost. One round trip."""
        tag = await self._database.execute(
            "UPDATE registration.work SET due_at = $3 WHERE workflow_id = $1 AND lease = $2",
            lease.workflow_id,
            lease.token,
            until,
        )
        if not tag.endswith(" 1"):
            raise LeaseLost

    async def record(
        self,
        transaction: Transaction,
        workflow_id: uuid.UUID,
        findings: Sequence[Finding],
        status: Status,
        at: datetime,
    ) -> None:
        """Append the steps and bring the registration's row up to the last of them. Two statements."""
        await transaction.execute(
            """INSERT INTO registration.transaction (id, workflow_id, type, status, sub_status, comment, at)
               SELECT id, $1, type, status, sub_status, comment, $2
               FROM unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[])
                   AS step (id, type, status, sub_status, comment)""",
            workflow_id, at, [uuid.uuid4() for _ in findings], [finding.type for finding in findings],
            [finding.outcome for finding in findings], [finding.code for finding in findings],
            [finding.comment for finding in findings],
        )  # fmt: skip
        last = findings[-1]
        passed = [finding.type.stage for finding in findings if finding.outcome is Outcome.SUCCESS]
        await transaction.execute(
            """UPDATE registration.registration SET status = $2, latest_type = $3, latest_status = $4, latest_at = $5,
                   stage = $6, last_success_stage = coalesce($7, last_success_stage)
               WHERE workflow_id = $1""",
            workflow_id, status, last.type, last.outcome, at, last.type.stage, passed[-1] if passed else None,
        )  # fmt: skip

    async def retry(self, transaction: Transaction, lease: Lease, due_at: datetime) -> None:
        """Put a packet back that a technical problem interrupted."""
        await transaction.execute(
            "UPDATE registration.work SET due_at = $2, holder = NULL, failures = failures + 1 WHERE workflow_id = $1",
            lease.workflow_id,
            due_at,
        )

    # --- deduplication

    async def enlist(
        self, transaction: Transaction, workflow_id: uuid.UUID, fingers_box: bytes, digests: Sequence[bytes]
    ) -> Enlisted:
        """Give a packet its place in the order of comparison, and return the earlier ones of the same demographics.

        Places are given one at a time, so that of two packets of one person, worked on at once, the later one sees
        the earlier one. A packet that has its place already keeps it.
        """
        await transaction.execute("SELECT pg_advisory_xact_lock($1)", _COMPARE_LOCK)
        await transaction.execute(
            """INSERT INTO registration.candidate (workflow_id, fingers_box) VALUES ($1, $2)
               ON CONFLICT (workflow_id) DO NOTHING""",
            workflow_id,
            fingers_box,
        )
        await transaction.execute(
            """INSERT INTO registration.demographic (digest, workflow_id) SELECT unnest($2::bytea[]), $1
               ON CONFLICT DO NOTHING""",
            workflow_id,
            digests,
        )
        rows = await transaction.fetch(
            """SELECT own.seq, other.workflow_id FROM registration.candidate own
               LEFT JOIN LATERAL (
                   SELECT DISTINCT c.workflow_id FROM registration.demographic d
                   JOIN registration.candidate c USING (workflow_id)
                   WHERE d.digest = ANY($2::bytea[]) AND c.seq < own.seq
               ) other ON true
               WHERE own.workflow_id = $1""",
            workflow_id,
            digests,
        )
        same = frozenset(row["workflow_id"] for row in rows if row["workflow_id"] is not None)
        return Enlisted(rows[0]["seq"], same)

    async def candidates(self, *, after: int, before: int, count: int) -> list[Candidate]:
        """Return the next candidates of the gallery, in order."""
        rows = await self._database.fetch(
            """SELECT workflow_id, seq, fingers_box FROM registration.candidate
               WHERE seq > $1 AND seq < $2 ORDER BY seq LIMIT $3""",
            after,
            before,
            count,
        )
        return [Candidate(row["workflow_id"], row["seq"], row["fingers_box"]) for row in rows]

    async def strike(self, transaction: Transaction, workflow_id: uuid.UUID) -> None:
        """Forget the fingers and hashes of a registration that is not on its way to a UIN."""
        await transaction.execute("DELETE FROM registration.candidate WHERE workflow_id = $1", workflow_id)

    async def ask_adjudication(
        self, transaction: Transaction, workflow_id: uuid.UUID, matched: Sequence[uuid.UUID], type: str, at: datetime
    ) -> None:
        """Note the possible duplicates that a person has to decide on."""
        await transaction.execute(
            """INSERT INTO registration.adjudication (workflow_id, matched_id, type, at)
               SELECT $1, unnest($2::uuid[]), $3, $4
               ON CONFLICT (workflow_id, matched_id) DO UPDATE SET type = EXCLUDED.type, status = 'PENDING', at = $4""",
            workflow_id,
            matched,
            type,
            at,
        )

    async def withdraw_adjudication(self, transaction: Transaction, workflow_id: uuid.UUID) -> None:
        """Forget the possible duplicates of a registration that is stopped, or compared anew."""
        await transaction.execute("DELETE FROM registration.adjudication WHERE workflow_id = $1", workflow_id)

    # --- status

    async def progress_of(self, rid_hashes: Sequence[bytes]) -> dict[bytes, Progress | None]:
        """Return where registrations stand by the hash of their RID; None for those only announced."""
        rows = await self._database.fetch(
            """SELECT DISTINCT ON (s.rid_hash) s.rid_hash AS key, r.*
               FROM registration.sync s LEFT JOIN registration.registration r USING (rid_hash, process)
               WHERE s.rid_hash = ANY($1::bytea[])""",
            rid_hashes,
        )
        return {row["key"]: _progress(row) if row["status"] is not None else None for row in rows}

    async def packet_progress_of(self, packet_hashes: Sequence[bytes]) -> dict[bytes, Progress | None]:
        """Return where packets stand by the hash of their id; None for those only announced."""
        rows = await self._database.fetch(
            """SELECT s.packet_hash AS key, r.* FROM registration.sync s
               LEFT JOIN registration.registration r USING (packet_hash)
               WHERE s.packet_hash = ANY($1::bytea[])""",
            packet_hashes,
        )
        return {row["key"]: _progress(row) if row["status"] is not None else None for row in rows}

    async def transactions_of(self, rid_hash: bytes) -> "list[asyncpg.Record]":
        """Return the steps of a registration, oldest first."""
        return await self._database.fetch(
            """SELECT t.id, t.type, t.status, t.sub_status, t.comment, t.at,
                   lag(t.id) OVER (PARTITION BY t.workflow_id ORDER BY t.seq) AS parent_id
               FROM registration.registration r JOIN registration.transaction t USING (workflow_id)
               WHERE r.rid_hash = $1 ORDER BY t.seq""",
            rid_hash,
        )

    async def status_of(self, transaction: Transaction, workflow_id: uuid.UUID) -> Status | None:
        """Return a registration's status and lock it; None when there is no such registration."""
        found = await transaction.fetch_value(
            "SELECT status FROM registration.registration WHERE workflow_id = $1 FOR UPDATE", workflow_id
        )
        return None if found is None else Status(found)

    async def page(self, status: str | None, start: int, count: int) -> "tuple[int, list[asyncpg.Record]]":
        """Return how many registrations have the status, and one page of them, newest first."""
        rows = await self._database.fetch(
            """SELECT count(*) OVER () AS total, r.*,
                   (SELECT t.comment FROM registration.transaction t
                    WHERE t.workflow_id = r.workflow_id ORDER BY t.seq DESC LIMIT 1) AS comment
               FROM registration.registration r WHERE $1::text IS NULL OR r.status = $1
               ORDER BY r.received_at DESC, r.workflow_id OFFSET $2 LIMIT $3""",
            status,
            start,
            count,
        )
        return (rows[0]["total"] if rows else 0), rows


def _sync_row(row: "asyncpg.Record") -> SyncRow:
    return SyncRow(
        row["packet_hash"], row["rid_hash"], row["process"], row["reference"], row["checksum"], row["size"],
        row["supervisor_status"], row["language"], row["version"], row["rid_box"],
    )  # fmt: skip


def _progress(row: "asyncpg.Record") -> Progress:
    return Progress(
        Status(row["status"]), TransactionType(row["latest_type"]), row["latest_at"], row["last_success_stage"],
        row["retry_count"],
    )  # fmt: skip
