"""What other contexts may ask of master data (id-repository-and-commons sections 7, 8.6, 8.8)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from civium.kernel.identifiers import CentreId, Language, MachineId
from civium.masterdata.schema import AttributeKind, IdSchema, SchemaAttribute, Validator, parse_schema

__all__ = [
    "NEW_PACKET",
    "NEW_REGISTRATION",
    "UPDATE_UIN",
    "AttributeKind",
    "Centre",
    "IdSchema",
    "IdentityMapping",
    "Machine",
    "MasterData",
    "Operator",
    "SchemaAttribute",
    "Validator",
    "parse_schema",
    "rsa_public_key",
]


NEW_REGISTRATION: tuple[str, ...] = (
    "IDSchemaVersion",
    "UIN",
    "fullName",
    "dateOfBirth|age",
    "gender",
    "addressLine1",
    "region",
    "province",
    "city",
    "zone",
)
"""Required attributes of a new person (section 1.2, number 9); ``a|b`` means either."""

NEW_PACKET: tuple[str, ...] = tuple(name for name in NEW_REGISTRATION if name != "UIN")
"""Required attributes of a NEW packet: the UIN is minted later and ignored there (first-line section 0)."""

UPDATE_UIN: tuple[str, ...] = ("IDSchemaVersion", "UIN")
"""Required attributes of an update."""


@dataclass(frozen=True, slots=True)
class IdentityMapping:
    """``identity-mapping.json``: the country's attribute names behind the platform's fixed ones (section 7.3).

    Each mapping gives the tuple of attribute names of an entry (its comma list split).
    """

    identity: Mapping[str, tuple[str, ...]]
    documents: Mapping[str, tuple[str, ...]]
    update_count_limits: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def attributes(self, name: str) -> tuple[str, ...]:
        """Return the schema attributes behind the fixed name (``name``, ``dob``, ``phone`` ...); empty if unmapped."""
        return self.identity.get(name, ())

    def attribute(self, name: str) -> str:
        """Return the first schema attribute behind the fixed name; the name itself if unmapped."""
        return next(iter(self.attributes(name)), name)


@dataclass(frozen=True, slots=True)
class Centre:
    """A registration centre with its name per language."""

    id: CentreId
    names: Mapping[Language, str]
    active: bool


@dataclass(frozen=True, slots=True)
class Machine:
    """A registration machine and its public keys (keys-and-crypto section 4.8, LOCAL form: DER bytes)."""

    id: MachineId
    name: str
    centre: CentreId
    public_key: bytes = field(repr=False)
    sign_public_key: bytes = field(repr=False)
    key_index: str
    sign_key_index: str
    active: bool

    def encryption_key(self) -> RSAPublicKey:
        """Return the key that answers to the machine are encrypted to."""
        return rsa_public_key(self.public_key)

    def signing_key(self) -> RSAPublicKey:
        """Return the key that the machine's signatures (packets, sync) are checked with."""
        return rsa_public_key(self.sign_public_key)


@dataclass(frozen=True, slots=True)
class Operator:
    """A user who registers people at a centre. ``role`` is the wire's (``REGISTRATION_OFFICER`` ...).

    No name: nothing here needs it.
    """

    user_id: str
    centre: CentreId
    role: str
    active: bool


class MasterData(Protocol):
    """Reference data. Reads are answered from memory, which follows the database by a change version."""

    async def id_schema(self, version: float | None = None) -> IdSchema:
        """Return the published schema of that version, or the latest (None or 0). Raises Rejected KER-SCH-007."""
        ...

    async def identity_mapping(self) -> IdentityMapping:
        """Return the identity mapping."""
        ...

    async def validate_identity(self, identity: Mapping[str, Any], *, required: Collection[str]) -> None:
        """Check an identity against its schema version (section 7.4); ``required`` as :data:`NEW_REGISTRATION`.

        Raises RejectedMany with KER-IOV-005 (missing) and KER-IOV-004 (invalid), each message ending in the path
        ``identity/<attribute>[/<index>/<member>]``; values are never repeated.
        """
        ...

    async def machine(self, machine: MachineId) -> Machine:
        """Return a machine. Raises Rejected KER-MSD-030 (not found)."""
        ...

    async def machine_by_key_index(self, key_index: str) -> Machine:
        """Return the machine with that encryption or signing key index. Raises Rejected KER-SNC-148 if unknown."""
        ...

    async def centre(self, centre: CentreId) -> Centre:
        """Return a centre. Raises Rejected KER-MSD-215 (not found)."""
        ...

    async def operator(self, user_id: str) -> Operator:
        """Return an operator. Raises Rejected KER-USR-007 (not found)."""
        ...

    async def template(self, code: str, language: Language) -> str:
        """Return the text of a template, its placeholders ``$name`` unfilled. Raises Rejected KER-MSD-046."""
        ...

    async def register_machine(
        self,
        machine: MachineId,
        *,
        name: str,
        centre: CentreId,
        public_key: bytes,
        sign_public_key: bytes | None = None,
    ) -> Machine:
        """Add or replace a machine; both keys DER SubjectPublicKeyInfo, RSA of 2048 bits or more. Idempotent.

        ``sign_public_key`` defaults to ``public_key``. Raises Rejected KER-MSD-257 (public key), KER-MSD-410 (sign
        key), KER-MSD-215 (centre).
        """
        ...

    async def register_operator(self, user_id: str, *, centre: CentreId, role: str) -> Operator:
        """Add or replace an operator mapped to a centre. Idempotent. Raises Rejected KER-MSD-215."""
        ...

    async def next_rid(self, centre: CentreId, machine: MachineId) -> str:
        """Return the next registration id of a machine (section 6.6). Raises Rejected KER-RIG-*."""
        ...


def rsa_public_key(spki: bytes) -> RSAPublicKey:
    """Parse a DER SubjectPublicKeyInfo that must hold an RSA key; raises ValueError."""
    key = load_der_public_key(spki)
    if not isinstance(key, RSAPublicKey):
        raise ValueError("not an RSA key")  # noqa: TRY004 - the bytes are wrong, not the argument's type
    return key
