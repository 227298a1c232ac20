"""What reaches authentication from outside: sealed credentials and status events (id-authentication sections 14, 15).

`authentication` imports nothing of identity, credentials or registration; those publish these events.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from civium.platform.outbox import Event


class CredentialIssued(Event, frozen=True, kw_only=True):
    """Topic ``{partner}/CREDENTIAL_ISSUED``. Members follow section 14.1; attribute values are ZK-encrypted.

    ``id_hash`` is the wire's hash; ``identifier_hash`` is not carried: authentication derives its own keyed hash from
    ``id_hash`` so that its table is useless without its key.
    """

    transaction_id: str
    id_hash: str
    modulo: str
    salt: str
    token: str
    id_type: str
    """``UIN`` or ``VID``."""
    expiry_timestamp: str | None
    transaction_limit: int | None
    demographics: dict[str, str]
    demo_encrypted_random_key: str
    demo_random_key_index: str
    biometrics: dict[str, str]
    bio_encrypted_random_key: str | None
    bio_random_key_index: str | None
    version: int = 1

    @classmethod
    def topic(cls) -> str:
        return "mpartner-default-auth/CREDENTIAL_ISSUED"


class IdStatusChanged(Event, frozen=True, kw_only=True):
    """Topics REMOVE_ID, DEACTIVATE_ID, ACTIVATE_ID of section 14.2, told apart by ``action``."""

    action: str
    id_hash: str
    expiry_timestamp: str | None = None
    transaction_limit: int | None = None

    @classmethod
    def topic(cls) -> str:
        return "mpartner-default-auth/ID_STATUS"


class LockEntry(Event, frozen=True, kw_only=True):
    """One auth type of a lock change."""

    auth_type: str
    auth_sub_type: str | None
    locked: bool
    unlock_expiry_timestamp: str | None = None
    request_id: str | None = None


class AuthTypeStatusUpdated(Event, frozen=True, kw_only=True):
    """Topic ``{partner}/AUTH_TYPE_STATUS_UPDATE`` of section 14.3."""

    token: str
    locks: tuple[LockEntry, ...]

    @classmethod
    def topic(cls) -> str:
        return "mpartner-default-auth/AUTH_TYPE_STATUS_UPDATE"


@dataclass(frozen=True, slots=True)
class Call:
    """A relying party's request exactly as it came in: the signature covers the body's bytes.

    ``path`` holds the decoded segments after the endpoint's name.
    """

    path: tuple[str, ...]
    signature: str = field(repr=False)
    authorization: str = field(repr=False)
    body: bytes = field(repr=False)


class Usage(Enum):
    """An endpoint for relying parties, by the ``id`` that its requests and answers carry."""

    AUTH = "mosip.identity.auth"
    KYC = "mosip.identity.kyc"
    OTP = "mosip.identity.otp"


class Authentication(Protocol):
    """Answers relying parties (id-authentication sections 2, 3 and 7)."""

    async def answer(self, usage: Usage, call: Call) -> bytes:
        """Return the answer's envelope, also for every refusal; it is released after its record is committed.

        Costs one database read, one write transaction, one RSA private operation (two with the signature over the
        answer) and some 5 round trips to the key process. Raises kernel.errors.Unavailable when a dependency is gone.
        """
        ...
