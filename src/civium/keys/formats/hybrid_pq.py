"""The post-quantum hybrid envelope: X25519 and ML-KEM-768 together, for what crosses between our own components.

It stays closed as long as either holds. An envelope is

    "CIVPQ1" ‖ key id 32 ‖ X25519 ephemeral key 32 ‖ ML-KEM ciphertext 1088 ‖ AES-256-GCM(clear) with its tag

where key id is SHA-256 over the receiver's public key (X25519 32 ‖ ML-KEM 1184). AES key and nonce are HKDF-SHA-256
over both shared secrets (ML-KEM's first), with the suite's name and the hash of the transcript (receiver's key,
ephemeral key, ciphertext) as info. They serve this one envelope. The associated data is everything before the GCM part
and the caller's context, so that neither suite, receiver nor use can be exchanged.
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from civium.keys.errors import DecryptionFailed
from civium.keys.formats.primitives import KEY_SIZE, NONCE_SIZE, TAG_SIZE

MAGIC: Final = b"CIVPQ1"
SUITE: Final = b"civium X25519 ML-KEM-768 HKDF-SHA256 A256GCM"
X25519_SIZE: Final = 32
PUBLIC_SIZE: Final = X25519_SIZE + 1184
PRIVATE_SIZE: Final = X25519_SIZE + 64
CIPHERTEXT_SIZE: Final = 1088
ID_SIZE: Final = 32
HEADER_SIZE: Final = len(MAGIC) + ID_SIZE + X25519_SIZE + CIPHERTEXT_SIZE
OVERHEAD: Final = HEADER_SIZE + TAG_SIZE


@dataclass(frozen=True, slots=True)
class HybridPrivateKey:
    """A receiver's key pair."""

    x25519: X25519PrivateKey = field(repr=False)
    mlkem: MLKEM768PrivateKey = field(repr=False)

    @classmethod
    def generate(cls) -> "HybridPrivateKey":
        """Return a new key."""
        return cls(X25519PrivateKey.generate(), MLKEM768PrivateKey.generate())

    @classmethod
    def from_bytes(cls, raw: bytes) -> "HybridPrivateKey":
        """Return the key of ``to_bytes``; raises ValueError."""
        if len(raw) != PRIVATE_SIZE:
            raise ValueError("not a hybrid private key")
        return cls(
            X25519PrivateKey.from_private_bytes(raw[:X25519_SIZE]),
            MLKEM768PrivateKey.from_seed_bytes(raw[X25519_SIZE:]),
        )

    def to_bytes(self) -> bytes:
        """Return the X25519 scalar and the ML-KEM seed."""
        return self.x25519.private_bytes_raw() + self.mlkem.private_bytes_raw()

    def public(self) -> bytes:
        """Return the public key."""
        return self.x25519.public_key().public_bytes_raw() + self.mlkem.public_key().public_bytes_raw()


def key_id(public: bytes) -> bytes:
    """Return the name of a public key in envelopes."""
    return hashlib.sha256(public).digest()


def is_hybrid(envelope: bytes) -> bool:
    """Tell whether bytes claim to be such an envelope."""
    return envelope.startswith(MAGIC)


def receiver(envelope: bytes) -> bytes:
    """Return the id of the key that an envelope is for; raises DecryptionFailed for what is none."""
    if not is_hybrid(envelope) or len(envelope) < OVERHEAD:
        raise DecryptionFailed("not an envelope under a hybrid key")
    return envelope[len(MAGIC) : len(MAGIC) + ID_SIZE]


def seal(public: bytes, clear: bytes, context: bytes) -> bytes:
    """Return the envelope of ``clear`` for a receiver; it opens with the same ``context`` only.

    About 0.15 ms. Raises ValueError for a public key that is none.
    """
    if len(public) != PUBLIC_SIZE:
        raise ValueError("not a hybrid public key")
    ephemeral = X25519PrivateKey.generate()
    of_curve = ephemeral.exchange(X25519PublicKey.from_public_bytes(public[:X25519_SIZE]))
    of_lattice, ciphertext = MLKEM768PublicKey.from_public_bytes(public[X25519_SIZE:]).encapsulate()
    sent = ephemeral.public_key().public_bytes_raw() + ciphertext
    header = MAGIC + key_id(public) + sent
    key, nonce = _derived(of_lattice, of_curve, public, sent)
    return header + AESGCM(key).encrypt(nonce, clear, header + context)


def open_envelope(private: HybridPrivateKey, envelope: bytes, context: bytes) -> bytes:
    """Open an envelope; raises DecryptionFailed, the same for every reason. About 0.1 ms."""
    public = private.public()
    header = envelope[:HEADER_SIZE]
    if not hmac.compare_digest(receiver(envelope), key_id(public)):
        raise DecryptionFailed("the envelope does not open")
    sent = header[len(MAGIC) + ID_SIZE :]
    try:
        of_curve = private.x25519.exchange(X25519PublicKey.from_public_bytes(sent[:X25519_SIZE]))
        of_lattice = private.mlkem.decapsulate(sent[X25519_SIZE:])
        key, nonce = _derived(of_lattice, of_curve, public, sent)
        return AESGCM(key).decrypt(nonce, envelope[HEADER_SIZE:], header + context)
    except (InvalidTag, ValueError):
        raise DecryptionFailed("the envelope does not open") from None


def _derived(of_lattice: bytes, of_curve: bytes, public: bytes, sent: bytes) -> tuple[bytes, bytes]:
    transcript = hashlib.sha256(public + sent).digest()
    kdf = HKDF(SHA256(), KEY_SIZE + NONCE_SIZE, None, SUITE + transcript)
    derived = kdf.derive(of_lattice + of_curve)
    return derived[:KEY_SIZE], derived[KEY_SIZE:]
