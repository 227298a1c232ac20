"""Builds partner management from its dependencies."""

from civium.kernel.clock import Clock
from civium.keys.api import KernelSigner, Keys, TrustStore
from civium.partners.http import partner_router, policy_router
from civium.partners.service import SEALED_COLUMNS, Partners
from civium.platform.database import Database
from civium.platform.module import Module
from civium.platform.outbox import Outbox
from civium.platform.sealing import Sealer


def build(
    db: Database, sealer: Sealer, keys: Keys, trust: TrustStore, outbox: Outbox, clock: Clock
) -> tuple[Partners, Module]:
    """Return partner management and its routes."""
    partners = Partners(db, sealer, trust, outbox, clock)
    signer = KernelSigner(keys)
    return partners, Module(
        "partners",
        routers=(partner_router(partners, signer), policy_router(partners, signer)),
        rewraps=tuple(column.rewrap(db, sealer) for column in SEALED_COLUMNS),
    )
