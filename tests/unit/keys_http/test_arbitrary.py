"""No input of any endpoint is an internal error: every refusal has a code of the wire."""

import json
import random
import re

import pytest

from civium.platform.http import CallerKind

from .conftest import b64u
from .test_signatures import blank_pdf

MEMBERS = (
    "aad", "actualData", "additionalHeaders", "applicationId", "b64JWSHeaderParam", "caCertificateType", "certId",
    "certificateData", "certificateUrl", "clientType", "commonName", "country", "data", "dataToSign", "domain",
    "enableDefCompression", "encData", "encryptedKey", "expiringWithinDate", "force", "id", "includeCertHash",
    "includeCertificate", "includeCertificateChain", "includePayload", "inputData", "isTpm", "issuedTo",
    "jwkSetUrl", "jwtSignatureData", "licenseExpiryTime", "licenseKey", "location", "lowerLeftX", "organizationName",
    "pageNumber", "pageSize", "partnerCode", "partnerDomain", "password", "permissions", "publicKey", "reason",
    "referenceId", "responseEncodingFormat", "salt", "signAlgorithm", "signature", "sortByFieldName", "timeStamp",
    "timestamp", "tspId", "uin", "uploadTime", "upperRightX", "userPin", "validateJson", "validateTrust", "value",
    "x509Certificate", "zkDataAttributes",
)  # fmt: skip
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"
TEXTS = (
    "", " ", "x", "ID_REPO", "KERNEL", "RESIDENT", "PARTNER", "IDA", "uin", "SIGN", "IDENTITY_CACHE", "AAAA", "**", "e30",
    "e30.e30.AAAA", "a.b.c.d.e", "2026-05-01T10:00:00.000Z", "2030-01-01T00:00:00.000Z", "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00Z", "2030-01-01", "AUTH", "TPM", "ROOT", PEM, PEM.replace("\n", ""), "a\x00b", "\x00", "\ud800",
    "ÿ" * 50, "A" * 5000, "Ⅷ", "\u202e", b64u(bytes(400)), b64u(bytes(288) + b"#KEY_SPLITTER#" + bytes(80)),
    b64u(b"\x30\x82"), b64u(b'{"a":1}'), b64u(blank_pdf()), "eyJhbGciOiJub25lIn0.e30.", "OTP Trigger", "1" * 40, "-1",
)  # fmt: skip
OTHERS = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2**63,
    10**400,
    1.5,
    1e308,
    [],
    {},
    [None],
    ["OTP Trigger"],
    ["a\x00"],
    {"kid": "x"},
)


def value(chance):
    if chance.random() < 0.75:
        return chance.choice(TEXTS)
    if chance.random() < 0.3:
        return [{"identifier": value(chance), "value": value(chance)} for _ in range(chance.randint(0, 3))]
    return chance.choice(OTHERS)


@pytest.mark.parametrize("seed", range(6))
async def test_no_input_is_an_internal_error(api, routes, seed):
    chance = random.Random(seed)
    for declaration in routes:
        if declaration.access.kind is not CallerKind.TOKEN or "Argon2" in declaration.path:
            continue
        path = re.sub(
            r"\{[^}]*\}", lambda _: chance.choice(("0", "CSR", "a%00b", "%F0%9F%98%80", "x" * 200)), declaration.path
        )
        for _ in range(5):
            members = {name: value(chance) for name in MEMBERS if chance.random() < 0.8}
            body = json.dumps({"id": value(chance), "version": "v1", "request": members})
            params = {
                name: chance.choice(TEXTS[:-8]).replace("\ud800", "")
                for name in ("applicationId", "referenceId", "tspId", "licenseKey", "encryptedKey")
                if chance.random() < 0.8
            }
            answer = await api.http.request(
                declaration.method, path, params=params, content=body,
                headers={"authorization": "Bearer testrig", "content-type": "application/json"},
            )  # fmt: skip
            assert answer.status_code == 200, (path, answer.text, params, members)
            for error in answer.json()["errors"] or []:
                assert re.fullmatch(r"(KER-[A-Z]{2,3}-\d{3})", error["errorCode"]), error
                assert error["errorCode"] != "KER-KMS-500"
