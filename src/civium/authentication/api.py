"""What reaches authentication from outside: sealed credentials and status events (id-authentication sections 14, 15).

`authentication` imports nothing of identity, credentials or registration; those publish these events.
"""

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
