"""One applicant's enrolment, and the keys of its machine and centre."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from civium.kernel.clock import iso_millis
from civium.kernel.identifiers import RID
from civium.keys.api import client_crypto
from civium.masterdata.api import parse_schema
from civium.masterdata.shipped import read
from civium.packets.api import Capture, CapturedBiometrics, Enrolment, PacketClaim, ScannedDocument

AT = datetime(2025, 2, 3, 9, 15, tzinfo=UTC)


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """Return the same key for the same name within a test run."""
    return rsa.generate_private_key(65537, 2048)


def self_signed(key: rsa.RSAPrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "packet")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    dated = builder.serial_number(1).not_valid_before(AT).not_valid_after(AT + timedelta(days=1000))
    return dated.sign(key, SHA256())


def machine_key(key: rsa.RSAPrivateKey) -> client_crypto.MachineKey:
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return client_crypto.parse_public_key(spki)


def texts(value: str) -> list[dict[str, str]]:
    return [{"language": language, "value": value} for language in ("eng", "ara")]


@pytest.fixture(scope="session")
def schema():
    shipped = read()
    return parse_schema(
        {
            "id": shipped.schema_id,
            "idVersion": shipped.schema_version,
            "title": shipped.schema_title,
            "description": shipped.schema_description,
            "schemaJson": shipped.schema_text,
            "effectiveFrom": iso_millis(shipped.effective_from),
        }
    )


@pytest.fixture
def enrolment() -> Enrolment:
    return Enrolment(
        rid=RID.parse("10001100010000120250203091500"),
        created_at=AT,
        identity={
            "fullName": texts("Amina Belkacem"),
            "dateOfBirth": "1992/04/15",
            "gender": texts("Female"),
            "introducerName": texts("Not Anyone"),
            "postalCode": "14022",
        },
        documents={
            "proofOfIdentity": ScannedDocument(b"%PDF-1.4 passport", "DOC001", "pdf", "P1234567"),
            "proofOfException": ScannedDocument(b"%PDF-1.4 exception", "DOC002", "pdf"),
        },
        biometrics={"individualBiometrics": CapturedBiometrics(b"<BIR/>" * 100, {"leftIndex": Capture(index="bir-1")})},
        officer="officer-1",
        supervisor="supervisor-1",
        consent=True,
        audits=[{"uuid": "a-1", "eventId": "REG-EVT-001", "description": "started"}],
        languages=("eng", "ara"),
    )


@pytest.fixture
def claim(enrolment) -> PacketClaim:
    return PacketClaim(enrolment.rid, "NEW", "10001_10001")


@dataclass(frozen=True, slots=True)
class Shop:
    """The keys that a packet is made with."""

    machine: rsa.RSAPrivateKey
    centre: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @property
    def machine_public(self) -> client_crypto.MachineKey:
        return machine_key(self.machine)


@pytest.fixture(scope="session")
def shop() -> Shop:
    centre = rsa_key("centre")
    return Shop(rsa_key("machine"), centre, self_signed(centre))
