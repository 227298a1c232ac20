"""Services that prove themselves with a TLS client certificate, and so need no token."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cryptography import x509
from starlette.types import Scope

from civium.kernel.clock import Clock
from civium.platform.http.access import Caller
from civium.platform.settings import CertificateClient

EXTENSION: Final = "civium.client_certificate"
"""Member of an ASGI scope's ``extensions``; its ``der`` is the certificate that the TLS handshake verified."""

_CACHED: Final = 1_000


@dataclass(frozen=True, slots=True)
class _Known:
    caller: Caller | None
    expires_at: datetime


class CertificateCallers:
    """Tells a caller by the names in its certificate. About 1 microsecond for a certificate that was seen before.

    The handshake has verified path, purpose and times; a connection may outlive the certificate, so the end is
    checked for every request.
    """

    def __init__(self, clients: Sequence[CertificateClient], clock: Clock) -> None:
        self._clients = {
            client.name: Caller(f"service-account-{client.client}", client.client, frozenset(client.roles))
            for client in clients
        }
        self._clock = clock
        self._seen: OrderedDict[bytes, _Known] = OrderedDict()

    def caller(self, scope: Scope) -> Caller | None:
        """Return whose certificate came with the connection; None without one that is registered and valid now."""
        der: Any = scope.get("extensions", {}).get(EXTENSION, {}).get("der")
        if not self._clients or der is None:
            return None
        known = self._seen.get(der)
        if known is None:
            certificate = x509.load_der_x509_certificate(der)
            found = (self._clients[name] for name in _names(certificate) if name in self._clients)
            known = self._seen[der] = _Known(next(found, None), certificate.not_valid_after_utc)
            if len(self._seen) > _CACHED:
                self._seen.popitem(last=False)
        return known.caller if self._clock.now() < known.expires_at else None


def _names(certificate: x509.Certificate) -> Iterator[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        pass
    else:
        yield from (f"uri:{name}" for name in names.get_values_for_type(x509.UniformResourceIdentifier))
        yield from (f"dns:{name}" for name in names.get_values_for_type(x509.DNSName))
    yield f"subject:{certificate.subject.rfc4514_string()}"
