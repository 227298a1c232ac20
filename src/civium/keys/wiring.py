"""Builds what keys keeps in the core database."""

from civium.kernel.clock import Clock
from civium.keys.api import Keys, TrustStore
from civium.keys.trust_store import DatabaseTrustStore
from civium.platform.database import Database
from civium.platform.outbox import Outbox


def build_trust(db: Database, keys: Keys, outbox: Outbox, clock: Clock) -> TrustStore:
    """Return the trust store; ``keys`` is the core context's view of the key process, which re-signs with PMS."""
    return DatabaseTrustStore(db, keys, outbox, clock)
