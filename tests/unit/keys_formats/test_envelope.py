"""Envelopes, packets and attributes: what goes in comes out, and nothing else does."""

import subprocess
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from civium.kernel.encoding import b64u, sha256_hex_upper, unb64
from civium.keys.api import DecryptionFailed, DigestMismatch, KeyProblem
from civium.keys.formats import certificates, envelope, packet, primitives, session, zk

from .conftest import new_rsa, self_signed

CLEAR = b"hello"
FORMS = [
    pytest.param(b"s" * 16, None, id="a-16"),
    pytest.param(b"s" * 12, b"d" * 32, id="a-12-aad"),
    pytest.param(None, None, id="b"),
    pytest.param(None, b"place", id="c"),
]


def opened(holder, sealed, *, salt=None, aad=None):
    parts = envelope.split(sealed)
    if parts.thumbprint != primitives.thumbprint(holder.certificate):
        raise DecryptionFailed("another certificate")
    return envelope.open_data(primitives.unwrap(holder.key, parts.wrapped_key), parts, salt=salt, aad=aad)


@pytest.mark.parametrize(("salt", "aad"), FORMS)
class TestEveryForm:
    def test_round_trip(self, base, salt, aad):
        sealed = envelope.encrypt(base.certificate, CLEAR, salt=salt, aad=aad)
        assert opened(base, sealed, salt=salt, aad=aad) == CLEAR
        assert envelope.assemble(envelope.split(sealed)) == sealed
        assert sealed.startswith(envelope.VERSION_2) == (not salt and not aad)

    def test_every_flipped_bit_fails(self, base, salt, aad):
        sealed = envelope.encrypt(base.certificate, CLEAR, salt=salt, aad=aad)
        for bit in range(len(sealed) * 8):
            changed = bytearray(sealed)
            changed[bit // 8] ^= 1 << bit % 8
            with pytest.raises(DecryptionFailed):
                opened(base, bytes(changed), salt=salt, aad=aad)

    def test_every_truncation_fails(self, base, salt, aad):
        sealed = envelope.encrypt(base.certificate, CLEAR, salt=salt, aad=aad)
        for size in range(len(sealed)):
            with pytest.raises(DecryptionFailed):
                opened(base, sealed[:size], salt=salt, aad=aad)

    def test_another_key_fails(self, base, keys, salt, aad):
        parts = envelope.split(envelope.encrypt(base.certificate, CLEAR, salt=salt, aad=aad))
        with pytest.raises(DecryptionFailed):
            primitives.unwrap(keys[0], parts.wrapped_key)
        with pytest.raises(DecryptionFailed):
            envelope.open_data(primitives.new_key(), parts, salt=salt, aad=aad)

    def test_another_place_fails(self, base, salt, aad):
        sealed = envelope.encrypt(base.certificate, CLEAR, salt=salt, aad=aad)
        if sealed.startswith(envelope.VERSION_2):
            return  # form (b) has no context
        with pytest.raises(DecryptionFailed):
            opened(base, sealed, salt=salt, aad=b"elsewhere")


def test_blank_salt_and_aad_are_absent(base):
    sealed = envelope.encrypt(base.certificate, CLEAR, salt=b"", aad=b"")
    assert opened(base, sealed) == CLEAR


def test_same_clear_never_gives_the_same_bytes(base):
    salt = b"s" * 12
    once, again = (envelope.encrypt(base.certificate, CLEAR, salt=salt)[-21:] for _ in range(2))
    assert once != again


def test_splitter_inside_the_key_block_is_no_end(base):
    block = b"r" * 100 + primitives.SPLITTER + b"r" * 142
    sealed = envelope.assemble(envelope.Envelope(False, b"t" * 32, block, b"data" + primitives.SPLITTER))
    parts = envelope.split(sealed)
    assert (parts.wrapped_key, parts.data) == (block, b"data" + primitives.SPLITTER)


def test_thumbprint_may_begin_like_the_header():
    thumb = envelope.VERSION_2 + b"t" * 26
    parts = envelope.split(envelope.assemble(envelope.Envelope(False, thumb, b"r" * 256, b"data")))
    assert (parts.versioned, parts.thumbprint) == (False, thumb)


def test_legacy_form_only_when_asked_for():
    legacy = b"r" * 256 + primitives.SPLITTER + b"data"
    with pytest.raises(DecryptionFailed):
        envelope.split(legacy)
    assert envelope.split(legacy, allow_legacy=True) == envelope.Envelope(False, None, b"r" * 256, b"data")


@pytest.mark.parametrize("size", [7, 129])
def test_salt_that_is_no_iv_is_refused(base, size):
    with pytest.raises(ValueError):
        envelope.encrypt(base.certificate, CLEAR, salt=bytes(size))


def test_weak_key_is_refused_and_a_longer_one_is_not(keys):
    weak = new_rsa(1024)
    holder = self_signed("root", keys[0]).signs(certificates.PARTNER, "weak", weak)
    with pytest.raises(KeyProblem, match="KER-CRY-002"):
        envelope.encrypt(holder.certificate, CLEAR)
    longer = self_signed("long", new_rsa(3072))
    assert len(envelope.encrypt(longer.certificate, CLEAR)) == 356 + 128 + len(CLEAR)


def test_session_key_of_another_length_is_refused(base):
    wrapped = base.key.public_key().encrypt(b"k" * 16, primitives.OAEP)
    with pytest.raises(DecryptionFailed):
        primitives.unwrap(base.key, wrapped)


def test_openssl_unwraps_the_session_key(base, tmp_path):
    sealed = envelope.encrypt(base.certificate, CLEAR)
    (tmp_path / "key.pem").write_bytes(base.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "block").write_bytes(sealed[6 + 32 : 6 + 32 + 256])
    key = subprocess.run(
        ["openssl", "pkeyutl", "-decrypt", "-inkey", tmp_path / "key.pem", "-in", tmp_path / "block",
         "-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256", "-pkeyopt", "rsa_mgf1_md:sha256"],
        check=True, capture_output=True,
    ).stdout  # fmt: skip
    data = sealed[6 + 288 + 14 :]
    assert primitives.gcm_decrypt(key, data[:12], data[32:], data[:32]) == CLEAR


def opened_packet(holder, sealed):
    parts = packet.split(sealed)
    return opened(holder, parts.envelope, salt=parts.nonce, aad=parts.aad)


def test_packet_round_trip_and_layout(base):
    sealed = packet.encrypt(base.certificate, CLEAR)
    assert opened_packet(base, sealed) == CLEAR
    assert sealed[44:76] == primitives.thumbprint(base.certificate)
    assert sealed[332:346] == b"#KEY_SPLITTER#"


def test_packet_every_flipped_bit_and_truncation_fails(base):
    sealed = packet.encrypt(base.certificate, CLEAR)
    for bit in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DecryptionFailed):
            opened_packet(base, bytes(changed))
    for size in range(len(sealed)):
        with pytest.raises(DecryptionFailed):
            opened_packet(base, sealed[:size])


def test_packet_with_a_version_header_is_refused(base):
    with pytest.raises(DecryptionFailed):
        packet.split(bytes(44) + envelope.encrypt(base.certificate, CLEAR))


def test_zk_value_every_flipped_bit_fails():
    id, index = "2419762130", 7
    pool = {index: primitives.new_key()}
    raw = unb64(zk.encrypt_value(zk.derive_key(pool[index], id), index, "value"))
    for bit in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        text = b64u(bytes(changed))
        with pytest.raises((DecryptionFailed, KeyError)):
            zk.decrypt_value(zk.derive_key(pool[zk.value_index(text)], id), text)


def test_zk_value_of_another_person_or_pool_key_fails():
    pool_key = primitives.new_key()
    sealed = zk.encrypt_value(zk.derive_key(pool_key, "2419762130"), 1, "value")
    with pytest.raises(DecryptionFailed):
        zk.decrypt_value(zk.derive_key(pool_key, "2419762131"), sealed)
    with pytest.raises(DecryptionFailed):
        zk.decrypt_value(zk.derive_key(primitives.new_key(), "2419762130"), sealed)


def test_zk_value_is_text():
    derived = primitives.new_key()
    raw = bytes(48) + primitives.gcm_encrypt(derived, bytes(12), b"\xff", bytes(32))
    with pytest.raises(DecryptionFailed):
        zk.decrypt_value(derived, b64u(raw))


def test_random_key_for_several_receivers(base, partner):
    pool_key = primitives.new_key()
    parts = zk.split_random_key(zk.encrypted_random_key([base.certificate, partner.certificate], pool_key))
    assert [part.thumbprint for part in parts] == [
        primitives.thumbprint(holder.certificate) for holder in (base, partner)
    ]
    assert [primitives.unwrap(h.key, p.wrapped) for h, p in zip((base, partner), parts, strict=True)] == [pool_key] * 2


@pytest.mark.parametrize("text", ["", ".", "AAAA", "!"])
def test_malformed_random_key_is_refused(text):
    with pytest.raises(DecryptionFailed):
        zk.split_random_key(text)


def test_pin_needs_iterations():
    with pytest.raises(ValueError, match="iterations"):
        envelope.encrypt_with_pin("1234", "x", iterations=99_999)
    with pytest.raises(ValueError, match="iterations"):
        envelope.decrypt_with_pin("1234", b64u(bytes(61)), iterations=10)


def test_pin_round_trip_and_wrong_pin():
    sealed = envelope.encrypt_with_pin("123456", "naïve ✓")
    assert envelope.decrypt_with_pin("123456", sealed) == "naïve ✓"
    with pytest.raises(DecryptionFailed):
        envelope.decrypt_with_pin("123457", sealed)
    with pytest.raises(DecryptionFailed):
        envelope.decrypt_with_pin("123456", sealed[:70])


def test_pin_envelope_holds_text():
    salt, nonce = bytes(32), bytes(12)
    data = primitives.gcm_encrypt(envelope._pin_key("123456", salt, 100_000), nonce, b"\xff", salt)
    with pytest.raises(DecryptionFailed):
        envelope.decrypt_with_pin("123456", b64u(salt + nonce + data))


REQUEST = b'{"otp":"111111"}'


def request_key(holder, sealed):
    named = session.parse_session_key(sealed.session_key, sealed.thumbprint)
    assert named.thumbprint == primitives.thumbprint(holder.certificate)
    return primitives.unwrap(holder.key, named.wrapped)


def test_request_round_trip(base):
    sealed = session.seal_request(base.certificate, REQUEST)
    assert session.open_request(request_key(base, sealed), sealed.request, sealed.digest) == REQUEST


def test_request_with_the_digest_of_another(base):
    sealed = session.seal_request(base.certificate, REQUEST)
    key = request_key(base, sealed)
    other = b64u(primitives.gcm16_encrypt(key, b"0" * 64))
    with pytest.raises(DigestMismatch):
        session.open_request(key, sealed.request, other)
    with pytest.raises(DecryptionFailed) as caught:
        session.open_request(key, sealed.request, sealed.digest[:-4])
    assert not isinstance(caught.value, DigestMismatch)


def test_request_every_flipped_bit_fails(base):
    sealed = session.seal_request(base.certificate, REQUEST)
    key = request_key(base, sealed)
    raw = unb64(sealed.request)
    for bit in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DecryptionFailed):
            session.open_request(key, b64u(bytes(changed)), sealed.digest)


@pytest.mark.parametrize("padding", ["", "="])
@pytest.mark.parametrize("encode", [b64u, bytes.hex, lambda raw: raw.hex().upper()])
def test_thumbprint_spellings(encode, padding):
    raw = bytes(range(224, 256))
    text = encode(raw)
    assert session.parse_thumbprint(text + (padding if len(text) == 43 else "")) == raw


@pytest.mark.parametrize("text", ["", "zz" * 32, "AA", "é" * 64, "A" * 42])
def test_malformed_thumbprint_is_refused(text):
    with pytest.raises(DecryptionFailed):
        session.parse_thumbprint(text)


def test_session_key_spellings():
    thumb, block = b"t" * 32, b"r" * 256
    for prefix, versioned in ((b"", False), (thumb, False), (b"VER_R2", True), (b"VER_R2" + thumb, True)):
        key = session.parse_session_key(b64u(prefix + block), thumb.hex())
        assert key == session.WrappedSessionKey(thumb, block, versioned)


@pytest.mark.parametrize("prefix", [b"x", b"VER_R1", b"u" * 32, b"VER_R2" + b"u" * 32, b"t" * 33])
def test_session_key_with_anything_else_is_refused(prefix):
    with pytest.raises(DecryptionFailed):
        session.parse_session_key(b64u(prefix + b"r" * 256), (b"t" * 32).hex())


def test_versioned_request():
    key = primitives.new_key()

    def form_b(clear):
        head = bytes(range(32))
        return b64u(head + primitives.gcm_encrypt(key, head[:12], clear, head))

    digest = form_b(sha256_hex_upper(REQUEST).encode())
    assert session.open_request(key, form_b(REQUEST), digest, versioned=True) == REQUEST


def test_biometric_round_trip_and_binding(base):
    at, transaction = "2024-01-01T00:00:00.000Z", "1234567890"
    sealed = session.seal_biometric(base.certificate, b"record", at, transaction)
    key = request_key(base, sealed)
    assert session.open_biometric(key, sealed.bio_value, at, transaction) == b"record"
    for wrong in (("2024-01-01T00:00:00.001Z", transaction), (at, "1234567891"), ("", "")):
        with pytest.raises(DecryptionFailed):
            session.open_biometric(key, sealed.bio_value, *wrong)


def test_bio_hash_chain_depends_on_order():
    first = session.next_bio_hash(session.BIO_HASH_START, b"one")
    assert first == sha256(sha256(b"").digest() + sha256(b"one").digest()).digest()
    other = session.next_bio_hash(session.next_bio_hash(session.BIO_HASH_START, b"two"), b"one")
    assert session.next_bio_hash(first, b"two") != other


def test_kyc_round_trip(partner):
    sealed = session.seal_kyc(partner.certificate, b'{"name":"x"}')
    assert sealed.thumbprint == primitives.thumbprint(partner.certificate).hex().upper()
    key = primitives.unwrap(partner.key, unb64(sealed.session_key))
    assert session.open_kyc(key, sealed.identity) == b'{"name":"x"}'
    with pytest.raises(DecryptionFailed):
        session.open_kyc(key, sealed.identity[:-8])
