"""The message by which a client announces its packets before it uploads them (registration section 3.3)."""

import json
from collections.abc import Sequence
from datetime import datetime

import msgspec
from cryptography import x509

from civium.kernel.clock import iso_millis
from civium.kernel.encoding import b64u
from civium.keys.api import packet as packet_bytes
from civium.packets.builder import Enrolment, Packet

SYNC_ID = "mosip.registration.sync"
SYNC_VERSION = "1.0"


class SyncEntry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One announced packet. Members that a client may leave out have a default; what they must be, the server says."""

    registration_id: str | None = None
    packet_id: str | None = None
    additional_info_req_id: str | None = None
    lang_code: str | None = None
    registration_type: str | None = None
    packet_hash_value: str | None = None
    packet_size: int | None = None
    supervisor_status: str | None = None
    supervisor_comment: str | None = None
    name: str | None = None
    phone: str | None = None
    email: str | None = None


class SyncMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The envelope of announced packets."""

    id: str | None = None
    version: str | None = None
    requesttime: str | None = None
    request: tuple[SyncEntry, ...] = ()


def sync_entry(
    packet: Packet,
    enrolment: Enrolment,
    *,
    supervisor_status: str = "APPROVED",
    supervisor_comment: str = "",
    name: str | None = None,
    phone: str | None = None,
    email: str | None = None,
) -> SyncEntry:
    """Return the entry that announces ``packet``; name, phone and email are for notifications."""
    return SyncEntry(
        registration_id=enrolment.rid.reveal(),
        packet_id=packet.id,
        lang_code=enrolment.languages[0],
        registration_type=enrolment.process,
        packet_hash_value=packet.hash,
        packet_size=len(packet.sealed),
        supervisor_status=supervisor_status,
        supervisor_comment=supervisor_comment,
        name=name,
        phone=phone,
        email=email,
    )


def sync_body(entries: Sequence[SyncEntry], *, at: datetime, certificate: x509.Certificate) -> str:
    """Return the HTTP body: one JSON string that holds the encrypted message."""
    message = SyncMessage(id=SYNC_ID, version=SYNC_VERSION, requesttime=iso_millis(at), request=tuple(entries))
    return json.dumps(b64u(packet_bytes.encrypt(certificate, msgspec.json.encode(message))))
