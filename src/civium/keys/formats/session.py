"""Session-key formats of authentication: request, biometric block, KYC answer (keys-and-crypto sections 4.9 - 4.11).

The RSA operation is the key process's: ``Keys.unwrap_session_key(ref, key.wrapped, thumbprint=key.thumbprint)``.
"""

import hmac
from dataclasses import dataclass

from cryptography import x509

from civium.kernel.encoding import b64u, sha256, sha256_hex_upper
from civium.keys.errors import DecryptionFailed, DigestMismatch
from civium.keys.formats.envelope import VERSION_2, Envelope, open_data
from civium.keys.formats.primitives import (
    THUMBPRINT_SIZE,
    WRAPPED_SIZE,
    gcm16_decrypt,
    gcm16_encrypt,
    gcm_decrypt,
    gcm_encrypt,
    new_key,
    thumbprint,
    unb64_or,
    wrap,
)

BIO_IV_SIZE = 12
BIO_AAD_SIZE = 16
BIO_HASH_START = sha256(b"")
"""The value before the first of the hash chain."""


@dataclass(frozen=True, slots=True)
class WrappedSessionKey:
    """A session key as it travels. ``versioned`` data carries its additional data in front (form (b))."""

    thumbprint: bytes
    wrapped: bytes
    versioned: bool


@dataclass(frozen=True, slots=True)
class SealedRequest:
    """``request``, ``requestSessionKey``, ``requestHMAC`` and ``thumbprint`` of an authentication request."""

    request: str
    session_key: str
    digest: str
    thumbprint: str


@dataclass(frozen=True, slots=True)
class SealedBiometric:
    """``data.bioValue``, ``sessionKey`` and ``thumbprint`` of one biometric block."""

    bio_value: str
    session_key: str
    thumbprint: str


@dataclass(frozen=True, slots=True)
class SealedKyc:
    """``sessionKey``, ``identity`` and ``thumbprint`` of a KYC answer."""

    session_key: str
    identity: str
    thumbprint: str


def parse_thumbprint(text: str) -> bytes:
    """Return the 32 bytes of a thumbprint in hex or base64url; raises DecryptionFailed."""
    if len(text) == THUMBPRINT_SIZE * 2:
        try:
            return bytes.fromhex(text)
        except ValueError:
            raise DecryptionFailed("no thumbprint") from None
    raw = unb64_or(DecryptionFailed, text)
    if len(raw) != THUMBPRINT_SIZE:
        raise DecryptionFailed("no thumbprint")
    return raw


def parse_session_key(text: str, named: str) -> WrappedSessionKey:
    """Return the key of ``requestSessionKey`` / ``sessionKey``; ``named`` is the ``thumbprint`` beside it.

    The key may bring the thumbprint itself, then both must agree, and the marker of form (b). Raises DecryptionFailed.
    """
    raw, expected = unb64_or(DecryptionFailed, text), parse_thumbprint(named)
    extra = len(raw) - WRAPPED_SIZE
    versioned = extra in (len(VERSION_2), len(VERSION_2) + THUMBPRINT_SIZE)
    prefix = VERSION_2 if versioned else b""
    if extra - len(prefix) == THUMBPRINT_SIZE:
        prefix += expected
    if extra != len(prefix) or not raw.startswith(prefix):
        raise DecryptionFailed("no session key")
    return WrappedSessionKey(expected, raw[extra:], versioned)


def seal_request(certificate: x509.Certificate, request: bytes) -> SealedRequest:
    """Return the encrypted members of an authentication request, as a relying party makes them."""
    key = new_key()
    return SealedRequest(
        request=b64u(gcm16_encrypt(key, request)),
        session_key=b64u(wrap(certificate, key)),
        digest=b64u(gcm16_encrypt(key, sha256_hex_upper(request).encode())),
        thumbprint=b64u(thumbprint(certificate)),
    )


def open_request(session_key: bytes, request: str, digest: str, *, versioned: bool = False) -> bytes:
    """Return the clear request; raises DecryptionFailed, and DigestMismatch when ``requestHMAC`` is another's."""
    clear = _open(session_key, request, versioned=versioned)
    if not hmac.compare_digest(_open(session_key, digest, versioned=versioned), sha256_hex_upper(clear).encode()):
        raise DigestMismatch("the request's digest differs")
    return clear


def _open(session_key: bytes, text: str, *, versioned: bool) -> bytes:
    return open_data(session_key, Envelope(versioned, None, b"", unb64_or(DecryptionFailed, text)))


def _bio_parameters(timestamp: str, transaction_id: str) -> tuple[bytes, bytes]:
    at, transaction = timestamp.encode(), transaction_id.encode()
    size = max(len(at), len(transaction))
    if size < BIO_AAD_SIZE:
        raise DecryptionFailed("timestamp and transaction id are too short")
    mixed = bytes(x ^ y for x, y in zip(at.rjust(size, b"\x00"), transaction.rjust(size, b"\x00"), strict=True))
    return mixed[-BIO_IV_SIZE:], mixed[-BIO_AAD_SIZE:]


def seal_biometric(
    certificate: x509.Certificate, record: bytes, timestamp: str, transaction_id: str
) -> SealedBiometric:
    """Return the encrypted biometric record, as a device makes it. The key is fresh, since the IV is predictable."""
    key = new_key()
    iv, aad = _bio_parameters(timestamp, transaction_id)
    return SealedBiometric(
        bio_value=b64u(gcm_encrypt(key, iv, record, aad)),
        session_key=b64u(wrap(certificate, key)),
        thumbprint=b64u(thumbprint(certificate)),
    )


def open_biometric(session_key: bytes, bio_value: str, timestamp: str, transaction_id: str) -> bytes:
    """Return the clear biometric record of ``bioValue``; raises DecryptionFailed."""
    iv, aad = _bio_parameters(timestamp, transaction_id)
    return gcm_decrypt(session_key, iv, unb64_or(DecryptionFailed, bio_value), aad)


def next_bio_hash(previous: bytes, record: bytes) -> bytes:
    """Return the next value of the chain over clear records; ``biometrics[i].hash`` is its upper hex."""
    return sha256(previous + sha256(record))


def seal_kyc(certificate: x509.Certificate, identity: bytes) -> SealedKyc:
    """Return the KYC answer that only the partner of ``certificate`` opens."""
    key = new_key()
    return SealedKyc(
        session_key=b64u(wrap(certificate, key)),
        identity=b64u(gcm16_encrypt(key, identity)),
        thumbprint=thumbprint(certificate).hex().upper(),
    )


def open_kyc(session_key: bytes, identity: str) -> bytes:
    """Return the clear identity of a KYC answer, as a partner reads it; raises DecryptionFailed."""
    return gcm16_decrypt(session_key, unb64_or(DecryptionFailed, identity))
