"""Zero knowledge, client crypto, tokens, licence keys over HTTP (sections 7.3, 7.5, 7.8)."""

import base64
import hashlib
import os
import struct
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.unit.keys_formats.conftest import new_rsa

from .conftest import b64u, unb64u

# Zero knowledge.


def attributes(*values, id="2419762130"):
    return {"id": id, "zkDataAttributes": [{"identifier": n, "value": v} for n, v in values]}


async def test_zero_knowledge(api):
    asked = attributes(("name", "Amina"), ("name", "أمينة"), ("Finger_Left IndexFinger", "x" * 5000))
    sealed = await api.ok("POST", "/zkEncrypt", asked)
    assert set(sealed) == {"zkDataAttributes", "encryptedRandomKey", "rankomKeyIndex"}
    index = int(sealed["rankomKeyIndex"])
    for (name, value), each in zip([("name", "Amina"), ("name", "أمينة")], sealed["zkDataAttributes"], strict=False):
        raw = unb64u(each["value"])
        assert each["identifier"] == name
        assert len(raw) == 64 + len(value.encode())
        assert int.from_bytes(raw[:4], "big") == index
    assert all(len(unb64u(each)) == 288 for each in sealed["encryptedRandomKey"].split("."))
    opened = await api.ok("POST", "/zkDecrypt", {"id": asked["id"], "zkDataAttributes": sealed["zkDataAttributes"]})
    assert opened == {
        "zkDataAttributes": asked["zkDataAttributes"], "encryptedRandomKey": None, "rankomKeyIndex": None,
    }  # fmt: skip
    other = {"id": "2419762131", "zkDataAttributes": sealed["zkDataAttributes"]}
    assert await api.refused("POST", "/zkDecrypt", other) == [("KER-ZKC-004", "Data Encryption/Decryption Error.")]


async def test_zero_knowledge_refusals(api):
    assert await api.refused("POST", "/zkEncrypt", {"id": "1", "zkDataAttributes": []}) == [
        ("KER-ZKC-003", "Data attributes Empty.")
    ]
    assert await api.code("POST", "/zkDecrypt", attributes(("a", "AAAA"))) == "KER-ZKC-004"
    assert await api.code("POST", "/zkDecrypt", attributes(("a", "**"))) == "KER-ZKC-004"
    assert await api.code("POST", "/zkDecrypt", attributes(("a", b64u(b"\x7f" * 64)))) == "KER-ZKC-004"
    assert await api.refused("POST", "/zkEncrypt", {"zkDataAttributes": [{"identifier": "a", "value": ""}]}) == [
        ("KER-KMS-005", "id should not be null or empty"),
        ("KER-KMS-005", "value should not be null or empty"),
    ]
    assert await api.code("POST", "/zkDecrypt", attributes(("a", "AAAA")), token="regproc") == "KER-CRY-012"
    assert (await api.ask("POST", "/zkDecrypt", attributes(("a", "AAAA")), token="person")).status_code == 403


async def test_pool_keys_are_wrapped_again_for_authentication(api, keys_auth):
    sealed = await api.ok("POST", "/zkEncrypt", attributes(("name", "Amina")))
    key = sealed["encryptedRandomKey"]
    made = await api.ok("POST", "/zkReEncryptRandomKey", None, params={"encryptedKey": key}, token="ida")
    assert len(base64.b64decode(made["encryptedKey"], validate=True)) == 32
    again = await api.ok("POST", "/zkReEncryptRandomKey/body", {"encryptedKey": key}, token="ida")
    assert again == made
    for bad in ("AAAA", "**", key[:-8], b64u(os.urandom(288))):
        asked = {"params": {"encryptedKey": bad}, "token": "ida"}
        assert await api.refused("POST", "/zkReEncryptRandomKey", None, **asked) == [
            ("KER-ZKC-006", "Invalid encrypted random Key.")
        ]
    assert await api.code("POST", "/zkReEncryptRandomKey", None, token="ida") == "KER-KMS-005"
    assert await api.code("POST", "/zkReEncryptRandomKey", None, params={"encryptedKey": key}) == "KER-CRY-012"


# Client crypto.


def tpm_public(key, hash_id=0x000B):
    numbers = key.public_key().public_numbers()
    modulus = numbers.n.to_bytes(256, "big")
    return (
        struct.pack(">HHIHHHHHI", 1, hash_id, 0x00050072, 0, 0x10, 0x0014, 0x000B, 2048, 0)
        + struct.pack(">H", 256)
        + modulus
    )


def oaep(kind):
    match kind:
        case "TPM":
            return padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), b"\x00")
        case "ANDROID":
            return padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA256(), None)
        case _:
            return padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


@pytest.fixture(scope="module")
def machine():
    return new_rsa()


def encoded(kind, key):
    if kind == "TPM":
        return tpm_public(key)
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("kind", ["TPM", "LOCAL", "ANDROID"])
async def test_machines(api, machine, kind):
    asked = {"publicKey": b64u(encoded(kind, machine)), "clientType": kind}
    sealed = unb64u((await api.ok("POST", "/tpmencrypt", asked | {"value": b64u(b"to the machine")}))["value"])
    key = machine.decrypt(sealed[:256], oaep(kind))
    assert AESGCM(key).decrypt(sealed[256:268], sealed[300:], sealed[268:300]) == b"to the machine"
    signature = b64u(machine.sign(b"from it", padding.PKCS1v15(), hashes.SHA256()))
    signed = asked | {"data": b64u(b"from it"), "signature": signature}
    assert await api.ok("POST", "/csverifysign", signed) == {"verified": True}
    assert await api.ok("POST", "/csverifysign", signed | {"data": b64u(b"from me")}) == {"verified": False}
    assert await api.ok("POST", "/csverifysign", signed | {"signature": "**"}) == {"verified": False}


@pytest.mark.parametrize("member", ["isTpm", "tpm"])
async def test_the_kind_of_a_machine_is_told_from_its_key_too(api, machine, member):
    for kind in ("TPM", "LOCAL"):
        asked = {"publicKey": b64u(encoded(kind, machine)), "value": b64u(b"x")}
        for more in ({}, {member: kind == "TPM"}):
            sealed = unb64u((await api.ok("POST", "/tpmencrypt", asked | more))["value"])
            assert len(machine.decrypt(sealed[:256], oaep(kind))) == 32
    local = {"publicKey": b64u(encoded("LOCAL", machine)), "value": b64u(b"x"), member: True}
    assert await api.code("POST", "/tpmencrypt", local) == "KER-CRY-002"


async def test_machines_that_are_refused(api):
    short = new_rsa(1024).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for bad in (b64u(b"x"), "**", b64u(short)):
        assert await api.code("POST", "/tpmencrypt", {"publicKey": bad, "value": "AA"}) == "KER-CRY-002"
    assert (
        await api.code("POST", "/tpmencrypt", {"publicKey": b64u(short), "value": "AA", "clientType": "X"})
        == "KER-KMS-005"
    )
    assert await api.refused("POST", "/csverifysign", {}) == [
        ("KER-KMS-005", "publicKey should not be null or empty"),
        ("KER-KMS-005", "data should not be null or empty"),
        ("KER-KMS-005", "signature should not be null or empty"),
    ]


async def test_this_service_as_a_machine(api):
    public = unb64u((await api.ok("POST", "/tpmsigning/publickey", {"serverProfile": "PRODUCTION"}))["publicKey"])
    signature = (await api.ok("POST", "/cssign", {"data": b64u(b"from the service")}, token="resident"))["data"]
    key = serialization.load_der_public_key(public)
    key.verify(unb64u(signature), b"from the service", padding.PKCS1v15(), hashes.SHA256())
    verify = {
        "data": b64u(b"from the service"),
        "signature": signature,
        "publicKey": b64u(public),
        "clientType": "LOCAL",
    }
    assert await api.ok("POST", "/csverifysign", verify) == {"verified": True}
    assert await api.code("POST", "/cssign", {"data": "AAAA"}) == "KER-JWS-108"

    own = (await api.ok("POST", "/tpmencryption/publickey", {}))["publicKey"]
    assert own != b64u(public)
    sealed = await api.ok("POST", "/tpmencrypt", {"value": b64u(b"for the service"), "publicKey": own})
    opening = {"value": sealed["value"], "publicKey": own}
    assert (await api.ok("POST", "/tpmdecrypt", opening, token="resident"))["value"] == b64u(b"for the service")
    raw = unb64u(sealed["value"])
    for position in (0, 255, 256, 270, 300, len(raw) - 1):
        changed = bytearray(raw)
        changed[position] ^= 1
        bad = opening | {"value": b64u(bytes(changed))}
        assert await api.refused("POST", "/tpmdecrypt", bad, token="resident") == [
            ("KER-CC-004", "Failed crypto operation")
        ]
    assert await api.code("POST", "/tpmdecrypt", opening | {"value": "AAAA"}, token="resident") == "KER-CC-004"
    assert await api.code("POST", "/tpmdecrypt", opening) == "KER-CRY-012"
    old_key, iv, aad = os.urandom(32), os.urandom(16), os.urandom(12)
    service = serialization.load_der_public_key(unb64u(own))
    old = service.encrypt(old_key, oaep("LOCAL")) + iv + aad + AESGCM(old_key).encrypt(iv, b"old form", aad)
    assert (await api.ok("POST", "/tpmdecrypt", opening | {"value": b64u(old)}, token="resident"))["value"] == b64u(
        b"old form"
    )


# Tokens.


async def test_tokens(api, keys_core):
    made = (await api.ok("GET", "/tokenid/2419762130/mpartner-1"))["tokenID"]
    assert made == await keys_core.token_id("2419762130", "mpartner-1")
    assert len(made) == 36
    assert made.isdecimal()
    assert (await api.ok("POST", "/tokenid", {"uin": "2419762130", "partnerCode": "mpartner-1"}))["tokenID"] == made
    assert await api.refused("GET", "/tokenid/ /mpartner-1") == [
        ("KER-TIG-010", "UIN and partner code cannot be empty.")
    ]
    assert await api.code("POST", "/tokenid", {}) == "KER-TIG-010"
    assert (await api.ask("GET", "/tokenid/1/2", token="officer")).status_code == 403


async def test_the_address_of_a_token_reaches_no_log(api, capsys):
    await api.ok("GET", "/tokenid/9876543210/mpartner-1")
    out = capsys.readouterr()
    assert "tokenid" in out.out + out.err
    assert "9876543210" not in out.out + out.err


# Licence keys.


async def test_licence_keys(api, db):
    until = (datetime.now(UTC) + timedelta(days=9)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    key = (await api.ok("POST", "/license/generate", {"tspId": "T1", "licenseExpiryTime": until}))["licenseKey"]
    assert len(key) == 16
    assert key.isalnum()
    stored = await db.as_owner("SELECT * FROM keys.license_key")
    assert key not in repr(stored)
    assert hashlib.sha256(key.encode()).digest() != stored[0]["license_hash"]
    named = {"tspId": "T1", "licenseKey": key}
    assert await api.code("GET", "/license/permission", params=named) == "KER-LKM-009"
    mapped = await api.ok("POST", "/license/permission", named | {"permissions": ["OTP Trigger", "eKYC - Full"]})
    assert mapped["status"] == "Mapped License with the permissions"
    await api.ok("POST", "/license/permission", named | {"permissions": ["OTP Trigger"]})
    found = await api.ok("GET", "/license/permission", params=named)
    assert found == {"permissions": ["OTP Trigger", "eKYC - Full"]}
    assert (await api.ask("GET", "/license/permission", params=named, token="officer")).status_code == 403
    for changes, code in (
        ({"tspId": " "}, "KER-LKM-001"), ({"licenseKey": ""}, "KER-LKM-006"), ({"licenseKey": "x" * 16}, "KER-LKM-004"),
        ({"tspId": "T2"}, "KER-LKM-004"), ({"permissions": [""]}, "KER-LKM-007"), ({"permissions": ["all"]}, "KER-LKM-003"),
    ):  # fmt: skip
        assert await api.code("POST", "/license/permission", named | changes) == code
    await db.as_owner("UPDATE keys.license_key SET expires_at = now()")
    assert await api.code("GET", "/license/permission", params=named) == "KER-LKM-005"


async def test_licence_keys_that_are_not_made(api):
    for asked, code in (
        ({"licenseExpiryTime": "2030-01-01T00:00:00.000Z"}, "KER-LKM-001"),
        ({"tspId": "T1"}, "KER-LKM-999"),
        ({"tspId": "T1", "licenseExpiryTime": "soon"}, "KER-LKM-999"),
        ({"tspId": "T1", "licenseExpiryTime": "2019-01-01T00:00:00.000Z"}, "KER-LKM-008"),
    ):
        assert await api.code("POST", "/license/generate", asked) == code
