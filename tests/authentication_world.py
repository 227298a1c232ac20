"""A small country for tests of authentication: partners, people, and a relying party's client.

The client writes every byte as the specification of the wire says (id-authentication sections 2, 6 and 18), with none of the
server's code, so that a mistake in the server's formats cannot hide behind the same mistake in the test.
"""

import base64
import hashlib
import itertools
import json
import os
import random
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import httpx
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509.oid import NameOID

from civium.audit.api import AuditRecorded
from civium.authentication.api import AuthTypeStatusUpdated, CredentialIssued, IdStatusChanged, LockEntry
from civium.authentication.wiring import build
from civium.biometrics.api import BiometricRecord, Modality, compose_single
from civium.kernel.clock import FixedClock
from civium.kernel.identifiers import random_uin, random_vid
from civium.keys.api import IDA_PARTNER, IDA_PARTNER_ID, Keys, hash_modulo, id_hash
from civium.notify.api import NotificationRequested
from civium.partners.api import (
    ApiKeyData,
    CertificateAuthorityAdded,
    MispLicenceData,
    PartnerData,
    PartnersChanged,
    PolicyData,
)
from civium.platform.http import Caller
from civium.platform.http.access import Unauthenticated
from civium.platform.http.app import create_app
from civium.platform.outbox import Delivery, Event, SealedOutbox, place_of
from civium.platform.permissions import Role
from civium.platform.settings import Settings

BASE = "/idauthentication/v1"
DOMAIN = "http://127.0.0.1:8080"
OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
FACE_RECORD = b"FAC\x00030\x00 a face record"


@cache
def private_key(name: str) -> rsa.RSAPrivateKey:
    """One key per name and test run: making one takes a tenth of a second."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def certificate(
    subject: str,
    key: rsa.RSAPrivateKey,
    issuer: str,
    issuer_key: rsa.RSAPrivateKey,
    *,
    ca: bool = False,
    valid_from: datetime | None = None,
    days: int = 365,
) -> x509.Certificate:
    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    begin = valid_from or datetime.now(UTC) - timedelta(days=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    return builder.sign(issuer_key, hashes.SHA256())


def pem_of(cert: x509.Certificate) -> str:
    return cert.public_bytes(serialization.Encoding.PEM).decode()


ROOT = "Test Root"


@cache
def root_certificate() -> x509.Certificate:
    return certificate(ROOT, private_key(ROOT), ROOT, private_key(ROOT), ca=True, days=3650)


def leaf(name: str, **options: Any) -> x509.Certificate:
    return certificate(name, private_key(name), ROOT, private_key(ROOT), **options)


def padded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


def unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Client:
    """A relying party's client: what `mosip-auth-sdk` does, written anew."""

    world: "World"
    partner_id: str = "rp-one"
    licence_key: str = "licence-key-one"
    api_key: str = "api-key-one"
    key: rsa.RSAPrivateKey = field(default_factory=lambda: private_key("rp-one"))
    certificate: x509.Certificate | None = None
    pem_in_x5c: bool = True

    def sealed(self, block: dict[str, Any]) -> dict[str, str]:
        clear = json.dumps(block, ensure_ascii=False, separators=(",", ":")).encode()
        return self.sealed_bytes(clear)

    def sealed_bytes(self, clear: bytes) -> dict[str, str]:
        key = os.urandom(32)

        def gcm(data: bytes) -> str:
            iv = os.urandom(16)
            return padded(AESGCM(key).encrypt(iv, data, None) + iv)

        to = self.world.encryption_certificate
        public = to.public_key()
        assert isinstance(public, rsa.RSAPublicKey)
        return {
            "thumbprint": padded(to.fingerprint(hashes.SHA256())),
            "requestHMAC": gcm(hashlib.sha256(clear).hexdigest().upper().encode()),
            "requestSessionKey": padded(public.encrypt(key, OAEP)),
            "request": gcm(clear),
        }

    def signature(self, body: bytes) -> str:
        cert = self.certificate or self.world.leaves[self.partner_id]
        text = pem_of(cert).encode() if self.pem_in_x5c else cert.public_bytes(serialization.Encoding.DER)
        header = {"alg": "RS256", "x5c": [base64.encodebytes(text).decode()]}
        head = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=")
        signed = head + b"." + base64.urlsafe_b64encode(body).rstrip(b"=")
        signature = self.key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        return f"{head.decode()}..{padded(signature).rstrip('=')}"

    def path(self, usage: str) -> str:
        return f"{BASE}/{usage}/{self.licence_key}/{self.partner_id}/{self.api_key}"

    def members(self, usage: str, individual: str, **changes: Any) -> dict[str, Any]:
        """The request's members without the sealed block; a change to None leaves a member out."""
        members = {
            "id": f"mosip.identity.{usage}",
            "version": "1.0",
            "individualId": individual,
            "individualIdType": "UIN" if len(individual) == 10 else "VID",
            "transactionID": f"{random.randrange(10**10):010d}",
            "requestTime": self.world.instant(),
        }
        if usage == "otp":
            members |= {"otpChannel": ["email", "phone"], "metadata": {}}
        else:
            members |= {
                "specVersion": "1.0",
                "domainUri": DOMAIN,
                "env": "Staging",
                "requestedAuth": {"demo": False, "pin": False, "otp": False, "bio": False},
                "consentObtained": True,
                "metadata": {},
            }
        members |= changes
        return {name: value for name, value in members.items() if value is not None}

    async def post(
        self, usage: str, members: dict[str, Any] | bytes, *, path: str | None = None, **headers: str | None
    ) -> httpx.Response:
        body = members if isinstance(members, bytes) else json.dumps(members, ensure_ascii=False).encode()
        sent = {
            "Signature": self.signature(body),
            "Authorization": "Authorization",
            "content-type": "application/json",
            **{name.capitalize(): value for name, value in headers.items()},
        }
        return await self.world.http.post(
            path or self.path(usage), content=body, headers={name: value for name, value in sent.items() if value}
        )

    async def send(
        self,
        usage: str,
        individual: str,
        *,
        otp: str = "",
        demographics: dict[str, Any] | None = None,
        block: dict[str, Any] | None = None,
        **changes: Any,
    ) -> dict[str, Any]:
        """Send a well-formed request with some changes; returns the envelope."""
        answer = await self.post(
            usage, self.request(usage, individual, otp=otp, demographics=demographics, block=block, **changes)
        )
        assert answer.status_code == 200
        envelope: dict[str, Any] = answer.json()
        return envelope

    def request(
        self,
        usage: str,
        individual: str,
        *,
        otp: str = "",
        demographics: dict[str, Any] | None = None,
        block: dict[str, Any] | None = None,
        **changes: Any,
    ) -> dict[str, Any]:
        sealed: dict[str, str] = {}
        if usage != "otp":
            factors = {"biometrics": [], "demographics": demographics, "otp": otp, "timestamp": self.world.instant()}
            sealed = self.sealed({**factors, **(block or {})})
        return self.members(usage, individual, **{**sealed, **changes})

    async def otp(self, individual: str, transaction: str, channels: tuple[str, ...] = ("email", "phone")) -> str:
        """Ask for an OTP and read it from the message to the person."""
        envelope = await self.send("otp", individual, transactionID=transaction, otpChannel=list(channels))
        assert envelope["errors"] is None, envelope
        message = (await self.world.events(NotificationRequested))[-1]
        return message.values["otp"]

    def open_kyc(self, response: dict[str, Any]) -> dict[str, Any]:
        key = self.key.decrypt(unpadded(response["sessionKey"]), OAEP)
        sealed = unpadded(response["identity"])
        opened: dict[str, Any] = json.loads(AESGCM(key).decrypt(sealed[-16:], sealed[:-16], None))
        return opened


PERSON: dict[str, str] = {
    "fullName": json.dumps(
        [{"language": "eng", "value": "Asha Meera Rao"}, {"language": "ara", "value": "آشا راو"}], ensure_ascii=False
    ),
    "dateOfBirth": "1990/01/31",
    "gender": json.dumps([{"language": "eng", "value": "Female"}, {"language": "ara", "value": "أنثى"}]),
    "phone": "9876543210",
    "email": "asharao@example.org",
    "addressLine1": json.dumps([{"language": "eng", "value": "No. 12, 1st Cross Street"}]),
    "city": json.dumps([{"language": "eng", "value": "Kenitra"}]),
    "postalCode": "10112",
}

POLICY = {
    "authTokenType": "policy",
    "allowedAuthTypes": [
        {"authType": kind, "mandatory": False} for kind in ("otp", "otp-request", "demo", "kyc", "bio")
    ],
    "allowedKycAttributes": [
        {"attributeName": name} for name in ("fullName", "gender", "dateOfBirth", "phone", "photo", "city")
    ],
    "kycLanguages": ["eng", "ara"],
}


class Tokens:
    async def verify(self, token: str) -> Caller:
        if token != "any":
            raise Unauthenticated
        return Caller("someone", "client", frozenset({Role.RESIDENT}))


class World:
    """Authentication, served in process, and what feeds it."""

    http: httpx.AsyncClient
    encryption_certificate: x509.Certificate

    def __init__(self, db: Any, keys_core: Keys, keys_auth: Keys, sealer: Any, settings: Settings) -> None:
        self.db = db
        self.keys_core = keys_core
        self.keys_auth = keys_auth
        self.sealer = sealer
        self.settings = settings
        self.clock = FixedClock(datetime.now(UTC).replace(microsecond=123_000))
        self.outbox = SealedOutbox("outbox_auth", sealer, self.clock)
        self.service, self.module = build(db.auth(), sealer, keys_auth, self.outbox, self.clock, settings)
        self.leaves = {name: leaf(name) for name in ("rp-one", "rp-two", "misp-one")}
        self._handlers: dict[str, Callable[[Delivery], Awaitable[None]]] = {
            topic: consumer.handle for consumer in self.module.consumers for topic in consumer.topics
        }
        self._versions = itertools.count(1)

    async def start(self) -> None:
        app = create_app(self.module.routers, Tokens(), self.settings)
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://ida")
        self.encryption_certificate = (await self.keys_auth.certificate(IDA_PARTNER)).x509

    def instant(self, **shift: float) -> str:
        at = self.clock.now() + timedelta(**shift)
        return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"

    async def deliver(self, event: Event, id: uuid.UUID | None = None) -> None:
        topic = type(event).topic()
        delivery = Delivery(id or uuid.uuid4(), topic, "key", self.clock.now(), msgspec.json.encode(event))
        await self._handlers[topic](delivery)

    def window(self, begin: int = -1, end: int = 30) -> dict[str, str]:
        now = self.clock.now()
        return {
            "commence_on": (now + timedelta(days=begin)).replace(tzinfo=None).isoformat(),
            "expires_on": (now + timedelta(days=end)).replace(tzinfo=None).isoformat(),
        }

    def partner(self, name: str, **changes: Any) -> PartnerData:
        pem = pem_of(self.leaves[name])
        data = PartnerData(partner_id=name, name=name, certificate_pem=pem, original_pem=pem, status="ACTIVE")
        return msgspec.structs.replace(data, **changes)

    def policy(self, policy: dict[str, Any] | None = None, **changes: Any) -> PolicyData:
        data = PolicyData(policy_id="policy-one", name="p", policy=policy or POLICY, status="ACTIVE", **self.window())
        return msgspec.structs.replace(data, **changes)

    def api_key(self, partner: str = "rp-one", **changes: Any) -> ApiKeyData:
        data = ApiKeyData(
            api_key=partner.replace("rp", "api-key"), partner_id=partner, policy_id="policy-one", status="ACTIVE",
            **self.window(),
        )  # fmt: skip
        return msgspec.structs.replace(data, **changes)

    def licence(self, **changes: Any) -> MispLicenceData:
        data = MispLicenceData(
            misp_id="misp-one", licence_key="licence-key-one", policy_id=None, status="ACTIVE", **self.window()
        )
        return msgspec.structs.replace(data, **changes)

    async def change(self, **parts: Any) -> None:
        await self.deliver(PartnersChanged(name="PARTNER_UPDATED", **parts))

    async def settle(self) -> None:
        """Set up the usual partners: two relying parties under one policy, one MISP."""
        await self.deliver(CertificateAuthorityAdded(domain="AUTH", anchors=(pem_of(root_certificate()),)))
        await self.change(partner=self.partner("misp-one"), misp=self.licence())
        for name in ("rp-one", "rp-two"):
            await self.change(partner=self.partner(name), policy=self.policy(), api_key=self.api_key(name))

    async def credential(
        self,
        identifier: str | None = None,
        *,
        vid: bool = False,
        token: str | None = None,
        person: dict[str, str] | None = None,
        expiry: str | None = None,
        limit: int | None = None,
        version: int = 1,
    ) -> "Enrolled":
        """Issue an auth credential and have it delivered."""
        identifier = identifier or (random_vid() if vid else random_uin()).reveal()
        modulo = hash_modulo(identifier)
        salt = await self.keys_core.identifier_salt(modulo)
        demo = await self.keys_core.zk_encrypt(identifier, PERSON if person is None else person, hybrid=True)
        face = compose_single(BiometricRecord(Modality.FACE, "", FACE_RECORD, created=self.clock.now())).decode()
        bio = await self.keys_core.zk_encrypt(identifier, {"Face": face}, hybrid=True)
        token = token or await self.keys_core.token_id(identifier, IDA_PARTNER_ID)
        event = CredentialIssued(
            transaction_id=str(uuid.uuid4()),
            id_hash=id_hash(identifier, salt),
            modulo=str(modulo),
            salt=salt,
            token=token,
            id_type="VID" if len(identifier) == 16 else "UIN",
            expiry_timestamp=expiry,
            transaction_limit=limit,
            demographics=dict(demo.attributes),
            demo_encrypted_random_key=demo.encrypted_random_key,
            demo_random_key_index=demo.random_key_index,
            biometrics=dict(bio.attributes),
            bio_encrypted_random_key=bio.encrypted_random_key,
            bio_random_key_index=bio.random_key_index,
            version=version,
        )
        await self.deliver(event)
        return Enrolled(identifier, event.id_hash, token)

    async def status(self, who: "Enrolled", action: str, expiry: str | None = None, limit: int | None = None) -> None:
        await self.deliver(
            IdStatusChanged(action=action, id_hash=who.id_hash, expiry_timestamp=expiry, transaction_limit=limit)
        )

    async def lock(
        self, who: "Enrolled", kind: str, sub: str | None = None, *, locked: bool = True, until: str | None = None
    ) -> None:
        entry = LockEntry(auth_type=kind, auth_sub_type=sub, locked=locked, unlock_expiry_timestamp=until)
        await self.deliver(AuthTypeStatusUpdated(token=who.token, locks=(entry,)))

    async def events(self, kind: type[Any]) -> list[Any]:
        """Return the events of a kind that wait in the outbox, oldest first."""
        found = []
        for row in await self.db.outbox_rows("outbox_auth"):
            if row["topic"] == kind.topic():
                clear = await self.sealer.unseal("outbox", place_of(row["id"], row["topic"]), row["payload"])
                found.append(msgspec.json.decode(clear, type=kind))
        return found

    async def audited(self) -> list[AuditRecorded]:
        return await self.events(AuditRecorded)

    async def rows(self, table: str) -> list[Any]:
        return await self.db.as_owner(f"SELECT * FROM authentication.{table}")

    def client(self, **changes: Any) -> Client:
        return replace(Client(self), **changes)

    def other_client(self) -> Client:
        return Client(self, partner_id="rp-two", api_key="api-key-two", key=private_key("rp-two"))


@dataclass(frozen=True)
class Enrolled:
    """A person under one identifier."""

    identifier: str
    id_hash: str
    token: str


def codes(envelope: dict[str, Any]) -> list[str]:
    return [error["errorCode"] for error in envelope["errors"] or []]
