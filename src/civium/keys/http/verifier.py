"""Verification of web signatures, and whether their certificates are trusted (section 6.2, mended by 13 no. 1 and 2).

A signature counts only with a certificate that somebody vouches for: the one that the caller names, a domain's trust
store, or ourselves. A certificate that merely came along proves nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cryptography import x509

from civium.kernel.clock import Clock
from civium.keys.api import (
    KERNEL_SIGN,
    KeyAdministration,
    KeyProblem,
    KeyRef,
    SignatureInvalid,
    TrustStore,
    jws,
    verify_path,
)
from civium.keys.errors import SignatureMalformed
from civium.keys.formats.certificates import parse_pem, pem
from civium.keys.formats.jws import ParsedJws
from civium.keys.formats.signing import PADDINGS
from civium.keys.plan import CORE, ROOT


class Trust(StrEnum):
    """``trustValid`` of an answer."""

    NOT_VERIFIED = "TRUST_NOT_VERIFIED"
    NO_DOMAIN = "TRUST_NOT_VERIFIED_NO_DOMAIN"
    VALID = "TRUST_CERT_PATH_VALID"
    NOT_VALID = "TRUST_CERT_PATH_NOT_VALID"


@dataclass(frozen=True, slots=True)
class Claim:
    """A signature and who the caller says made it."""

    jws: str
    payload: bytes | None
    application_id: str
    reference_id: str
    certificate: str | None
    validate_trust: bool
    domain: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verification found."""

    valid: bool
    trust: Trust


class Verifier:
    """Verifies signatures. One RSA public operation, and reads of certificates and trust."""

    def __init__(self, keys: KeyAdministration, trust: TrustStore, clock: Clock, *, accept_unknown: bool) -> None:
        """``accept_unknown`` relaxes the rule that a certificate must be vouched for."""
        self._keys = keys
        self._trust = trust
        self._clock = clock
        self._accept_unknown = accept_unknown

    async def verify(self, claim: Claim, *, use_chain: bool = False) -> Verdict:
        """Return the verdict; ``use_chain`` lets ``x5c`` bring intermediates.

        Raises KeyProblem: KER-JWS-106 for what is no signature, 105 for an algorithm that is not accepted, 107 for a
        certificate out of its dates, KER-KMS-013 for certificate data that is none, 002 and 017 for an unknown key.
        """
        parsed = _parsed(claim)
        named = await self._named(claim)
        signer = _signer(parsed, named if named is not None else await self._own(parsed))
        if signer is not None and not _valid_at(signer, self._clock.now()):
            raise KeyProblem("KER-JWS-107", "Signature verification certificate not valid.")
        supplied = bool(parsed.chain) or claim.certificate is not None
        trust = Trust.NOT_VERIFIED
        if signer is not None and claim.validate_trust and supplied:
            trust = await self._trusted(signer, claim.domain, parsed.chain[1:] if use_chain else ())
        vouched = named is not None or not parsed.chain or trust in {Trust.VALID, Trust.NOT_VALID}
        valid = signer is not None and (vouched or self._accept_unknown or await self._known(signer))
        return Verdict(valid, trust)

    async def _named(self, claim: Claim) -> Sequence[x509.Certificate] | None:
        """Return the certificates that the caller names, None when it names none."""
        if claim.certificate is not None:
            try:
                return [parse_pem(claim.certificate)]
            except KeyProblem:
                raise KeyProblem("KER-KMS-013", "Certificate Parsing Error.") from None
        if not claim.application_id:
            return None
        found = await self._keys.certificates(KeyRef(claim.application_id, claim.reference_id))
        if not found:
            raise _unknown(claim.application_id)
        return [each.x509 for each in found]

    async def _own(self, parsed: ParsedJws) -> Sequence[x509.Certificate] | None:
        """Return the certificates of KERNEL:SIGN for a signature that brings none."""
        return None if parsed.chain else [each.x509 for each in await self._keys.certificates(KERNEL_SIGN)]

    async def _trusted(self, signer: x509.Certificate, domain: str, chain: Sequence[x509.Certificate]) -> Trust:
        if not domain:
            return Trust.NO_DOMAIN
        try:
            await self._trust.verify(pem(signer), domain, intermediates=[pem(each) for each in chain])
        except (KeyProblem, SignatureInvalid):
            return Trust.NOT_VALID
        return Trust.VALID

    async def _known(self, signer: x509.Certificate) -> bool:
        """Tell whether a certificate is a module's, or a partner's that is not revoked."""
        roots = [each.x509 for each in await self._keys.certificates(ROOT)]
        try:
            verify_path(signer, roots, self._clock.now())
        except SignatureInvalid:
            return await self._trust.knows(pem(signer))
        return not await self._trust.is_revoked(pem(signer))


def _parsed(claim: Claim) -> ParsedJws:
    try:
        parsed = jws.parse(claim.jws, claim.payload, allow_unencoded=True)
    except SignatureMalformed:
        raise KeyProblem("KER-JWS-106", "Signature data to verify not valid.") from None
    if parsed.algorithm not in PADDINGS:
        raise KeyProblem("KER-JWS-105", "Error - Unable to verify the data.")
    return parsed


def _signer(parsed: ParsedJws, candidates: Sequence[x509.Certificate] | None) -> x509.Certificate | None:
    """Return the certificate that the signature verifies with, among those that may be meant; None without one."""
    if parsed.chain:
        leaf = parsed.chain[0]
        if candidates is not None and all(leaf.public_key() != each.public_key() for each in candidates):
            return None
        candidates = [leaf]
    for candidate in candidates or ():
        try:
            jws.check(parsed, candidate)
        except SignatureInvalid:
            continue
        return candidate
    return None


def _valid_at(certificate: x509.Certificate, at: datetime) -> bool:
    return certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc


def _unknown(application_id: str) -> KeyProblem:
    if application_id in CORE.policies or application_id in {"PARTNER", "IDA"}:
        return KeyProblem("KER-KMS-017", "Certificate Not found in keystore table.")
    return KeyProblem("KER-KMS-002", "ApplicationId not found in Key Policy. Key/CSR generation not allowed.")
