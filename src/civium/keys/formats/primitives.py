"""The primitives that all formats are made of (keys-and-crypto section 4.0)."""

import secrets
from collections.abc import Callable

from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from civium.kernel.encoding import unb64
from civium.keys.errors import DecryptionFailed, KeyProblem

KEY_SIZE = 32
"""Bytes of an AES-256 key."""
WRAPPED_SIZE = 256
"""Bytes of an AES key under RSA-2048."""
THUMBPRINT_SIZE = 32
NONCE_SIZE = 12
AAD_SIZE = 32
TAG_SIZE = 16
TRAILING_IV_SIZE = 16
SPLITTER = b"#KEY_SPLITTER#"

OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)


def new_key() -> bytes:
    """Return a fresh AES-256 key."""
    return secrets.token_bytes(KEY_SIZE)


def thumbprint(certificate: x509.Certificate) -> bytes:
    """Return SHA-256 of the DER certificate (``thumb32``)."""
    return certificate.fingerprint(hashes.SHA256())


def rsa_key(certificate: x509.Certificate) -> rsa.RSAPublicKey:
    """Return the key of a certificate that data is encrypted to: RSA of 2048 bits, or a partner's of more.

    Raises KeyProblem (KER-CRY-002) for any other key.
    """
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < WRAPPED_SIZE * 8:
        raise KeyProblem("KER-CRY-002", "public key is invalid")
    return key


def wrap(certificate: x509.Certificate, key: bytes) -> bytes:
    """Encrypt a session key to a certificate with RSA-OAEP. About 30 microseconds."""
    return rsa_key(certificate).encrypt(key, OAEP)


def unwrap(private_key: rsa.RSAPrivateKey, wrapped: bytes) -> bytes:
    """Return the 32-byte session key in ``wrapped``; raises DecryptionFailed. About 700 microseconds."""
    if len(wrapped) != WRAPPED_SIZE:
        raise DecryptionFailed("the encrypted session key has a wrong length")
    try:
        key = private_key.decrypt(wrapped, OAEP)
    except ValueError:
        raise DecryptionFailed("the session key does not open") from None
    if len(key) != KEY_SIZE:
        raise DecryptionFailed("the session key does not open")
    return key


def gcm_encrypt(key: bytes, iv: bytes, clear: bytes, aad: bytes | None = None) -> bytes:
    """Return ``ct ‖ tag``; ``iv`` must be new to ``key``. Raises ValueError for an IV not of 8 to 128 bytes."""
    return AESGCM(key).encrypt(iv, clear, aad)


def gcm_decrypt(key: bytes, iv: bytes, sealed: bytes, aad: bytes | None = None) -> bytes:
    """Open ``ct ‖ tag``; raises DecryptionFailed."""
    try:
        return AESGCM(key).decrypt(iv, sealed, aad)
    except (InvalidTag, ValueError):
        raise DecryptionFailed("the data does not open") from None


def gcm16_encrypt(key: bytes, clear: bytes, aad: bytes | None = None) -> bytes:
    """Return the trailing-IV form ``ct ‖ tag ‖ iv16`` with a random IV."""
    iv = secrets.token_bytes(TRAILING_IV_SIZE)
    return gcm_encrypt(key, iv, clear, aad) + iv


def gcm16_decrypt(key: bytes, sealed: bytes, aad: bytes | None = None) -> bytes:
    """Open the trailing-IV form; raises DecryptionFailed."""
    if len(sealed) < TAG_SIZE + TRAILING_IV_SIZE:
        raise DecryptionFailed("the data is too short")
    return gcm_decrypt(key, sealed[-TRAILING_IV_SIZE:], sealed[:-TRAILING_IV_SIZE], aad)


def unb64_or(problem: Callable[[str], Exception], text: str | bytes) -> bytes:
    """Decode base64 of either alphabet; raises what ``problem`` makes when it is none."""
    try:
        return unb64(text)
    except ValueError:
        raise problem("not base64") from None
