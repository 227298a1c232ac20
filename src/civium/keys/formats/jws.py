"""JSON web signatures as the platform writes and reads them (keys-and-crypto sections 6.1 and 6.2).

A verified signature says only that the holder of the certificate's key signed: whose certificate it is, is decided by
`trust.verify_path` or by naming the expected certificate. Sources disagree about padding of the parts and about what
``x5c`` holds (DER, or a whole PEM text, in base64 with line breaks); all of these are read.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa

from civium.kernel.encoding import b64, b64u
from civium.keys.errors import CertificateExpired, CertificateMissing, SignatureInvalid, SignatureMalformed
from civium.keys.formats.certificates import KEPT_CERTIFICATES, MIN_KEY_BITS, der, parse_lenient
from civium.keys.formats.primitives import thumbprint, unb64_or
from civium.keys.formats.signing import PADDINGS

MAX_HEADER = 32 * 1024
"""Bytes of a header's text: room for a chain of three certificates in PEM, encoded twice."""

MAX_CHAIN = 8
"""Certificates of ``x5c``."""


@dataclass(frozen=True, slots=True)
class VerifiedJws:
    """What a signature covers, and the certificate whose key made it."""

    payload: bytes = field(repr=False)
    certificate: x509.Certificate
    key_id: str | None


@dataclass(frozen=True, slots=True)
class ParsedJws:
    """A compact JWS taken apart, not verified. ``chain`` is what ``x5c`` brings, the signer's certificate first."""

    algorithm: str
    key_id: str | None
    hashed: str | None
    """``x5t#S256`` as claimed; :func:`check` compares it."""
    chain: tuple[x509.Certificate, ...]
    signed: bytes = field(repr=False)
    payload: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def header(
    *,
    key_id: str | None = None,
    certificate: x509.Certificate | None = None,
    hashed: x509.Certificate | None = None,
    authorities: Sequence[x509.Certificate] = (),
    url: str | None = None,
    algorithm: str = "RS256",
    unencoded: bool = False,
    additional: Mapping[str, Any] | None = None,
) -> str:
    """Return the header's JSON: ``x5c`` of ``certificate``, ``x5t#S256`` of ``hashed``, ``x5u``, ``kid``, ``alg``.

    ``authorities`` follow the certificate in ``x5c``. ``unencoded`` says that the payload is signed as it is (RFC
    7797). ``additional`` members come first; naming one that is made here is the caller's error.
    """
    members: dict[str, Any] = dict(additional or {})
    if certificate is not None:
        members["x5c"] = [b64(der(each)) for each in (certificate, *authorities)]
    if hashed is not None:
        members["x5t#S256"] = b64u(thumbprint(hashed))
    if url is not None:
        members["x5u"] = url
    if key_id is not None:
        members["kid"] = key_id
    if unencoded:
        members |= {"b64": False, "crit": ["b64"]}
    members["alg"] = algorithm
    return json.dumps(members, separators=(",", ":"))


def signing_input(header_json: str, payload: bytes, *, unencoded: bool = False) -> bytes:
    """Return the bytes to sign."""
    return b64u(header_json.encode()).encode() + b"." + (payload if unencoded else b64u(payload).encode())


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
    parsed = parse(jws, payload)
    signer = _signer(parsed, certificate)
    if at is not None and not signer.not_valid_before_utc <= at <= signer.not_valid_after_utc:
        raise CertificateExpired("the signer's certificate is not valid at this time")
    check(parsed, signer)
    return VerifiedJws(parsed.payload, signer, parsed.key_id)


def parse(jws: str, payload: bytes | None = None, *, allow_unencoded: bool = False) -> ParsedJws:
    """Take a compact JWS apart; ``payload`` takes the place of the one inside. Raises SignatureMalformed.

    ``allow_unencoded`` admits the header ``"b64":false,"crit":["b64"]``; no other extension is understood.
    """
    parts = jws.split(".")
    if len(parts) != 3 or len(parts[0]) > MAX_HEADER:
        raise SignatureMalformed("no compact JWS")
    members = _header_members(parts[0])
    unencoded = "b64" in members or "crit" in members
    if unencoded and not (allow_unencoded and members.get("b64") is False and members.get("crit") == ["b64"]):
        raise SignatureMalformed("the header asks for extensions that are not understood")
    covered = payload if payload is not None else unb64_or(SignatureMalformed, parts[1])
    signed = covered if unencoded else b64u(covered).encode() if payload is not None else parts[1].encode()
    return ParsedJws(
        algorithm=_text(members, "alg") or "",
        key_id=_text(members, "kid"),
        hashed=_text(members, "x5t#S256"),
        chain=_chain(members),
        signed=parts[0].encode() + b"." + signed,
        payload=covered,
        signature=unb64_or(SignatureMalformed, parts[2]),
    )


def check(parsed: ParsedJws, signer: x509.Certificate) -> None:
    """Check the signature with the key of ``signer``, and that the header claims no other; raises SignatureInvalid.

    The thumbprint of the header is compared with the computed one, never looked up.
    """
    if parsed.hashed is not None and unb64_or(SignatureInvalid, parsed.hashed) != thumbprint(signer):
        raise SignatureInvalid("x5t#S256 names another certificate")
    scheme = PADDINGS.get(parsed.algorithm)
    if scheme is None:
        raise SignatureInvalid("the header names no algorithm that is accepted")
    try:
        _verification_key(signer).verify(parsed.signature, parsed.signed, scheme, hashes.SHA256())
    except InvalidSignature:
        raise SignatureInvalid("the signature does not hold") from None


@lru_cache(KEPT_CERTIFICATES)
def _header_members(segment: str) -> Mapping[str, Any]:
    try:
        members = json.loads(unb64_or(SignatureMalformed, segment), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError):
        raise SignatureMalformed("the header is no JSON") from None
    if not isinstance(members, dict):
        raise SignatureMalformed("the header is no JSON object")
    return members


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise SignatureMalformed("a member of the header occurs twice")
    return members


def _text(members: Mapping[str, Any], name: str) -> str | None:
    value = members.get(name)
    if not isinstance(value, str | None):
        raise SignatureMalformed(f"{name} is no text")
    return value


def _chain(members: Mapping[str, Any]) -> tuple[x509.Certificate, ...]:
    chain = members.get("x5c")
    if chain is None:
        return ()
    if not isinstance(chain, list) or not 0 < len(chain) <= MAX_CHAIN or not all(isinstance(one, str) for one in chain):
        raise SignatureMalformed("x5c is no list of certificates")
    return tuple(parse_lenient(one) for one in chain)


def _signer(parsed: ParsedJws, expected: x509.Certificate | None) -> x509.Certificate:
    found = parsed.chain[0] if parsed.chain else expected
    if found is None:
        raise CertificateMissing("the signature brings no certificate")
    if expected is not None and found.public_key() != expected.public_key():
        raise SignatureInvalid("the signature is another certificate's")
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
