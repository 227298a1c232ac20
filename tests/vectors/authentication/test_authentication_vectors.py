"""One request and one answer kept for ever: a change of a byte in what is read or written is seen here."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from civium.authentication import kyc, validation, wire
from civium.authentication.api import Usage
from civium.authentication.demographics import claims_of
from civium.authentication.policy import Factor
from civium.authentication.wire import AuthBlock, KycAnswer
from civium.kernel.clock import parse_instant
from civium.kernel.encoding import unb64
from civium.keys.api import SignatureInvalid, jws, session, thumbprint, verify_path
from civium.platform.settings import AuthenticationSettings

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden.json").read_text())
AT = parse_instant(GOLDEN["at"])
OAEP = padding.OAEP(mgf=padding.MGF1(SHA256()), algorithm=SHA256(), label=None)


def loaded(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def private_key(pem: str) -> rsa.RSAPrivateKey:
    key = load_pem_private_key(pem.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def opened_block() -> AuthBlock:
    body = wire.read_body(GOLDEN["request"]["body"].encode(), 32)
    wrapped = session.parse_session_key(body.request_session_key or "", body.thumbprint or "")
    assert wrapped.thumbprint == thumbprint(loaded(GOLDEN["ida"]["certificate"]))
    key = private_key(GOLDEN["ida"]["private_key"]).decrypt(wrapped.wrapped, OAEP)
    return wire.read_block(session.open_request(key, body.request or "", body.request_hmac or ""), 32)


def test_the_request_is_signed_by_a_trusted_partner() -> None:
    body, signature = GOLDEN["request"]["body"].encode(), GOLDEN["request"]["signature"]
    signer = jws.verify(signature, body, at=AT).certificate
    assert signer == loaded(GOLDEN["partner"]["certificate"])
    verify_path(signer, [loaded(GOLDEN["root_certificate"])], AT)
    with pytest.raises(SignatureInvalid):
        jws.verify(signature, body.replace(b"Staging", b"staging"), at=AT)


def test_the_request_opens_and_is_well_formed() -> None:
    block = opened_block()
    assert block.otp == GOLDEN["request"]["block"]["otp"]
    claims = claims_of(block.demographics)
    assert [(claim.attribute.name, claim.language, claim.value) for claim in claims] == [("name", "ara", "آشا راو")]
    body = wire.read_body(GOLDEN["request"]["body"].encode(), 32)
    rules = validation.Rules(AuthenticationSettings(), ("eng", "ara"), AT)
    factors = frozenset({Factor.OTP, Factor.DEMO})
    individual = validation.check_authentication(body, block, claims, factors, rules)
    assert individual.identifier.reveal() == "2419762130"


def test_the_answer_is_written_byte_for_byte() -> None:
    sent = json.loads(GOLDEN["kyc"]["body"])
    response = sent["response"]
    written = wire.write(
        Usage.KYC,
        transaction_id=sent["transactionID"],
        at=sent["responseTime"],
        response=KycAnswer(
            kyc_status=True,
            auth_token=response["authToken"],
            thumbprint=response["thumbprint"],
            identity=response["identity"],
            session_key=response["sessionKey"],
        ),
    )
    assert written == GOLDEN["kyc"]["body"].encode()
    signer = jws.verify(GOLDEN["kyc"]["signature"], written, at=AT).certificate
    assert signer == loaded(GOLDEN["ida"]["sign_certificate"])


def test_the_identity_is_written_byte_for_byte() -> None:
    response = json.loads(GOLDEN["kyc"]["body"])["response"]
    key = private_key(GOLDEN["partner"]["private_key"]).decrypt(unb64(response["sessionKey"]), OAEP)
    clear = session.open_kyc(key, response["identity"])
    assert json.loads(clear) == GOLDEN["kyc"]["identity"]
    person = {
        "fullName": '[{"language":"eng","value":"Asha Rao"},{"language":"ara","value":"آشا راو"}]',
        "dateOfBirth": "1990/01/31",
        "phone": "9876543210",
    }
    written = kyc.identity(["fullName", "dateOfBirth", "phone"], person, None, ("eng", "ara"), AT.date())
    assert written == clear
