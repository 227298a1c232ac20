"""A registration office: the registration processor on a real database, a machine and its operators, applicants."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from civium.biometrics.api import FINGER_POSITIONS, BiometricRecord, Modality, compose_cbeff
from civium.biometrics.matching import NbisFingerMatcher
from civium.biometrics.synthesis import second_impression
from civium.biometrics.wiring import build as build_matcher
from civium.identity.api import Register
from civium.identity.wiring import build as build_identity
from civium.kernel.clock import FixedClock, SystemClock
from civium.kernel.identifiers import RID, CentreId, MachineId
from civium.keys.api import Certificate, packet_key
from civium.masterdata.api import IdSchema, MasterData
from civium.masterdata.wiring import build as build_master_data
from civium.packets.api import (
    CapturedBiometrics,
    Enrolment,
    Packet,
    ScannedDocument,
    build_packet,
    sync_body,
    sync_entry,
)
from civium.platform.http import Caller
from civium.platform.http.access import Unauthenticated
from civium.platform.http.app import create_app
from civium.platform.module import Module
from civium.platform.objects import FileObjectStore
from civium.platform.outbox import decode, place_of
from civium.platform.permissions import Role
from civium.platform.settings import Settings
from civium.registration.wiring import build
from packet_fixtures import AT, rsa_key, texts

REFERENCE = "10001_10001"
BASE = "/registrationprocessor/v1"
SOME_FINGERS = ("Right Thumb", "Left MiddleFinger")
CALLERS = {
    "officer": Caller("110011", "registration-client", frozenset({Role.REGISTRATION_OFFICER})),
    "admin": Caller("admin", "admin-client", frozenset({Role.REGISTRATION_ADMIN})),
    "stranger": Caller("stranger", "x", frozenset({Role.AUTH_PARTNER})),
}


class Tokens:
    async def verify(self, token: str) -> Caller:
        if token not in CALLERS:
            raise Unauthenticated
        return CALLERS[token]


@cache
def hand(seed: int, session: int = 0, captured: tuple[str, ...] = SOME_FINGERS) -> tuple[BiometricRecord, ...]:
    """Return a made-up person's biometrics: the named fingers captured, the other fingers missing."""
    missing = [
        BiometricRecord(Modality.FINGER, subtype, b"", exception=True)
        for subtype in FINGER_POSITIONS
        if subtype not in captured
    ]
    return (*second_impression(seed, session, captured), *missing)


def without(records: tuple[BiometricRecord, ...], modality: Modality) -> tuple[BiometricRecord, ...]:
    return tuple(record for record in records if record.modality is not modality)


_sequence = iter(range(1, 99_999))


def enrolment_of(
    name: str = "Amina Belkacem",
    records: tuple[BiometricRecord, ...] = (),
    *,
    rid: RID | None = None,
    identity: dict[str, Any] | None = None,
    **changes: Any,
) -> Enrolment:
    """Return the enrolment of an adult called ``name``; an identity value of None leaves the attribute out."""
    rid = rid or RID.parse(f"1000110001{next(_sequence):05d}20250203091500")
    made = Enrolment(
        rid=rid,
        created_at=AT,
        identity={
            "fullName": texts(name),
            "dateOfBirth": "1992/04/15",
            "gender": texts("Female"),
            "addressLine1": texts("12 Lane of Oranges"),
            "region": texts("Rabat Sale Kenitra"),
            "province": texts("Kenitra"),
            "city": texts("Kenitra"),
            "zone": texts("Ben Mansour"),
            "postalCode": "14022",
            "phone": "9876543210",
            "email": "amina.belkacem@example.com",
            **(identity or {}),
        },
        documents={"proofOfIdentity": ScannedDocument(b"%PDF-1.4 passport", "DOC001", "pdf", "P1234567")},
        biometrics={"individualBiometrics": CapturedBiometrics(compose_cbeff(records or hand(1), AT), {})},
        officer="110011",
        supervisor="110012",
        consent=True,
        audits=[{"uuid": "a-1", "eventId": "REG-EVT-001", "description": "started"}],
        languages=("eng", "ara"),
    )
    filled = {attribute: value for attribute, value in made.identity.items() if value is not None}
    return replace(made, **{"identity": filled, **changes})


@dataclass
class Office:
    """All of the registration processor, and the centre that feeds it."""

    db: Any
    http: httpx.AsyncClient
    module: Module
    register: Register
    master_data: MasterData
    schema: IdSchema
    certificate: Certificate
    clock: FixedClock
    sealer: Any
    object_root: Path
    machine_key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa_key("machine"))

    def build(self, enrolment: Enrolment, *, machine_key: rsa.RSAPrivateKey | None = None) -> Packet:
        return build_packet(
            enrolment,
            self.schema,
            machine_key=machine_key or self.machine_key,
            certificate=self.certificate.x509,
        )

    async def announce(self, *announced: tuple[Packet, Enrolment], **changes: Any) -> dict[str, Any]:
        entries = [
            sync_entry(packet, enrolment, supervisor_status=changes.get("supervisor_status", "APPROVED"))
            for packet, enrolment in announced
        ]
        return await self.sync(sync_body(entries, at=self.clock.now(), certificate=self.certificate.x509))

    async def sync(self, body: str | bytes, *, reference: str = REFERENCE, token: str = "officer") -> dict[str, Any]:
        answer = await self.http.post(
            f"{BASE}/registrationstatus/syncV2",
            content=body,
            headers={
                "authorization": f"Bearer {token}",
                "content-type": "application/json",
                "Center-Machine-RefId": reference,
                "timestamp": "2025-02-03T09:15:00.000Z",
            },
        )
        return {"status": answer.status_code, "headers": answer.headers, **answer.json()}

    async def upload(self, content: bytes, name: str, *, token: str = "officer", part: str = "file") -> dict[str, Any]:
        answer = await self.http.post(
            f"{BASE}/packetreceiver/registrationpackets",
            files={part: (name, content, "application/octet-stream")},
            headers={"authorization": f"Bearer {token}"},
        )
        return {"status": answer.status_code, "headers": answer.headers, **answer.json()}

    async def bring(self, enrolment: Enrolment, **changes: Any) -> Packet:
        """Build, announce and upload a packet."""
        packet = self.build(enrolment)
        assert not (await self.announce((packet, enrolment), **changes))["errors"]
        assert not (await self.upload(packet.sealed, packet.file_name))["errors"]
        return packet

    async def work(self) -> int:
        """Process all that is due; returns how many packets there were."""
        done = 0
        while await self.module.jobs[0].run():
            done += 1
        return done

    async def post(
        self, path: str, id: str, request: Any, /, *, token: str = "admin", **envelope: Any
    ) -> dict[str, Any]:
        body = {"id": id, "version": "1.0", "requesttime": "2025-02-03T09:15:00.000Z", "request": request, **envelope}
        answer = await self.http.post(f"{BASE}{path}", json=body, headers={"authorization": f"Bearer {token}"})
        return {"status": answer.status_code, "headers": answer.headers, **answer.json()}

    async def status(self, rid: RID, *, external: bool = False) -> str | None:
        path, id = (
            ("/externalstatus", "mosip.registration.external.status") if external else ("", "mosip.registration.status")
        )
        answer = await self.post(f"/registrationstatus{path}/search", id, [{"registrationId": rid.reveal()}])
        return answer["response"][0]["statusCode"] if answer["response"] else answer["errors"][0]["errorCode"]

    async def packet_status(self, packet_id: str) -> str:
        answer = await self.post(
            "/registrationstatus/packetexternalstatus",
            "mosip.registration.packet.external.status",
            [{"packetId": packet_id}],
        )
        return answer["response"][0]["statusCode"] if answer["response"] else answer["errors"][0]["errorCode"]

    async def steps(self, rid: RID) -> list[dict[str, Any]]:
        answer = await self.http.get(
            f"{BASE}/registrationtransaction/search/{rid.reveal()}", headers={"authorization": "Bearer admin"}
        )
        return answer.json()["response"]

    async def last_step(self, rid: RID) -> tuple[str, str, str]:
        step = (await self.steps(rid))[-1]
        return step["transactionTypeCode"], step["statusCode"], step["subStatusCode"]

    async def workflow(self, rid: RID) -> dict[str, Any]:
        """Return the row behind a registration."""
        key = await self.sealer.keyed_hash("registration/rid", rid.reveal().encode())
        [row] = await self.db.as_owner("SELECT * FROM registration.registration WHERE rid_hash = $1", key)
        return dict(row)

    async def act(self, rid: RID, action: str, *, token: str = "admin") -> dict[str, Any]:
        workflow = await self.workflow(rid)
        return await self.post(
            "/workflowmanager/workflowaction",
            "mosip.registration.processor.workflow.action",
            {"workflowIds": [str(workflow["workflow_id"])], "workflowAction": action},
            token=token,
        )

    async def count(self, table: str) -> int:
        return (await self.db.as_owner(f"SELECT count(*) AS n FROM registration.{table}"))[0]["n"]

    async def events(self, kind: Any) -> list[Any]:
        found = []
        for row in await self.db.outbox_rows():
            if row["topic"] == kind.topic():
                clear = await self.sealer.unseal("outbox", place_of(row["id"], row["topic"]), row["payload"])
                found.append(decode(clear, kind))
        return found

    def blobs(self) -> list[Path]:
        return sorted(path for path in (self.object_root / "packets").rglob("*") if path.is_file())


def code(answer: dict[str, Any]) -> str:
    """Return the first error code of an answer."""
    assert answer["status"] == 200, answer
    assert answer["response"] is None
    return answer["errors"][0]["errorCode"]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def matcher() -> AsyncIterator[NbisFingerMatcher]:
    matcher = build_matcher(2)
    yield matcher
    await matcher.close()


@pytest.fixture
async def office(db, keys_core, sealer_core, outbox_core, matcher, tmp_path) -> AsyncIterator[Office]:
    clock = FixedClock(SystemClock().now())
    settings = Settings(mode="sandbox")
    master_data, _ = build_master_data(db.core("masterdata"), sealer_core, keys_core, outbox_core, clock, settings)
    objects = FileObjectStore(tmp_path / "objects")
    register, _ = build_identity(db.core("identity"), sealer_core, keys_core, objects, outbox_core, master_data, clock)
    _, module = build(
        db.core("registration"), sealer_core, keys_core, objects, outbox_core, master_data, register, matcher,
        clock, settings,
    )  # fmt: skip
    centre, machine = CentreId("10001"), MachineId("10001")
    spki = rsa_key("machine").public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    await master_data.register_machine(machine, name="M-1", centre=centre, public_key=spki)
    await master_data.register_operator("110011", centre=centre, role="REGISTRATION_OFFICER")
    await master_data.register_operator("110012", centre=centre, role="REGISTRATION_SUPERVISOR")
    app = create_app(module.routers, Tokens(), settings)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as http:
        yield Office(
            db, http, module, register, master_data, await master_data.id_schema(),
            await keys_core.certificate(packet_key(centre, machine)), clock, sealer_core, tmp_path / "objects",
        )  # fmt: skip
