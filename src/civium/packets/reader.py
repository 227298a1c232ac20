"""Open a packet and believe nothing in it that was not checked (registration 1.3-1.9, keys-and-crypto 4.6, 13.25).

The checks, in order: the outer encryption; the container's names; each sub packet's encrypted hash and metadata; its
encryption; the machine's signature over the plain zip; the zip itself (count, sizes, ratio, names); both hash files,
and that every file is covered by one; the signed meta information against the metadata and the sync entry. What
fails raises :class:`InvalidPacket` and nothing of the packet is used.
"""

import asyncio
import hmac
import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from civium.kernel.clock import parse_instant
from civium.kernel.encoding import sha256, sha256_hex_upper, unb64
from civium.kernel.errors import Rejected
from civium.kernel.identifiers import RID
from civium.keys.api import DecryptionFailed, KeyRef, Keys, SignatureInvalid, client_crypto
from civium.keys.api import packet as packet_bytes
from civium.packets.layout import (
    CBEFF_SUFFIX,
    DATA_HASH_FILE,
    ID_FILE,
    META_FILE,
    OPERATIONS_HASH_FILE,
    SOURCE,
    FileReference,
    HashSequence,
    Metadata,
    MetaInfo,
    SubPacket,
    folder,
)

MAX_ENTRIES = 64
"""Entries of one zip."""
MAX_ENTRY_BYTES = 16 * 1024 * 1024
MAX_TOTAL_BYTES = 48 * 1024 * 1024
"""Uncompressed bytes of one zip."""
MAX_RATIO = 100
"""Uncompressed to compressed bytes of an entry above RATIO_FREE_BYTES; real packets stay below 30."""
RATIO_FREE_BYTES = 256 * 1024

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\.[A-Za-z0-9]{1,8}")
_CONTAINER_NAME = re.compile(r"[A-Za-z0-9_-]+/[A-Za-z0-9_-]+/" + _FILE_NAME.pattern)
_HASH_FILES = frozenset({DATA_HASH_FILE, OPERATIONS_HASH_FILE})


class PacketFault(StrEnum):
    """What is wrong with a packet."""

    UNDECRYPTABLE = "undecryptable"
    NOT_A_ZIP = "not a zip"
    ZIP_BOMB = "zip bomb"
    UNSAFE_NAME = "unsafe name"
    FILE_MISSING = "file missing"
    FILE_UNEXPECTED = "file unexpected"
    HASH_MISMATCH = "hash mismatch"
    MALFORMED = "malformed"
    INTEGRITY = "integrity"
    SIGNATURE = "signature"
    CLAIM_MISMATCH = "claim mismatch"


_UNPARSABLE = ("KER-PUT-009", "Unable to parse the zip")
_INVALID = ("KER-PUT-020", "Packet Validation exception occured.")
_CHANGED = ("KER-PUT-019", "Packet Integrity check failed.")
_CODES: dict[PacketFault, tuple[str, str]] = {
    PacketFault.UNDECRYPTABLE: ("KER-PUT-003", "Packet decryption failed"),
    PacketFault.NOT_A_ZIP: _UNPARSABLE,
    PacketFault.ZIP_BOMB: _UNPARSABLE,
    PacketFault.UNSAFE_NAME: _UNPARSABLE,
    PacketFault.FILE_MISSING: ("KER-PUT-002", "Unable to Find File in Destination Folder"),
    PacketFault.FILE_UNEXPECTED: _INVALID,
    PacketFault.HASH_MISMATCH: _INVALID,
    PacketFault.MALFORMED: _INVALID,
    PacketFault.INTEGRITY: _CHANGED,
    PacketFault.SIGNATURE: _CHANGED,
    PacketFault.CLAIM_MISMATCH: ("KER-PUT-025", "Invalid source or process."),
}
"""The packet manager's code and text (registration section 2)."""


class InvalidPacket(Rejected):
    """A packet failed a check; :attr:`fault` says which."""

    def __init__(self, fault: PacketFault) -> None:
        super().__init__(*_CODES[fault])
        self.fault = fault


@dataclass(frozen=True, slots=True)
class PacketClaim:
    """What the sync entry says about a packet."""

    rid: RID
    process: str
    reference: str


@dataclass(frozen=True, slots=True)
class PacketDocument:
    """A document of a packet."""

    content: bytes = field(repr=False)
    type: str | None
    format: str


@dataclass(frozen=True, slots=True)
class PacketView:
    """The checked content of a packet. Exists in memory only, for the duration of its processing.

    ``identity`` is the union of the sub packets' attributes as they stand in ``ID.json``, file references included.
    """

    claim: PacketClaim
    created_at: datetime
    identity: Mapping[str, Any] = field(repr=False)
    documents: Mapping[str, PacketDocument] = field(repr=False)
    biometrics: Mapping[str, bytes] = field(repr=False)
    """CBEFF XML by attribute."""
    meta: MetaInfo = field(repr=False)
    audits: Sequence[Mapping[str, Any]] = field(repr=False)


async def open_packet(
    sealed: bytes, claim: PacketClaim, *, keys: Keys, key: KeyRef, machine_key: client_crypto.MachineKey
) -> PacketView:
    """Unseal and check a packet; raises InvalidPacket.

    Costs four session keys from the key process and one pass of AES, SHA-256 and inflate over the data. The CPU work
    runs in a thread.
    """
    container = await asyncio.to_thread(read_container, await _decrypt(keys, key, sealed), claim)
    plain = {sub: await _decrypt(keys, key, part.sealed) for sub, part in container.items()}
    return await asyncio.to_thread(read_sub_packets, container, plain, claim, machine_key)


async def _decrypt(keys: Keys, key: KeyRef, sealed: bytes) -> bytes:
    try:
        parts = packet_bytes.split(sealed)
        return await keys.decrypt(key, parts.envelope, salt=parts.nonce, aad=parts.aad)
    except DecryptionFailed:
        raise InvalidPacket(PacketFault.UNDECRYPTABLE) from None


@dataclass(frozen=True, slots=True)
class SealedSubPacket:
    """One sub packet as it lies in the container."""

    metadata: Metadata
    sealed: bytes = field(repr=False)


def read_container(container: bytes, claim: PacketClaim) -> dict[SubPacket, SealedSubPacket]:
    """Return the sub packets of an unsealed container: exactly those that the claim and the layout allow."""
    stem = f"{folder(SOURCE, claim.process)}{claim.rid.reveal()}_"
    expected = {f"{stem}{sub}.{extension}" for sub in SubPacket for extension in ("zip", "json")}
    files = _read_zip(container, _CONTAINER_NAME)
    if expected - files.keys():
        raise InvalidPacket(PacketFault.FILE_MISSING)
    if files.keys() - expected:
        raise InvalidPacket(PacketFault.FILE_UNEXPECTED)
    return {sub: _sub_packet(sub, files[f"{stem}{sub}.zip"], files[f"{stem}{sub}.json"], claim) for sub in SubPacket}


def _sub_packet(sub: SubPacket, sealed: bytes, metadata: bytes, claim: PacketClaim) -> SealedSubPacket:
    told = _parse(metadata, Metadata)
    try:
        intact = hmac.compare_digest(unb64(told.encrypted_hash), sha256(sealed))
    except ValueError:
        intact = False
    if not intact:
        raise InvalidPacket(PacketFault.INTEGRITY)
    rid = claim.rid.reveal()
    claimed = (rid, f"{rid}_{sub}", SOURCE, claim.process, claim.reference)
    if (told.id, told.packet_name, told.source, told.process, told.ref_id) != claimed:
        raise InvalidPacket(PacketFault.CLAIM_MISMATCH)
    return SealedSubPacket(told, sealed)


def read_sub_packets(
    container: Mapping[SubPacket, SealedSubPacket],
    plain: Mapping[SubPacket, bytes],
    claim: PacketClaim,
    machine_key: client_crypto.MachineKey,
) -> PacketView:
    """Check the plain sub packets and return their content as one."""
    for sub, part in container.items():
        _check_signature(plain[sub], part.metadata.signature, machine_key)
    contents = {sub: _content(_read_zip(plain[sub], _FILE_NAME), claim) for sub in container}
    identity: dict[str, Any] = {}
    for content in contents.values():
        if any(identity.get(name, value) != value for name, value in content.identity.items()):
            raise InvalidPacket(PacketFault.MALFORMED)
        identity |= content.identity
    first = contents[SubPacket.ID]
    if not first.audits:
        raise InvalidPacket(PacketFault.FILE_MISSING)
    return PacketView(
        claim,
        _instant(first.meta.creation_date),
        MappingProxyType(identity),
        MappingProxyType({name: item for content in contents.values() for name, item in content.documents.items()}),
        MappingProxyType({name: item for content in contents.values() for name, item in content.biometrics.items()}),
        first.meta,
        first.audits,
    )


def _check_signature(clear: bytes, signature: str, machine_key: client_crypto.MachineKey) -> None:
    try:
        client_crypto.verify(machine_key, clear, signature)
    except SignatureInvalid:
        raise InvalidPacket(PacketFault.SIGNATURE) from None


@dataclass(frozen=True, slots=True)
class _Content:
    identity: dict[str, Any]
    documents: dict[str, PacketDocument]
    biometrics: dict[str, bytes]
    meta: MetaInfo
    audits: tuple[dict[str, Any], ...]


class _Identity(msgspec.Struct):
    identity: dict[str, Any]


class _Meta(msgspec.Struct):
    identity: MetaInfo


def _content(files: Mapping[str, bytes], claim: PacketClaim) -> _Content:
    if len({_stem(name) for name in files}) != len(files):
        raise InvalidPacket(PacketFault.UNSAFE_NAME)
    meta = _parse(_required(files, META_FILE), _Meta).identity
    _check_hashes(files, meta)
    _check_claim(meta, claim)
    identity = _parse(_required(files, ID_FILE), _Identity).identity
    by_stem = {_stem(name): content for name, content in files.items()}
    documents, biometrics = {}, {}
    for name, reference in _file_references(identity):
        content = by_stem.get(reference.value.casefold())
        if content is None:
            raise InvalidPacket(PacketFault.FILE_MISSING)
        if reference.value == name + CBEFF_SUFFIX:
            biometrics[name] = content
        else:
            documents[name] = PacketDocument(content, reference.type, reference.format)
    audits = _parse(by_stem["audit"], tuple[dict[str, Any], ...]) if "audit" in by_stem else ()
    return _Content(identity, documents, biometrics, meta, audits)


def _file_references(identity: Mapping[str, Any]) -> Iterator[tuple[str, FileReference]]:
    for name, value in identity.items():
        if isinstance(value, dict):
            try:
                yield name, msgspec.convert(value, FileReference)
            except msgspec.ValidationError:
                raise InvalidPacket(PacketFault.MALFORMED) from None


def _check_hashes(files: Mapping[str, bytes], meta: MetaInfo) -> None:
    """Check both hash files; a missing one and a listed file that is missing are failures, unlike in the reference."""
    by_stem = {_stem(name): content for name, content in files.items() if name not in {META_FILE, *_HASH_FILES}}
    data, operations = _listed(meta.hash_sequence1), _listed(meta.hash_sequence2)
    covered = data + operations
    if len(set(covered)) != len(covered):
        raise InvalidPacket(PacketFault.MALFORMED)
    if set(covered) - by_stem.keys():
        raise InvalidPacket(PacketFault.FILE_MISSING)
    if by_stem.keys() - set(covered):
        raise InvalidPacket(PacketFault.FILE_UNEXPECTED)
    _check_hash(_required(files, DATA_HASH_FILE), [by_stem[stem] for stem in data])
    if operations or OPERATIONS_HASH_FILE in files:
        _check_hash(_required(files, OPERATIONS_HASH_FILE), [by_stem[stem] for stem in operations])


def _listed(sequences: Sequence[HashSequence]) -> list[str]:
    return [name.casefold() for sequence in sequences for name in sequence.value]


def _check_hash(told: bytes, contents: Sequence[bytes]) -> None:
    if not hmac.compare_digest(told.strip(), sha256_hex_upper(b"".join(contents)).encode()):
        raise InvalidPacket(PacketFault.HASH_MISMATCH)


def _check_claim(meta: MetaInfo, claim: PacketClaim) -> None:
    reference = f"{meta.data('centerId')}_{meta.data('machineId')}"
    signed = (meta.registration_id, reference, meta.data("registrationType"))
    if signed != (claim.rid.reveal(), claim.reference, claim.process):
        raise InvalidPacket(PacketFault.CLAIM_MISMATCH)


def _required(files: Mapping[str, bytes], name: str) -> bytes:
    wanted = _stem(name)
    content = next((content for given, content in files.items() if _stem(given) == wanted), None)
    if content is None:
        raise InvalidPacket(PacketFault.FILE_MISSING)
    return content


def _stem(name: str) -> str:
    """Return the name by which files are found: without extension, in one case (section 1.5)."""
    return name.rpartition(".")[0].casefold()


T = TypeVar("T")


def _parse(content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidPacket(PacketFault.MALFORMED) from None


def _instant(text: str) -> datetime:
    try:
        return parse_instant(text)
    except ValueError:
        raise InvalidPacket(PacketFault.MALFORMED) from None


def _read_zip(archive: bytes, names: re.Pattern[str]) -> dict[str, bytes]:
    """Return the files of a zip by name; refuses it before inflating when its directory already breaks a limit."""
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            entries = opened.infolist()
            _check_directory(entries, names)
            return {entry.filename: opened.read(entry) for entry in entries}
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError, OSError):
        raise InvalidPacket(PacketFault.NOT_A_ZIP) from None


def _check_directory(entries: Sequence[zipfile.ZipInfo], names: re.Pattern[str]) -> None:
    if len(entries) > MAX_ENTRIES or sum(entry.file_size for entry in entries) > MAX_TOTAL_BYTES:
        raise InvalidPacket(PacketFault.ZIP_BOMB)
    for entry in entries:
        if entry.file_size > min(MAX_ENTRY_BYTES, max(RATIO_FREE_BYTES, MAX_RATIO * entry.compress_size)):
            raise InvalidPacket(PacketFault.ZIP_BOMB)
        if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise InvalidPacket(PacketFault.NOT_A_ZIP)
        if names.fullmatch(entry.orig_filename) is None:
            raise InvalidPacket(PacketFault.UNSAFE_NAME)
    if len({entry.filename.casefold() for entry in entries}) != len(entries):
        raise InvalidPacket(PacketFault.UNSAFE_NAME)
