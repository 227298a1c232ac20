"""JSON web encryption as the platform writes and reads it (keys-and-crypto section 4.12).

``RSA-OAEP-256`` and ``A256GCM`` only, optionally compressed. The RSA operation of the reader is the key process's:
``Keys.unwrap_session_key(ref, jwe.wrapped_key, thumbprint=jwe.thumbprint)``.
"""

import json
import secrets
import zlib
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from civium.kernel.encoding import b64, b64u
from civium.keys.errors import DecryptionFailed, KeyProblem
from civium.keys.formats.certificates import der
from civium.keys.formats.primitives import (
    NONCE_SIZE,
    TAG_SIZE,
    THUMBPRINT_SIZE,
    WRAPPED_SIZE,
    gcm_decrypt,
    gcm_encrypt,
    new_key,
    thumbprint,
    unb64_or,
    wrap,
)

MAX_HEADER: Final = 32 * 1024
MAX_CLEAR: Final = 4 * 1024 * 1024
"""Bytes of a clear text: what a compressed one may grow to, and what is encrypted."""
_RAW_DEFLATE: Final = -15


@dataclass(frozen=True, slots=True)
class Jwe:
    """A compact JWE taken apart. ``thumbprint`` is that of ``kid``, None when it is no thumbprint."""

    thumbprint: bytes | None
    compressed: bool
    wrapped_key: bytes = field(repr=False)
    iv: bytes = field(repr=False)
    sealed: bytes = field(repr=False)
    additional: bytes = field(repr=False)


def encrypt(
    certificate: x509.Certificate,
    clear: bytes,
    *,
    compress: bool = True,
    include_certificate: bool = False,
    include_certificate_hash: bool = False,
    key_set_url: str | None = None,
) -> str:
    """Return the compact JWE of ``clear`` for the holder of ``certificate``.

    Raises KeyProblem: KER-CRY-002 for a key other than RSA of exactly 2048 bits, 014 for a clear text too large.
    """
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size != WRAPPED_SIZE * 8:
        raise KeyProblem("KER-CRY-002", "public key is invalid")
    if len(clear) > MAX_CLEAR:
        raise KeyProblem("KER-CRY-014", "Internal Error while encrypting data using JWE.")
    name = b64u(thumbprint(certificate))
    members: dict[str, Any] = {"alg": "RSA-OAEP-256", "enc": "A256GCM", "typ": "JWT", "cty": "JWT", "kid": name}
    if compress:
        members["zip"] = "DEF"
        clear = _deflated(clear)
    if include_certificate:
        members["x5c"] = [b64(der(certificate))]
    if include_certificate_hash:
        members["x5t#S256"] = name
    if key_set_url is not None:
        members["jku"] = key_set_url
    head = b64u(json.dumps(members, separators=(",", ":")).encode())
    content_key, iv = new_key(), secrets.token_bytes(NONCE_SIZE)
    sealed = gcm_encrypt(content_key, iv, clear, head.encode())
    parts = (wrap(certificate, content_key), iv, sealed[:-TAG_SIZE], sealed[-TAG_SIZE:])
    return ".".join((head, *(b64u(part) for part in parts)))


def _deflated(clear: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=_RAW_DEFLATE)
    return deflate.compress(clear) + deflate.flush()


def parse(text: str) -> Jwe:
    """Take a compact JWE apart; raises DecryptionFailed for other algorithms and extensions too."""
    parts = text.split(".")
    if len(parts) != 5 or len(parts[0]) > MAX_HEADER:
        raise DecryptionFailed("no compact JWE")
    head, *rest = parts
    members = _header_members(head)
    if (members.get("alg"), members.get("enc")) != ("RSA-OAEP-256", "A256GCM") or "crit" in members:
        raise DecryptionFailed("the header names no algorithm that is accepted")
    if members.get("zip") not in (None, "DEF"):
        raise DecryptionFailed("the header names no compression that is accepted")
    wrapped_key, iv, ciphertext, tag = (unb64_or(DecryptionFailed, part) for part in rest)
    if len(iv) != NONCE_SIZE or len(tag) != TAG_SIZE:
        raise DecryptionFailed("initialization vector or tag has a wrong length")
    return Jwe(_named(members.get("kid")), "zip" in members, wrapped_key, iv, ciphertext + tag, head.encode())


def _header_members(segment: str) -> dict[str, Any]:
    try:
        members = json.loads(unb64_or(DecryptionFailed, segment))
    except (ValueError, RecursionError):
        raise DecryptionFailed("the header is no JSON") from None
    if not isinstance(members, dict):
        raise DecryptionFailed("the header is no JSON object")
    return members


def _named(key_id: object) -> bytes | None:
    if not isinstance(key_id, str):
        return None
    raw = unb64_or(DecryptionFailed, key_id)
    return raw if len(raw) == THUMBPRINT_SIZE else None


def open_content(content_key: bytes, jwe: Jwe) -> bytes:
    """Return the clear text; raises DecryptionFailed, also when it would grow beyond ``MAX_CLEAR`` bytes."""
    clear = gcm_decrypt(content_key, jwe.iv, jwe.sealed, jwe.additional)
    if not jwe.compressed:
        return clear
    inflate = zlib.decompressobj(_RAW_DEFLATE)
    try:
        grown = inflate.decompress(clear, MAX_CLEAR + 1)
    except zlib.error:
        raise DecryptionFailed("the content does not inflate") from None
    if len(grown) > MAX_CLEAR or not inflate.eof or inflate.unused_data:
        raise DecryptionFailed("the content does not inflate within bounds")
    return grown
