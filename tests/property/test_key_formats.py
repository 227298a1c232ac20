"""Formats of keys under arbitrary input: what is sealed opens, and what is not raises only the declared errors."""

import base64
import contextlib
import functools
import json
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from civium.kernel.encoding import b64, b64u
from civium.keys.api import DecryptionFailed, KeyProblem, SignatureInvalid, verify_path
from civium.keys.formats import certificates, client_crypto, envelope, identifiers, jws, packet, primitives, session, zk

KEY = bytes(range(32))
NOW = datetime(2026, 5, 1, tzinfo=UTC)
READS = settings(max_examples=300, deadline=None)
RSA = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@functools.cache
def holder():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = certificates.module_name("TEST")
    certificate = certificates.issue(
        certificates.ROOT, name, key.public_key(), issuer=name, signing_key=key,
        not_before=NOW, not_after=NOW + timedelta(days=1),
    )  # fmt: skip
    return key, certificate


salts = st.none() | st.binary(min_size=8, max_size=128)
aads = st.none() | st.binary(max_size=64)
texts = st.text(max_size=200)


@RSA
@given(st.binary(max_size=300), salts, aads)
def test_envelope_round_trip(clear, salt, aad):
    key, certificate = holder()
    parts = envelope.split(envelope.encrypt(certificate, clear, salt=salt, aad=aad))
    assert parts.thumbprint == primitives.thumbprint(certificate)
    assert envelope.open_data(primitives.unwrap(key, parts.wrapped_key), parts, salt=salt, aad=aad) == clear


@RSA
@given(st.binary(max_size=300))
def test_packet_round_trip(clear):
    key, certificate = holder()
    sealed = packet.split(packet.encrypt(certificate, clear))
    parts = envelope.split(sealed.envelope)
    assert envelope.open_data(
        primitives.unwrap(key, parts.wrapped_key), parts, salt=sealed.nonce, aad=sealed.aad
    ) == clear  # fmt: skip


@READS
@given(st.binary(max_size=700), st.booleans(), salts, aads)
@example(b"VER_R2", True, None, None)
@example(bytes(288) + primitives.SPLITTER, False, None, None)
@example(b"VER_R2" + bytes(288) + primitives.SPLITTER, False, None, None)
def test_any_bytes_as_envelope(data, legacy, salt, aad):
    try:
        parts = envelope.split(data, allow_legacy=legacy)
    except DecryptionFailed:
        return
    assert envelope.assemble(parts) == data
    with contextlib.suppress(DecryptionFailed):
        envelope.open_data(KEY, parts, salt=salt, aad=aad)


@READS
@given(st.binary(max_size=100), st.binary(max_size=100), st.booleans(), salts, aads)
def test_any_bytes_behind_a_splitter(tail, key, versioned, salt, aad):
    parts = envelope.Envelope(versioned, bytes(32), bytes(256), tail)
    assert envelope.split(envelope.assemble(parts)) == parts
    for session_key in (KEY, key):
        with contextlib.suppress(DecryptionFailed):
            envelope.open_data(session_key, parts, salt=salt, aad=aad)


@READS
@given(st.integers(0, zk.MAX_INDEX), texts, st.text(min_size=1, max_size=20))
def test_zk_round_trip(index, value, id):
    derived = zk.derive_key(KEY, id)
    sealed = zk.encrypt_value(derived, index, value)
    assert zk.value_index(sealed) == index
    assert zk.decrypt_value(derived, sealed) == value


wire_texts = texts | st.binary(max_size=400).map(b64u) | st.binary(max_size=400).map(b64)


@READS
@given(wire_texts, wire_texts, texts, texts)
def test_any_text_in_the_text_formats(text, other, third, fourth):
    readers = (
        lambda: zk.value_index(text),
        lambda: zk.decrypt_value(KEY, text),
        lambda: zk.split_random_key(text),
        lambda: session.parse_thumbprint(text),
        lambda: session.parse_session_key(text, other),
        lambda: session.open_request(KEY, text, other),
        lambda: session.open_request(KEY, text, other, versioned=True),
        lambda: session.open_biometric(KEY, text, third, fourth),
        lambda: session.open_kyc(KEY, text),
    )
    for read in readers:
        with contextlib.suppress(DecryptionFailed):
            read()


@settings(max_examples=5, deadline=None)
@given(texts, st.text(max_size=8))
def test_pin_round_trip(clear, pin):
    assert envelope.decrypt_with_pin(pin, envelope.encrypt_with_pin(pin, clear)) == clear


@RSA
@given(st.binary(max_size=300), st.booleans())
def test_jws_round_trip(payload, detached):
    key, certificate = holder()
    signed = jws.signing_input(jws.header(certificate=certificate), payload)
    signature = key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    text = jws.assemble(signed, signature, include_payload=not detached)
    assert jws.verify(text, payload if detached else None).payload == payload


members = st.dictionaries(
    st.sampled_from(["alg", "x5c", "x5t#S256", "kid", "crit", "b64", "typ"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.sampled_from(["RS256", "PS256", "none"]) | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=5,
    ),
)


@READS
@given(members, st.binary(max_size=20), st.binary(max_size=300), st.none() | st.binary(max_size=20), st.booleans())
def test_any_header_as_jws(header, payload, signature, detached, named):
    text = ".".join((b64u(json.dumps(header).encode()), b64u(payload), b64u(signature)))
    with contextlib.suppress(SignatureInvalid):
        jws.verify(text, detached, certificate=holder()[1] if named else None, at=NOW)
        raise AssertionError("an arbitrary signature held")


@READS
@given(texts | st.lists(wire_texts, min_size=3, max_size=3).map(".".join))
def test_any_text_as_jws(text):
    with contextlib.suppress(SignatureInvalid):
        jws.verify(text, certificate=holder()[1])
        raise AssertionError("an arbitrary text held")


@READS
@given(st.binary(max_size=600), st.integers(0, 900), st.binary(max_size=8))
def test_any_bytes_as_certificate(data, position, change):
    der = certificates.der(holder()[1])
    assume(position <= len(der))
    changed = der[:position] + change + der[position + len(change) :]
    for candidate in (data, changed):
        with contextlib.suppress(KeyProblem):
            parsed = certificates.parse_der(candidate)
            with contextlib.suppress(SignatureInvalid):
                verify_path(parsed, [parsed, holder()[1]], NOW)
        with contextlib.suppress(KeyProblem):
            certificates.parse_p7b(b64(candidate))
        with contextlib.suppress(KeyProblem):
            certificates.parse_pem(f"-----BEGIN CERTIFICATE-----{b64(candidate)}-----END CERTIFICATE-----")
        with contextlib.suppress(SignatureInvalid):
            certificates.parse_lenient(base64.encodebytes(candidate).decode())


@READS
@given(st.binary(max_size=400), st.none() | st.sampled_from(client_crypto.ClientType))
@example(b"\x00\x01\x00\x0b", None)
def test_any_bytes_as_machine_key(data, client_type):
    with contextlib.suppress(KeyProblem):
        client_crypto.parse_public_key(data, client_type)
    tpm = b"\x00\x01\x00\x0b\x00\x00\x00\x00\x00\x00\x00\x10\x00\x10" + data
    with contextlib.suppress(KeyProblem):
        client_crypto.parse_public_key(tpm, client_type)


@READS
@given(texts)
def test_any_text_as_machine_signature(signature):
    key, _ = holder()
    machine = client_crypto.MachineKey(client_crypto.ClientType.LOCAL, key.public_key(), "", primitives.OAEP)
    with contextlib.suppress(SignatureInvalid):
        client_crypto.verify(machine, b"data", signature)
        raise AssertionError("an arbitrary signature held")


@READS
@given(st.from_regex(r"\A[0-9]{10}\Z"), texts, texts, texts)
def test_tokens_are_36_digits(uin, partner, id_salt, partner_salt):
    token = identifiers.token_id(uin, partner, id_salt=id_salt, partner_salt=partner_salt)
    assert len(token) == 36
    assert token.isdigit()
    assert 0 <= identifiers.hash_modulo(uin) < 1000
