"""Records that were written once: a reader that no longer opens them has changed the format."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from civium.kernel.encoding import unb64
from civium.keys.api import verify_path
from civium.keys.formats import certificates, client_crypto, envelope, jws, packet, primitives, session, zk

from .conftest import NOW

GOLDEN = json.loads((Path(__file__).parents[2] / "vectors" / "keys" / "golden.json").read_text())
CLEAR = GOLDEN["clear"].encode()
KEY = load_pem_private_key(GOLDEN["private_key"].encode(), None)
CERTIFICATE = certificates.parse_pem(GOLDEN["certificate"])
ROOT = certificates.parse_pem(GOLDEN["root"])


def opened(sealed, **context):
    parts = envelope.split(sealed)
    assert parts.thumbprint == primitives.thumbprint(CERTIFICATE)
    return envelope.open_data(primitives.unwrap(KEY, parts.wrapped_key), parts, **context)


@pytest.mark.parametrize(("form", "context"), [("a", {"salt": b"s" * 16}), ("b", {}), ("c", {"aad": b"golden place"})])
def test_envelope(form, context):
    assert opened(unb64(GOLDEN[f"envelope_{form}"]), **context) == CLEAR


def test_packet():
    parts = packet.split(unb64(GOLDEN["packet"]))
    assert opened(parts.envelope, salt=parts.nonce, aad=parts.aad) == CLEAR


def session_key(record):
    named = session.parse_session_key(record["session_key"], record["thumbprint"])
    assert named.thumbprint == primitives.thumbprint(CERTIFICATE)
    return primitives.unwrap(KEY, named.wrapped)


def test_request():
    record = GOLDEN["request"]
    assert session.open_request(session_key(record), record["request"], record["hmac"]) == CLEAR


def test_biometric():
    record = GOLDEN["biometric"]
    key = session_key(record)
    assert session.open_biometric(key, record["bio_value"], "2024-01-01T00:00:00.000Z", "1234567890") == CLEAR


def test_kyc():
    record = GOLDEN["kyc"]
    assert session.open_kyc(session_key(record), record["identity"]) == CLEAR


def test_random_key():
    (part,) = zk.split_random_key(GOLDEN["random_key"])
    assert primitives.unwrap(KEY, part.wrapped) == bytes(range(32))


@pytest.mark.parametrize("name", ["jws", "jws_of_the_public_client"])
def test_jws(name):
    verified = jws.verify(GOLDEN[name], CLEAR, at=NOW)
    assert verify_path(verified.certificate, [ROOT], NOW) == (CERTIFICATE, ROOT)


def test_pkcs7():
    assert certificates.parse_p7b(GOLDEN["p7b"]) == (CERTIFICATE, ROOT)
    assert certificates.chain_p7b((CERTIFICATE, ROOT)) == GOLDEN["p7b"]


def test_machine():
    machine = client_crypto.parse_public_key(unb64(GOLDEN["tpm_public"]))
    assert machine.client_type is client_crypto.ClientType.TPM
    assert machine.index == GOLDEN["machine_index"]
    client_crypto.verify(machine, CLEAR, GOLDEN["machine_signature"])
