"""All SQL of partner management."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg

from civium.partners.domain import Mapping, Partner, PartnerType, Policy, PolicyGroup, PolicyType
from civium.platform.database import Database, Transaction

_PARTNER = "id, type, organisation, group_id, status, active, certificate_id, signed_pem, original_pem, created_by"
_POLICY = (
    "id, group_id, type, name, description, version, body, status, commence_on, expires_on, created_by, created_at"
)


@dataclass(frozen=True, slots=True)
class StoredKey:
    """An API key or licence key as kept: looked up by keyed hash, sealed for the events."""

    row_id: uuid.UUID
    sealed_key: bytes = field(repr=False)
    owner_id: str
    policy_id: str
    active: bool
    commence_on: datetime
    expires_on: datetime


def _partner(row: asyncpg.Record) -> Partner:
    values = dict(row)
    return Partner(**{**values, "type": PartnerType(values["type"])})


def _policy(row: asyncpg.Record) -> Policy:
    values = dict(row)
    return Policy(**{**values, "type": PolicyType(values["type"]), "body": json.loads(values["body"])})


class PartnerStore:
    """Reads run alone; writes take the caller's transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def group(self, *, id: str | None = None, name: str | None = None) -> PolicyGroup | None:
        row = await self._db.fetch_row(
            "SELECT id, name, description, active, created_by, created_at FROM partners.policy_group "
            "WHERE ($1::text IS NULL OR id = $1) AND ($2::text IS NULL OR name = $2)",
            id,
            name,
        )
        return PolicyGroup(**dict(row)) if row else None

    async def add_group(self, tx: Transaction, group: PolicyGroup) -> bool:
        """Insert; False when the name is taken."""
        tag = await tx.execute(
            "INSERT INTO partners.policy_group (id, name, description, active, created_by, created_at) "
            "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (name) DO NOTHING",
            group.id,
            group.name,
            group.description,
            group.active,
            group.created_by,
            group.created_at,
        )
        return tag.endswith(" 1")

    async def policy(self, id: str) -> Policy | None:
        row = await self._db.fetch_row(f"SELECT {_POLICY} FROM partners.policy WHERE id = $1", id)
        return _policy(row) if row else None

    async def policy_named(self, group_id: str, name: str) -> Policy | None:
        row = await self._db.fetch_row(
            f"SELECT {_POLICY} FROM partners.policy WHERE group_id = $1 AND name = $2", group_id, name
        )
        return _policy(row) if row else None

    async def add_policy(self, tx: Transaction, policy: Policy) -> bool:
        """Insert; False when the group has a policy of that name."""
        tag = await tx.execute(
            f"INSERT INTO partners.policy ({_POLICY}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) "
            "ON CONFLICT DO NOTHING",
            policy.id,
            policy.group_id,
            policy.type.value,
            policy.name,
            policy.description,
            policy.version,
            json.dumps(policy.body),
            policy.status,
            policy.commence_on,
            policy.expires_on,
            policy.created_by,
            policy.created_at,
        )
        return tag.endswith(" 1")

    async def set_policy_status(self, tx: Transaction, policy: Policy) -> None:
        await tx.execute(
            "UPDATE partners.policy SET status = $2, commence_on = $3, expires_on = $4 WHERE id = $1",
            policy.id,
            policy.status,
            policy.commence_on,
            policy.expires_on,
        )

    async def policy_in_use(self, policy_id: str) -> str | None:
        """Tell what keeps a policy from being deactivated: ``api key``, ``Approved``, ``InProgress`` or None."""
        if await self._db.fetch_value(
            "SELECT 1 FROM partners.api_key WHERE policy_id = $1 AND active LIMIT 1", policy_id
        ):
            return "api key"
        status: str | None = await self._db.fetch_value(
            "SELECT status FROM partners.policy_mapping WHERE policy_id = $1 AND status <> 'Rejected' "
            "ORDER BY status LIMIT 1",
            policy_id,
        )
        return status

    async def partner(self, id: str) -> Partner | None:
        row = await self._db.fetch_row(f"SELECT {_PARTNER} FROM partners.partner WHERE id = $1", id)
        return _partner(row) if row else None

    async def lock_partner(self, tx: Transaction, id: str) -> Partner:
        """Return a partner that exists and hold its row until the transaction ends."""
        row = await tx.fetch_row(f"SELECT {_PARTNER} FROM partners.partner WHERE id = $1 FOR UPDATE", id)
        assert row is not None, "partners are never deleted"
        return _partner(row)

    async def partners(self, kind: PartnerType | None) -> Sequence[Partner]:
        rows = await self._db.fetch(
            f"SELECT {_PARTNER} FROM partners.partner WHERE $1::text IS NULL OR type = $1 ORDER BY id",
            kind.value if kind else None,
        )
        return [_partner(row) for row in rows]

    async def contact(self, partner_id: str) -> bytes | None:
        box: bytes | None = await self._db.fetch_value("SELECT contact FROM partners.partner WHERE id = $1", partner_id)
        return box

    async def email_taken(self, email_hash: bytes) -> bool:
        return bool(await self._db.fetch_value("SELECT 1 FROM partners.partner WHERE email_hash = $1", email_hash))

    async def add_partner(
        self, tx: Transaction, partner: Partner, contact: bytes, email_hash: bytes, at: datetime
    ) -> bool:
        """Insert; False when the id or e-mail is taken."""
        tag = await tx.execute(
            f"INSERT INTO partners.partner ({_PARTNER}, contact, email_hash, created_at) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT DO NOTHING",
            partner.id,
            partner.type.value,
            partner.organisation,
            partner.group_id,
            partner.status,
            partner.active,
            partner.certificate_id,
            partner.signed_pem,
            partner.original_pem,
            partner.created_by,
            contact,
            email_hash,
            at,
        )
        return tag.endswith(" 1")

    async def save_partner(self, tx: Transaction, partner: Partner) -> None:
        await tx.execute(
            "UPDATE partners.partner SET status = $2, active = $3, certificate_id = $4, signed_pem = $5, "
            "original_pem = $6 WHERE id = $1",
            partner.id,
            partner.status,
            partner.active,
            partner.certificate_id,
            partner.signed_pem,
            partner.original_pem,
        )

    async def mapping(self, key: str) -> Mapping | None:
        row = await self._db.fetch_row(
            "SELECT key, partner_id, policy_id, status FROM partners.policy_mapping WHERE key = $1", key
        )
        return Mapping(**dict(row)) if row else None

    async def live_mapping(self, partner_id: str, policy_id: str) -> Mapping | None:
        """Return the mapping of the pair that was not rejected."""
        row = await self._db.fetch_row(
            "SELECT key, partner_id, policy_id, status FROM partners.policy_mapping "
            "WHERE partner_id = $1 AND policy_id = $2 AND status <> 'Rejected'",
            partner_id,
            policy_id,
        )
        return Mapping(**dict(row)) if row else None

    async def mappings_of(self, partner_id: str) -> Sequence[Mapping]:
        rows = await self._db.fetch(
            "SELECT key, partner_id, policy_id, status FROM partners.policy_mapping WHERE partner_id = $1 "
            "ORDER BY created_at DESC",
            partner_id,
        )
        return [Mapping(**dict(row)) for row in rows]

    async def add_mapping(self, tx: Transaction, mapping: Mapping, use_case: str, by: str, at: datetime) -> None:
        await tx.execute(
            "INSERT INTO partners.policy_mapping "
            "(key, partner_id, policy_id, use_case, status, created_by, created_at) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7)",
            mapping.key,
            mapping.partner_id,
            mapping.policy_id,
            use_case,
            mapping.status,
            by,
            at,
        )

    async def decide_mapping(self, tx: Transaction, key: str, status: str) -> bool:
        """Set the decision; False when it was decided meanwhile."""
        tag = await tx.execute(
            "UPDATE partners.policy_mapping SET status = $2 WHERE key = $1 AND status = 'InProgress'", key, status
        )
        return tag.endswith(" 1")

    async def decision(self, tx: Transaction, key: str) -> str:
        status: str = await tx.fetch_value("SELECT status FROM partners.policy_mapping WHERE key = $1", key)
        return status

    async def add_api_key(self, tx: Transaction, key: StoredKey, key_hash: bytes, label: str, by: str) -> bool:
        """Insert; False when the label is taken for the pair."""
        tag = await tx.execute(
            "INSERT INTO partners.api_key (key_hash, sealed_key, row_id, partner_id, policy_id, label, commence_on, "
            "expires_on, created_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
            key_hash,
            key.sealed_key,
            key.row_id,
            key.owner_id,
            key.policy_id,
            label,
            key.commence_on,
            key.expires_on,
            by,
        )
        return tag.endswith(" 1")

    async def api_key(self, partner_id: str, policy_id: str, label: str) -> StoredKey | None:
        row = await self._db.fetch_row(
            "SELECT row_id, sealed_key, partner_id AS owner_id, policy_id, active, commence_on, expires_on "
            "FROM partners.api_key WHERE partner_id = $1 AND policy_id = $2 AND label = $3",
            partner_id,
            policy_id,
            label,
        )
        return StoredKey(**dict(row)) if row else None

    async def set_api_key_active(self, tx: Transaction, row_id: uuid.UUID, *, active: bool) -> None:
        await tx.execute("UPDATE partners.api_key SET active = $2 WHERE row_id = $1", row_id, active)

    async def add_licence(self, tx: Transaction, key: StoredKey, key_hash: bytes, by: str) -> bool:
        """Insert; False when the MISP has an active licence."""
        tag = await tx.execute(
            "INSERT INTO partners.misp_licence (key_hash, sealed_key, row_id, misp_id, policy_id, commence_on, "
            "expires_on, created_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
            key_hash,
            key.sealed_key,
            key.row_id,
            key.owner_id,
            key.policy_id,
            key.commence_on,
            key.expires_on,
            by,
        )
        return tag.endswith(" 1")

    async def licence(self, key_hash: bytes, misp_id: str) -> StoredKey | None:
        row = await self._db.fetch_row(
            "SELECT row_id, sealed_key, misp_id AS owner_id, policy_id, active, commence_on, expires_on "
            "FROM partners.misp_licence WHERE key_hash = $1 AND misp_id = $2",
            key_hash,
            misp_id,
        )
        return StoredKey(**dict(row)) if row else None

    async def set_licence_active(self, tx: Transaction, row_id: uuid.UUID, *, active: bool) -> None:
        await tx.execute("UPDATE partners.misp_licence SET active = $2 WHERE row_id = $1", row_id, active)
