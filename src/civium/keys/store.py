"""All SQL of keys: trust anchors, partner certificates, the revocation list, PIN attempts, licence keys."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from cryptography import x509

from civium.keys.formats.certificates import pem
from civium.keys.formats.primitives import thumbprint
from civium.platform.database import Database, Transaction


@dataclass(frozen=True, slots=True)
class AuthorityRow:
    """An authority as it is listed."""

    certificate_id: str
    domain: str
    kind: str
    pem: str
    thumbprint: bytes
    not_before: datetime
    not_after: datetime
    added_at: datetime
    revoked: bool


async def authorities(db: Database, domain: str) -> Sequence[str]:
    """Return the PEMs of a domain's roots and intermediates that are not revoked, oldest first."""
    rows = await db.fetch(
        """
        SELECT pem FROM keys.authority_certificate AS authority
        WHERE domain = $1
          AND NOT EXISTS (SELECT FROM keys.revoked_certificate AS r WHERE r.thumbprint = authority.thumbprint)
        ORDER BY added_at, thumbprint
        """,
        domain,
    )
    return [row["pem"] for row in rows]


async def has_authority(db: Database, domain: str, certificate: x509.Certificate) -> bool:
    """Tell whether a certificate is in the domain's trust store."""
    found: bool = await db.fetch_value(
        "SELECT EXISTS (SELECT FROM keys.authority_certificate WHERE domain = $1 AND thumbprint = $2)",
        domain,
        thumbprint(certificate),
    )
    return found


async def is_partner(db: Database, certificate: x509.Certificate) -> bool:
    """Tell whether a certificate is a partner's, as uploaded or re-signed, in any domain."""
    found: bool = await db.fetch_value(
        """
        SELECT EXISTS (SELECT FROM keys.partner_certificate WHERE original_thumbprint = $1)
            OR EXISTS (SELECT FROM keys.partner_certificate WHERE signed_thumbprint = $1)
        """,
        thumbprint(certificate),
    )
    return found


async def is_revoked(db: Database, certificate: x509.Certificate) -> bool:
    """Tell whether a certificate is on the revocation list."""
    found: bool = await db.fetch_value(
        "SELECT EXISTS (SELECT FROM keys.revoked_certificate WHERE thumbprint = $1)", thumbprint(certificate)
    )
    return found


async def add_authority(
    transaction: Transaction,
    domain: str,
    kind: Literal["ROOT", "INTERMEDIATE"],
    certificate: x509.Certificate,
    at: datetime,
) -> bool:
    """Put a certificate into the domain's trust store; False if it was there."""
    tag = await transaction.execute(
        """
        INSERT INTO keys.authority_certificate
            (domain, thumbprint, kind, subject, not_before, not_after, pem, added_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT DO NOTHING
        """,
        domain,
        thumbprint(certificate),
        kind,
        certificate.subject.rfc4514_string(),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        pem(certificate),
        at,
    )
    return tag.endswith(" 1")


async def add_partner(
    transaction: Transaction,
    certificate_id: uuid.UUID,
    domain: str,
    organisation: str,
    *,
    original: x509.Certificate,
    signed: x509.Certificate,
    at: datetime,
) -> None:
    """Record a partner's certificate and what was issued for it."""
    await transaction.execute(
        """
        INSERT INTO keys.partner_certificate
            (certificate_id, domain, organisation, original_thumbprint, signed_thumbprint, original_pem, signed_pem,
             registered_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        certificate_id,
        domain,
        organisation,
        thumbprint(original),
        thumbprint(signed),
        pem(original),
        pem(signed),
        at,
    )


async def add_revocation(transaction: Transaction, certificate: x509.Certificate, reason: str, at: datetime) -> bool:
    """Put a certificate on the revocation list; False if it was there."""
    tag = await transaction.execute(
        "INSERT INTO keys.revoked_certificate (thumbprint, reason, revoked_at) VALUES ($1, $2, $3) "
        "ON CONFLICT DO NOTHING",
        thumbprint(certificate),
        reason,
        at,
    )
    return tag.endswith(" 1")


async def count_pin_attempt(
    transaction: Transaction, caller: str, envelope: bytes, now: datetime, window: timedelta
) -> int:
    """Count an attempt in the current window, or begin a new one; returns the count."""
    count: int = await transaction.fetch_value(
        """
        INSERT INTO keys.pin_attempt AS seen (caller, envelope, window_ends, attempts) VALUES ($1, $2, $4, 1)
        ON CONFLICT (caller, envelope) DO UPDATE SET
            attempts = CASE WHEN seen.window_ends <= $3 THEN 1 ELSE seen.attempts + 1 END,
            window_ends = CASE WHEN seen.window_ends <= $3 THEN $4 ELSE seen.window_ends END
        RETURNING attempts
        """,
        caller,
        envelope,
        now,
        now + window,
    )
    return count


async def forget_pin_attempt(transaction: Transaction, caller: str, envelope: bytes) -> None:
    """Take one attempt back."""
    await transaction.execute(
        "UPDATE keys.pin_attempt SET attempts = attempts - 1 WHERE caller = $1 AND envelope = $2 AND attempts > 0",
        caller,
        envelope,
    )


async def purge_pin_attempts(db: Database, now: datetime) -> int:
    """Delete counts whose window has ended; returns how many."""
    tag = await db.execute("DELETE FROM keys.pin_attempt WHERE window_ends <= $1", now)
    return int(tag.rpartition(" ")[2])


async def partner_certificate(db: Database, certificate_id: uuid.UUID) -> tuple[str, str] | None:
    """Return the PEMs of a partner's certificate as uploaded and as re-signed."""
    row = await db.fetch_row(
        "SELECT original_pem, signed_pem FROM keys.partner_certificate WHERE certificate_id = $1", certificate_id
    )
    return None if row is None else (row["original_pem"], row["signed_pem"])


async def authority(db: Database, certificate_id: uuid.UUID) -> tuple[str, str] | None:
    """Return domain and PEM of an authority."""
    row = await db.fetch_row(
        "SELECT domain, pem FROM keys.authority_certificate WHERE certificate_id = $1", certificate_id
    )
    return None if row is None else (row["domain"], row["pem"])


async def listed_authorities(db: Database) -> Sequence[AuthorityRow]:
    """Return all authorities, oldest first: a country has hundreds at most."""
    rows = await db.fetch(
        """
        SELECT certificate_id, domain, kind, pem, thumbprint, not_before, not_after, added_at,
            EXISTS (SELECT FROM keys.revoked_certificate AS r WHERE r.thumbprint = authority.thumbprint) AS revoked
        FROM keys.authority_certificate AS authority
        ORDER BY added_at, certificate_id
        """
    )
    return [
        AuthorityRow(
            certificate_id=str(row["certificate_id"]),
            domain=row["domain"],
            kind=row["kind"],
            pem=row["pem"],
            thumbprint=row["thumbprint"],
            not_before=row["not_before"],
            not_after=row["not_after"],
            added_at=row["added_at"],
            revoked=row["revoked"],
        )
        for row in rows
    ]


async def add_license(
    transaction: Transaction, license_hash: bytes, tsp_id: str, expires_at: datetime, at: datetime
) -> None:
    """Record a licence key."""
    await transaction.execute(
        "INSERT INTO keys.license_key (license_hash, tsp_id, expires_at, made_at) VALUES ($1, $2, $3, $4)",
        license_hash,
        tsp_id,
        expires_at,
        at,
    )


async def license_expiry(db: Database, license_hash: bytes, tsp_id: str) -> datetime | None:
    """Return when a provider's licence key ends, None when it has no such key."""
    expires_at: datetime | None = await db.fetch_value(
        "SELECT expires_at FROM keys.license_key WHERE license_hash = $1 AND tsp_id = $2", license_hash, tsp_id
    )
    return expires_at


async def add_license_permissions(transaction: Transaction, license_hash: bytes, permissions: Sequence[str]) -> None:
    """Give a licence key permissions."""
    await transaction.execute_many(
        "INSERT INTO keys.license_permission (license_hash, permission) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        [(license_hash, permission) for permission in permissions],
    )


async def license_permissions(db: Database, license_hash: bytes) -> Sequence[str]:
    """Return the permissions of a licence key in alphabetical order."""
    rows = await db.fetch(
        "SELECT permission FROM keys.license_permission WHERE license_hash = $1 ORDER BY permission", license_hash
    )
    return [row["permission"] for row in rows]
