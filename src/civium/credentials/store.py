"""All SQL of credentials."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from civium.platform.database import Database, Transaction


class RequestStatus(StrEnum):
    """States of a credential request (section 3.2)."""

    NEW = "NEW"
    ISSUED = "ISSUED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class CredentialRequest:
    """The need for a credential of one identifier, in one version of the person's data."""

    id: uuid.UUID
    person_ref: uuid.UUID
    identifier_hash: bytes
    version: int
    kind: str
    status: RequestStatus


async def open_request(database: Database, request: CredentialRequest, at: datetime) -> CredentialRequest:
    """Note a request, or return the one that is there for the same identifier and version."""
    row = await database.fetch_row(
        "INSERT INTO credentials.credential_request AS r "
        "(id, person_ref, identifier_hash, version, kind, status, requested_at, changed_at) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $7) "
        "ON CONFLICT (identifier_hash, version) DO UPDATE SET changed_at = r.changed_at "
        "RETURNING id, person_ref, identifier_hash, version, kind, status",
        request.id,
        request.person_ref,
        request.identifier_hash,
        request.version,
        request.kind,
        request.status,
        at,
    )
    assert row is not None, "the statement returns the row in either case"
    return CredentialRequest(
        row["id"],
        row["person_ref"],
        row["identifier_hash"],
        row["version"],
        row["kind"],
        RequestStatus(row["status"]),
    )


async def finish_request(transaction: Transaction, request_id: uuid.UUID, status: RequestStatus, at: datetime) -> bool:
    """End a request; False when it had ended before."""
    tag = await transaction.execute(
        "UPDATE credentials.credential_request SET status = $2, changed_at = $3 WHERE id = $1 AND status = 'NEW'",
        request_id,
        status,
        at,
    )
    return tag.endswith(" 1")
