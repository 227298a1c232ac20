"""Zero-knowledge attribute encryption (keys-and-crypto section 4.5).

A pool key and the person's id give the key of the person's attributes, so a store alone opens nothing.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from civium.kernel.encoding import b64u, sha256
from civium.keys.errors import DecryptionFailed
from civium.keys.formats.primitives import (
    AAD_SIZE,
    NONCE_SIZE,
    TAG_SIZE,
    THUMBPRINT_SIZE,
    WRAPPED_SIZE,
    gcm_decrypt,
    gcm_encrypt,
    thumbprint,
    unb64_or,
    wrap,
)

INDEX_SIZE = 4
MAX_INDEX = 2**31 - 1
_INDEX_CHARACTERS = 8
"""Of base64: whole groups that hold the index."""
_DATA_AT = INDEX_SIZE + NONCE_SIZE + AAD_SIZE


@dataclass(frozen=True, slots=True)
class WrappedPoolKey:
    """A pool key for one receiver: the thumbprint of its certificate and the RSA-OAEP block."""

    thumbprint: bytes
    wrapped: bytes


def derive_key(pool_key: bytes, id: str) -> bytes:
    """Return the key of the attributes of ``id``: AES-ECB of SHA-256(id) under the pool key."""
    encryptor = Cipher(algorithms.AES(pool_key), modes.ECB()).encryptor()  # noqa: S305 - the wire's derivation
    return encryptor.update(sha256(id.encode())) + encryptor.finalize()


def encrypt_value(derived_key: bytes, index: int, value: str) -> str:
    """Return the sealed attribute, base64url. ``index`` is that of the pool key."""
    return _seal_value(derived_key, index, value, secrets.token_bytes(NONCE_SIZE), secrets.token_bytes(AAD_SIZE))


def _seal_value(derived_key: bytes, index: int, value: str, nonce: bytes, aad: bytes) -> str:
    head = index.to_bytes(INDEX_SIZE, "big", signed=True)
    return b64u(head + nonce + aad + gcm_encrypt(derived_key, nonce, value.encode(), aad))


def value_index(sealed: str) -> int:
    """Return the index of the pool key that an attribute was sealed with; raises DecryptionFailed.

    Reads no further than the index: the rest is checked when the attribute is opened.
    """
    return _index_of(unb64_or(DecryptionFailed, sealed[:_INDEX_CHARACTERS]))


def decrypt_value(derived_key: bytes, sealed: str) -> str:
    """Open an attribute; raises DecryptionFailed.

    The index is not authenticated by the format: it chooses the key, so that a changed one opens nothing.
    """
    raw = _value_bytes(sealed)
    nonce, aad = raw[INDEX_SIZE : INDEX_SIZE + NONCE_SIZE], raw[INDEX_SIZE + NONCE_SIZE : _DATA_AT]
    try:
        return gcm_decrypt(derived_key, nonce, raw[_DATA_AT:], aad).decode()
    except UnicodeDecodeError:
        raise DecryptionFailed("the attribute is no text") from None


def _value_bytes(sealed: str) -> bytes:
    raw = unb64_or(DecryptionFailed, sealed)
    _index_of(raw)
    if len(raw) < _DATA_AT + TAG_SIZE:
        raise DecryptionFailed("no sealed attribute")
    return raw


def _index_of(raw: bytes) -> int:
    index = int.from_bytes(raw[:INDEX_SIZE], "big", signed=True)
    if len(raw) < INDEX_SIZE or index < 0:
        raise DecryptionFailed("no sealed attribute")
    return index


def encrypted_random_key(receivers: Iterable[x509.Certificate], pool_key: bytes) -> str:
    """Return ``encryptedRandomKey``: the pool key for each receiver, joined with dots."""
    return ".".join(b64u(thumbprint(receiver) + wrap(receiver, pool_key)) for receiver in receivers)


def split_random_key(text: str) -> tuple[WrappedPoolKey, ...]:
    """Return the parts of ``encryptedRandomKey``; raises DecryptionFailed when one is malformed."""
    return tuple(_random_key_part(part) for part in text.split("."))


def _random_key_part(part: str) -> WrappedPoolKey:
    raw = unb64_or(DecryptionFailed, part)
    if len(raw) != THUMBPRINT_SIZE + WRAPPED_SIZE:
        raise DecryptionFailed("no encrypted random key")
    return WrappedPoolKey(raw[:THUMBPRINT_SIZE], raw[THUMBPRINT_SIZE:])
