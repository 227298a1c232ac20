"""How uvicorn serves the application: TLS, client certificates, proxies."""

import asyncio
import ssl

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from civium.platform.http.certificates import EXTENSION
from civium.platform.settings import HttpSettings


class CertificateProtocol(HttpToolsProtocol):
    """HTTP/1.1 that hands the client's verified certificate on to the application."""

    _certificate: bytes | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        self._certificate = None if tls is None else tls.getpeercert(binary_form=True)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._certificate is not None:
            self.scope["extensions"] = {EXTENSION: {"der": self._certificate}}


def server_config(app: ASGIApp, http: HttpSettings) -> uvicorn.Config:
    """Return the server's configuration.

    A client certificate is asked for when ``http.client_ca`` is set. ``X-Forwarded-*`` counts when it comes from one
    of ``http.trusted_proxies`` only.
    """
    verify = ssl.CERT_REQUIRED if http.require_client_certificate else ssl.CERT_OPTIONAL
    return uvicorn.Config(
        app,
        loop="none",
        http=CertificateProtocol,
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=bool(http.trusted_proxies),
        forwarded_allow_ips=list(http.trusted_proxies),
        ssl_certfile=http.tls_certificate,
        ssl_keyfile=http.tls_key,
        ssl_ca_certs=None if http.client_ca is None else str(http.client_ca),
        ssl_cert_reqs=ssl.CERT_NONE if http.client_ca is None else verify,
        timeout_graceful_shutdown=10,
    )
