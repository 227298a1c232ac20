"""The VID policy and the states of a VID (section 2.2, 2.3)."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from importlib.resources import files
from types import MappingProxyType

import msgspec

from civium.identity.api import VidType
from civium.kernel.clock import iso_millis
from civium.kernel.errors import Rejected

NEVER = "9999-12-31T23:59:59.999Z"
"""What the wire shows for a VID that does not expire."""


class VidStatus(StrEnum):
    """States of a VID. EXPIRED is also what an ACTIVE one past its expiry counts as."""

    ACTIVE = "ACTIVE"
    REVOKED = "REVOKED"
    EXPIRED = "EXPIRED"
    USED = "USED"
    INVALIDATED = "INVALIDATED"
    DEACTIVATED = "DEACTIVATED"


REGENERABLE = frozenset({VidStatus.ACTIVE, VidStatus.REVOKED, VidStatus.EXPIRED, VidStatus.USED})


class Policy(msgspec.Struct, frozen=True, rename="camel"):
    """What a type of VID allows; None means without limit."""

    valid_for_in_minutes: int | None
    transactions_allowed: int | None
    instances_allowed: int
    auto_restore_allowed: bool
    restore_on_action: str

    def expiry(self, now: datetime) -> datetime | None:
        """Return when a VID issued now ends, or None."""
        return None if self.valid_for_in_minutes is None else now + timedelta(minutes=self.valid_for_in_minutes)

    def restores(self, status: VidStatus) -> bool:
        """Tell whether a VID that gets ``status`` is replaced by a new one."""
        return self.auto_restore_allowed and self.restore_on_action == status


class _Entry(msgspec.Struct, frozen=True, rename="camel"):
    vid_type: VidType
    vid_policy: Policy


class _File(msgspec.Struct, frozen=True, rename="camel"):
    vid_policies: list[_Entry]


def load_policies() -> Mapping[VidType, Policy]:
    """Return the shipped policy file; every type must have its entry."""
    shipped = msgspec.json.decode(files(__package__).joinpath("policy.json").read_bytes(), type=_File)
    policies = {entry.vid_type: entry.vid_policy for entry in shipped.vid_policies}
    return MappingProxyType({kind: policies[kind] for kind in VidType})


@dataclass(frozen=True, slots=True)
class VidRow:
    """A row of ``identity.vid`` with the MAC, from another table, that tells its last state from older ones."""

    vid_hash: bytes
    ref: uuid.UUID
    kind: VidType
    status: VidStatus
    box: bytes = field(repr=False)
    mac: bytes | None = field(repr=False)
    generated_at: datetime
    expires_at: datetime | None

    def effective_status(self, now: datetime) -> VidStatus:
        """Return the status that counts at ``now``."""
        if self.status is VidStatus.ACTIVE and self.expires_at is not None and self.expires_at <= now:
            return VidStatus.EXPIRED
        return self.status


def wire_expiry(expires_at: datetime | None) -> str:
    """Return an expiry as the wire shows it."""
    return NEVER if expires_at is None else iso_millis(expires_at)


def kind_of(text: str) -> VidType | None:
    """Return the type named by ``text`` without regard to case, or None."""
    return next((kind for kind in VidType if kind.upper() == text.upper()), None)


def wrong_status(status: VidStatus) -> Rejected:
    """Return IDR-VID-001 for a VID that is not usable."""
    return Rejected("IDR-VID-001", f"VID is {status}")


def against_policy() -> Rejected:
    """Return IDR-VID-003."""
    return Rejected("IDR-VID-003", "Could not generate/regenerate VID as per policy")
