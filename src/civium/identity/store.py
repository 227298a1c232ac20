"""All SQL of the register."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg

from civium.identity.api import PersonStatus
from civium.identity.domain import Lock
from civium.platform.database import Database, Transaction

Source = Database | Transaction


@dataclass(frozen=True, slots=True)
class PersonRow:
    """A row of ``identity.person``, with its head if there is one."""

    ref: uuid.UUID
    uin_hash: bytes
    rid_hash: bytes
    status: PersonStatus
    version: int
    uin_box: bytes = field(repr=False)
    rid_box: bytes = field(repr=False)
    demographics_box: bytes = field(repr=False)
    objects_box: bytes = field(repr=False)
    demographic_key: bytes = field(repr=False)
    biometric_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Head:
    """The authenticated head of a record."""

    version: int
    mac: bytes


@dataclass(frozen=True, slots=True)
class Minted:
    """A number in the mint. ``uin_box`` is gone once the number belongs to a person."""

    uin_hash: bytes
    ref: uuid.UUID
    rid_hash: bytes | None
    status: str
    uin_box: bytes | None = field(repr=False)


_PERSON = """
SELECT p.ref, p.uin_hash, p.rid_hash, p.status, p.version, p.uin_box, p.rid_box, p.demographics_box, p.objects_box,
       p.demographic_key, p.biometric_key, h.version AS head_version, h.mac
FROM identity.person p LEFT JOIN identity.head h ON h.ref = p.ref
"""


def _person(row: asyncpg.Record | None) -> tuple[PersonRow, Head | None] | None:
    if row is None:
        return None
    *columns, head_version, mac = tuple(row)
    columns[3] = PersonStatus(columns[3])
    return PersonRow(*columns), Head(head_version, mac) if mac is not None else None


async def person_by_ref(source: Source, ref: uuid.UUID) -> tuple[PersonRow, Head | None] | None:
    return _person(await source.fetch_row(f"{_PERSON} WHERE p.ref = $1", ref))


async def person_by_uin(source: Source, uin_hash: bytes) -> tuple[PersonRow, Head | None] | None:
    return _person(await source.fetch_row(f"{_PERSON} WHERE p.uin_hash = $1", uin_hash))


async def registration(source: Source, rid_hash: bytes) -> tuple[uuid.UUID, bytes] | None:
    """Return the person that a registration, current or older, belongs to, and the MAC that says so."""
    row = await source.fetch_row("SELECT ref, mac FROM identity.registration WHERE rid_hash = $1", rid_hash)
    return None if row is None else (row["ref"], row["mac"])


async def lock_person(transaction: Transaction, ref: uuid.UUID) -> tuple[PersonStatus, int]:
    """Serialise changes of one person until the transaction ends; returns status and version."""
    row = await transaction.fetch_row("SELECT status, version FROM identity.person WHERE ref = $1 FOR UPDATE", ref)
    assert row is not None, "records are never deleted"
    return PersonStatus(row["status"]), row["version"]


async def insert_person(
    transaction: Transaction, row: PersonRow, head: Head, registration_mac: bytes, at: datetime
) -> None:
    """Write the first version; raises asyncpg.UniqueViolationError when UIN or registration are taken."""
    await transaction.execute(
        "INSERT INTO identity.person (ref, uin_hash, rid_hash, status, version, uin_box, rid_box, demographics_box, "
        "objects_box, demographic_key, biometric_key, changed_at) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        row.ref,
        row.uin_hash,
        row.rid_hash,
        row.status,
        row.version,
        row.uin_box,
        row.rid_box,
        row.demographics_box,
        row.objects_box,
        row.demographic_key,
        row.biometric_key,
        at,
    )
    await transaction.execute(
        "INSERT INTO identity.head (ref, version, mac) VALUES ($1, $2, $3)", row.ref, head.version, head.mac
    )
    await _keep_version(transaction, row, registration_mac, at)
    await transaction.execute("UPDATE identity.mint SET uin_box = NULL WHERE uin_hash = $1", row.uin_hash)


async def replace_person(
    transaction: Transaction, row: PersonRow, head: Head, registration_mac: bytes, at: datetime
) -> bool:
    """Write the next version over the one before it; False when another change came first.

    Raises asyncpg.UniqueViolationError when the registration was used before.
    """
    tag = await transaction.execute(
        "UPDATE identity.person SET rid_hash = $3, status = $4, version = $2, uin_box = $5, rid_box = $6, "
        "demographics_box = $7, objects_box = $8, changed_at = $9 WHERE ref = $1 AND version = $2 - 1",
        row.ref,
        row.version,
        row.rid_hash,
        row.status,
        row.uin_box,
        row.rid_box,
        row.demographics_box,
        row.objects_box,
        at,
    )
    if not tag.endswith(" 1"):
        return False
    await transaction.execute(
        "UPDATE identity.head SET version = $2, mac = $3 WHERE ref = $1", row.ref, head.version, head.mac
    )
    await _keep_version(transaction, row, registration_mac, at)
    return True


async def count_persons(source: Source) -> int:
    found: int = await source.fetch_value("SELECT count(*) FROM identity.person")
    return found


async def persons_after(source: Source, after: uuid.UUID | None, limit: int) -> Sequence[tuple[PersonRow, Head | None]]:
    """Return records in the order of their references."""
    rows = await source.fetch(f"{_PERSON} WHERE $1::uuid IS NULL OR p.ref > $1 ORDER BY p.ref LIMIT $2", after, limit)
    return [found for row in rows if (found := _person(row)) is not None]


async def replace_keys(transaction: Transaction, before: PersonRow, row: PersonRow, head: Head) -> bool:
    """Write a record's newly wrapped keys; False when the record changed since it was read."""
    tag = await transaction.execute(
        "UPDATE identity.person SET demographic_key = $2, biometric_key = $3 "
        "WHERE ref = $1 AND version = $4 AND demographic_key = $5 AND biometric_key = $6",
        row.ref,
        row.demographic_key,
        row.biometric_key,
        before.version,
        before.demographic_key,
        before.biometric_key,
    )
    if not tag.endswith(" 1"):
        return False
    await transaction.execute("UPDATE identity.head SET mac = $2 WHERE ref = $1", row.ref, head.mac)
    return True


async def _keep_version(transaction: Transaction, row: PersonRow, registration_mac: bytes, at: datetime) -> None:
    await transaction.execute(
        "INSERT INTO identity.person_version (ref, version, status, rid_hash, uin_box, rid_box, demographics_box, "
        "objects_box, changed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        row.ref,
        row.version,
        row.status,
        row.rid_hash,
        row.uin_box,
        row.rid_box,
        row.demographics_box,
        row.objects_box,
        at,
    )
    await transaction.execute(
        "INSERT INTO identity.registration (rid_hash, ref, mac) VALUES ($1, $2, $3)",
        row.rid_hash,
        row.ref,
        registration_mac,
    )


_MINTED = "SELECT uin_hash, ref, rid_hash, status, uin_box FROM identity.mint"


def _minted(row: asyncpg.Record | None) -> Minted | None:
    return None if row is None else Minted(*row)


async def minted_by_uin(source: Source, uin_hash: bytes) -> Minted | None:
    return _minted(await source.fetch_row(f"{_MINTED} WHERE uin_hash = $1", uin_hash))


async def minted_by_rid(source: Source, rid_hash: bytes) -> Minted | None:
    return _minted(await source.fetch_row(f"{_MINTED} WHERE rid_hash = $1", rid_hash))


async def insert_minted(source: Source, minted: Minted, at: datetime) -> bool:
    """Reserve a number; False when the number or the registration has one already."""
    tag = await source.execute(
        "INSERT INTO identity.mint (uin_hash, ref, rid_hash, status, uin_box, issued_at) "
        "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        minted.uin_hash,
        minted.ref,
        minted.rid_hash,
        minted.status,
        minted.uin_box,
        at,
    )
    return tag.endswith(" 1")


async def claim_minted(source: Source, uin_hash: bytes, rid_hash: bytes) -> bool:
    """Bind an issued number to a registration; False when one of the two is bound already."""
    tag = await source.execute(
        "UPDATE identity.mint SET rid_hash = $2 WHERE uin_hash = $1 AND (rid_hash IS NULL OR rid_hash = $2) "
        "AND NOT EXISTS (SELECT FROM identity.mint WHERE rid_hash = $2 AND uin_hash <> $1)",
        uin_hash,
        rid_hash,
    )
    return tag.endswith(" 1")


async def unclaim_minted(source: Source, rid_hash: bytes, *, except_uin: bytes) -> None:
    """Free another issued number that the registration claimed but no person got."""
    await source.execute(
        "UPDATE identity.mint SET rid_hash = NULL "
        "WHERE rid_hash = $1 AND uin_hash <> $2 AND status = 'ISSUED' AND uin_box IS NOT NULL",
        rid_hash,
        except_uin,
    )


async def assign_minted(source: Source, uin_hash: bytes) -> bool:
    """Note that an issued number is in use; False when it was not in status ISSUED."""
    tag = await source.execute(
        "UPDATE identity.mint SET status = 'ASSIGNED' WHERE uin_hash = $1 AND status = 'ISSUED'", uin_hash
    )
    return tag.endswith(" 1")


async def release_minted(source: Source, uin_hash: bytes) -> bool:
    """Forget an issued number that no registration claimed; False when it is claimed or assigned."""
    tag = await source.execute(
        "DELETE FROM identity.mint WHERE uin_hash = $1 AND status = 'ISSUED' AND rid_hash IS NULL", uin_hash
    )
    return tag.endswith(" 1")


async def insert_locks(transaction: Transaction, ref: uuid.UUID, locks: Sequence[Lock], at: datetime) -> None:
    await transaction.execute_many(
        "INSERT INTO identity.auth_lock (ref, auth_type, auth_sub_type, locked, unlock_expires_at, request_id, "
        "requested_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        [
            (ref, lock.auth_type, lock.auth_sub_type, lock.locked, lock.unlock_expires_at, lock.request_id, at)
            for lock in locks
        ],
    )


async def latest_locks(source: Source, ref: uuid.UUID) -> list[Lock]:
    """Return the newest entry of each auth type."""
    rows = await source.fetch(
        "SELECT DISTINCT ON (auth_type, auth_sub_type) auth_type, auth_sub_type, locked, unlock_expires_at, request_id "
        "FROM identity.auth_lock WHERE ref = $1 ORDER BY auth_type, auth_sub_type, id DESC",
        ref,
    )
    return [Lock(*row) for row in rows]
