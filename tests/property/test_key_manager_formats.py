"""Formats of the key manager with arbitrary input: round trips, every flipped bit, truncation, foreign bytes."""

import json

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import example, given, settings
from hypothesis import strategies as st
from joserfc import jwe as other_jwe
from joserfc.jwk import RSAKey

from civium.keys.errors import CertificateMissing, DecryptionFailed, KeyProblem, SignatureInvalid
from civium.keys.formats import client_crypto, jwe, jws, signing
from civium.keys.formats.base58 import base58
from civium.keys.formats.primitives import OAEP, gcm_encrypt, new_key
from tests.unit.keys_formats.conftest import self_signed

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
HOLDER = self_signed("key manager", KEY)
STRANGER = self_signed("key manager", OTHER)
ALGORITHMS = ["RSA-OAEP-256", "A256GCM", "DEF"]
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def opened(text, key=KEY):
    parsed = jwe.parse(text)
    try:
        content_key = key.decrypt(parsed.wrapped_key, OAEP)
    except ValueError:
        raise DecryptionFailed("wrong key") from None
    return jwe.open_content(content_key, parsed)


@given(st.binary(max_size=5000), st.booleans())
@settings(max_examples=25, deadline=None)
def test_jwe_round_trip(clear, compress):
    sealed = jwe.encrypt(HOLDER.certificate, clear, compress=compress)
    assert opened(sealed) == clear
    registry = other_jwe.JWERegistry(algorithms=ALGORITHMS)
    assert other_jwe.decrypt_compact(sealed, RSAKey.import_key(KEY), registry=registry).plaintext == clear
    with pytest.raises(DecryptionFailed):
        opened(sealed, OTHER)


SEALED = jwe.encrypt(HOLDER.certificate, b'{"a":"b"}')


@given(st.integers(0, len(SEALED) - 1), st.integers(0, 6))
@settings(max_examples=150, deadline=None)
def test_a_changed_jwe_never_opens_as_another(position, bit):
    """Base64 has bits in last characters that no decoder reads: such a text is the same message."""
    changed = SEALED[:position] + chr(ord(SEALED[position]) ^ (1 << bit)) + SEALED[position + 1 :]
    try:
        clear = opened(changed)
    except DecryptionFailed:
        return
    assert clear == b'{"a":"b"}'
    assert jwe.parse(changed) == jwe.parse(SEALED)


@given(st.integers(0, len(SEALED) - 1))
def test_a_truncated_jwe_does_not_open(size):
    with pytest.raises(DecryptionFailed):
        opened(SEALED[:size])


@given(st.text() | st.lists(st.text("AZaz09-_=", max_size=40), min_size=5, max_size=5).map(".".join))
def test_arbitrary_text_is_no_jwe(text):
    with pytest.raises(DecryptionFailed):
        jwe.parse(text)


MEMBERS = st.dictionaries(
    st.sampled_from(["alg", "b64", "crit", "enc", "kid", "x5c", "x5t#S256", "zip"]),
    st.sampled_from(["RS256", "PS256", "none", "DEF", "RSA-OAEP-256", "A256GCM", ""])
    | st.booleans()
    | st.none()
    | st.integers()
    | st.lists(st.text(max_size=5), max_size=3)
    | st.lists(st.sampled_from(["b64", "exp", 7, None]), max_size=2),
)


@given(MEMBERS | st.integers() | st.text(), st.binary(max_size=30), st.binary(max_size=256))
def test_arbitrary_headers_verify_nothing_and_break_nothing(members, payload, signature):
    head = jws.b64u(json.dumps(members).encode())
    text = f"{head}.{jws.b64u(payload)}.{jws.b64u(signature)}"
    with pytest.raises((SignatureInvalid, CertificateMissing)):
        jws.verify(text, certificate=HOLDER.certificate)
    try:
        parsed = jws.parse(text, allow_unencoded=True)
    except SignatureInvalid:
        return
    with pytest.raises(SignatureInvalid):
        jws.check(parsed, HOLDER.certificate)


@given(st.text())
def test_arbitrary_text_is_no_jws(text):
    with pytest.raises(SignatureInvalid):
        jws.check(jws.parse(text, allow_unencoded=True), HOLDER.certificate)


@given(st.binary(max_size=300), st.sampled_from(["RS256", "PS256"]), st.booleans())
@settings(max_examples=30, deadline=None)
def test_jws_of_every_kind_verify_and_are_of_one_form(payload, algorithm, unencoded):
    header = jws.header(key_id="k", algorithm=algorithm, unencoded=unencoded)
    signed = jws.signing_input(header, payload, unencoded=unencoded)
    signing.check_form("jose", signed)
    for form in ("cms", "raw"):
        with pytest.raises(KeyProblem):
            signing.check_form(form, signed)
    signature = KEY.sign(signed, signing.PADDINGS[algorithm], hashes.SHA256())
    text = f"{jws.b64u(header.encode())}..{jws.b64u(signature)}"
    parsed = jws.parse(text, payload, allow_unencoded=True)
    jws.check(parsed, HOLDER.certificate)
    with pytest.raises(SignatureInvalid):
        jws.check(parsed, STRANGER.certificate)
    with pytest.raises(SignatureInvalid):
        jws.check(jws.parse(text, payload + b"x", allow_unencoded=True), HOLDER.certificate)
    if unencoded:
        with pytest.raises(SignatureInvalid):
            jws.verify(text, payload, certificate=HOLDER.certificate)


@given(st.binary(max_size=200))
@example(b"")
@example(b"eyJhbGciOiJSUzI1NiJ9.")
@example(b"ewogImFsZyI6IlJTMjU2In0.x")
def test_bytes_have_one_form_at_most(data):
    """What is signed raw is no signing input of a token that verifies, and no structure of a certificate."""
    form = signing.form_of(data)
    if form != "raw":
        return
    assert data[0] not in (0x30, 0x31)
    head, dot, _ = data.partition(b".")
    if not dot:
        return
    signature = KEY.sign(data, padding.PKCS1v15(), hashes.SHA256())
    text = f"{head.decode('latin-1')}..{jws.b64u(signature)}"
    for covered in (data.partition(b".")[2],):
        try:
            parsed = jws.parse(text, covered, allow_unencoded=True)
            jws.check(parsed, HOLDER.certificate)
        except SignatureInvalid:
            continue
        raise AssertionError("a raw signature is a token")


@given(st.text(" \t\n\r", max_size=9), st.dictionaries(st.text("abc", max_size=3), st.integers(), max_size=2))
def test_no_header_of_a_token_passes_as_raw(space, more):
    """JSON may begin with white space: its encoding does not begin as ours do."""
    text = space + json.dumps({"alg": "RS256", **more})
    encoded = jws.b64u(text.encode())
    for head in (encoded, f" {encoded}", f"{encoded[:2]}\n{encoded[2:]}", jws.b64u(b"\xef\xbb\xbf" + text.encode())):
        assert signing.form_of(f"{head}.e30".encode()) != "raw"


@given(st.binary(max_size=2000))
@settings(max_examples=30, deadline=None)
def test_data_for_machines(clear):
    machine = client_crypto.parse_public_key(
        KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    sealed = client_crypto.encrypt(machine, clear)
    parts = client_crypto.split(sealed)
    key = KEY.decrypt(parts.wrapped_key, OAEP)
    assert client_crypto.open_data(key, parts) == clear
    for position in range(0, len(sealed) - 256, 7):
        changed = bytearray(sealed)
        changed[256 + position] ^= 1
        with pytest.raises(DecryptionFailed):
            client_crypto.open_data(key, client_crypto.split(bytes(changed)))
    for size in range(0, len(sealed), 53):
        with pytest.raises(DecryptionFailed):
            client_crypto.open_data(key, client_crypto.split(sealed[:size]))
    with pytest.raises(DecryptionFailed):
        client_crypto.open_data(new_key(), parts)


@given(st.binary(max_size=100))
def test_data_for_machines_in_the_old_layout(clear):
    key, iv, aad = new_key(), bytes(range(16)), bytes(range(12))
    parts = client_crypto.split(bytes(256) + iv + aad + gcm_encrypt(key, iv, clear, aad))
    assert client_crypto.open_data(key, parts) == clear


@given(st.binary(max_size=600))
def test_arbitrary_bytes_for_a_machine(data):
    with pytest.raises(DecryptionFailed):
        client_crypto.open_data(bytes(32), client_crypto.split(data))


@given(st.binary(max_size=300))
def test_base58(data):
    text = base58(data)
    number = 0
    for character in text:
        number = number * 58 + _ALPHABET.index(character)
    zeros = len(text) - len(text.lstrip("1"))
    assert zeros * b"\x00" + number.to_bytes((number.bit_length() + 7) // 8, "big") == data


@pytest.mark.parametrize(
    ("clear", "text"), [(b"Hello World!", "2NEpo7TZRRrLZSi2U"), (b"\x00\x00\x28\x7f\xb4\xcd", "11233QC4"), (b"", "")]
)
def test_base58_vectors(clear, text):
    assert base58(clear) == text


def test_a_raw_signature_verifies_raw():
    signature = KEY.sign(b"data", signing.PADDINGS["PS256"], hashes.SHA256())
    KEY.public_key().verify(signature, b"data", signing.PADDINGS["PS256"], hashes.SHA256())
    with pytest.raises(InvalidSignature):
        KEY.public_key().verify(signature, b"datb", signing.PADDINGS["PS256"], hashes.SHA256())
