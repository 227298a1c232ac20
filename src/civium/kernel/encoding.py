"""Encodings and digests that the wire formats share (keys-and-crypto, notation section)."""

import base64
import binascii
import hashlib
import json

_STANDARD = bytes.maketrans(b"-_", b"+/")


def b64u(data: bytes) -> str:
    """Return base64url without padding, what every encoder of the platform writes."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def b64(data: bytes) -> str:
    """Return standard base64 with padding."""
    return base64.b64encode(data).decode()


def unb64(text: str | bytes) -> bytes:
    """Decode base64 of either alphabet, with or without padding; white space is refused.

    Raises ValueError for anything else.
    """
    raw = (text.encode() if isinstance(text, str) else text).rstrip(b"=").translate(_STANDARD)
    try:
        return binascii.a2b_base64(raw + b"=" * (-len(raw) % 4), strict_mode=True)
    except binascii.Error as problem:
        raise ValueError("not base64") from problem


def sha256(data: bytes) -> bytes:
    """Return the 32 bytes of SHA-256."""
    return hashlib.sha256(data).digest()


def sha256_hex_upper(data: bytes) -> str:
    """Return SHA-256 in upper-case hexadecimal (``SHA256HEX`` of the specifications)."""
    return hashlib.sha256(data).hexdigest().upper()


def canonical_json(value: object) -> bytes:
    """Return compact JSON in UTF-8 with sorted keys: one value, one byte string."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
