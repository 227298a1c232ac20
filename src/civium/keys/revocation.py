"""Revocation lists (CRL) that certificates of other authorities name (section 13 no. 5).

A certificate that names a list counts only while a current list, signed by its issuer, does not hold it. Lists are
fetched through a :class:`ListSource` and kept until they end, an hour at most.
"""

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa

from civium.kernel.clock import Clock
from civium.kernel.errors import Unavailable
from civium.keys.errors import CertificateRevoked, UntrustedCertificate
from civium.keys.formats.certificates import MIN_KEY_BITS
from civium.keys.formats.primitives import thumbprint
from civium.keys.trust import SHA2

KEEP: Final = timedelta(hours=1)
MAX_LISTS: Final = 256
MAX_ADDRESSES: Final = 4
"""Addresses of one certificate that are tried."""

_log = structlog.get_logger(__name__)


class ListSource(Protocol):
    """Where lists come from."""

    async def fetch(self, url: str) -> bytes:
        """Return what stands at an address; raises Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class _Kept:
    crl: x509.CertificateRevocationList
    until: datetime


class RevocationLists:
    """The lists that this process has fetched."""

    def __init__(self, source: ListSource, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._kept: OrderedDict[tuple[str, bytes], _Kept] = OrderedDict()

    async def check(self, path: Sequence[x509.Certificate]) -> None:
        """Check each certificate of a path, the leaf first, against the list that it names.

        Raises CertificateRevoked, and UntrustedCertificate when a list cannot be had.
        """
        for certificate, issuer in itertools.pairwise(path):
            addresses = list_addresses(certificate)
            if addresses:
                entry = (await self._list(addresses, issuer)).get_revoked_certificate_by_serial_number(
                    certificate.serial_number
                )
                if entry is not None:
                    raise CertificateRevoked("the certificate is on its issuer's revocation list")

    async def _list(self, addresses: Sequence[str], issuer: x509.Certificate) -> x509.CertificateRevocationList:
        now = self._clock.now()
        mark = thumbprint(issuer)
        for address in addresses:
            kept = self._kept.get((address, mark))
            if kept is not None and now < kept.until:
                return kept.crl
        for address in addresses:
            try:
                crl = _parsed(await self._source.fetch(address), issuer, now)
            except (Unavailable, UntrustedCertificate) as problem:
                _log.warning("revocation_list_refused", error=type(problem).__name__)
                continue
            assert crl.next_update_utc is not None
            self._kept[address, mark] = _Kept(crl, min(crl.next_update_utc, now + KEEP))
            if len(self._kept) > MAX_LISTS:
                self._kept.popitem(last=False)
            return crl
        raise UntrustedCertificate("the certificate's revocation list cannot be had")


def list_addresses(certificate: x509.Certificate) -> Sequence[str]:
    """Return the addresses of a certificate's revocation list, none when it names none."""
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return ()
    names = [name for point in points for name in point.full_name or ()]
    addresses = [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)]
    # A list that has no address we can use is one that cannot be had: the certificate does not count.
    return addresses[:MAX_ADDRESSES] or ("",)


def _parsed(data: bytes, issuer: x509.Certificate, now: datetime) -> x509.CertificateRevocationList:
    """Return the list, when the issuer signed it and it is current; raises UntrustedCertificate."""
    key = issuer.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < MIN_KEY_BITS or not _may_list(issuer):
        raise UntrustedCertificate("the issuer may not sign revocation lists")
    try:
        pem = data.lstrip().startswith(b"-----BEGIN")
        crl = x509.load_pem_x509_crl(data) if pem else x509.load_der_x509_crl(data)
        sound = (
            crl.issuer == issuer.subject
            and isinstance(crl.signature_hash_algorithm, SHA2)
            and crl.is_signature_valid(key)
            and not any(extension.critical for extension in crl.extensions)
        )
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.DuplicateExtension):
        raise UntrustedCertificate("no revocation list") from None
    if not sound or crl.next_update_utc is None or not crl.last_update_utc <= now < crl.next_update_utc:
        raise UntrustedCertificate("the revocation list is another issuer's or not current")
    return crl


def _may_list(issuer: x509.Certificate) -> bool:
    try:
        return issuer.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except x509.ExtensionNotFound:
        return True
