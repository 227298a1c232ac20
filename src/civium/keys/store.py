"""All SQL of keys: trust anchors, partner certificates and the revocation list."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from cryptography import x509

from civium.keys.formats.certificates import pem
from civium.keys.formats.primitives import thumbprint
from civium.platform.database import Database, Transaction


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
