"""Envelopes, PINs, web tokens and password hashes over HTTP (section 7.2)."""

import asyncio
import json
import os
import subprocess

import pytest
from argon2.low_level import Type, hash_secret_raw
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from joserfc import jwe as other_jwe
from joserfc.jwk import RSAKey

from .conftest import b64u, unb64u

AT = "2026-05-01T10:00:00.000Z"


def run(command, **more):
    return subprocess.run(command, check=True, **more)


def data(text, *, app="ID_REPO", ref="uin", **more):
    return {"applicationId": app, "referenceId": ref, "timeStamp": AT, "data": text, **more}


@pytest.mark.parametrize(
    ("more", "head", "extra"),
    [
        ({"salt": b64u(bytes(range(16))), "aad": ""}, b"", 318),
        ({"salt": b64u(bytes(range(12))), "aad": b64u(b"row 7")}, b"", 318),
        ({}, b"VER_R2", 356),
        ({"salt": " ", "aad": None}, b"VER_R2", 356),
        ({"aad": b64u(b"row 7")}, b"", 334),
    ],
)
async def test_three_forms(api, more, head, extra):
    clear = os.urandom(1000)
    sealed = (await api.ok("POST", "/encrypt", data(b64u(clear), **more)))["data"]
    raw = unb64u(sealed)
    assert raw.startswith(head)
    assert len(raw) == len(clear) + extra
    assert "=" not in sealed
    assert (await api.ok("POST", "/decrypt", data(sealed, **more)))["data"] == b64u(clear)


async def test_the_thumbprint_is_that_of_the_certificate_that_the_service_shows(api):
    pem = await api.ok("GET", "/getCertificate", params={"applicationId": "ID_REPO", "referenceId": "uin"})
    mark = x509.load_pem_x509_certificate(pem["certificate"].encode()).fingerprint(hashes.SHA256())
    sealed = unb64u((await api.ok("POST", "/encrypt", data(b64u(b"x"))))["data"])
    assert sealed[6:38] == mark


async def test_openssl_made_envelopes_open(api, tmp_path):
    """A second implementation encrypts the session key; both flavours of base64 are read."""
    pem = await api.ok("GET", "/getCertificate", params={"applicationId": "ID_REPO", "referenceId": "uin"})
    (tmp_path / "certificate.pem").write_text(pem["certificate"])
    mark = x509.load_pem_x509_certificate(pem["certificate"].encode()).fingerprint(hashes.SHA256())
    key, iv = os.urandom(32), os.urandom(16)
    wrapped = run(
        ["openssl", "pkeyutl", "-encrypt", "-certin", "-inkey", str(tmp_path / "certificate.pem"),
         "-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256", "-pkeyopt", "rsa_mgf1_md:sha256"],
        input=key, stdout=subprocess.PIPE,
    ).stdout  # fmt: skip
    envelope = mark + wrapped + b"#KEY_SPLITTER#" + AESGCM(key).encrypt(iv, b"from outside", None) + iv
    assert (await api.ok("POST", "/decrypt", data(b64u(envelope))))["data"] == b64u(b"from outside")


async def test_every_changed_part_is_refused_alike(api):
    sealed = unb64u((await api.ok("POST", "/encrypt", data(b64u(b"secret"), aad=b64u(b"row"))))["data"])
    for position in (40, 200, 287, 303, len(sealed) - 20, len(sealed) - 1):
        changed = bytearray(sealed)
        changed[position] ^= 1
        assert await api.refused("POST", "/decrypt", data(b64u(bytes(changed)), aad=b64u(b"row"))) == [
            ("KER-FSE-003", "data not valid (currupted,length is not valid etc.)")
        ]
    assert await api.code("POST", "/decrypt", data(b64u(sealed), aad=b64u(b"other"))) == "KER-FSE-003"
    assert await api.code("POST", "/decrypt", data(b64u(sealed))) == "KER-FSE-003"
    assert await api.code("POST", "/decrypt", data(b64u(sealed[:-1]), aad=b64u(b"row"))) == "KER-FSE-003"


async def test_another_references_data_does_not_open(api):
    sealed = (await api.ok("POST", "/encrypt", data(b64u(b"secret"))))["data"]
    await api.ok("GET", "/getCertificate", params={"applicationId": "ID_REPO", "referenceId": "identity_data"})
    assert await api.code("POST", "/decrypt", data(sealed, ref="identity_data")) == "KER-KMS-025"
    assert (await api.ok("POST", "/decrypt", data(sealed)))["data"] == b64u(b"secret")


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (data("AA", app="NOBODY"), "KER-KMS-002"),
        (data("AA", ref=""), "KER-CRY-011"),
        (data("AA", ref=None), "KER-CRY-011"),
        (data("AA", app="KERNEL", ref="SIGN"), "KER-CRY-011"),
        (data("AA", app="KERNEL", ref="IDENTITY_CACHE"), "KER-CRY-011"),
        (data("AA", app="KERNEL", ref="any"), "KER-KMS-016"),
        (data("AA", app="PARTNER", ref="unknown"), "KER-KMS-016"),
        (data("AA", ref="no such / name"), "KER-KMS-010"),
        (data("**"), "KER-CRY-003"),
        (data("AA", salt="**"), "KER-CRY-003"),
        (data("AA", salt="AA"), "KER-FSE-009"),
    ],
)
async def test_refused_encryption(api, request_, code):
    assert await api.code("POST", "/encrypt", request_) == code


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (data("**"), "KER-CRY-003"),
        (data("AAAA"), "KER-CRY-003"),
        (data(b64u(bytes(400))), "KER-CRY-003"),
        (data(b64u(bytes(288) + b"#KEY_SPLITTER#" + bytes(60))), "KER-KMS-025"),
        (data(b64u(bytes(256) + b"#KEY_SPLITTER#" + bytes(60))), "KER-CRY-003"),
        (data(b64u(bytes(400)), app="NOBODY"), "KER-CRY-012"),
        (data(b64u(bytes(400)), app="RESIDENT"), "KER-CRY-012"),
        (data(b64u(bytes(400)), app="KERNEL", ref="SIGN"), "KER-CRY-003"),
        (data(b64u(bytes(288) + b"#KEY_SPLITTER#" + bytes(60)), ref=""), "KER-CRY-012"),
    ],
)
async def test_refused_decryption(api, request_, code):
    assert await api.code("POST", "/decrypt", request_) == code


async def test_only_the_applications_own_services_decrypt(api):
    sealed = (await api.ok("POST", "/encrypt", data(b64u(b"secret")), token="person"))["data"]
    assert await api.code("POST", "/decrypt", data(sealed), token="resident") == "KER-CRY-012"
    assert await api.code("POST", "/decrypt", data(sealed), token="stranger") == "KER-CRY-012"
    assert (await api.ask("POST", "/decrypt", data(sealed), token="person")).status_code == 403
    assert (await api.ask("POST", "/decrypt", data(sealed), token="nobody")).status_code == 401
    assert (await api.ok("POST", "/decrypt", data(sealed), token="testrig"))["data"] == b64u(b"secret")


async def test_each_empty_field_is_named(api):
    assert await api.refused("POST", "/encrypt", {"applicationId": " ", "data": None}) == [
        ("KER-KMS-005", "applicationId should not be null or empty"),
        ("KER-KMS-005", "timeStamp should not be null or empty"),
        ("KER-KMS-005", "data should not be null or empty"),
    ]
    assert await api.refused("POST", "/encrypt", None) == [("KER-KMS-005", "request should not be null or empty")]
    assert await api.refused("POST", "/encrypt", data("AA") | {"timeStamp": "yesterday"}) == [
        ("KER-KMS-005", "Invalid request")
    ]
    assert await api.refused("GET", "/getCertificate") == [("KER-KMS-005", "applicationId should not be null or empty")]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 100 + b"]" * 100, b'{"request":' * 50])
async def test_unreadable_bodies(api, body):
    answer = await api.http.post(
        "/v1/keymanager/encrypt",
        content=body,
        headers={"authorization": "Bearer idrepo", "content-type": "application/json"},
    )
    assert answer.status_code == 200
    assert {error["errorCode"] for error in answer.json()["errors"]} == {"KER-KMS-005"}


async def test_the_envelope_repeats_id_and_version(api):
    good = (await api.ask("POST", "/encrypt", data("AA"))).json()
    bad = (await api.ask("POST", "/encrypt", data("**"))).json()
    worse = (await api.ask("POST", "/encrypt", {})).json()
    for answer in (good, bad, worse):
        assert (answer["id"], answer["version"]) == ("a.test", "v1")
        assert set(answer) == {"id", "version", "responsetime", "metadata", "response", "errors"}
    assert good["errors"] is None


async def test_huge_data_is_refused(api):
    assert (await api.ask("POST", "/encrypt", data("A" * 7_000_000))).status_code == 413
    big = b64u(os.urandom(1_000_000))
    sealed = (await api.ok("POST", "/encrypt", data(big)))["data"]
    assert (await api.ok("POST", "/decrypt", data(sealed)))["data"] == big


async def test_pins(api):
    sealed = (await api.ok("POST", "/encryptWithPin", {"data": "grüße", "userPin": "123456"}))["data"]
    assert len(unb64u(sealed)) == 32 + 12 + len("grüße".encode()) + 16
    assert (await api.ok("POST", "/decryptWithPin", {"data": sealed, "userPin": "123456"}))["data"] == "grüße"
    assert await api.refused("POST", "/encryptWithPin", {"data": "x", "userPin": "1234"}) == [
        ("KER-KMS-005", "userPin should have at least 6 characters")
    ]


async def test_an_envelope_with_a_short_pin_still_opens(api):
    vector = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8AAAAAAAAAAAAAAAAV8UYuagrhicjg_auzRDNux-CYO9M"
    assert (await api.ok("POST", "/decryptWithPin", {"data": vector, "userPin": "1234"}))["data"] == "hello"


async def test_guessing_a_pin_ends(api):
    """Also when all guesses come at once; the right PIN then fails like a wrong one, for this caller only."""
    sealed = (await api.ok("POST", "/encryptWithPin", {"data": "secret", "userPin": "123456"}))["data"]
    guesses = [{"data": sealed, "userPin": f"00000{n}"} for n in range(8)]
    answers = await asyncio.gather(*(api.refused("POST", "/decryptWithPin", guess) for guess in guesses))
    right = {"data": sealed, "userPin": "123456"}
    answers.append(await api.refused("POST", "/decryptWithPin", right))
    assert {tuple(answer) for answer in answers} == {
        (("KER-FSE-003", "data not valid (currupted,length is not valid etc.)"),)
    }
    assert (await api.ok("POST", "/decryptWithPin", right, token="resident"))["data"] == "secret"
    other = (await api.ok("POST", "/encryptWithPin", {"data": "other", "userPin": "123456"}))["data"]
    assert (await api.ok("POST", "/decryptWithPin", {"data": other, "userPin": "123456"}))["data"] == "other"


async def test_argon2_against_another_library(api):
    made = await api.ok("POST", "/generateArgon2Hash", {"inputData": "a password"})
    again = await api.ok("POST", "/generateArgon2Hash", {"inputData": "a password", "salt": made["salt"]})
    assert again == made
    assert unb64u(made["hashValue"]) == hash_secret_raw(
        b"a password", unb64u(made["salt"]), time_cost=10, memory_cost=65536, parallelism=2, hash_len=32, type=Type.ID
    )
    assert await api.code("POST", "/generateArgon2Hash", {"inputData": "x", "salt": "AAAA"}) == "KER-KMS-005"
    assert await api.code("POST", "/generateArgon2Hash", {"inputData": "x", "salt": "*"}) == "KER-KMS-005"


def token_data(content, **more):
    text = content if isinstance(content, str) else b64u(json.dumps(content).encode())
    return {"applicationId": "ID_REPO", "referenceId": "uin", "data": text, **more}


@pytest.mark.parametrize("compress", [None, False, True])
async def test_jwe(api, compress):
    asked = token_data(
        {"name": "x" * 500}, enableDefCompression=compress, includeCertificate=True, includeCertHash=True
    )
    sealed = (await api.ok("POST", "/jwtEncrypt", asked | {"jwkSetUrl": "https://keys.example/jwks"}))["data"]
    head = json.loads(unb64u(sealed.split(".")[0]))
    assert head["alg"] == "RSA-OAEP-256"
    assert head["enc"] == "A256GCM"
    assert (head["typ"], head["cty"]) == ("JWT", "JWT")
    assert head.get("zip") == (None if compress is False else "DEF")
    assert head["kid"] == head["x5t#S256"]
    assert head["jku"] == "https://keys.example/jwks"
    assert len(head["x5c"]) == 1
    opened = await api.ok("POST", "/jwtDecrypt", {"applicationId": "ID_REPO", "referenceId": "uin", "encData": sealed})
    assert json.loads(unb64u(opened["data"])) == {"name": "x" * 500}


async def test_jwe_of_another_library_opens(api):
    pem = await api.ok("GET", "/getCertificate", params={"applicationId": "ID_REPO", "referenceId": "uin"})
    key = RSAKey.import_key(pem["certificate"])
    made = other_jwe.encrypt_compact(
        {"alg": "RSA-OAEP-256", "enc": "A256GCM", "zip": "DEF"},
        b'{"a":1}',
        key,
        algorithms=["RSA-OAEP-256", "A256GCM", "DEF"],
    )
    opened = await api.ok("POST", "/jwtDecrypt", {"applicationId": "ID_REPO", "referenceId": "uin", "encData": made})
    assert unb64u(opened["data"]) == b'{"a":1}'


async def test_a_compression_bomb_does_not_grow(api):
    pem = await api.ok("GET", "/getCertificate", params={"applicationId": "ID_REPO", "referenceId": "uin"})
    key = RSAKey.import_key(pem["certificate"])
    bomb = other_jwe.encrypt_compact(
        {"alg": "RSA-OAEP-256", "enc": "A256GCM", "zip": "DEF"},
        bytes(5 * 1024 * 1024),
        key,
        algorithms=["RSA-OAEP-256", "A256GCM", "DEF"],
    )
    assert len(bomb) < 20_000
    asked = {"applicationId": "ID_REPO", "referenceId": "uin", "encData": bomb}
    assert await api.code("POST", "/jwtDecrypt", asked) == "KER-CRY-015"


async def test_refused_web_tokens(api):
    assert await api.code("POST", "/jwtEncrypt", token_data(b64u(b"no json"))) == "KER-CRY-013"
    assert await api.code("POST", "/jwtEncrypt", token_data(b64u(b"[1]"))) == "KER-CRY-013"
    assert await api.code("POST", "/jwtEncrypt", {"data": b64u(b"{}")}) == "KER-KMS-005"
    assert await api.code("POST", "/jwtEncrypt", token_data({}, x509Certificate="none")) == "KER-PCM-001"
    sealed = (await api.ok("POST", "/jwtEncrypt", token_data("a.b.c")))["data"]
    asked = {"applicationId": "ID_REPO", "referenceId": "uin", "encData": sealed}
    assert unb64u((await api.ok("POST", "/jwtDecrypt", asked))["data"]) == b"a.b.c"
    assert await api.code("POST", "/jwtDecrypt", asked, token="resident") == "KER-CRY-012"
    head, *rest = sealed.split(".")
    for broken in ("", "a.b", f"{head}.{'.'.join(rest)}x", sealed.replace(rest[3], b64u(bytes(16)))):
        refusal = await api.code("POST", "/jwtDecrypt", asked | {"encData": broken})
        assert refusal == ("KER-CRY-015" if broken else "KER-KMS-005")
    for changes in ({"alg": "dir"}, {"enc": "A128GCM"}, {"crit": ["zip"]}, {"zip": "GZ"}, {"alg": "RSA1_5"}):
        other = b64u(json.dumps(json.loads(unb64u(head)) | changes).encode())
        assert await api.code("POST", "/jwtDecrypt", asked | {"encData": ".".join((other, *rest))}) == "KER-CRY-015"
