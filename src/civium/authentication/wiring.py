"""Builds authentication from its dependencies."""

from datetime import timedelta

from civium.authentication import http
from civium.authentication.api import Authentication
from civium.authentication.feed import Feed
from civium.authentication.person import People
from civium.authentication.rewrap import SEALED_REFERENCES, identities
from civium.authentication.service import AuthenticationService
from civium.authentication.snapshot import SnapshotHolder
from civium.authentication.store import AuthenticationStore
from civium.kernel.clock import Clock
from civium.keys.api import Keys
from civium.platform.database import Database
from civium.platform.jobs import Job
from civium.platform.module import Module
from civium.platform.outbox import SealedOutbox
from civium.platform.sealing import Sealer
from civium.platform.settings import Settings

FORGET_EVERY = timedelta(seconds=30)
REPLAY_KEPT = timedelta(seconds=90)
"""How long a request is remembered at least."""


def build(
    db: Database, sealer: Sealer, keys: Keys, outbox: SealedOutbox, clock: Clock, settings: Settings
) -> tuple[Authentication, Module]:
    """Return authentication; every argument is the authentication security context's own."""
    store = AuthenticationStore(db)
    people = People(sealer)
    snapshots = SnapshotHolder(store, sealer, settings.authentication.partner_snapshot_max_age_seconds)
    service = AuthenticationService(store, snapshots, people, sealer, keys, outbox, clock, settings)

    rules = settings.authentication
    acceptable = timedelta(seconds=rules.request_age_seconds + 2 * rules.request_adjustment_seconds)

    async def forget_replays() -> int:
        return await store.forget_replays(clock.now() - max(REPLAY_KEPT, acceptable))

    return service, Module(
        name="authentication",
        routers=http.routers(service, keys, clock),
        consumers=Feed(db, store, people, sealer, keys).consumers(),
        rewraps=(SEALED_REFERENCES.rewrap(db, sealer), identities(store, people)),
        jobs=(Job("authentication.forget-replays", forget_replays, FORGET_EVERY.total_seconds()),),
    )
