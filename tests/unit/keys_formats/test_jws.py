import base64
import json
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from joserfc import jws as reference
from joserfc.jwk import RSAKey

from civium.kernel.encoding import b64, b64u
from civium.keys.api import CertificateExpired, CertificateMissing, SignatureInvalid
from civium.keys.formats import certificates, jws
from civium.keys.formats.primitives import thumbprint

from .conftest import NOW, new_rsa
from .test_trust import variant

BODY = b'{"id":"mosip.identity.auth"}'


def sign(key, header, payload=BODY, *, scheme=None, segment=None, detached=True):
    text = header if isinstance(header, str) else json.dumps(header)
    signed = f"{segment or b64u(text.encode())}.{b64u(payload)}".encode()
    signature = key.sign(signed, scheme or padding.PKCS1v15(), hashes.SHA256())
    return jws.assemble(signed, signature, include_payload=not detached)


def x5c(holder):
    return [b64(certificates.der(holder.certificate))]


def test_header_text_is_that_of_the_specification(partner):
    header = jws.header(key_id="K", certificate=partner.certificate, hashed=partner.certificate)
    assert header == (
        f'{{"x5c":["{b64(certificates.der(partner.certificate))}"],'
        f'"x5t#S256":"{b64u(thumbprint(partner.certificate))}","kid":"K","alg":"RS256"}}'
    )
    assert jws.header() == '{"alg":"RS256"}'


def test_detached_round_trip(partner):
    text = sign(partner.key, jws.header(key_id="K", certificate=partner.certificate))
    assert text.split(".")[1] == ""
    verified = jws.verify(text, BODY, at=NOW)
    assert (verified.payload, verified.certificate, verified.key_id) == (BODY, partner.certificate, "K")


def test_attached_round_trip(partner):
    text = sign(partner.key, jws.header(certificate=partner.certificate), detached=False)
    assert jws.verify(text).payload == BODY


class Reference(reference.JWSRegistry):
    max_header_length = 8192


def test_another_implementation_reads_ours_and_we_read_its(partner):
    key = RSAKey.import_key(partner.key)
    ours = sign(partner.key, jws.header(certificate=partner.certificate), detached=False)
    assert reference.deserialize_compact(ours, key, registry=Reference()).payload == BODY
    for algorithm in ("RS256", "PS256"):
        theirs = reference.serialize_compact(
            {"alg": algorithm, "x5c": x5c(partner)}, BODY, key, registry=Reference(algorithms=[algorithm])
        )
        assert jws.verify(theirs).payload == BODY


def test_every_flipped_bit_of_the_signature_or_payload_fails(partner):
    text = sign(partner.key, jws.header(certificate=partner.certificate))
    head, _, signature = text.split(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    for bit in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SignatureInvalid):
            jws.verify(f"{head}..{b64u(bytes(changed))}", BODY)
    for bit in range(len(BODY) * 8):
        changed = bytearray(BODY)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SignatureInvalid):
            jws.verify(text, bytes(changed))


def test_detached_without_payload_covers_nothing(partner):
    with pytest.raises(SignatureInvalid):
        jws.verify(sign(partner.key, jws.header(certificate=partner.certificate)))


@pytest.mark.parametrize(
    "encode",
    [
        lambda c: base64.encodebytes(certificates.pem(c).encode()).decode(),
        lambda c: base64.encodebytes(certificates.der(c)).decode(),
        lambda c: b64(certificates.pem(c).replace("\n", "").encode()),
        lambda c: b64u(certificates.der(c)),
    ],
    ids=["lines-of-pem", "lines-of-der", "pem-in-one-line", "base64url"],
)
def test_x5c_spellings(partner, encode):
    text = sign(partner.key, {"alg": "RS256", "x5c": [encode(partner.certificate)]})
    assert jws.verify(text, BODY).certificate == partner.certificate


def test_padded_segments(partner):
    for extra in ("", " ", "  "):
        header = json.dumps({"alg": "RS256", "x5c": x5c(partner)}) + extra
        segment = base64.urlsafe_b64encode(header.encode()).decode()
        text = sign(partner.key, header, segment=segment)
        raw = base64.urlsafe_b64encode(base64.urlsafe_b64decode(text.rsplit(".", 1)[1] + "==")).decode()
        assert jws.verify(f"{segment}..{raw}", BODY).payload == BODY


def test_hash_of_the_certificate_must_be_its_own(partner, base):
    header = {"alg": "RS256", "x5c": x5c(partner), "x5t#S256": b64u(thumbprint(base.certificate))}
    with pytest.raises(SignatureInvalid, match="x5t"):
        jws.verify(sign(partner.key, header), BODY)


def test_named_certificate_pins_the_key(partner, root):
    text = sign(partner.key, jws.header(certificate=partner.certificate))
    assert jws.verify(text, BODY, certificate=partner.certificate).payload == BODY
    with pytest.raises(SignatureInvalid, match="another"):
        jws.verify(text, BODY, certificate=root.certificate)
    bare = sign(partner.key, jws.header())
    assert jws.verify(bare, BODY, certificate=partner.certificate).certificate == partner.certificate
    with pytest.raises(CertificateMissing):
        jws.verify(bare, BODY)


def test_certificate_of_another_key_fails(partner, root):
    with pytest.raises(SignatureInvalid):
        jws.verify(sign(partner.key, jws.header(certificate=root.certificate)), BODY)


def test_certificate_outside_its_dates(partner):
    text = sign(partner.key, jws.header(certificate=partner.certificate))
    for at in (NOW - timedelta(days=2), NOW + timedelta(days=500)):
        with pytest.raises(CertificateExpired):
            jws.verify(text, BODY, at=at)


def test_certificate_for_encryption_signs_nothing(base):
    with pytest.raises(SignatureInvalid, match="not for signatures"):
        jws.verify(sign(base.key, jws.header(certificate=base.certificate)), BODY)


@pytest.mark.parametrize(
    "change",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": "RS512"},
        {"alg": ["RS256"]},
        {"alg": None},
        {"crit": ["exp"]},
        {"crit": []},
        {"b64": False},
        {"x5c": []},
        {"x5c": "text"},
        {"x5c": [7]},
        {"x5c": ["AAAA"]},
        {"x5c": [b64(b"-----BEGIN CERTIFICATE-----\xff")]},
        {"kid": 7},
        {"x5t#S256": 7},
        {"x5t#S256": "?"},
    ],
    ids=str,
)
def test_headers_that_are_refused(partner, change):
    header = {"alg": "RS256", "x5c": x5c(partner)} | change
    with pytest.raises(SignatureInvalid):
        jws.verify(sign(partner.key, header), BODY)


def test_member_twice_is_refused(partner):
    header = f'{{"alg":"none","alg":"RS256","x5c":{json.dumps(x5c(partner))}}}'
    with pytest.raises(SignatureInvalid, match="twice"):
        jws.verify(sign(partner.key, header), BODY)


def test_overlong_header_is_refused(partner):
    header = {"alg": "RS256", "x5c": x5c(partner), "more": "x" * jws.MAX_HEADER}
    with pytest.raises(SignatureInvalid):
        jws.verify(sign(partner.key, header), BODY)


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a.b", "a.b.c.d", "[" * 20000 + "..", b64u(b"[" * 20000) + "..", "é.."]
)
def test_what_is_no_jws_is_refused(text):
    with pytest.raises(SignatureInvalid):
        jws.verify(text, BODY)


def test_stripped_signature_is_refused(partner):
    text = sign(partner.key, jws.header(certificate=partner.certificate))
    with pytest.raises(SignatureInvalid):
        jws.verify(text.rsplit(".", 1)[0] + ".", BODY)


def test_certificate_without_usage_signs_and_of_another_algorithm_does_not(root, keys):
    bare = variant(root, keys[3], "bare")
    assert jws.verify(sign(keys[3], jws.header(certificate=bare.certificate)), BODY).certificate == bare.certificate
    for key in (ec.generate_private_key(ec.SECP256R1()), new_rsa(1024)):
        other = variant(root, key, "other")
        with pytest.raises(SignatureInvalid, match="not accepted"):
            jws.verify(sign(keys[3], jws.header(certificate=other.certificate)), BODY)
