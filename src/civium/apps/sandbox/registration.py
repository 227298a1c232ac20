"""A registration client of the sandbox: it builds, announces and uploads packets over HTTP, as a centre would."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from civium.apps.sandbox.applicant import ARABIC, ENGLISH, Applicant
from civium.apps.sandbox.client import OFFICER, CallFailed, Platform, result_of
from civium.biometrics.api import BiometricRecord, Modality, compose_cbeff
from civium.kernel.clock import SystemClock, iso_millis, monotonic
from civium.kernel.identifiers import RID, UIN, VID
from civium.masterdata.api import IdSchema, parse_schema
from civium.packets.api import (
    Capture,
    CapturedBiometrics,
    CaptureDevice,
    DigitalId,
    Enrolment,
    Packet,
    build_packet,
    reference_of,
    sync_body,
    sync_entry,
)

CENTRE, MACHINE = "10001", "10001"
SUPERVISOR = "110012"
MACHINE_KEY_FILE = "machine.pem"
REGISTERED = "UIN_GENERATED"
AWAITS_PEOPLE = "AWAITS_PEOPLE"
_FINISHED = {REGISTERED, "REJECTED", "REREGISTER", "RESEND", "REPROCESS_FAILED"}
_DEVICE_TYPES = {
    Modality.FINGER: ("Finger", "Slap"),
    Modality.IRIS: ("Iris", "Double"),
    Modality.FACE: ("Face", "Full face"),
}


@dataclass(frozen=True, slots=True)
class Registered:
    """A person in the register, as the sandbox's own services may know them."""

    rid: RID
    uin: UIN
    vid: VID
    applicant: Applicant = field(repr=False)


class RegistrationStation:
    """The registration machine 10001 of centre 10001. ``home`` holds the machine's private key."""

    def __init__(self, platform: Platform, home: Path) -> None:
        self._platform = platform
        self._clock = SystemClock()
        self._key = load_machine_key(home)
        self._schema: IdSchema | None = None

    def build(self, applicant: Applicant, *, at: datetime | None = None) -> tuple[Enrolment, Packet]:
        """Make the sealed packet of an applicant; RID, schema and packet certificate come from the platform."""
        self._platform.login_client("regproc", "mosip-regproc-client")
        rid = self._platform.get(f"/v1/ridgenerator/generate/rid/{CENTRE}/{MACHINE}")["rid"]
        self._platform.login_user(OFFICER)
        if self._schema is None:
            self._schema = parse_schema(self._platform.get("/v1/syncdata/latestidschema", schemaVersion="0"))
        enrolment = _enrolment(RID.parse(rid), applicant, at or self._clock.now())
        packet = build_packet(enrolment, self._schema, machine_key=self._key, certificate=self._certificate())
        return enrolment, packet

    def announce(self, enrolment: Enrolment, packet: Packet, applicant: Applicant) -> None:
        """Sync the packet (``syncV2``); raises CallFailed."""
        now = self._clock.now()
        entry = sync_entry(
            packet, enrolment, name=applicant.names[ENGLISH], phone=applicant.phone, email=applicant.email
        )
        body = sync_body([entry], at=now, certificate=self._certificate())
        headers = {
            "content-type": "application/json",
            "Center-Machine-RefId": reference_of(enrolment.rid.centre, enrolment.rid.machine),
            "timestamp": iso_millis(now),
        }
        path = "/registrationprocessor/v1/registrationstatus/syncV2"
        result_of(f"POST {path}", self._platform.send("POST", path, content=body.encode(), headers=headers))

    def upload(self, packet: Packet) -> None:
        """Upload the announced packet; raises CallFailed."""
        path = "/registrationprocessor/v1/packetreceiver/registrationpackets"
        files = {"file": (packet.file_name, packet.sealed, "application/octet-stream")}
        result_of(f"POST {path}", self._platform.send("POST", path, files=files))

    def status(self, rid: RID) -> str:
        """Return the registration's status word, final ones told apart."""
        found = self._platform.call(
            "POST", "/registrationprocessor/v1/registrationstatus/externalstatus/search",
            [{"registrationId": rid.reveal()}], id="mosip.registration.external.status",
        )  # fmt: skip
        return str(found[0]["statusCode"])

    def wait(self, rid: RID, *, seconds: float = 60.0, poll: Callable[[str], None] | None = None) -> str:
        """Follow the registration until it is finished or the time is up; returns the last status word.

        :data:`AWAITS_PEOPLE` is our word for a possible duplicate, which an adjudicator must decide.
        """
        self._platform.login_client("resident", "mosip-resident-client")
        limit = monotonic() + seconds
        while True:
            status = self.status(rid)
            if status not in _FINISHED and self._awaits_people(rid):
                status = AWAITS_PEOPLE
            if poll is not None:
                poll(status)
            if status in {*_FINISHED, AWAITS_PEOPLE} or monotonic() > limit:
                return status
            time.sleep(0.1)

    def _awaits_people(self, rid: RID) -> bool:
        try:
            steps = self._platform.get(f"/registrationprocessor/v1/registrationtransaction/search/{rid.reveal()}")
        except CallFailed:
            return False
        return any(step["transactionTypeCode"] in {"MANUAL_ADJUDICATION", "VERIFICATION"} for step in steps)

    def _certificate(self) -> x509.Certificate:
        answer = self._platform.get(
            "/v1/syncdata/getCertificate", applicationId="REGISTRATION", referenceId=f"{CENTRE}_{MACHINE}"
        )
        return x509.load_pem_x509_certificate(answer["certificate"].encode())


def enrol(platform: Platform, home: Path, applicant: Applicant) -> Registered:
    """Take an applicant all the way into the register; raises CallFailed."""
    station = RegistrationStation(platform, home)
    enrolment, packet = station.build(applicant)
    station.announce(enrolment, packet, applicant)
    station.upload(packet)
    status = station.wait(enrolment.rid)
    if status != REGISTERED:
        raise CallFailed("registration", 200, [(status, "the registration did not end in the register")])
    uin = find_uin(platform, enrolment.rid)
    return Registered(enrolment.rid, uin, issue_vid(platform, uin, "Perpetual"), applicant)


def find_uin(platform: Platform, rid: RID) -> UIN:
    """Learn the UIN of a registration as a resident service may. The status PROCESSED may precede it slightly."""
    platform.login_client("resident", "mosip-resident-client")
    limit = monotonic() + 30.0
    while True:
        try:
            found = platform.get(f"/idrepository/v1/identity/idvid/{rid.reveal()}", type="demo")
            return UIN.parse(found["identity"]["UIN"])
        except CallFailed as problem:
            if "IDR-IDC-007" not in problem.codes or monotonic() > limit:
                raise
            time.sleep(0.1)


def issue_vid(platform: Platform, uin: UIN, kind: str) -> VID:
    """Issue a virtual ID as a resident service may."""
    platform.login_client("resident", "mosip-resident-client")
    issued = platform.call(
        "POST", "/idrepository/v1/vid", {"UIN": uin.reveal(), "vidType": kind}, id="mosip.vid.create", version="v1"
    )
    return VID.parse(str(issued["VID"]))


def load_machine_key(home: Path) -> RSAPrivateKey:
    """Return the sandbox machine's private key, which `civium serve` makes at its first start in sandbox mode."""
    key = load_pem_private_key((home / "sandbox" / MACHINE_KEY_FILE).read_bytes(), None)
    if not isinstance(key, RSAPrivateKey):
        raise TypeError("the machine key is no RSA key")
    return key


def _enrolment(rid: RID, applicant: Applicant, at: datetime) -> Enrolment:
    return Enrolment(
        rid=rid,
        created_at=at,
        identity=applicant.identity,
        documents=applicant.documents,
        biometrics={"individualBiometrics": _captured(applicant.biometrics, at)},
        officer=OFFICER.name,
        supervisor=SUPERVISOR,
        consent=True,
        audits=[_audit(at)],
        devices=tuple(_device(*kind, at) for kind in _DEVICE_TYPES.values()),
        languages=(ENGLISH, ARABIC),
    )


def _captured(records: tuple[BiometricRecord, ...], at: datetime) -> CapturedBiometrics:
    captures = {
        _bio_attribute(record): Capture(index=str(uuid.uuid4()))
        for record in records
        if record.modality is not Modality.EXCEPTION_PHOTO
    }
    return CapturedBiometrics(compose_cbeff(records, at), captures)


def _bio_attribute(record: BiometricRecord) -> str:
    """Return the ID schema's name of a part: ``leftThumb``, ``rightIndex``, ``leftEye``, ``face``."""
    if record.modality is Modality.FACE:
        return "face"
    side, _, finger = record.subtype.partition(" ")
    return side.lower() + (finger.removesuffix("Finger") or "Eye")


def _device(kind: str, sub_type: str, at: datetime) -> CaptureDevice:
    serial = f"SANDBOX-{kind.upper()}"
    return CaptureDevice(
        device_code=serial,
        device_service_version="1.0.0",
        digital_id=DigitalId(
            serial_no=serial, make="Sandbox", model=kind, type=kind, device_sub_type=sub_type,
            device_provider_id="SANDBOX", device_provider="Sandbox", date_time=iso_millis(at),
        ),
    )  # fmt: skip


def _audit(at: datetime) -> dict[str, str | None]:
    return {
        "uuid": str(uuid.uuid4()),
        "createdAt": iso_millis(at.astimezone(UTC)),
        "eventId": "REG-EVT-066",
        "eventName": "PACKET_CREATION_SUCCESS",
        "eventType": "USER",
        "hostName": "sandbox",
        "hostIp": "127.0.0.1",
        "applicationId": "REG",
        "applicationName": "REGISTRATION",
        "sessionUserId": OFFICER.name,
        "sessionUserName": OFFICER.name,
        "id": None,
        "idType": "REGISTRATION_ID",
        "createdBy": OFFICER.name,
        "moduleName": "Packet Handler",
        "moduleId": "REG-MOD-117",
        "description": "Packet created",
        "actionTimeStamp": iso_millis(at),
    }
