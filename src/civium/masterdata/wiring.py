"""Builds master data from its dependencies."""

from civium.kernel.clock import Clock
from civium.keys.api import KernelSigner, Keys
from civium.masterdata.api import MasterData
from civium.masterdata.http import masterdata_router, rid_router, syncdata_router
from civium.masterdata.service import MasterDataService
from civium.platform.database import Database
from civium.platform.module import Module
from civium.platform.outbox import Outbox
from civium.platform.sealing import Sealer
from civium.platform.settings import Settings


def build(
    database: Database, sealer: Sealer, keys: Keys, outbox: Outbox, clock: Clock, settings: Settings
) -> tuple[MasterData, Module]:
    """Return master data and its routes. The shipped data are written when an empty database is first read."""
    service = MasterDataService(database, sealer, outbox, clock, settings.languages)
    signer = KernelSigner(keys)
    return service, Module(
        "masterdata",
        routers=(
            masterdata_router(service, clock, signer),
            syncdata_router(service, keys, clock, signer),
            rid_router(service, clock, signer),
        ),
    )
