"""Make a registration packet as a registration client does (registration sections 1 and 3.3).

Compose the files of each sub packet, sign the plain zips with the machine's key, encrypt them, put them into the
container, encrypt that. Everything before the encryption depends on the input only: the same enrolment gives the same
plain zips and signatures.
"""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from civium.kernel.clock import iso_millis
from civium.kernel.encoding import b64u, sha256, sha256_hex_upper
from civium.kernel.identifiers import RID
from civium.keys.api import packet as packet_bytes
from civium.masterdata.api import AttributeKind, IdSchema
from civium.packets.layout import (
    AUDIT_FILE,
    BIOMETRIC_SEQUENCE,
    CBEFF_SUFFIX,
    DATA_HASH_FILE,
    DEMOGRAPHIC_SEQUENCE,
    ID_FILE,
    META_FILE,
    OPERATIONS_HASH_FILE,
    OTHER_FILES,
    PACKET_TIME,
    SOURCE,
    BiometricException,
    Capture,
    CaptureDevice,
    DocumentEntry,
    HashSequence,
    Label,
    Metadata,
    MetaInfo,
    SubPacket,
    folder,
    packet_id,
    reference_of,
    sub_packets_of,
)

CLIENT_VERSION = "1.2.0"
Files = dict[str, bytes]


class CannotBuild(ValueError):
    """An enrolment does not make a packet; the message names the rule (KER-KPM-*), never a value."""


@dataclass(frozen=True, slots=True)
class ScannedDocument:
    """A document that the applicant brought."""

    content: bytes = field(repr=False)
    type: str
    format: str
    reference: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class CapturedBiometrics:
    """The CBEFF of one attribute of the ID schema, and how each part of it was captured (bio attribute -> ...)."""

    cbeff: bytes = field(repr=False)
    captures: Mapping[str, Capture]
    exceptions: Mapping[str, BiometricException] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Enrolment:
    """All that a registration client collected about one applicant, and who collected it.

    ``identity`` holds the attributes of the ID schema that are no files. ``audits`` are the elements of ``audit.json``.
    """

    rid: RID
    created_at: datetime
    identity: Mapping[str, Any] = field(repr=False)
    documents: Mapping[str, ScannedDocument] = field(repr=False)
    biometrics: Mapping[str, CapturedBiometrics] = field(repr=False)
    officer: str
    supervisor: str
    consent: bool
    audits: Sequence[Mapping[str, str | None]] = field(repr=False)
    devices: tuple[CaptureDevice, ...] = ()
    languages: tuple[str, ...] = ("eng",)
    process: str = "NEW"
    machine_serial: str = ""
    key_index: str = ""

    @property
    def reference(self) -> str:
        """The ``refId`` of the centre and machine that made the registration."""
        return reference_of(self.rid.centre, self.rid.machine)


@dataclass(frozen=True, slots=True)
class Packet:
    """A finished packet: upload ``sealed`` under :attr:`file_name`."""

    id: str
    sealed: bytes = field(repr=False)

    @property
    def file_name(self) -> str:
        """The name of the uploaded file."""
        return f"{self.id}.zip"

    @property
    def hash(self) -> str:
        """``packetHashValue`` of the sync entry."""
        return sha256_hex_upper(self.sealed)


def build_packet(
    enrolment: Enrolment, schema: IdSchema, *, machine_key: RSAPrivateKey, certificate: x509.Certificate
) -> Packet:
    """Return the encrypted packet; raises CannotBuild.

    ``certificate`` is the current one of the packet key of centre and machine. Costs three RSA signatures and four
    RSA encryptions, and three passes over the data (deflate, AES, AES).
    """
    plain = {sub: write_zip(files, enrolment.created_at) for sub, files in compose(enrolment, schema).items()}
    return seal(enrolment, schema, plain, machine_key=machine_key, certificate=certificate)


def compose(enrolment: Enrolment, schema: IdSchema) -> dict[SubPacket, Files]:
    """Return the files of each sub packet with their hash files, by the schema's ``fieldCategory``."""
    if not enrolment.audits:
        raise CannotBuild("KER-KPM-008 Registration audits is empty")
    unknown = (enrolment.identity.keys() | enrolment.documents.keys() | enrolment.biometrics.keys()) - set(
        schema.attributes
    )
    if unknown:
        raise CannotBuild("KER-KPM-007 Invalid input provided : attribute outside the ID schema")
    return {sub: _files(sub, enrolment, schema) for sub in SubPacket}


def write_zip(files: Mapping[str, bytes], at: datetime) -> bytes:
    """Return a deflated zip whose entries all carry the time ``at``."""
    stamp = at.astimezone(UTC)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, (stamp.year, stamp.month, stamp.day, stamp.hour, stamp.minute, stamp.second))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return buffer.getvalue()


def seal(
    enrolment: Enrolment,
    schema: IdSchema,
    plain: Mapping[SubPacket, bytes],
    *,
    machine_key: RSAPrivateKey,
    certificate: x509.Certificate,
) -> Packet:
    """Sign and encrypt the plain zips, and return the encrypted container."""
    rid, where = enrolment.rid.reveal(), folder(SOURCE, enrolment.process)
    container: Files = {}
    for sub, clear in plain.items():
        sealed = packet_bytes.encrypt(certificate, clear)
        metadata = Metadata(
            id=rid,
            packet_name=f"{rid}_{sub}",
            source=SOURCE,
            process=enrolment.process,
            ref_id=enrolment.reference,
            schema_version=str(schema.version),
            signature=b64u(machine_key.sign(clear, PKCS1v15(), SHA256())),
            encrypted_hash=b64u(sha256(sealed)),
            creation_date=iso_millis(enrolment.created_at),
        )
        container[f"{where}{rid}_{sub}.zip"] = sealed
        container[f"{where}{rid}_{sub}.json"] = msgspec.json.encode(metadata)
    return Packet(
        packet_id(enrolment.rid, enrolment.reference, enrolment.created_at),
        packet_bytes.encrypt(certificate, write_zip(container, enrolment.created_at)),
    )


def _files(sub: SubPacket, enrolment: Enrolment, schema: IdSchema) -> Files:
    identity: dict[str, Any] = {"IDSchemaVersion": schema.version}
    biometrics: Files = {}
    documents: Files = {}
    for name, attribute in schema.attributes.items():
        if sub not in sub_packets_of(attribute.category):
            continue
        if attribute.kind is AttributeKind.BIOMETRICS and name in enrolment.biometrics:
            stem = name + CBEFF_SUFFIX
            identity[name] = {"format": "cbeff", "version": 1.0, "value": stem}
            biometrics[f"{stem}.xml"] = enrolment.biometrics[name].cbeff
        elif attribute.kind is AttributeKind.DOCUMENT and name in enrolment.documents:
            document = enrolment.documents[name]
            identity[name] = {
                "value": name,
                "type": document.type,
                "format": document.format,
                "refNumber": document.reference,
            }
            documents[f"{name}.{document.format}"] = document.content
        elif name in enrolment.identity:
            identity[name] = enrolment.identity[name]
    demographic = {**documents, ID_FILE: _json({"identity": identity})}
    operations = {AUDIT_FILE: _json(list(enrolment.audits))} if sub is SubPacket.ID else {}
    meta = _meta_info(enrolment, sub, schema, biometrics=biometrics, demographic=demographic, operations=operations)
    files = {**biometrics, **demographic, **operations, META_FILE: meta}
    files[DATA_HASH_FILE] = _hash([*biometrics.values(), *demographic.values()])
    if sub is SubPacket.ID:
        files[OPERATIONS_HASH_FILE] = _hash(list(operations.values()))
    return files


def _meta_info(
    enrolment: Enrolment, sub: SubPacket, schema: IdSchema, *, biometrics: Files, demographic: Files, operations: Files
) -> bytes:
    fields = [
        name
        for name, attribute in schema.attributes.items()
        if sub in sub_packets_of(attribute.category)
        and name in enrolment.biometrics.keys() | enrolment.documents.keys()
    ]
    here = {name: enrolment.biometrics[name] for name in fields if name in enrolment.biometrics}
    brought = {name: enrolment.documents[name] for name in fields if name in enrolment.documents}
    meta = MetaInfo(
        registration_id=enrolment.rid.reveal(),
        creation_date=iso_millis(enrolment.created_at),
        meta_data=_meta_data(enrolment),
        operations_data=_operations_data(enrolment),
        biometrics={name: dict(record.captures) for name, record in here.items()},
        exception_biometrics={name: dict(record.exceptions) for name, record in here.items() if record.exceptions},
        documents=tuple(
            DocumentEntry(
                document_name=name,
                document_category=name,
                document_type=document.type,
                ref_number=document.reference,
            )
            for name, document in brought.items()
        ),
        captured_registered_devices=enrolment.devices,
        hash_sequence1=(
            HashSequence(BIOMETRIC_SEQUENCE, _stems(biometrics)),
            HashSequence(DEMOGRAPHIC_SEQUENCE, _stems(demographic)),
        ),
        hash_sequence2=(HashSequence(OTHER_FILES, _stems(operations)),),
    )
    types = {name: document.type for name, document in brought.items()}
    return _json({"identity": {**msgspec.to_builtins(meta), **types}})


def _meta_data(enrolment: Enrolment) -> tuple[Label, ...]:
    rid = enrolment.rid.reveal()
    return (
        Label("registrationId", rid),
        Label("applicationId", rid),
        Label("creationDate", enrolment.created_at.astimezone(UTC).strftime(PACKET_TIME)),
        Label("Registration Client Version Number", CLIENT_VERSION),
        Label("registrationType", enrolment.process),
        Label("preRegistrationId", None),
        Label("machineId", enrolment.rid.machine),
        Label("centerId", enrolment.rid.centre),
        Label("dongleId", enrolment.machine_serial),
        Label("keyIndex", enrolment.key_index),
        Label("langCodes", ",".join(enrolment.languages)),
        Label("consentOfApplicant", "Y" if enrolment.consent else "N"),
    )


def _operations_data(enrolment: Enrolment) -> tuple[Label, ...]:
    return (
        Label("officerId", enrolment.officer),
        Label("officerBiometricFileName", None),
        Label("supervisorId", enrolment.supervisor),
        Label("supervisorBiometricFileName", None),
        Label("supervisorPassword", "true"),
        Label("officerPassword", "true"),
        Label("supervisorPIN", None),
        Label("officerPIN", None),
        Label("supervisorOTPAuthentication", "false"),
        Label("officerOTPAuthentication", "false"),
    )


def _stems(files: Files) -> tuple[str, ...]:
    return tuple(name.rpartition(".")[0] for name in files)


def _hash(contents: Sequence[bytes]) -> bytes:
    return sha256_hex_upper(b"".join(contents)).encode()


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
