"""The hybrid envelope and the PIN envelope (keys-and-crypto sections 4.1 and 4.2).

``[VER_R2] ‖ thumb32 ‖ encKey256 ‖ "#KEY_SPLITTER#" ‖ data``, where the request's salt and additional data choose
between three forms of ``data``. The splitter's place is computed, never searched: an RSA block may contain its bytes.
"""

import hashlib
import secrets
from dataclasses import dataclass, field

from cryptography import x509

from civium.kernel.encoding import b64u
from civium.keys.errors import DecryptionFailed
from civium.keys.formats.primitives import (
    AAD_SIZE,
    KEY_SIZE,
    NONCE_SIZE,
    SPLITTER,
    TAG_SIZE,
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

VERSION_2 = b"VER_R2"
MIN_SIZE = THUMBPRINT_SIZE + WRAPPED_SIZE + len(SPLITTER)
"""Bytes of an envelope without header before its data."""
PIN_ITERATIONS = 100_000
"""The wire's PBKDF2 count, and the least that is accepted."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """The parts of an envelope. ``thumbprint`` names the certificate; None only in the legacy form without one."""

    versioned: bool
    thumbprint: bytes | None
    wrapped_key: bytes
    data: bytes = field(repr=False)


def encrypt(
    certificate: x509.Certificate, clear: bytes, *, salt: bytes | None = None, aad: bytes | None = None
) -> bytes:
    """Return the envelope of ``clear``: form (a) with ``salt`` (the IV), (c) with ``aad`` only, (b) with neither.

    Empty counts as absent. The AES key is fresh each time, so a repeated salt repeats no key stream. Raises
    KeyProblem for a key other than RSA of 2048 bits or more, ValueError for a salt that is no IV (8 to 128 bytes).
    """
    key = new_key()
    if salt:
        data = gcm_encrypt(key, salt, clear, aad or None)
    elif aad:
        data = gcm16_encrypt(key, clear, aad)
    else:
        nonce_and_more = secrets.token_bytes(AAD_SIZE)
        data = nonce_and_more + gcm_encrypt(key, nonce_and_more[:NONCE_SIZE], clear, nonce_and_more)
    return assemble(Envelope(not salt and not aad, thumbprint(certificate), wrap(certificate, key), data))


def assemble(envelope: Envelope) -> bytes:
    """Return the bytes of an envelope whose parts are at hand."""
    header = VERSION_2 if envelope.versioned else b""
    return header + (envelope.thumbprint or b"") + envelope.wrapped_key + SPLITTER + envelope.data


def split(envelope: bytes, *, allow_legacy: bool = False) -> Envelope:
    """Return the parts of an envelope, found by length.

    ``allow_legacy`` also takes the old form without a thumbprint, which makes its opener try key after key. Raises
    DecryptionFailed when no splitter stands where it belongs.
    """
    if envelope.startswith(VERSION_2) and _splits_at(envelope, len(VERSION_2) + MIN_SIZE):
        return _cut(envelope, len(VERSION_2), THUMBPRINT_SIZE)
    if _splits_at(envelope, MIN_SIZE):
        return _cut(envelope, 0, THUMBPRINT_SIZE)
    if allow_legacy and _splits_at(envelope, MIN_SIZE - THUMBPRINT_SIZE):
        return _cut(envelope, 0, 0)
    raise DecryptionFailed("no envelope: the splitter is not in its place")


def _cut(envelope: bytes, header_size: int, thumbprint_size: int) -> Envelope:
    key_at = header_size + thumbprint_size
    end = key_at + WRAPPED_SIZE
    return Envelope(
        versioned=header_size > 0,
        thumbprint=envelope[header_size:key_at] or None,
        wrapped_key=envelope[key_at:end],
        data=envelope[end + len(SPLITTER) :],
    )


def _splits_at(envelope: bytes, end: int) -> bool:
    return envelope[end - len(SPLITTER) : end] == SPLITTER


def open_data(session_key: bytes, envelope: Envelope, *, salt: bytes | None = None, aad: bytes | None = None) -> bytes:
    """Return the clear data of an envelope whose session key is known; raises DecryptionFailed.

    The header chooses form (b); else a salt chooses (a); else it is (c). Empty counts as absent.
    """
    if envelope.versioned:
        if len(envelope.data) < AAD_SIZE + TAG_SIZE:
            raise DecryptionFailed("the data is too short")
        head = envelope.data[:AAD_SIZE]
        return gcm_decrypt(session_key, head[:NONCE_SIZE], envelope.data[AAD_SIZE:], head)
    if salt:
        return gcm_decrypt(session_key, salt, envelope.data, aad or None)
    return gcm16_decrypt(session_key, envelope.data, aad or None)


def encrypt_with_pin(pin: str, clear: str, *, iterations: int = PIN_ITERATIONS) -> str:
    """Return the PIN envelope, base64url. Costs one PBKDF2, tens of milliseconds: keep it off the event loop."""
    return _seal_with_pin(
        pin, clear, secrets.token_bytes(AAD_SIZE), secrets.token_bytes(NONCE_SIZE), iterations=iterations
    )


def _seal_with_pin(pin: str, clear: str, salt: bytes, nonce: bytes, *, iterations: int) -> str:
    return b64u(salt + nonce + gcm_encrypt(_pin_key(pin, salt, iterations), nonce, clear.encode(), salt))


def decrypt_with_pin(pin: str, sealed: str, *, iterations: int = PIN_ITERATIONS) -> str:
    """Open a PIN envelope; raises DecryptionFailed. Costs one PBKDF2: keep it off the event loop."""
    raw = unb64_or(DecryptionFailed, sealed)
    salt, nonce, data = raw[:AAD_SIZE], raw[AAD_SIZE : AAD_SIZE + NONCE_SIZE], raw[AAD_SIZE + NONCE_SIZE :]
    if len(data) < TAG_SIZE:
        raise DecryptionFailed("the data is too short")
    try:
        return gcm_decrypt(_pin_key(pin, salt, iterations), nonce, data, salt).decode()
    except UnicodeDecodeError:
        raise DecryptionFailed("the data is no text") from None


def _pin_key(pin: str, salt: bytes, iterations: int) -> bytes:
    if iterations < PIN_ITERATIONS:
        raise ValueError(f"a PIN needs {PIN_ITERATIONS} iterations at least")
    return hashlib.pbkdf2_hmac("sha512", pin.encode(), salt, iterations, dklen=KEY_SIZE)
