"""All SQL of authentication: one read and one write per request, and what the feed stores."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import asyncpg

from civium.kernel import faults
from civium.kernel.errors import CiviumError
from civium.platform.database import Database, Transaction
from civium.platform.outbox import Announcer
from civium.platform.sealing import Place

OutboxRow = tuple[uuid.UUID, str, str, datetime, bytes]


class ReferenceKind(StrEnum):
    """What the snapshot is made of."""

    ANCHORS = "anchors"
    API_KEY = "api-key"
    LICENCE = "licence"
    PARTNER = "partner"
    POLICY = "policy"
    REVOKED = "revoked"
    SALT = "salt"


@dataclass(frozen=True, slots=True)
class ReferenceRow:
    """One sealed record of reference data. ``key`` is an id, or the keyed hash of a secret."""

    kind: ReferenceKind
    key: str
    box: bytes = field(repr=False)


def reference_place(kind: ReferenceKind, key: str) -> Place:
    """Return the place that a reference record is sealed to."""
    return Place("reference", f"{kind}/{key}", "box")


class Changed(CiviumError):
    """The person's state changed between read and write; nothing was written. Reading again resolves it."""


class Replayed(CiviumError):
    """The same request was answered before; nothing was written."""


@dataclass(frozen=True, slots=True)
class OtpRow:
    """The one OTP state of an identity. ``failures`` counts wrong tries across OTPs, until one is right."""

    version: int
    mac: bytes = field(repr=False)
    status: str
    expires_at: datetime
    failures: int
    frozen_at: datetime | None


@dataclass(frozen=True, slots=True)
class OtpRequestRow:
    """The person's latest OTP request under a transaction id."""

    partner_id: str
    id_type: str


@dataclass(frozen=True, slots=True)
class IdentityRow:
    """A person under one identifier, sealed. ``head`` lives in a table of its own and names the row's version."""

    id: bytes = field(repr=False)
    version: int
    token_hash: bytes = field(repr=False)
    token: bytes = field(repr=False)
    demographics: bytes = field(repr=False)
    biometrics: bytes | None = field(repr=False)
    head: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Found:
    """The answer of the one read of an authentication."""

    snapshot_version: int
    replayed: bool
    identity: IdentityRow | None
    locked: frozenset[str]
    otp: OtpRow | None
    otp_request: OtpRequestRow | None
    recent_otp_requests: int

    @property
    def token_hash(self) -> bytes | None:
        """What the person's rows are joined by; None for an unknown identifier."""
        return self.identity.token_hash if self.identity else None


@dataclass(frozen=True, slots=True)
class AuthRecord:
    """A row of the history of authentications."""

    id: uuid.UUID
    requested_at: datetime
    responded_at: datetime
    transaction_id: str
    type_codes: str
    succeeded: bool
    comment: str
    id_type: str
    identity: bytes = field(repr=False)
    token_hash: bytes | None = field(repr=False)
    partner_id: str


@dataclass(frozen=True, slots=True)
class Consumption:
    """One use of an identifier with limited uses. ``head`` None removes the identity: that was the last."""

    id: bytes = field(repr=False)
    version: int
    token: bytes | None = field(repr=False)
    head: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class IdentityBoxes:
    """An identity to write; ``version`` is one more than the version that it replaces (1 for a new one)."""

    id: bytes = field(repr=False)
    version: int
    token_hash: bytes = field(repr=False)
    token: bytes = field(repr=False)
    demographics: bytes = field(repr=False)
    biometrics: bytes | None = field(repr=False)
    head: bytes = field(repr=False)


_READ = """
SELECT (SELECT version FROM authentication.reference_version) AS snapshot_version,
       EXISTS (SELECT FROM authentication.replay WHERE key = $2) AS replayed,
       i.id, i.version, i.token_hash, i.token, i.demographics,
       CASE WHEN $5 THEN i.biometrics END AS biometrics, h.box AS head,
       ARRAY(SELECT l.code FROM authentication.auth_lock l WHERE l.token_hash = i.token_hash AND l.locked
             AND (l.unlock_expires_at IS NULL OR l.unlock_expires_at <= $4)) AS locked,
       o.version AS otp_version, o.mac, o.status, o.expires_at, o.failures, o.frozen_at,
       r.partner_id AS otp_partner, r.id_type AS otp_id_type,
       (SELECT count(*) FROM authentication.auth_transaction t WHERE t.token_hash = i.token_hash
        AND t.type_codes = 'OTP-REQUEST' AND t.succeeded AND t.requested_at > $6) AS recent
FROM (VALUES (true)) AS one
LEFT JOIN authentication.identity_cache i ON i.id = $1
LEFT JOIN authentication.identity_head h ON h.id = i.id
LEFT JOIN authentication.otp o ON o.identity = $1
LEFT JOIN LATERAL (
    SELECT partner_id, id_type FROM authentication.auth_transaction t
    WHERE t.token_hash = i.token_hash AND transaction_id = $3 AND type_codes = 'OTP-REQUEST' AND succeeded
    ORDER BY requested_at DESC LIMIT 1
) r ON true
"""

_RECORD = """
WITH remembered AS (
    INSERT INTO authentication.replay (key, seen_at) VALUES ($1, $2)
), noted AS (
    INSERT INTO authentication.auth_transaction (id, requested_at, responded_at, transaction_id, type_codes,
        succeeded, comment, id_type, identity, token_hash, partner_id)
    VALUES ($3, $4, $2, $5, $6, $7, $8, $9, $10, $11, $12)
), otp AS (
    INSERT INTO authentication.otp AS o (identity, version, mac, status, expires_at, failures, frozen_at)
    SELECT $10::bytea, $13::int, $14::bytea, $15::text, $16::timestamptz, $17::int, $18::timestamptz
    WHERE $13::int IS NOT NULL
    ON CONFLICT (identity) DO UPDATE SET version = EXCLUDED.version, mac = EXCLUDED.mac, status = EXCLUDED.status,
        expires_at = EXCLUDED.expires_at, failures = EXCLUDED.failures, frozen_at = EXCLUDED.frozen_at
    WHERE o.version = EXCLUDED.version - 1
    RETURNING 1
), used AS (
    UPDATE authentication.identity_cache SET version = version + 1, token = $20
    WHERE id = $10 AND version = $19 AND $21::bytea IS NOT NULL RETURNING id
), used_head AS (
    UPDATE authentication.identity_head h SET box = $21 FROM used WHERE h.id = used.id RETURNING 1
), spent AS (
    DELETE FROM authentication.identity_cache WHERE id = $10 AND version = $19 AND $21::bytea IS NULL RETURNING id
), spent_head AS (
    DELETE FROM authentication.identity_head h USING spent WHERE h.id = spent.id RETURNING 1
), told AS (
    INSERT INTO outbox_auth.outbox (id, topic, key, at, payload)
    SELECT * FROM unnest($22::uuid[], $23::text[], $24::text[], $25::timestamptz[], $26::bytea[])
)
SELECT 1 / (
    (SELECT count(*) FROM otp) = ($13::int IS NOT NULL)::int
    AND (SELECT count(*) FROM used_head) + (SELECT count(*) FROM spent_head) = ($19::int IS NOT NULL)::int
)::int
"""
"""One statement is one transaction without a BEGIN and a COMMIT to send: a change to undo it all is an error in it."""


class AuthenticationStore:
    """Reads run alone; writes take the caller's transaction unless they are one statement."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._announcer = Announcer(db, "outbox_auth")

    async def find(
        self,
        identity: bytes,
        *,
        replay_key: bytes,
        transaction_id: str,
        at: datetime,
        biometrics: bool,
        recent_since: datetime,
    ) -> Found:
        """Return all that an authentication needs to know. One statement, index look-ups only."""
        row = await self._db.fetch_row(_READ, identity, replay_key, transaction_id, at, biometrics, recent_since)
        assert row is not None
        return _found(row)

    async def record(
        self,
        record: AuthRecord,
        *,
        replay_key: bytes,
        otp: OtpRow | None,
        consumption: Consumption | None,
        outbox: Sequence[OutboxRow],
    ) -> None:
        """Write an authentication and all its consequences, or nothing. One round trip.

        ``otp`` is the new state, its version one more than the one that was read. Raises Replayed, and Changed when
        the OTP or the identity is not at the version that was read.
        """
        columns: tuple[Sequence[object], ...] = tuple(zip(*outbox, strict=True)) or ((), (), (), (), ())
        faults.point("authentication.before-commit")
        try:
            await self._db.execute(
                _RECORD,
                replay_key,
                record.responded_at,
                record.id,
                record.requested_at,
                record.transaction_id,
                record.type_codes,
                record.succeeded,
                record.comment,
                record.id_type,
                record.identity,
                record.token_hash,
                record.partner_id,
                *(
                    (otp.version, otp.mac, otp.status, otp.expires_at, otp.failures, otp.frozen_at)
                    if otp
                    else (None,) * 6
                ),
                *((consumption.version, consumption.token, consumption.head) if consumption else (None,) * 3),
                *columns,
            )
        except asyncpg.UniqueViolationError:
            raise Replayed("the request was answered before") from None
        except asyncpg.DivisionByZeroError:
            raise Changed("the OTP or the identity changed meanwhile") from None
        self._announcer.announce()

    async def forget_replays(self, before: datetime) -> int:
        """Delete what needs no remembering any more; returns how many rows."""
        tag = await self._db.execute("DELETE FROM authentication.replay WHERE seen_at < $1", before)
        return int(tag.rpartition(" ")[2])

    async def version(self) -> int:
        """Return the present version of the reference data."""
        version: int = await self._db.fetch_value("SELECT version FROM authentication.reference_version")
        return version

    async def references(self) -> tuple[int, Sequence[ReferenceRow]]:
        """Return the version and all reference records, of one instant."""
        rows = await self._db.fetch(
            "SELECT v.version, r.kind, r.key, r.box FROM authentication.reference_version v "
            "LEFT JOIN authentication.reference r ON true"
        )
        return rows[0]["version"], [
            ReferenceRow(ReferenceKind(row["kind"]), row["key"], row["box"]) for row in rows if row["kind"]
        ]

    async def reference(self, kind: ReferenceKind, key: str) -> bytes | None:
        """Return the box of one reference record."""
        box: bytes | None = await self._db.fetch_value(
            "SELECT box FROM authentication.reference WHERE kind = $1 AND key = $2", kind.value, key
        )
        return box

    async def put_references(self, tx: Transaction, rows: Sequence[ReferenceRow]) -> None:
        """Insert or replace records; every snapshot is then out of date."""
        await tx.execute_many(
            "INSERT INTO authentication.reference (kind, key, box) VALUES ($1, $2, $3) "
            "ON CONFLICT (kind, key) DO UPDATE SET box = EXCLUDED.box",
            [(row.kind.value, row.key, row.box) for row in rows],
        )
        await tx.execute("UPDATE authentication.reference_version SET version = version + 1")

    async def identity(self, id: bytes) -> IdentityRow | None:
        """Return one identity."""
        row = await self._db.fetch_row(
            "SELECT i.id, i.version, i.token_hash, i.token, i.demographics, i.biometrics, h.box AS head "
            "FROM authentication.identity_cache i LEFT JOIN authentication.identity_head h ON h.id = i.id "
            "WHERE i.id = $1",
            id,
        )
        return IdentityRow(**dict(row)) if row else None

    async def put_identity(self, tx: Transaction, boxes: IdentityBoxes) -> None:
        """Write an identity and its head; raises Changed unless its version follows the stored one."""
        tag = await tx.execute(
            "INSERT INTO authentication.identity_cache AS i (id, version, token_hash, token, demographics, biometrics) "
            "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO UPDATE SET version = EXCLUDED.version, "
            "token_hash = EXCLUDED.token_hash, token = EXCLUDED.token, demographics = EXCLUDED.demographics, "
            "biometrics = EXCLUDED.biometrics WHERE i.version = EXCLUDED.version - 1",
            boxes.id,
            boxes.version,
            boxes.token_hash,
            boxes.token,
            boxes.demographics,
            boxes.biometrics,
        )
        if not tag.endswith(" 1"):
            raise Changed("the identity changed meanwhile")
        await tx.execute(
            "INSERT INTO authentication.identity_head (id, box) VALUES ($1, $2) "
            "ON CONFLICT (id) DO UPDATE SET box = EXCLUDED.box",
            boxes.id,
            boxes.head,
        )

    async def count_identities(self) -> int:
        found: int = await self._db.fetch_value("SELECT count(*) FROM authentication.identity_cache")
        return found

    async def identities_after(self, id: bytes | None, limit: int) -> Sequence[IdentityRow]:
        """Return identities in the order of their ids."""
        rows = await self._db.fetch(
            "SELECT i.id, i.version, i.token_hash, i.token, i.demographics, i.biometrics, h.box AS head "
            "FROM authentication.identity_cache i LEFT JOIN authentication.identity_head h ON h.id = i.id "
            "WHERE $1::bytea IS NULL OR i.id > $1 ORDER BY i.id LIMIT $2",
            id,
            limit,
        )
        return [IdentityRow(**dict(row)) for row in rows]

    async def replace_boxes(self, before: IdentityRow, row: IdentityRow) -> bool:
        """Write boxes that were sealed anew; False when the identity changed since it was read."""
        async with self._db.transaction() as tx:
            tag = await tx.execute(
                "UPDATE authentication.identity_cache SET token = $2, demographics = $3, biometrics = $4 "
                "WHERE id = $1 AND version = $5 AND token = $6",
                row.id,
                row.token,
                row.demographics,
                row.biometrics,
                before.version,
                before.token,
            )
            if not tag.endswith(" 1"):
                return False
            await tx.execute("UPDATE authentication.identity_head SET box = $2 WHERE id = $1", row.id, row.head)
        return True

    async def remove_identity(self, tx: Transaction, id: bytes) -> None:
        """Delete an identity, its head and its OTP."""
        await tx.execute("DELETE FROM authentication.identity_cache WHERE id = $1", id)
        await tx.execute("DELETE FROM authentication.identity_head WHERE id = $1", id)
        await tx.execute("DELETE FROM authentication.otp WHERE identity = $1", id)

    async def put_locks(
        self, tx: Transaction, token_hash: bytes, locks: Sequence[tuple[str, bool, datetime | None]]
    ) -> None:
        """Replace the named codes' state (code, locked, end of a temporary unlock)."""
        await tx.execute_many(
            "INSERT INTO authentication.auth_lock (token_hash, code, locked, unlock_expires_at) "
            "VALUES ($1, $2, $3, $4) ON CONFLICT (token_hash, code) DO UPDATE SET locked = EXCLUDED.locked, "
            "unlock_expires_at = EXCLUDED.unlock_expires_at",
            [(token_hash, *lock) for lock in locks],
        )


def _found(row: asyncpg.Record) -> Found:
    identity = None
    if row["id"] is not None:
        identity = IdentityRow(
            id=row["id"],
            version=row["version"],
            token_hash=row["token_hash"],
            token=row["token"],
            demographics=row["demographics"],
            biometrics=row["biometrics"],
            head=row["head"],
        )
    otp = None
    if row["otp_version"] is not None:
        otp = OtpRow(
            version=row["otp_version"],
            mac=row["mac"],
            status=row["status"],
            expires_at=row["expires_at"],
            failures=row["failures"],
            frozen_at=row["frozen_at"],
        )
    request = None
    if row["otp_partner"] is not None:
        request = OtpRequestRow(row["otp_partner"], row["otp_id_type"])
    return Found(
        snapshot_version=row["snapshot_version"],
        replayed=row["replayed"],
        identity=identity,
        locked=frozenset(row["locked"]),
        otp=otp,
        otp_request=request,
        recent_otp_requests=row["recent"],
    )
