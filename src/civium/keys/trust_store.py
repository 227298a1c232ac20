"""The trust store: anchors by domain, partners' certificates, revocations (keys-and-crypto section 10)."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from civium.kernel.clock import Clock, iso_millis
from civium.keys import store
from civium.keys.api import Authority, Keys, KeysAudited, PartnerCertificate, PartnerCertificates
from civium.keys.errors import CertificateRevoked, KeyProblem, SignatureInvalid
from civium.keys.formats.certificates import (
    MIN_KEY_BITS,
    chain_p7b,
    parse_p7b,
    parse_pem,
)
from civium.keys.formats.certificates import (
    organisation as organisation_of,
)
from civium.keys.formats.certificates import (
    pem as pem_of,
)
from civium.keys.formats.primitives import thumbprint
from civium.keys.plan import ROOT
from civium.keys.revocation import RevocationLists
from civium.keys.trust import SHA2, is_self_signed, may_issue, signed_by, verify_path
from civium.platform.database import Database, Transaction
from civium.platform.outbox import Outbox

ALLOWED_DOMAINS = frozenset({"AUTH", "DEVICE", "FTM", "MISP"})
UNSIGNED_DOMAIN = "FTM"
"""Chip makers keep the chain that they bring."""
MIN_REMAINING = timedelta(days=365 - 30)
"""What a partner's certificate must still live: the year that is issued, less the days of grace."""

SUCCESS = "Upload Success."
PARTIAL = "Partial Upload Success."
FAILED = "Upload Failed."
_NO_ID = "Invalid Partner Certificate ID."


def _refused(code: str, message: str) -> KeyProblem:
    return KeyProblem(f"KER-PCM-{code}", message)


class DatabaseTrustStore:
    """The :class:`~civium.keys.api.TrustStore` of the core database."""

    def __init__(self, db: Database, keys: Keys, outbox: Outbox, clock: Clock, lists: RevocationLists) -> None:
        self._lists = lists
        self._db = db
        self._keys = keys
        self._outbox = outbox
        self._clock = clock

    async def anchors(self, domain: str) -> Sequence[str]:
        """Return the domain's anchors without the revoked ones. One read."""
        return await store.authorities(self._db, _allowed(domain))

    async def add_ca(self, data: str, domain: str) -> str:
        """Take authorities in. Raises KeyProblem for a PEM; of a PKCS#7 what is refused is left out."""
        if "BEGIN CERTIFICATE" in data:
            certificate = parse_pem(data)
            await self._add_authority(certificate, _allowed(domain))
            return SUCCESS
        # Roots first: whoever follows needs them.
        waiting = sorted(parse_p7b(data), key=is_self_signed, reverse=True)
        total, domain = len(waiting), _allowed(domain)
        while waiting:
            refused = [certificate for certificate in waiting if not await self._takes(certificate, domain)]
            if len(refused) == len(waiting):
                break
            waiting = refused
        if not waiting:
            return SUCCESS
        return PARTIAL if len(waiting) < total else FAILED

    async def _takes(self, certificate: x509.Certificate, domain: str) -> bool:
        try:
            await self._add_authority(certificate, domain)
        except KeyProblem:
            return False
        return True

    async def _add_authority(self, certificate: x509.Certificate, domain: str) -> None:
        """Check and store one authority, in the order of section 10.2."""
        now = self._clock.now()
        if await store.has_authority(self._db, domain, certificate):
            raise _refused("003", "Certificate already exists in store.")
        _check_dates(certificate, now)
        _check_version(certificate)
        kind: Literal["ROOT", "INTERMEDIATE"] = "ROOT" if is_self_signed(certificate) else "INTERMEDIATE"
        if (
            not may_issue(certificate)
            or await store.is_revoked(self._db, certificate)
            or await store.is_partner(self._db, certificate)
        ):
            raise _refused("005", "Root CA Certificate not found.")
        if kind == "INTERMEDIATE":
            try:
                await self._lists.check(verify_path(certificate, await self._parsed_anchors(domain), now))
            except SignatureInvalid:
                raise _refused("005", "Root CA Certificate not found.") from None
        async with self._db.transaction() as transaction:
            if await store.add_authority(transaction, domain, kind, certificate, now):
                await self._audit(transaction, "keys.trust.authority-added", domain, certificate, now)

    async def register_partner(self, pem: str, organisation: str, domain: str) -> PartnerCertificate:
        """Check a partner's leaf in the order of section 10.3, have it re-signed, store both.

        Costs two reads, one signature by the key process and one transaction.
        """
        now = self._clock.now()
        leaf = parse_pem(pem)
        domain = _allowed(domain)
        _check_dates(leaf, now)
        if leaf.not_valid_after_utc - now < MIN_REMAINING:
            raise _refused("004", "Certificate Dates are not valid.")
        if is_self_signed(leaf):
            raise _refused("015", "Self Signed Certificate not allowed as partner.")
        try:
            path = await self._verified_path(leaf, domain, now)
        except SignatureInvalid:
            # No path is built over an old hash: say so, rather than that the authority is unknown.
            if not isinstance(leaf.signature_hash_algorithm, SHA2):
                raise _refused("014", "Partner Certificate Signature algorithm not supported.") from None
            raise _refused("006", "Root CA/Intermediate CA Certificates not found.") from None
        _check_version(leaf)
        if not organisation or organisation_of(leaf.subject) != organisation:
            raise _refused("008", "Partner Organization Name not Matched.")
        key = leaf.public_key()
        if not isinstance(key, rsa.RSAPublicKey) or key.key_size < MIN_KEY_BITS:
            raise _refused("013", "Partner Certificate Key Size is less than allowed size.")

        chain = path if domain == UNSIGNED_DOMAIN else await self._resigned(leaf)
        signed, authorities = chain[0], chain[1:]
        certificate_id = uuid.uuid4()
        async with self._db.transaction() as transaction:
            for authority in authorities:
                kind: Literal["ROOT", "INTERMEDIATE"] = "ROOT" if is_self_signed(authority) else "INTERMEDIATE"
                await store.add_authority(transaction, domain, kind, authority, now)
            await store.add_partner(
                transaction, certificate_id, domain, organisation, original=leaf, signed=signed, at=now
            )
            await self._audit(transaction, "keys.trust.partner-registered", domain, leaf, now)
        return PartnerCertificate(
            certificate_id=str(certificate_id),
            signed_chain_p7b=chain_p7b(chain),
            signed_pem=pem_of(signed),
            original_pem=pem_of(leaf),
        )

    async def _resigned(self, leaf: x509.Certificate) -> tuple[x509.Certificate, ...]:
        return tuple(parse_pem(text) for text in await self._keys.issue_partner_certificate(pem_of(leaf)))

    async def verify(self, pem: str, domain: str, *, intermediates: Sequence[str] = ()) -> None:
        """Check a certificate's path now. Two reads and one RSA public operation per link, and its lists."""
        between = [parse_pem(text) for text in intermediates]
        await self._verified_path(parse_pem(pem), _allowed(domain), self._clock.now(), between)

    async def _verified_path(
        self, leaf: x509.Certificate, domain: str, now: datetime, between: Sequence[x509.Certificate] = ()
    ) -> tuple[x509.Certificate, ...]:
        if await store.is_revoked(self._db, leaf):
            raise CertificateRevoked("the certificate is revoked")
        usable = [each for each in between if not is_self_signed(each) and not await self._is_foreign_leaf(each)]
        path = verify_path(leaf, [*await self._parsed_anchors(domain), *usable], now)
        await self._lists.check(path)
        return path

    async def _is_foreign_leaf(self, certificate: x509.Certificate) -> bool:
        """Tell whether a certificate may not stand between: a partner's leaf, or a revoked one."""
        return await store.is_partner(self._db, certificate) or await store.is_revoked(self._db, certificate)

    async def knows(self, pem: str) -> bool:
        """Tell whether a certificate is a partner's that still counts. Two reads."""
        certificate = parse_pem(pem)
        now = self._clock.now()
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            return False
        return await store.is_partner(self._db, certificate) and not await store.is_revoked(self._db, certificate)

    async def is_revoked(self, pem: str) -> bool:
        """Tell whether a certificate is on the local revocation list. One read."""
        return await store.is_revoked(self._db, parse_pem(pem))

    async def partner_certificate(self, certificate_id: str) -> PartnerCertificates:
        """Return a partner's certificates. One read."""
        found = await store.partner_certificate(self._db, _uuid(certificate_id, _refused("010", _NO_ID)))
        if found is None:
            raise _refused("012", "Partner Certificate not found for the given ID.")
        return PartnerCertificates(*found)

    async def listed_authorities(self) -> Sequence[Authority]:
        """Return all authorities. Two reads, the parsing of each certificate and an RSA public operation each."""
        roots = [each.x509 for each in await self._keys.certificates(ROOT)]
        listed = []
        for row in await store.listed_authorities(self._db):
            certificate = parse_pem(row.pem)
            own = certificate in roots or any(signed_by(certificate, root) for root in roots)
            listed.append(
                Authority(row.certificate_id, row.domain, row.kind, certificate, row.added_at, row.revoked, own)
            )
        return listed

    async def authority_path(self, certificate_id: str) -> Sequence[str]:
        """Return the path of an authority up to its root. Two reads."""
        problem = KeyProblem("KER-PMS-019", "CA Certificate not found for the given ID.")
        found = await store.authority(self._db, _uuid(certificate_id, problem))
        if found is None:
            raise problem
        domain, text = found
        certificate = parse_pem(text)
        if is_self_signed(certificate):
            return [text]
        try:
            path = verify_path(certificate, await self._parsed_anchors(domain), self._clock.now())
        except SignatureInvalid:
            return [text]
        return [pem_of(each) for each in path]

    async def _parsed_anchors(self, domain: str) -> list[x509.Certificate]:
        return [parse_pem(text) for text in await store.authorities(self._db, domain)]

    async def revoke(self, pem: str, reason: str) -> None:
        """Put a certificate on the revocation list."""
        certificate = parse_pem(pem)
        now = self._clock.now()
        async with self._db.transaction() as transaction:
            if await store.add_revocation(transaction, certificate, reason, now):
                await self._audit(transaction, "keys.trust.certificate-revoked", "trust", certificate, now)

    async def _audit(
        self, transaction: Transaction, action: str, key: str, certificate: x509.Certificate, at: datetime
    ) -> None:
        event = KeysAudited(
            context="keys",
            action=action,
            actor="system",
            purpose="trust",
            subject=thumbprint(certificate).hex(),
            at=iso_millis(at),
        )
        await self._outbox.publish(transaction, event, key=key)


def _uuid(text: str, problem: KeyProblem) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise problem from None


def _allowed(domain: str) -> str:
    upper = domain.upper()
    if upper not in ALLOWED_DOMAINS:
        raise _refused("011", "Invalid Partner Domain.")
    return upper


def _check_dates(certificate: x509.Certificate, now: datetime) -> None:
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise _refused("004", "Certificate Dates are not valid.")


def _check_version(certificate: x509.Certificate) -> None:
    if certificate.version is not x509.Version.v3:
        raise _refused("007", "Certificate version not supported.")
