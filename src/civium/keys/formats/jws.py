"""JSON web signatures as the platform writes and reads them (keys-and-crypto sections 6.1 and 6.2).

A verified signature says only that the holder of the certificate's key signed: whose certificate it is, is decided by
`trust.verify_path` or by naming the expected certificate. Sources disagree about padding of the parts and about what
``x5c`` holds (DER, or a whole PEM text, in base64 with line breaks); all of these are read.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from civium.kernel.encoding import b64, b64u
from civium.keys.errors import CertificateExpired, CertificateMissing, SignatureInvalid
from civium.keys.formats.certificates import KEPT_CERTIFICATES, MIN_KEY_BITS, der, parse_lenient
from civium.keys.formats.primitives import thumbprint, unb64_or

MAX_HEADER = 32 * 1024
"""Bytes of a header's text: room for a chain of three certificates in PEM, encoded twice."""

_PADDINGS: dict[str, padding.AsymmetricPadding] = {
    "RS256": padding.PKCS1v15(),
    "PS256": padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32),
}


@dataclass(frozen=True, slots=True)
class VerifiedJws:
    """What a signature covers, and the certificate whose key made it."""

    payload: bytes = field(repr=False)
    certificate: x509.Certificate
    key_id: str | None


def header(
    *, key_id: str | None = None, certificate: x509.Certificate | None = None, hashed: x509.Certificate | None = None
) -> str:
    """Return the header's JSON: ``x5c`` of ``certificate``, ``x5t#S256`` of ``hashed``, ``kid``, ``alg``."""
    members: dict[str, Any] = {}
    if certificate is not None:
        members["x5c"] = [b64(der(certificate))]
    if hashed is not None:
        members["x5t#S256"] = b64u(thumbprint(hashed))
    if key_id is not None:
        members["kid"] = key_id
    members["alg"] = "RS256"
    return json.dumps(members, separators=(",", ":"))


def signing_input(header_json: str, payload: bytes) -> bytes:
    """Return the bytes to sign (RSASSA-PKCS1-v1_5, SHA-256)."""
    return f"{b64u(header_json.encode())}.{b64u(payload)}".encode()


def assemble(signed: bytes, signature: bytes, *, include_payload: bool = False) -> str:
    """Return the compact JWS of a signing input; ``header..signature`` without the payload."""
    head, _, payload = signed.decode().partition(".")
    return f"{head}.{payload if include_payload else ''}.{b64u(signature)}"


def verify(
    jws: str,
    payload: bytes | None = None,
    *,
    certificate: x509.Certificate | None = None,
    at: datetime | None = None,
) -> VerifiedJws:
    """Check a compact JWS and return what it covers; ``payload`` is given for a detached one.

    ``certificate`` is the one that the caller expects: one in the header must then have the same key. ``at`` is the
    instant at which the certificate must be valid. Raises CertificateMissing, CertificateExpired or SignatureInvalid.
    Costs one RSA public operation (about 30 microseconds), and 100 more for a certificate that was not seen lately.
    """
    parts = jws.split(".")
    if len(parts) != 3 or len(parts[0]) > MAX_HEADER:
        raise SignatureInvalid("no compact JWS")
    if payload is not None:
        parts[1] = b64u(payload)
    members = _header_members(parts[0])
    signer = _signer(members, certificate)
    if at is not None and not signer.not_valid_before_utc <= at <= signer.not_valid_after_utc:
        raise CertificateExpired("the signer's certificate is not valid at this time")
    key = _verification_key(signer)
    scheme = _PADDINGS[members["alg"]]
    signature = unb64_or(SignatureInvalid, parts[2])
    try:
        key.verify(signature, f"{parts[0]}.{parts[1]}".encode(), scheme, hashes.SHA256())
    except InvalidSignature:
        raise SignatureInvalid("the signature does not hold") from None
    covered = payload if payload is not None else unb64_or(SignatureInvalid, parts[1])
    return VerifiedJws(covered, signer, members.get("kid"))


@lru_cache(KEPT_CERTIFICATES)
def _header_members(segment: str) -> Mapping[str, Any]:
    try:
        members = json.loads(unb64_or(SignatureInvalid, segment), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError):
        raise SignatureInvalid("the header is no JSON") from None
    if not isinstance(members, dict) or str(members.get("alg")) not in _PADDINGS:
        raise SignatureInvalid("the header names no algorithm that is accepted")
    if "crit" in members or "b64" in members:
        raise SignatureInvalid("the header asks for extensions that are not understood")
    if not isinstance(members.get("kid"), str | None):
        raise SignatureInvalid("the key id is no text")
    return members


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise SignatureInvalid("a member of the header occurs twice")
    return members


def _signer(members: Mapping[str, Any], expected: x509.Certificate | None) -> x509.Certificate:
    chain = members.get("x5c")
    if chain is None:
        if expected is None:
            raise CertificateMissing("the signature brings no certificate")
        found = expected
    elif isinstance(chain, list) and chain and isinstance(chain[0], str):
        found = parse_lenient(chain[0])
    else:
        raise SignatureInvalid("x5c is no list of certificates")
    if expected is not None and found.public_key() != expected.public_key():
        raise SignatureInvalid("the signature is another certificate's")
    named = members.get("x5t#S256")
    if named is not None and (not isinstance(named, str) or unb64_or(SignatureInvalid, named) != thumbprint(found)):
        raise SignatureInvalid("x5t#S256 names another certificate")
    return found


@lru_cache(KEPT_CERTIFICATES)
def _verification_key(certificate: x509.Certificate) -> rsa.RSAPublicKey:
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < MIN_KEY_BITS:
        raise SignatureInvalid("the certificate's key is not accepted")
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return key
    if not (usage.digital_signature or usage.content_commitment):
        raise SignatureInvalid("the certificate is not for signatures")
    return key
