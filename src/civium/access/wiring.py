"""Builds access from its dependencies."""

from datetime import timedelta

from civium.access import http, oauth
from civium.access.accounts import SEALED_COLUMN as SEALED_ACCOUNTS
from civium.access.api import Access
from civium.access.service import AccessService
from civium.access.sessions import SEALED_COLUMN as SEALED_SESSIONS
from civium.access.tokens import Lifetimes, OwnKeys, TokenIssuer, TokenReader
from civium.kernel.clock import Clock
from civium.keys.api import Keys
from civium.platform.database import Database
from civium.platform.jobs import Job
from civium.platform.module import Module
from civium.platform.outbox import Outbox
from civium.platform.sealing import Sealer
from civium.platform.settings import Settings

_SANDBOX = Lifetimes(token=timedelta(minutes=30), refresh=timedelta(hours=1))
_PRODUCTION = Lifetimes(token=timedelta(minutes=15))
_PURGE_SECONDS = 600.0


def build(
    database: Database, sealer: Sealer, keys: Keys, outbox: Outbox, clock: Clock, settings: Settings
) -> tuple[Access, Module]:
    """Return access (it is the token verifier of every process too) with its routes and its cleaning job."""
    issuer = issuer_of(settings)
    lifetimes = _SANDBOX if settings.sandbox else _PRODUCTION
    own = OwnKeys(keys, clock, overlap=lifetimes.token)
    service = AccessService(
        database,
        sealer,
        outbox,
        clock,
        issuer=TokenIssuer(keys, clock, issuer=issuer, lifetime=lifetimes.token),
        reader=TokenReader(own, clock, issuer=issuer, trusted=settings.access.issuers, sandbox=settings.sandbox),
        lifetimes=lifetimes,
        assertion_audiences={issuer, issuer + oauth.TOKEN},
        failures_per_address=settings.access.failures_per_address,
        sandbox=settings.sandbox,
    )
    tls = settings.http.tls_certificate is not None
    return service, Module(
        "access",
        routers=(
            http.router(service, clock, secure_cookie=tls),
            oauth.router(service, own, clock, issuer=issuer),
        ),
        jobs=(Job("access.purge", service.purge, _PURGE_SECONDS),),
        rewraps=tuple(column.rewrap(database, sealer) for column in (SEALED_ACCOUNTS, SEALED_SESSIONS)),
    )


def issuer_of(settings: Settings) -> str:
    """Return the ``iss`` of this installation's tokens."""
    if settings.access.issuer is not None:
        return settings.access.issuer
    scheme = "http" if settings.http.tls_certificate is None else "https"
    return f"{scheme}://{settings.http.host}:{settings.http.port}{oauth.BASE}"
