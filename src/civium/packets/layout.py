"""What a packet is made of: names, sub packets, the metadata beside them, the meta information inside.

Source: registration section 1.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from civium.kernel.identifiers import RID, CentreId, MachineId

SOURCE = "REGISTRATION_CLIENT"
PROVIDER_NAME = "PacketWriterImpl"
PROVIDER_VERSION = "v1.0"

ID_FILE = "ID.json"
META_FILE = "packet_meta_info.json"
DATA_HASH_FILE = "packet_data_hash.txt"
OPERATIONS_HASH_FILE = "packet_operations_hash.txt"
AUDIT_FILE = "audit.json"
CBEFF_SUFFIX = "_bio_CBEFF"
"""Ends the name, without extension, of the biometric file of an attribute."""

BIOMETRIC_SEQUENCE = "biometricSequence"
DEMOGRAPHIC_SEQUENCE = "demographicSequence"
OTHER_FILES = "otherFiles"

PACKET_TIME = "%Y%m%d%H%M%S"
"""Format of the time in a packet's id and in the meta information, UTC."""


class SubPacket(StrEnum):
    """The sub packets, in the order of the container."""

    ID = "id"
    EVIDENCE = "evidence"
    OPTIONAL = "optional"


def sub_packets_of(category: str) -> tuple[SubPacket, ...]:
    """Return where attributes of a ``fieldCategory`` go (section 1.4); raises ValueError for an unknown one."""
    if category in {"pvt", "kyc"}:
        return (SubPacket.ID,)
    if category in {"none", ""}:
        return tuple(SubPacket)
    return (SubPacket(category),)


def reference_of(centre: CentreId, machine: MachineId) -> str:
    """Return the ``refId`` of a centre and machine."""
    return f"{centre}_{machine}"


def packet_id(rid: RID, reference: str, at: datetime) -> str:
    """Return the id of a packet, the base name of its file (section 1.1)."""
    return f"{rid.reveal()}-{reference}-{at.astimezone(UTC).strftime(PACKET_TIME)}"


def is_packet_id(text: str, rid: RID, reference: str) -> bool:
    """Tell whether ``text`` is a packet id of that registration and machine; old clients use the RID itself."""
    stem = f"{rid.reveal()}-{reference}-"
    return RID(text) == rid or (text.startswith(stem) and re.fullmatch(r"[0-9]{14}", text[len(stem) :]) is not None)


def folder(source: str, process: str) -> str:
    """Return the folder of the container that holds the sub packets."""
    return f"{source}/{process}/"


class Metadata(msgspec.Struct, frozen=True, kw_only=True, rename="lower"):
    """The clear JSON beside each sub packet (section 1.3). Everything is text.

    Nothing authenticates it but the outer encryption, so the reader compares it with the signed meta information.
    """

    id: str
    packet_name: str = msgspec.field(name="packetname")
    source: str
    process: str
    ref_id: str = msgspec.field(name="refid")
    schema_version: str = msgspec.field(name="schemaversion")
    signature: str
    encrypted_hash: str = msgspec.field(name="encryptedhash")
    provider_name: str = msgspec.field(name="providername", default=PROVIDER_NAME)
    provider_version: str = msgspec.field(name="providerversion", default=PROVIDER_VERSION)
    creation_date: str = msgspec.field(name="creationdate")


class Label(msgspec.Struct, frozen=True):
    """One labelled value of the meta information."""

    label: str
    value: str | None = None


class HashSequence(msgspec.Struct, frozen=True):
    """Names, without extension, of the files that a hash file covers, in order."""

    label: str
    value: tuple[str, ...]


class Capture(msgspec.Struct, frozen=True, kw_only=True):
    """How one finger, eye or face was captured."""

    retries: int = msgspec.field(name="numRetry", default=1)
    forced: bool = msgspec.field(name="forceCaptured", default=False)
    index: str = msgspec.field(name="BIRIndex")


class BiometricException(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Why one finger or eye is missing."""

    type: str
    missing_biometric: str
    reason: str
    exception_type: str = "Permanent"
    individual_type: str = "applicant"


class DocumentEntry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A document as the meta information lists it."""

    document_name: str
    document_category: str
    document_owner: str = "Applicant"
    document_type: str
    ref_number: str | None = None


class DigitalId(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The identity of a capture device."""

    serial_no: str
    make: str
    model: str
    type: str
    device_sub_type: str
    device_provider_id: str
    device_provider: str
    date_time: str


class CaptureDevice(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A device that took part in the capture; one per modality."""

    device_code: str
    device_service_version: str
    digital_id: DigitalId


class MetaInfo(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """``packet_meta_info.json`` (section 1.7), covered by the signature of its sub packet."""

    registration_id: str
    creation_date: str
    meta_data: tuple[Label, ...]
    operations_data: tuple[Label, ...]
    biometrics: dict[str, dict[str, Capture]] = {}
    exception_biometrics: dict[str, dict[str, BiometricException]] = {}
    documents: tuple[DocumentEntry, ...] = ()
    captured_registered_devices: tuple[CaptureDevice, ...] = ()
    check_sum: dict[str, str] = {}
    block_listed_words: tuple[str, ...] = ()
    hash_sequence1: tuple[HashSequence, ...] = ()
    hash_sequence2: tuple[HashSequence, ...] = ()

    def data(self, label: str) -> str | None:
        """Return a value of ``metaData``, such as ``centerId``; None if it is not there or empty."""
        return _labelled(self.meta_data, label)

    def operation(self, label: str) -> str | None:
        """Return a value of ``operationsData``, such as ``officerId``; None if it is not there or empty."""
        return _labelled(self.operations_data, label)


def _labelled(labels: Iterable[Label], label: str) -> str | None:
    return next((entry.value for entry in labels if entry.label == label and entry.value), None)


class FileReference(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An attribute of ``ID.json`` whose value is a file beside it (document or CBEFF)."""

    value: str
    """The file's name without extension."""
    format: str
    type: str | None = None
    ref_number: str | None = None
