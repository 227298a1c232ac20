"""Builds access from its dependencies."""

from datetime import timedelta

from civium.access.api import Access
from civium.access.http import router
from civium.access.service import AccessService
from civium.access.tokens import TokenIssuer, TokenReader
from civium.kernel.clock import Clock
from civium.keys.api import Keys
from civium.platform.database import Database
from civium.platform.jobs import Job
from civium.platform.module import Module
from civium.platform.outbox import Outbox
from civium.platform.sealing import Sealer
from civium.platform.settings import Settings

_SANDBOX_LIFETIME = timedelta(minutes=30)
_LIFETIME = timedelta(minutes=15)
_PURGE_SECONDS = 600.0


def build(
    database: Database, sealer: Sealer, keys: Keys, outbox: Outbox, clock: Clock, settings: Settings
) -> tuple[Access, Module]:
    """Return access (it is the token verifier of every process too) with its routes and its cleaning job."""
    issuer = issuer_of(settings)
    service = AccessService(
        database,
        sealer,
        outbox,
        clock,
        issuer=TokenIssuer(keys, clock, issuer=issuer, lifetime=_SANDBOX_LIFETIME if settings.sandbox else _LIFETIME),
        reader=TokenReader(keys, clock, issuer=issuer, sandbox=settings.sandbox),
        sandbox=settings.sandbox,
    )
    tls = settings.http.tls_certificate is not None
    return service, Module(
        "access",
        routers=(router(service, clock, secure_cookie=tls),),
        jobs=(Job("access.purge", service.purge, _PURGE_SECONDS),),
    )


def issuer_of(settings: Settings) -> str:
    """Return the ``iss`` of this installation's tokens."""
    scheme = "http" if settings.http.tls_certificate is None else "https"
    return f"{scheme}://{settings.http.host}:{settings.http.port}/auth/realms/mosip"
