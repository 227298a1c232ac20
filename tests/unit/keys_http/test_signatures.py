"""Signatures and their verification over HTTP (section 7.4; section 13 no. 1, 2, 4)."""

import asyncio
import base64
import hmac
import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from io import BytesIO

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from joserfc import jws as other_jws
from joserfc.jwk import RSAKey
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation import validate_pdf_signature
from pyhanko_certvalidator import ValidationContext
from pypdf import PdfReader, PdfWriter

from civium.keys.api import KeyProblem, KeyRef, SignatureAlgorithm, SignedForm, thumbprint
from civium.keys.formats import certificates
from civium.keys.formats.certificates import MASTER, PARTNER
from tests.unit.keys_formats.conftest import new_rsa, self_signed

from .conftest import b64u, part, unb64u

PAYLOAD = b64u(b'{"a":1}')
AT = "2026-05-01T10:00:00.000Z"


def run(command, **more):
    return subprocess.run(command, check=True, **more)


@pytest.fixture(scope="module")
def world():
    """A foreign root, an intermediate, a leaf and another one."""
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    root = self_signed("root", new_rsa(), start=start)
    authority = root.signs(MASTER, "authority", new_rsa(), start=start, days=2000)
    leaf = authority.signs(PARTNER, "leaf", new_rsa(), start=start)
    direct = root.signs(PARTNER, "direct", new_rsa(), start=start)
    return root, authority, leaf, direct


def opened(text, key, *, algorithms, payload=None):
    """Verify with the second implementation."""
    registry = other_jws.JWSRegistry(algorithms=algorithms)
    registry.max_header_length = 16_384
    return other_jws.deserialize_compact(text, key, registry=registry, payload=payload)


def pem(holder):
    return certificates.pem(holder.certificate)


def signed_by(holder, payload=b"{}", *chain, alg="RS256", **members):
    header = {"alg": alg, **members}
    if chain:
        header["x5c"] = [
            base64.b64encode(each.certificate.public_bytes(serialization.Encoding.DER)).decode() for each in chain
        ]
    signed = f"{b64u(json.dumps(header).encode())}.{b64u(payload)}"
    return f"{signed}.{b64u(holder.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


async def certificate_of(api, app="KERNEL", ref="SIGN"):
    return (await api.ok("GET", "/getCertificate", params={"applicationId": app, "referenceId": ref}))["certificate"]


async def test_jwt_sign_against_another_library(api):
    made = await api.ok("POST", "/jwtSign", {
        "dataToSign": PAYLOAD, "includePayload": True, "includeCertificate": True, "includeCertHash": True,
        "certificateUrl": "https://keys.example/c",
    })  # fmt: skip
    text = made["jwtSignedData"]
    head = part(text, 0)
    assert list(head) == ["x5c", "x5t#S256", "x5u", "kid", "alg"]
    own = x509.load_pem_x509_certificate((await certificate_of(api)).encode())
    assert head["x5t#S256"] == b64u(own.fingerprint(hashes.SHA256()))
    key = RSAKey.import_key(await certificate_of(api))
    assert opened(text, key, algorithms=["RS256"]).payload == b'{"a":1}'
    all_ = await api.ok("GET", "/getAllCertificates", params={"applicationId": "KERNEL", "referenceId": "SIGN"})
    assert head["kid"] == all_["allCertificates"][0]["keyId"]


async def test_defaults_are_detached_and_bare(api):
    text = (await api.ok("POST", "/jwtSign", {"dataToSign": PAYLOAD}))["jwtSignedData"]
    assert text.split(".")[1] == ""
    assert list(part(text, 0)) == ["kid", "alg"]
    assert (await api.ok("POST", "/jwtVerify", {"jwtSignatureData": text, "actualData": PAYLOAD})) == {
        "signatureValid": True, "message": "Validation Successful", "trustValid": "TRUST_NOT_VERIFIED",
    }  # fmt: skip
    other = await api.ok("POST", "/jwtVerify", {"jwtSignatureData": text, "actualData": b64u(b"{}")})
    assert other == {
        "signatureValid": False, "message": "Validation Failed", "trustValid": "TRUST_NOT_VERIFIED"
    }  # fmt: skip


async def test_a_module_signs_with_its_master(api):
    asked = {"dataToSign": PAYLOAD, "applicationId": "RESIDENT", "referenceId": "", "includePayload": True}
    text = (await api.ok("POST", "/jwtSign", asked | {"includeCertificate": True}, token="resident"))["jwtSignedData"]
    key = RSAKey.import_key(await certificate_of(api, "RESIDENT", ""))
    assert opened(text, key, algorithms=["RS256"]).payload == b'{"a":1}'
    assert await api.code("POST", "/jwtSign", asked) == "KER-JWS-108"


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"dataToSign": ""}, "KER-KMS-005"),
        ({"dataToSign": "**"}, "KER-JWS-102"),
        ({"applicationId": "ID_REPO", "referenceId": "uin"}, "KER-KMS-020"),
        ({"applicationId": "NOBODY"}, "KER-JWS-108"),
        ({"applicationId": "ROOT"}, "KER-JWS-108"),
        ({"applicationId": "PMS"}, "KER-JWS-108"),
        ({"applicationId": "ACCESS"}, "KER-JWS-108"),
    ],
)
@pytest.mark.parametrize("path", ["/jwtSign", "/jwsSign", "/jwtSign/v2", "/jwsSign/v2", "/signV2", "/signRawData"])
async def test_what_is_not_signed(api, path, asked, code):
    assert await api.code("POST", path, {"dataToSign": PAYLOAD} | asked) == code


async def test_roots_and_certifying_keys_sign_no_data_even_for_whom_the_table_lists(db, keys_core):
    """The key process itself refuses: the table of callers is not the only guard."""
    for ref in (KeyRef("ROOT"), KeyRef("PMS"), KeyRef("ACCESS")):
        mark = thumbprint((await keys_core.certificate(ref)).x509)
        with pytest.raises(KeyProblem, match="KER-JWS-108"):
            await keys_core.sign_data(
                ref,
                b"eyJhbGciOiJSUzI1NiJ9.e30",
                form=SignedForm.JOSE,
                algorithm=SignatureAlgorithm.RS256,
                thumbprint=mark,
            )


@pytest.mark.parametrize("payload", [{"hash": "AB"}, {"responsetime": AT, "response": {}, "errors": None}])
async def test_orders_to_machines_are_signed_for_those_who_answer_machines_only(api, payload):
    """Old behaviour: whoever may sign signs a response or a file's hash."""
    asked = {"dataToSign": b64u(json.dumps(payload).encode())}
    assert await api.code("POST", "/jwtSign", asked, token="creser") == "KER-JWS-108"
    assert await api.code("POST", "/jwsSign", asked, token="creser") == "KER-JWS-108"
    assert await api.code("POST", "/sign", {"data": json.dumps(payload)}, token="creser") == "KER-JWS-108"
    await api.ok("POST", "/jwtSign", asked, token="regproc")
    await api.ok("POST", "/jwtSign", {"dataToSign": b64u(b'{"hash":"AB","more":1}')}, token="creser")


async def test_json_is_required_on_request(api, settings):
    assert await api.code("POST", "/jwsSign", {"dataToSign": b64u(b"no"), "validateJson": True}) == "KER-JWS-103"
    await api.ok("POST", "/jwsSign", {"dataToSign": b64u(b"no"), "validateJson": False})
    await api.ok("POST", "/jwsSign", {"dataToSign": b64u(b"no")})
    await api.ok("POST", "/jwtSign", {"dataToSign": b64u(b"no")})


async def test_jws_sign_unencoded_against_another_library(api):
    text = (await api.ok("POST", "/jwsSign", {"dataToSign": b64u(b"a payload"), "includeCertHash": True}))[
        "jwtSignedData"
    ]
    head = part(text, 0)
    assert (head["b64"], head["crit"], head["alg"]) == (False, ["b64"], "PS256")
    key = RSAKey.import_key(await certificate_of(api))
    assert opened(text, key, payload=b"a payload", algorithms=["PS256"]).payload == b"a payload"
    verify = {"jwtSignatureData": text, "actualData": b64u(b"a payload")}
    assert (await api.ok("POST", "/jwtVerify", verify))["signatureValid"] is True
    assert (await api.ok("POST", "/jwtVerify", verify | {"actualData": b64u(b"a payloae")}))["signatureValid"] is False


@pytest.mark.parametrize(
    ("name", "alg"), [("RS256", "RS256"), ("PS256", "PS256"), ("nothing", "PS256"), (None, "PS256")]
)
async def test_jws_sign_encoded(api, name, alg):
    asked = {"dataToSign": PAYLOAD, "b64JWSHeaderParam": True, "signAlgorithm": name, "includePayload": True}
    text = (await api.ok("POST", "/jwsSign", asked))["jwtSignedData"]
    assert part(text, 0)["alg"] == alg
    assert "b64" not in part(text, 0)
    key = RSAKey.import_key(await certificate_of(api))
    assert opened(text, key, algorithms=[alg]).payload == b'{"a":1}'


async def test_version_2_brings_the_chain_and_more_members(api):
    asked = {
        "dataToSign": PAYLOAD, "includePayload": True, "includeCertificateChain": True,
        "additionalHeaders": {"kid": "issuer#", "iss": "me"}, "applicationId": "RESIDENT",
    }  # fmt: skip
    text = (await api.ok("POST", "/jwtSign/v2", asked, token="resident"))["jwtSignedData"]
    head = part(text, 0)
    assert head["kid"].startswith("issuer#")
    assert head["iss"] == "me"
    assert len(head["x5c"]) == 2
    for member in ("alg", "crit", "b64", "x5c", "x5t#S256", "jwk"):
        refused = asked | {"additionalHeaders": {member: "RS256"}}
        assert await api.code("POST", "/jwtSign/v2", refused, token="resident") == "KER-KMS-005"
    assert (
        await api.code("POST", "/jwsSign/v2", asked | {"additionalHeaders": {"kid": 7}}, token="resident")
        == "KER-KMS-005"
    )


async def test_sign_and_validate(api):
    made = (await api.ok("POST", "/sign", {"data": "grüße"}))["signature"]
    assert part(made, 0) == {"alg": "RS256"}
    assert made.split(".")[1] == ""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    asked = {"signature": made, "data": "grüße", "timestamp": now}
    assert await api.ok("POST", "/validate", asked) == {"status": "success", "message": "Validation Successful"}
    for changed in (
        {"data": "grusse"},
        {"signature": made[:-4]},
        {"signature": "x"},
        {"timestamp": AT.replace("2026", "2019")},
    ):
        assert await api.refused("POST", "/validate", asked | changed) == [("KER-CSS-101", "Validation Unsuccessful")]
    assert await api.code("POST", "/validate", asked | {"timestamp": "then"}) == "KER-KMS-005"


async def test_raw_signatures_against_openssl(api, tmp_path):
    data = os.urandom(500).lstrip(b"01e") or b"x"
    made = await api.ok("POST", "/signRawData", {"dataToSign": b64u(data), "responseEncodingFormat": "base64url"})
    assert made["signatureAlgorithm"] == "PS256"
    (tmp_path / "c.pem").write_text(made["certificate"])
    (tmp_path / "data").write_bytes(data)
    (tmp_path / "signature").write_bytes(unb64u(made["signedData"]))
    public = run(["openssl", "x509", "-in", "c.pem", "-pubkey", "-noout"], cwd=tmp_path, stdout=subprocess.PIPE)
    (tmp_path / "public.pem").write_bytes(public.stdout)
    run(
        ["openssl", "dgst", "-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32",
         "-verify", "public.pem", "-signature", "signature", "data"], cwd=tmp_path,
    )  # fmt: skip
    multibase = (await api.ok("POST", "/signV2", {"dataToSign": b64u(data), "signAlgorithm": "RS256"}))["signature"]
    assert multibase.startswith("z")
    assert not set(multibase) & set("0OIl+/-_")
    asked = {"dataToSign": b64u(data), "responseEncodingFormat": "hex"}
    assert await api.refused("POST", "/signV2", asked) == [
        ("KER-KMS-036", "Unsupported output format for the signature.")
    ]


async def test_no_certificate_and_no_token_comes_out_of_a_raw_signature(api, world):
    """Old behaviour: the key that certifies signs any bytes, so also those of a certificate."""
    to_be_signed = world[0].certificate.tbs_certificate_bytes
    forged_token = f"{b64u(json.dumps({'alg': 'RS256'}).encode())}.{PAYLOAD}".encode()
    for data in (to_be_signed, forged_token, b"\x31\x00", b""):
        for path in ("/signV2", "/signRawData"):
            assert await api.code("POST", path, {"dataToSign": b64u(data) or " "}) in {"KER-JWS-108", "KER-KMS-005"}
        assert await api.code("POST", "/cssign", {"data": b64u(data) or " "}, token="resident") in {
            "KER-JWS-108", "KER-KMS-005",
        }  # fmt: skip


# Verification: section 13 no. 1 and 2.


async def verdict(api, text, path="/jwtVerify", **more):
    return await api.ok("POST", path, {"jwtSignatureData": text, **more})


async def test_a_certificate_that_came_along_proves_nothing(api, world):
    """Old behaviour: anyone's self-made certificate verifies."""
    root, _, leaf, direct = world
    assert (await verdict(api, signed_by(leaf, b"{}", leaf)))["signatureValid"] is False
    assert (await verdict(api, signed_by(root, b"{}", root)))["signatureValid"] is False
    assert (await verdict(api, signed_by(leaf, b"{}", leaf), validateTrust=True))[
        "trustValid"
    ] == "TRUST_NOT_VERIFIED_NO_DOMAIN"
    assert (await verdict(api, signed_by(leaf, b"{}", leaf), validateTrust=True))["signatureValid"] is False
    assert direct


async def test_what_the_caller_names_decides_not_the_header(api, world):
    """Old behaviour: x5c wins over certificateData and over application and reference."""
    _, _, leaf, direct = world
    text = signed_by(leaf, b"{}", leaf)
    assert (await verdict(api, text, certificateData=pem(leaf)))["signatureValid"] is True
    assert (await verdict(api, text, certificateData=pem(direct)))["signatureValid"] is False
    assert (await verdict(api, text, applicationId="KERNEL", referenceId="SIGN"))["signatureValid"] is False
    assert (await verdict(api, signed_by(leaf), certificateData=pem(leaf)))["signatureValid"] is True
    assert (await verdict(api, signed_by(leaf)))["signatureValid"] is False


async def test_a_claimed_thumbprint_is_compared_with_the_computed_one(api, world):
    """Old behaviour: the certificate cache believes x5t#S256, so a lie poisons it."""
    _, _, leaf, direct = world
    claim = b64u(direct.certificate.fingerprint(hashes.SHA256()))
    lie = signed_by(leaf, b"{}", leaf, **{"x5t#S256": claim})
    for _ in range(2):
        assert (await verdict(api, lie, certificateData=pem(leaf)))["signatureValid"] is False
        assert (await verdict(api, signed_by(direct, b"{}", direct), certificateData=pem(direct)))[
            "signatureValid"
        ] is True
    # The claim alone, without a certificate: nothing was remembered from the lie.
    bare = signed_by(leaf, b"{}", **{"x5t#S256": claim})
    assert (await verdict(api, bare, certificateData=pem(direct)))["signatureValid"] is False


async def test_trust_of_a_domain(api, world):
    root, authority, leaf, _ = world
    text = signed_by(leaf, b"{}", leaf)
    asked = {"validateTrust": True, "domain": "AUTH"}
    assert (await verdict(api, text, **asked))["trustValid"] == "TRUST_CERT_PATH_NOT_VALID"
    for each in (root, authority):
        upload = {"certificateData": pem(each), "partnerDomain": "AUTH"}
        assert (await api.ok("POST", "/uploadCACertificate", upload))["status"] == "Upload Success."
    assert await verdict(api, text, **asked) == {
        "signatureValid": True, "message": "Validation Successful", "trustValid": "TRUST_CERT_PATH_VALID",
    }  # fmt: skip
    assert (await verdict(api, text, **asked | {"domain": "DEVICE"}))["trustValid"] == "TRUST_CERT_PATH_NOT_VALID"
    assert (await verdict(api, text, **asked | {"domain": "NONE"}))["trustValid"] == "TRUST_CERT_PATH_NOT_VALID"
    assert (await verdict(api, text[:-8] + "AAAAAAAA", **asked))["signatureValid"] is False


async def test_version_2_takes_intermediates_from_the_header(api, world):
    root, authority, leaf, _ = world
    await api.ok("POST", "/uploadCACertificate", {"certificateData": pem(root), "partnerDomain": "AUTH"})
    asked = {"validateTrust": True, "domain": "AUTH"}
    text = signed_by(leaf, b"{}", leaf, authority)
    assert (await verdict(api, text, **asked))["trustValid"] == "TRUST_CERT_PATH_NOT_VALID"
    assert (await verdict(api, text, "/jwtVerify/v2", **asked))["trustValid"] == "TRUST_CERT_PATH_VALID"
    # A root that comes along is no root.
    stranger = self_signed("stranger", new_rsa(), start=datetime.now(UTC) - timedelta(days=1))
    theirs = stranger.signs(PARTNER, "theirs", new_rsa(), start=datetime.now(UTC) - timedelta(days=1))
    lie = signed_by(theirs, b"{}", theirs, stranger)
    assert (await verdict(api, lie, "/jwtVerify/v2", **asked))["trustValid"] == "TRUST_CERT_PATH_NOT_VALID"


async def test_our_own_and_partners_certificates_are_known(api, world, trust):
    root, _, _, direct = world
    own = (
        await api.ok("POST", "/jwtSign", {"dataToSign": PAYLOAD, "includePayload": True, "includeCertificate": True})
    )["jwtSignedData"]
    assert (await verdict(api, own))["signatureValid"] is True
    text = signed_by(direct, b"{}", direct)
    assert (await verdict(api, text))["signatureValid"] is False
    await trust.add_ca(pem(root), "AUTH")
    await trust.register_partner(pem(direct), "Relying Party", "AUTH")
    assert (await verdict(api, text))["signatureValid"] is True
    await trust.revoke(pem(direct), "stolen")
    assert (await verdict(api, text))["signatureValid"] is False


@pytest.mark.parametrize(
    ("head", "code"),
    [
        ({"alg": "none"}, "KER-JWS-105"),
        ({"alg": "HS256"}, "KER-JWS-105"),
        ({"alg": "ES256"}, "KER-JWS-105"),
        ({}, "KER-JWS-105"),
        ({"alg": "RS256", "crit": ["exp"]}, "KER-JWS-106"),
        ({"alg": "RS256", "x5c": []}, "KER-JWS-106"),
        ({"alg": "RS256", "x5c": ["AAAA"]}, "KER-JWS-106"),
        ({"alg": "RS256", "kid": 7}, "KER-JWS-106"),
        ([], "KER-JWS-106"),
    ],
)
async def test_headers_that_are_refused(api, head, code):
    text = f"{b64u(json.dumps(head).encode())}.{PAYLOAD}."
    assert (
        await api.code("POST", "/jwtVerify", {"jwtSignatureData": text + ("" if head == {"alg": "none"} else "AAAA")})
        == code
    )


@pytest.mark.parametrize(
    "text", ["x", "a.b", "a.b.c.d", "**.e30.AAAA", "e30.**.AAAA", "eyJ.e30.AA", "." * 2, "e30.e30.**"]
)
async def test_what_is_no_signature(api, text):
    assert await api.code("POST", "/jwtVerify", {"jwtSignatureData": text}) == "KER-JWS-106"


async def test_key_confusion_fails(api):
    """HMAC with our public key as the secret, and our RSA key under another name."""
    key = (await certificate_of(api)).encode()
    head = b64u(json.dumps({"alg": "HS256"}).encode())
    signed = f"{head}.{PAYLOAD}"
    forged = f"{signed}.{b64u(hmac.digest(key, signed.encode(), 'sha256'))}"
    assert await api.code("POST", "/jwtVerify", {"jwtSignatureData": forged}) == "KER-JWS-105"


async def test_certificates_out_of_their_dates_and_unknown_keys(api, world):
    root = world[0]
    old = root.signs(PARTNER, "old", new_rsa(), start=datetime.now(UTC) - timedelta(days=500), days=100)
    refused = {"jwtSignatureData": signed_by(old, b"{}", old), "certificateData": pem(old)}
    assert await api.refused("POST", "/jwtVerify", refused) == [
        ("KER-JWS-107", "Signature verification certificate not valid.")
    ]
    text = {"jwtSignatureData": signed_by(old)}
    assert await api.code("POST", "/jwtVerify", text | {"certificateData": "none"}) == "KER-KMS-013"
    assert await api.code("POST", "/jwtVerify", text | {"applicationId": "NOBODY"}) == "KER-KMS-002"
    assert (
        await api.code("POST", "/jwtVerify", text | {"applicationId": "PARTNER", "referenceId": "x"}) == "KER-KMS-017"
    )


# Documents.


def blank_pdf(pages=2):
    writer = PdfWriter()
    for _ in range(pages):
        writer.add_blank_page(400, 300)
    output = BytesIO()
    writer.write(output)
    return output.getvalue()


def document(**more):
    return {
        "applicationId": "KERNEL", "referenceId": "SIGN", "timeStamp": AT, "data": b64u(blank_pdf()), "lowerLeftX": 10,
        "lowerLeftY": 20, "upperRightX": 110, "upperRightY": 70, "reason": "identity card", "pageNumber": 2, **more,
    }  # fmt: skip


def validated(signed, own, password=None):
    reader = PdfFileReader(BytesIO(signed))
    if password is not None:
        reader.decrypt(password)
    (signature,) = reader.embedded_signatures
    status = validate_pdf_signature(signature, ValidationContext(trust_roots=[], allow_fetching=False))
    assert status.signing_cert.dump() == own.public_bytes(serialization.Encoding.DER)
    return signature, status


async def test_documents_validate_with_another_reader(api):
    signed = unb64u((await api.ok("POST", "/pdf/sign", document()))["data"])
    own = x509.load_pem_x509_certificate((await certificate_of(api)).encode())
    signature, status = await asyncio.to_thread(validated, signed, own)
    assert status.intact
    assert status.valid
    assert signature.sig_object["/SubFilter"] == "/adbe.pkcs7.detached"
    assert signature.sig_object["/Filter"] == "/Adobe.PPKLite"
    assert signature.sig_object["/Reason"] == "identity card"
    assert signature.sig_object["/Name"] == "www.mosip.io (KERNEL-SIGN)"
    (widget,) = PdfReader(BytesIO(signed)).pages[1]["/Annots"]
    assert [float(each) for each in widget.get_object()["/Rect"]] == [10, 20, 110, 70]
    changed = bytearray(signed)
    changed[signed.index(b"/MediaBox") + 12] ^= 1
    assert not (await asyncio.to_thread(validated, bytes(changed), own))[1].intact


async def test_documents_with_a_password_have_an_owner_whom_nobody_knows(api):
    """Old behaviour: the owner's password is a constant of the configuration."""
    signed = unb64u((await api.ok("POST", "/pdf/sign", document(password="for the reader")))["data"])
    own = x509.load_pem_x509_certificate((await certificate_of(api)).encode())
    assert (await asyncio.to_thread(validated, signed, own, "for the reader"))[1].valid
    for password, opens in (("for the reader", 1), ("PDFADMIN", 0), ("", 0)):
        assert PdfReader(BytesIO(signed)).decrypt(password) == opens


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"data": "**"}, "KER-JWS-102"),
        ({"data": b64u(b"no document")}, "KER-JWS-102"),
        ({"data": b64u(blank_pdf()[:200])}, "KER-JWS-102"),
        ({"pageNumber": 3}, "KER-JWS-102"),
        ({"pageNumber": 0}, "KER-JWS-102"),
        ({"referenceId": "uin"}, "KER-KMS-020"),
        ({"reason": ""}, "KER-KMS-005"),
        ({"lowerLeftX": "left"}, "KER-KMS-005"),
        ({"applicationId": "PMS", "referenceId": "SIGN"}, "KER-KMS-020"),
    ],
)
async def test_documents_that_are_refused(api, changes, code):
    assert await api.code("POST", "/pdf/sign", document(**changes)) == code
