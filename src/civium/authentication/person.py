"""A person under one identifier: opening and sealing what the store keeps.

Two rows hold a person: the row itself, and a sealed head in another table that says which version of the row is the
last, when the identifier expires and how many uses are left. Every change moves the version in both, so a row or a
head that was put back, swapped or changed does not open. Attributes are, inside the box, still ZK-encrypted: only who
knows the identifier can have the key process open them.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime

import msgspec

from civium.authentication.store import Consumption, IdentityBoxes, IdentityRow
from civium.kernel.errors import IntegrityError
from civium.platform.sealing import Place, Sealer

DEMOGRAPHICS_PURPOSE = "authentication/demographics"
BIOMETRICS_PURPOSE = "authentication/biometrics"
STATE_PURPOSE = "authentication/state"
PERSON_DOMAIN = "authentication/token"
IDENTITY_DOMAIN = "authentication/identity"


class Head(msgspec.Struct, frozen=True):
    """The state of an identity. ``content`` is the version that its attributes were sealed at."""

    version: int
    content: int
    credential: int
    """The issuer's version of the credential; an older one never replaces a newer one."""
    token_hash: bytes
    expires_at: datetime | None
    uses_left: int | None


@dataclass(frozen=True, slots=True)
class Person:
    """An opened identity: its state and its token; the attributes stay sealed in ``row``."""

    row: IdentityRow = field(repr=False)
    head: Head = field(repr=False)
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Credential:
    """What an issuer sends of a person: ZK-encrypted attributes by name."""

    version: int
    demographics: dict[str, str] = field(repr=False)
    biometrics: dict[str, str] = field(repr=False)


_head = msgspec.json.Decoder(Head)
_attributes = msgspec.json.Decoder(dict[str, str])


class People:
    """Opens and seals identities. No IO but an occasional data key from the key process."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    async def identity_of(self, id_hash: str) -> bytes:
        """Return the row key of the wire's ``id_hash``: without our key the table cannot be searched."""
        return await self._sealer.keyed_hash(IDENTITY_DOMAIN, id_hash.encode())

    async def token_hash(self, token: str) -> bytes:
        """Return what a person's rows are joined by."""
        return await self._sealer.keyed_hash(PERSON_DOMAIN, token.encode())

    async def open(self, row: IdentityRow) -> Person:
        """Return the person; raises IntegrityError when row and head do not belong together."""
        if row.head is None:
            raise IntegrityError("an identity without its head")
        head = _head.decode(await self._sealer.unseal(STATE_PURPOSE, _place(row.id, "head"), row.head))
        if head.version != row.version or head.token_hash != row.token_hash:
            raise IntegrityError("an identity that is not at its head's version")
        token = await self._sealer.unseal(STATE_PURPOSE, _place(row.id, "token", head.version), row.token)
        return Person(row, head, token.decode())

    async def demographics(self, person: Person) -> dict[str, str]:
        """Return the ZK-encrypted demographic attributes."""
        place = _place(person.row.id, "demographics", person.head.content)
        return _attributes.decode(await self._sealer.unseal(DEMOGRAPHICS_PURPOSE, place, person.row.demographics))

    async def biometrics(self, person: Person) -> dict[str, str]:
        """Return the ZK-encrypted biometric attributes; none when the read left them out."""
        if person.row.biometrics is None:
            return {}
        place = _place(person.row.id, "biometrics", person.head.content)
        return _attributes.decode(await self._sealer.unseal(BIOMETRICS_PURPOSE, place, person.row.biometrics))

    async def renewed(self, person: Person) -> IdentityRow | None:
        """Return the row with every box sealed anew, None when its keys are new already."""
        row, content = person.row, person.head.content
        assert row.head is not None
        seal = self._sealer.renew
        token = await seal(STATE_PURPOSE, _place(row.id, "token", person.head.version), row.token)
        head = await seal(STATE_PURPOSE, _place(row.id, "head"), row.head)
        demographics = await seal(DEMOGRAPHICS_PURPOSE, _place(row.id, "demographics", content), row.demographics)
        biometrics = None
        if row.biometrics is not None:
            biometrics = await seal(BIOMETRICS_PURPOSE, _place(row.id, "biometrics", content), row.biometrics)
        if token is head is demographics is biometrics is None:
            return None
        return replace(
            row,
            token=token or row.token,
            head=head or row.head,
            demographics=demographics or row.demographics,
            biometrics=biometrics or row.biometrics,
        )

    async def consumed(self, person: Person) -> Consumption | None:
        """Return what one use does to an identifier; None when its uses are not limited."""
        left, row = person.head.uses_left, person.row
        if left is None:
            return None
        if left <= 1:
            return Consumption(row.id, row.version, token=None, head=None)
        head = msgspec.structs.replace(person.head, version=row.version + 1, uses_left=left - 1)
        token, sealed_head = await self._state(row.id, head, person.token)
        return Consumption(row.id, row.version, token, sealed_head)

    async def sealed(
        self,
        id: bytes,
        previous: Person | None,
        credential: Credential,
        *,
        token: str,
        expires_at: datetime | None,
        uses_left: int | None,
    ) -> IdentityBoxes:
        """Return the boxes of a credential that replaces ``previous``."""
        version = previous.head.version + 1 if previous else 1
        token_hash = await self.token_hash(token)
        head = Head(version, version, credential.version, token_hash, expires_at, uses_left)
        sealed_token, sealed_head = await self._state(id, head, token)
        return IdentityBoxes(
            id=id,
            version=version,
            token_hash=token_hash,
            token=sealed_token,
            demographics=await self._attributes(
                DEMOGRAPHICS_PURPOSE, _place(id, "demographics", version), credential.demographics
            ),
            biometrics=await self._attributes(
                BIOMETRICS_PURPOSE, _place(id, "biometrics", version), credential.biometrics
            )
            if credential.biometrics
            else None,
            head=sealed_head,
        )

    async def with_state(self, person: Person, *, expires_at: datetime | None, uses_left: int | None) -> IdentityBoxes:
        """Return the boxes of a person whose expiry and uses change; the attributes stay as they are."""
        row = person.row
        head = msgspec.structs.replace(person.head, version=row.version + 1, expires_at=expires_at, uses_left=uses_left)
        token, sealed_head = await self._state(row.id, head, person.token)
        return IdentityBoxes(row.id, head.version, row.token_hash, token, row.demographics, row.biometrics, sealed_head)

    async def _state(self, id: bytes, head: Head, token: str) -> tuple[bytes, bytes]:
        return (
            await self._sealer.seal(STATE_PURPOSE, _place(id, "token", head.version), token.encode()),
            await self._sealer.seal(STATE_PURPOSE, _place(id, "head"), msgspec.json.encode(head)),
        )

    async def _attributes(self, purpose: str, place: Place, attributes: dict[str, str]) -> bytes:
        return await self._sealer.seal(purpose, place, msgspec.json.encode(attributes))


def _place(id: bytes, column: str, version: int = 0) -> Place:
    return Place("identity_cache", id.hex(), column, version)
