"""How a person's record is sealed, and how any change to what is stored is found on read.

Each person has two keys of their own: one for demographics and identifiers (PostgreSQL), one for biometrics and
documents (object store). A box is ``nonce12 ‖ AES-256-GCM``, its associated data the place it lives in, so that a
box moved to another person, column or version does not open. The head, in a table of its own, carries a MAC over
status, version, keys and all boxes: a row that was put back to an older state, whole or in part, does not match it.
"""

import hmac
import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from civium.identity.api import PersonStatus
from civium.identity.domain import TamperedFile, TamperedRecord
from civium.identity.store import Head, PersonRow
from civium.kernel.encoding import canonical_json, sha256
from civium.kernel.errors import Rejected
from civium.kernel.identifiers import RID, UIN, VID
from civium.keys.api import DecryptionFailed, Keys
from civium.platform.objects import ObjectNotFound, ObjectStore
from civium.platform.rewrapping import BoxColumn
from civium.platform.sealing import Place, Sealer

DEMOGRAPHICS = "identity/demographics"
BIOMETRICS = "identity/biometrics"
MINT = "identity/mint"
HEAD = "identity/head"
BUCKET = "identity"

_NONCE = 12
_TABLE = "identity.person"


class StoredFile(msgspec.Struct, frozen=True):
    """A document or biometric file in the object store: ``digest`` is the hexadecimal SHA-256 of the sealed blob."""

    category: str
    name: str
    digest: str
    biometric: bool


class Contents(msgspec.Struct, frozen=True):
    """What the demographics box holds."""

    identity: dict[str, Any]
    verified: tuple[str, ...] = ()
    update_counts: dict[str, int] = {}


@dataclass(frozen=True, slots=True)
class Record:
    """A person's record as it is sealed: everything except the content of the files."""

    ref: uuid.UUID
    uin: UIN
    rid: RID
    status: PersonStatus
    version: int
    contents: Contents = field(repr=False)
    files: tuple[StoredFile, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class PersonKeys:
    """A person's two keys, clear for the length of one call, and as they are stored."""

    demographic: AESGCM = field(repr=False)
    biometric: AESGCM = field(repr=False)
    wrapped_demographic: bytes
    wrapped_biometric: bytes


class Vault:
    """Seals and opens records. Opening one costs two round trips to the key process, one more when files are read."""

    def __init__(self, keys: Keys, sealer: Sealer, objects: ObjectStore) -> None:
        self._keys = keys
        self._sealer = sealer
        self._objects = objects

    async def uin_hash(self, uin: UIN) -> bytes:
        """Return what the register looks a UIN up by."""
        return await self._sealer.keyed_hash("identity/uin", uin.reveal().encode())

    async def rid_hash(self, rid: RID) -> bytes:
        """Return what the register looks a registration up by."""
        return await self._sealer.keyed_hash("identity/rid", rid.reveal().encode())

    async def vid_hash(self, vid: VID) -> bytes:
        """Return what the register looks a VID up by."""
        return await self._sealer.keyed_hash("identity/vid", vid.reveal().encode())

    async def seal_minted(self, uin_hash: bytes, uin: UIN) -> bytes:
        """Seal a number that waits in the mint for its person."""
        return await self._sealer.seal(MINT, _minted_place(uin_hash), uin.reveal().encode())

    async def open_minted(self, uin_hash: bytes, box: bytes) -> UIN:
        """Open what :meth:`seal_minted` made."""
        return UIN((await self._sealer.unseal(MINT, _minted_place(uin_hash), box)).decode())

    async def new_keys(self, ref: uuid.UUID) -> PersonKeys:
        """Make the keys of a new person."""
        demographic = await self._keys.data_key(DEMOGRAPHICS, ref.bytes)
        biometric = await self._keys.data_key(BIOMETRICS, ref.bytes)
        return PersonKeys(AESGCM(demographic.clear), AESGCM(biometric.clear), demographic.wrapped, biometric.wrapped)

    async def keys_of(self, row: PersonRow) -> PersonKeys:
        """Open both keys of a person; raises TamperedRecord."""
        return PersonKeys(
            await self._key(DEMOGRAPHICS, row.ref, row.demographic_key),
            await self._key(BIOMETRICS, row.ref, row.biometric_key),
            row.demographic_key,
            row.biometric_key,
        )

    async def _key(self, purpose: str, ref: uuid.UUID, wrapped: bytes) -> AESGCM:
        try:
            return AESGCM(await self._keys.unwrap_data_key(purpose, ref.bytes, wrapped))
        except DecryptionFailed as problem:
            raise TamperedRecord from problem

    async def seal(self, record: Record, keys: PersonKeys) -> tuple[PersonRow, Head]:
        """Return the row of a record and the head that goes with it."""

        def box(column: str, clear: bytes) -> bytes:
            return _seal(keys.demographic, _place(record.ref, column, record.version), clear)

        row = PersonRow(
            ref=record.ref,
            uin_hash=await self.uin_hash(record.uin),
            rid_hash=await self.rid_hash(record.rid),
            status=record.status,
            version=record.version,
            uin_box=box("uin_box", record.uin.reveal().encode()),
            rid_box=box("rid_box", record.rid.reveal().encode()),
            demographics_box=box("demographics_box", msgspec.json.encode(record.contents)),
            objects_box=box("objects_box", msgspec.json.encode(record.files)),
            demographic_key=keys.wrapped_demographic,
            biometric_key=keys.wrapped_biometric,
        )
        return row, Head(row.version, await self._mac(row))

    async def _mac(self, row: PersonRow) -> bytes:
        boxes = (row.uin_box, row.rid_box, row.demographics_box, row.objects_box)
        parts = (row.uin_hash, row.rid_hash, row.demographic_key, row.biometric_key, *boxes)
        bound = [str(row.ref), row.version, row.status, *(sha256(part).hex() for part in parts)]
        return await self._sealer.keyed_hash(HEAD, canonical_json(bound))

    async def renewed(self, row: PersonRow) -> tuple[PersonRow, Head] | None:
        """Return a verified row with its two keys under the newest master, None when they are. The boxes stay."""
        keys = [
            await self._keys.renew_data_key(purpose, row.ref.bytes, wrapped)
            for purpose, wrapped in ((DEMOGRAPHICS, row.demographic_key), (BIOMETRICS, row.biometric_key))
        ]
        if keys == [None, None]:
            return None
        renewed = replace(
            row, demographic_key=keys[0] or row.demographic_key, biometric_key=keys[1] or row.biometric_key
        )
        return renewed, Head(renewed.version, await self._mac(renewed))

    async def registration_mac(self, rid_hash: bytes, ref: uuid.UUID) -> bytes:
        """Return what binds a registration to its person."""
        return await self._sealer.keyed_hash("identity/registration", rid_hash + ref.bytes)

    async def verify(self, row: PersonRow, head: Head | None) -> PersonRow:
        """Return the row if it is exactly what was written last; raises TamperedRecord."""
        if head is None or head.version != row.version or not hmac.compare_digest(head.mac, await self._mac(row)):
            raise TamperedRecord
        return row

    async def identifiers(self, row: PersonRow) -> tuple[UIN, RID]:
        """Open the identifiers of a verified row."""
        return _identifiers(await self._key(DEMOGRAPHICS, row.ref, row.demographic_key), row)

    async def open(self, row: PersonRow) -> Record:
        """Open a verified row; raises TamperedRecord."""
        key = await self._key(DEMOGRAPHICS, row.ref, row.demographic_key)
        uin, rid = _identifiers(key, row)
        return Record(
            ref=row.ref,
            uin=uin,
            rid=rid,
            status=row.status,
            version=row.version,
            contents=msgspec.json.decode(
                _open_column(key, row, "demographics_box", row.demographics_box), type=Contents
            ),
            files=msgspec.json.decode(
                _open_column(key, row, "objects_box", row.objects_box), type=tuple[StoredFile, ...]
            ),
        )

    async def write_files(
        self, keys: PersonKeys, ref: uuid.UUID, files: Mapping[str, bytes], *, biometric: bool
    ) -> tuple[StoredFile, ...]:
        """Seal files into the object store under fresh random names.

        A crash before the row is written leaves blobs that nothing can open: the row would have held their key.
        """
        written = []
        for category, blob in files.items():
            name = f"{BUCKET}/{uuid.uuid4()}"
            box = _seal(keys.biometric, _file_place(ref, category, name), blob)
            await self._objects.put(name, box)
            written.append(StoredFile(category, name, sha256(box).hex(), biometric))
        return tuple(written)

    async def discard_files(self, files: Sequence[StoredFile]) -> None:
        """Delete files that no row refers to."""
        for file in files:
            await self._objects.delete(file.name)

    async def read_files(self, row: PersonRow, files: Sequence[StoredFile]) -> dict[str, bytes]:
        """Open files by category; raises TamperedFile, or Rejected IDR-IDS-006 when one is gone."""
        if not files:
            return {}
        key = await self._key(BIOMETRICS, row.ref, row.biometric_key)
        opened = {}
        for file in files:
            try:
                box = await self._objects.get(file.name)
            except ObjectNotFound as problem:
                raise Rejected("IDR-IDS-006", "File(s) not found in Object Store") from problem
            if not hmac.compare_digest(sha256(box).hex(), file.digest):
                raise TamperedFile
            try:
                opened[file.category] = _open(key, _file_place(row.ref, file.category, file.name), box)
            except InvalidTag as problem:
                raise TamperedFile from problem
        return opened


def _place(ref: uuid.UUID, column: str, version: int) -> Place:
    return Place(_TABLE, str(ref), column, version)


def _file_place(ref: uuid.UUID, category: str, name: str) -> Place:
    return Place("identity.object", f"{ref}/{name}", category)


SEALED_NUMBERS: Final = BoxColumn(
    "identity.mint", "uin_hash", "uin_box", MINT, lambda row: _minted_place(row["rewrap_key"])
)


def _minted_place(uin_hash: bytes) -> Place:
    return Place("identity.mint", uin_hash.hex(), "uin_box")


def _seal(key: AESGCM, place: Place, clear: bytes) -> bytes:
    nonce = secrets.token_bytes(_NONCE)
    return nonce + key.encrypt(nonce, clear, place.octets())


def _open(key: AESGCM, place: Place, box: bytes) -> bytes:
    return key.decrypt(box[:_NONCE], box[_NONCE:], place.octets())


def _open_column(key: AESGCM, row: PersonRow, column: str, box: bytes) -> bytes:
    try:
        return _open(key, _place(row.ref, column, row.version), box)
    except InvalidTag as problem:
        raise TamperedRecord from problem


def _identifiers(key: AESGCM, row: PersonRow) -> tuple[UIN, RID]:
    return (
        UIN(_open_column(key, row, "uin_box", row.uin_box).decode()),
        RID(_open_column(key, row, "rid_box", row.rid_box).decode()),
    )
