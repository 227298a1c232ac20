"""The vectors of the specification, kept as a file that any other implementation can read too."""

import json
from datetime import date
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from civium.kernel.encoding import b64u, sha256_hex_upper, unb64
from civium.keys.formats import client_crypto, envelope, identifiers, packet, primitives, session, zk

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "keys" / "formats.json").read_text())
KEY = bytes(range(32))


def test_token_id():
    vector = VECTORS["token_id"]
    token = identifiers.token_id(
        vector["uin"], vector["partner"], id_salt=vector["uin_salt"], partner_salt=vector["partner_salt"]
    )
    assert token == vector["token"]
    assert sha256_hex_upper((vector["uin"] + vector["uin_salt"]).encode()) == vector["uin_hash"]


def test_salted_hashes():
    vector = VECTORS["salted_hash"]
    assert sha256_hex_upper(vector["uin"].encode()) == vector["unsalted"]
    assert identifiers.id_hash(vector["uin"], vector["salt"]) == vector["salt_as_text"]
    assert identifiers.decoded_id_hash(vector["uin"], vector["salt"]) == vector["salt_decoded"]


def test_modulo():
    vector = VECTORS["modulo"]
    assert identifiers.modulo(vector["uin"]) == vector["digits"]
    assert identifiers.hash_modulo(vector["uin"]) == vector["hash"]


def test_key_names():
    vector = VECTORS["key_name"]
    ident = identifiers.uni_ident("KERNEL", "SIGN", date(2024, 1, 31))
    assert ident == vector["uni_ident"]
    assert identifiers.key_id(ident) == vector["kid"]


def test_foreign_key_name_is_that_of_the_thumbprint():
    ident = identifiers.foreign_uni_ident("PARTNER", "p1", b"\xab" * 32)
    assert ident == identifiers._sha1_hex("PARTNER_p1_" + "AB" * 32)


def test_zk_derived_key_and_value():
    vector = VECTORS["zk"]
    derived = zk.derive_key(KEY, vector["id"])
    assert derived.hex() == vector["derived_key"]
    assert zk._seal_value(derived, vector["index"], vector["value"], bytes(12), bytes(32)) == vector["sealed"]
    assert zk.value_index(vector["sealed"]) == vector["index"]
    assert zk.decrypt_value(derived, vector["sealed"]) == vector["value"]


def test_pin_envelope():
    vector = VECTORS["pin"]
    assert envelope._pin_key(vector["pin"], KEY, 100_000).hex() == vector["key"]
    sealed = envelope._seal_with_pin(vector["pin"], vector["value"], KEY, bytes(12), iterations=100_000)
    assert sealed == vector["sealed"]
    assert envelope.decrypt_with_pin(vector["pin"], vector["sealed"]) == vector["value"]


def test_gcm16():
    vector = VECTORS["gcm16"]
    assert b64u(primitives.gcm_encrypt(KEY, bytes(16), b"hello") + bytes(16)) == vector["sealed"]
    assert primitives.gcm16_decrypt(KEY, unb64(vector["sealed"])) == b"hello"


def test_bio_parameters():
    vector = VECTORS["bio"]
    iv, aad = session._bio_parameters(vector["timestamp"], vector["transaction_id"])
    assert (iv.hex(), aad.hex()) == (vector["iv"], vector["aad"])


@pytest.mark.parametrize("size", [0, 1, 100])
def test_lengths(base, size):
    clear, certificate = bytes(size), base.certificate
    assert len(envelope.encrypt(certificate, clear, salt=bytes(16))) == 318 + size
    assert len(envelope.encrypt(certificate, clear)) == 356 + size
    assert len(envelope.encrypt(certificate, clear, aad=b"x")) == 334 + size
    assert len(packet.encrypt(certificate, clear)) == 44 + 318 + size
    assert len(unb64(zk.encrypt_value(KEY, 1, "x" * size))) == 64 + size
    machine = client_crypto.parse_public_key(spki(base.key))
    assert len(client_crypto.encrypt(machine, clear)) == 316 + size
    assert len(primitives.gcm16_encrypt(KEY, clear)) == 32 + size


def spki(key):
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
