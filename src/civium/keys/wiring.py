"""Builds what keys keeps in the core database, and the key manager's endpoints."""

from civium.kernel.clock import Clock
from civium.keys.api import KeyAdministration, Keys, TrustStore
from civium.keys.fetching import PublicListSource
from civium.keys.http.build import Dependencies, key_router
from civium.keys.http.pins import PinGuard
from civium.keys.http.uses import UseLog
from civium.keys.revocation import ListSource, RevocationLists
from civium.keys.trust_store import DatabaseTrustStore
from civium.platform.database import Database
from civium.platform.jobs import Job
from civium.platform.module import Module
from civium.platform.outbox import Outbox
from civium.platform.settings import Settings

_PURGE_SECONDS = 600.0


def build_trust(
    db: Database, keys: Keys, outbox: Outbox, clock: Clock, *, lists: ListSource | None = None
) -> TrustStore:
    """Return the trust store; ``keys`` is the core context's view of the key process, which re-signs with PMS.

    ``lists`` is where revocation lists come from, by default the public network.
    """
    return DatabaseTrustStore(db, keys, outbox, clock, RevocationLists(lists or PublicListSource(), clock))


def build_http(
    db: Database,
    keys: KeyAdministration,
    authentication: KeyAdministration,
    trust: TrustStore,
    outbox: Outbox,
    clock: Clock,
    settings: Settings,
) -> tuple[UseLog, Module]:
    """Return the key manager's endpoints, and the audit of their uses, which is to be closed at the end.

    ``keys`` and ``authentication`` are the two contexts' views of the key process.
    """
    uses = UseLog(db, outbox, clock)
    pins = PinGuard(db, clock, minimum_length=settings.keymanager.pin_minimum_length)
    router = key_router(Dependencies(db, keys, authentication, trust, uses, pins, clock, settings))
    return uses, Module("keys", routers=(router,), jobs=(Job("keys.purge", pins.purge, _PURGE_SECONDS),))
