"""What other contexts may ask of the register, and the events that it publishes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from civium.kernel.identifiers import RID, UIN, VID
from civium.platform.outbox import Event

Attributes = Mapping[str, Any]
"""An identity by the ID schema: attribute -> string, number, list of ``{"language", "value"}``, or file reference."""


class PersonStatus(StrEnum):
    """States of a person's record."""

    ACTIVATED = "ACTIVATED"
    BLOCKED = "BLOCKED"
    DEACTIVATED = "DEACTIVATED"


class VidType(StrEnum):
    """Types of virtual ID."""

    PERPETUAL = "Perpetual"
    TEMPORARY = "Temporary"
    ONE_TIME = "OneTimeUse"


@dataclass(frozen=True, slots=True)
class NewPerson:
    """What registration hands over. ``documents`` and ``biometrics`` (CBEFF XML) by category of the ID schema."""

    rid: RID
    identity: Attributes = field(repr=False)
    documents: Mapping[str, bytes] = field(repr=False)
    biometrics: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Person:
    """A person's record in clear. Exists for the duration of one call."""

    ref: str
    """Opaque person id (UUID), the same for all identifiers of the person."""
    uin: UIN
    rid: RID
    status: PersonStatus
    identity: Attributes = field(repr=False)
    documents: Mapping[str, bytes] = field(repr=False)
    biometrics: Mapping[str, bytes] = field(repr=False)
    version: int


@dataclass(frozen=True, slots=True)
class IssuedVid:
    """A virtual ID just issued; ``expires_at`` is the wire's instant format."""

    vid: VID
    status: str
    expires_at: str
    transaction_limit: int | None


class Register(Protocol):
    """Operations of the register; each owns its transaction."""

    async def create(self, person: NewPerson, *, actor: str) -> UIN:
        """Mint a UIN and store the person. Idempotent by RID: the same RID again returns the first UIN.

        Raises Rejected (IDR-IDC-*).
        """
        ...

    async def person_by_ref(self, ref: str, *, purpose: str) -> Person:
        """Open a record by its opaque id; ``purpose`` is audited. Raises Rejected IDR-IDC-007."""
        ...

    async def person_by_rid(self, rid: RID, *, purpose: str) -> Person:
        """Open a record by its registration id. Raises Rejected IDR-IDC-007."""
        ...

    async def has_registration(self, rid: RID) -> bool:
        """Tell whether a registration became a person; opens nothing. Raises IntegrityError when that was changed."""
        ...

    async def create_vid(self, uin: UIN, kind: VidType, *, actor: str) -> IssuedVid:
        """Issue a virtual ID by the VID policy. Raises Rejected IDR-VID-003, -004, IDR-IDC-007."""
        ...


class IdentifierIssued(Event, frozen=True, kw_only=True):
    """An identifier (UIN or VID) of a person became usable, or its data changed: credentials must be (re)issued."""

    person_ref: str
    kind: str
    """``UIN`` or ``VID``."""
    identifier: str
    """The clear identifier; sealed at rest with the whole payload."""
    expires_at: str | None = None
    transaction_limit: int | None = None
    version: int = 1

    @classmethod
    def topic(cls) -> str:
        return "identity.identifier.issued"


class IdentifierStatusChanged(Event, frozen=True, kw_only=True):
    """An identifier was revoked, deactivated or reactivated (REMOVE_ID, DEACTIVATE_ID, ACTIVATE_ID)."""

    person_ref: str
    kind: str
    identifier: str
    action: str
    """``REMOVE_ID``, ``DEACTIVATE_ID`` or ``ACTIVATE_ID``."""
    expires_at: str | None = None
    transaction_limit: int | None = None

    @classmethod
    def topic(cls) -> str:
        return "identity.identifier.status"


class AuthTypeLock(Event, frozen=True, kw_only=True):
    """One entry of a lock change (id-authentication section 14.3)."""

    auth_type: str
    auth_sub_type: str | None
    locked: bool
    unlock_expires_at: str | None = None
    request_id: str | None = None


class AuthTypesLocked(Event, frozen=True, kw_only=True):
    """A person locked or unlocked authentication types; the reader derives the person's token from ``uin``."""

    person_ref: str
    uin: str
    locks: tuple[AuthTypeLock, ...]

    @classmethod
    def topic(cls) -> str:
        return "identity.auth-types.locked"
