import hashlib
import hmac
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from civium.keys.errors import DecryptionFailed
from civium.keys.formats import hybrid_pq
from civium.keys.formats.hybrid_pq import HybridPrivateKey

VECTOR = json.loads((Path(__file__).parents[2] / "vectors" / "keys" / "hybrid_pq.json").read_text())
KEY = HybridPrivateKey.from_bytes(bytes(range(96)))
OTHER = HybridPrivateKey.generate()
CLEAR = b"a pool key"
SEALED = hybrid_pq.seal(KEY.public(), CLEAR, b"context")


def _hkdf(secret: bytes, info: bytes, size: int) -> bytes:
    """HKDF-SHA-256 without salt, written out."""
    prk = hmac.digest(bytes(32), secret, "sha256")
    out, block = b"", b""
    for number in range(1, 3):
        block = hmac.digest(prk, block + info + bytes([number]), "sha256")
        out += block
    return out[:size]


def test_the_recorded_envelope_opens():
    private = HybridPrivateKey.from_bytes(bytes.fromhex(VECTOR["private"]))
    assert hybrid_pq.key_id(private.public()).hex() == VECTOR["public_sha256"]
    opened = hybrid_pq.open_envelope(private, bytes.fromhex(VECTOR["envelope"]), bytes.fromhex(VECTOR["context"]))
    assert opened.hex() == VECTOR["clear"]


def test_a_second_reading_of_the_format_opens_it():
    envelope = bytes.fromhex(VECTOR["envelope"])
    raw = bytes.fromhex(VECTOR["private"])
    curve, lattice = X25519PrivateKey.from_private_bytes(raw[:32]), MLKEM768PrivateKey.from_seed_bytes(raw[32:])
    public = curve.public_key().public_bytes_raw() + lattice.public_key().public_bytes_raw()
    assert envelope[:6] == b"CIVPQ1"
    assert envelope[6:38] == hashlib.sha256(public).digest()
    ephemeral, ciphertext, sealed = envelope[38:70], envelope[70:1158], envelope[1158:]
    secret = lattice.decapsulate(ciphertext) + curve.exchange(X25519PublicKey.from_public_bytes(ephemeral))
    transcript = hashlib.sha256(public + ephemeral + ciphertext).digest()
    derived = _hkdf(secret, b"civium X25519 ML-KEM-768 HKDF-SHA256 A256GCM" + transcript, 44)
    context = bytes.fromhex(VECTOR["context"])
    assert AESGCM(derived[:32]).decrypt(derived[32:], sealed, envelope[:1158] + context).hex() == VECTOR["clear"]


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=2000), st.binary(max_size=40))
def test_round_trip(clear, context):
    sealed = hybrid_pq.seal(KEY.public(), clear, context)
    assert len(sealed) == len(clear) + hybrid_pq.OVERHEAD
    assert hybrid_pq.open_envelope(KEY, sealed, context) == clear
    assert hybrid_pq.receiver(sealed) == hybrid_pq.key_id(KEY.public())


@pytest.mark.tamper
def test_every_flipped_bit_is_refused():
    for bit in range(len(SEALED) * 8):
        bad = bytearray(SEALED)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DecryptionFailed):
            hybrid_pq.open_envelope(KEY, bytes(bad), b"context")


@pytest.mark.tamper
def test_every_truncation_and_extension_is_refused():
    for size in range(len(SEALED)):
        with pytest.raises(DecryptionFailed):
            hybrid_pq.open_envelope(KEY, SEALED[:size], b"context")
    with pytest.raises(DecryptionFailed):
        hybrid_pq.open_envelope(KEY, SEALED + b"\0", b"context")


def test_another_key_or_context_opens_nothing():
    with pytest.raises(DecryptionFailed):
        hybrid_pq.open_envelope(OTHER, SEALED, b"context")
    with pytest.raises(DecryptionFailed):
        hybrid_pq.open_envelope(KEY, SEALED, b"contexts")
    half_curve = HybridPrivateKey(OTHER.x25519, KEY.mlkem)
    half_lattice = HybridPrivateKey(KEY.x25519, OTHER.mlkem)
    for half in (half_curve, half_lattice):
        renamed = SEALED[:6] + hybrid_pq.key_id(half.public()) + SEALED[38:]
        with pytest.raises(DecryptionFailed):
            hybrid_pq.open_envelope(half, renamed, b"context")


@given(st.binary(max_size=1300))
def test_arbitrary_bytes_are_refused(data):
    for envelope in (data, hybrid_pq.MAGIC + data, SEALED[: hybrid_pq.HEADER_SIZE] + data):
        with pytest.raises(DecryptionFailed):
            hybrid_pq.open_envelope(KEY, envelope, b"context")


@pytest.mark.parametrize("public", [b"", b"x" * 1215, b"x" * 1217, b"\xff" * 1216, bytes(32) + KEY.public()[32:]])
def test_what_is_no_public_key_is_refused(public):
    with pytest.raises(ValueError):
        hybrid_pq.seal(public, CLEAR, b"")


def test_an_ephemeral_key_of_small_order_is_refused():
    bad = SEALED[:38] + bytes(32) + SEALED[70:]
    with pytest.raises(DecryptionFailed):
        hybrid_pq.open_envelope(KEY, bad, b"context")


def test_private_keys_do_not_show_and_come_back():
    assert HybridPrivateKey.from_bytes(OTHER.to_bytes()).public() == OTHER.public()
    assert OTHER.to_bytes().hex()[:16] not in repr(OTHER)
    with pytest.raises(ValueError):
        HybridPrivateKey.from_bytes(b"x" * 95)
