"""Builds partner management from its dependencies."""

from civium.kernel.clock import Clock
from civium.keys.api import TrustStore
from civium.partners.http import partner_router, policy_router
from civium.partners.service import SEALED_COLUMNS, Partners
from civium.platform.database import Database
from civium.platform.module import Module
from civium.platform.outbox import Outbox
from civium.platform.sealing import Sealer


def build(db: Database, sealer: Sealer, trust: TrustStore, outbox: Outbox, clock: Clock) -> tuple[Partners, Module]:
    """Return partner management and its routes."""
    partners = Partners(db, sealer, trust, outbox, clock)
    return partners, Module(
        "partners",
        routers=(partner_router(partners), policy_router(partners)),
        rewraps=tuple(column.rewrap(db, sealer) for column in SEALED_COLUMNS),
    )
