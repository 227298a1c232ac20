"""Builds the register and its routes."""

from civium.identity.api import Register
from civium.identity.http import generator_router, identity_router
from civium.identity.individuals import IndividualIds
from civium.identity.locks import LockService
from civium.identity.mint import Mint
from civium.identity.records import Records
from civium.identity.rewrap import person_keys
from civium.identity.service import RegisterService
from civium.identity.vault import SEALED_NUMBERS, Vault
from civium.identity.vid.http import vid_router
from civium.identity.vid.service import VidService
from civium.kernel.clock import Clock
from civium.keys.api import KernelSigner, Keys
from civium.masterdata.api import MasterData
from civium.platform.database import Database
from civium.platform.module import Module
from civium.platform.objects import ObjectStore
from civium.platform.outbox import Outbox
from civium.platform.sealing import Sealer


def build(
    database: Database,
    sealer: Sealer,
    keys: Keys,
    objects: ObjectStore,
    outbox: Outbox,
    master_data: MasterData,
    clock: Clock,
) -> tuple[Register, Module]:
    """Return the register and its routes."""
    vault = Vault(keys, sealer, objects)
    records = Records(database, vault)
    mint = Mint(database, vault, clock)
    vids = VidService(database, records, vault, sealer, keys, outbox, clock)
    register = RegisterService(database, vault, records, mint, vids, outbox, master_data, clock)
    locks = LockService(database, vault, outbox, clock)
    individuals = IndividualIds(records, vids)
    signer = KernelSigner(keys)
    return register, Module(
        "identity",
        routers=(
            identity_router(register, locks, individuals, clock, signer),
            vid_router(vids, clock, signer),
            generator_router(mint, vids, clock, signer),
        ),
        rewraps=(person_keys(database, vault), SEALED_NUMBERS.rewrap(database, sealer), vids.rewrap()),
    )
