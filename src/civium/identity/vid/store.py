"""All SQL of virtual IDs."""

import uuid
from datetime import datetime

import asyncpg

from civium.identity.api import VidType
from civium.identity.vid.domain import VidRow, VidStatus
from civium.platform.database import Database, Transaction

Source = Database | Transaction

_VID = (
    "SELECT v.vid_hash, v.ref, v.kind, v.status, v.vid_box, n.mac, v.generated_at, v.expires_at "
    "FROM identity.vid v JOIN identity.vid_number n ON n.vid_hash = v.vid_hash"
)


def _vid(row: asyncpg.Record) -> VidRow:
    return VidRow(
        row["vid_hash"],
        row["ref"],
        VidType(row["kind"]),
        VidStatus(row["status"]),
        row["vid_box"],
        row["mac"],
        row["generated_at"],
        row["expires_at"],
    )


async def by_hash(source: Source, vid_hash: bytes) -> VidRow | None:
    row = await source.fetch_row(f"{_VID} WHERE v.vid_hash = $1", vid_hash)
    return None if row is None else _vid(row)


async def of_person(source: Source, ref: uuid.UUID, status: VidStatus) -> list[VidRow]:
    """Return a person's VIDs with that stored status, oldest first."""
    return [
        _vid(row)
        for row in await source.fetch(f"{_VID} WHERE v.ref = $1 AND v.status = $2 ORDER BY v.generated_at", ref, status)
    ]


async def take_number(source: Source, vid_hash: bytes, expires_at: datetime | None) -> bool:
    """Note a number as issued; False when it was issued before."""
    tag = await source.execute(
        "INSERT INTO identity.vid_number (vid_hash, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        vid_hash,
        expires_at,
    )
    return tag.endswith(" 1")


async def insert(transaction: Transaction, row: VidRow) -> None:
    await transaction.execute(
        "INSERT INTO identity.vid (vid_hash, ref, kind, status, vid_box, generated_at, expires_at) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7)",
        row.vid_hash,
        row.ref,
        row.kind,
        row.status,
        row.box,
        row.generated_at,
        row.expires_at,
    )
    await _set_mac(transaction, row)


async def set_status(transaction: Transaction, row: VidRow) -> None:
    """Write status, box and MAC of a row that exists."""
    await transaction.execute(
        "UPDATE identity.vid SET status = $2, vid_box = $3 WHERE vid_hash = $1", row.vid_hash, row.status, row.box
    )
    await _set_mac(transaction, row)


async def count(source: Source) -> int:
    found: int = await source.fetch_value("SELECT count(*) FROM identity.vid")
    return found


async def after(source: Source, vid_hash: bytes | None, limit: int) -> list[VidRow]:
    """Return VIDs in the order of their hashes."""
    return [
        _vid(row)
        for row in await source.fetch(
            f"{_VID} WHERE $1::bytea IS NULL OR v.vid_hash > $1 ORDER BY v.vid_hash LIMIT $2", vid_hash, limit
        )
    ]


async def replace_box(transaction: Transaction, before: VidRow, row: VidRow) -> bool:
    """Write a box that was sealed anew, and its MAC; False when the VID changed since it was read."""
    tag = await transaction.execute(
        "UPDATE identity.vid SET vid_box = $2 WHERE vid_hash = $1 AND vid_box = $3", row.vid_hash, row.box, before.box
    )
    if not tag.endswith(" 1"):
        return False
    await _set_mac(transaction, row)
    return True


async def _set_mac(transaction: Transaction, row: VidRow) -> None:
    await transaction.execute("UPDATE identity.vid_number SET mac = $2 WHERE vid_hash = $1", row.vid_hash, row.mac)
