"""Builds the registration processor: its interface and its worker."""

from civium.biometrics.api import FingerMatcher
from civium.identity.api import Register
from civium.kernel.clock import Clock
from civium.keys.api import KernelSigner, Keys
from civium.masterdata.api import MasterData
from civium.platform.database import Database
from civium.platform.jobs import Job
from civium.platform.module import Module
from civium.platform.objects import ObjectStore
from civium.platform.outbox import Outbox
from civium.platform.sealing import Sealer
from civium.platform.settings import Settings
from civium.registration.api import Registration
from civium.registration.http import receiver_router, status_router, transaction_router, workflow_router
from civium.registration.pipeline import SEALED_FINGERS, Pipeline
from civium.registration.service import SEALED_RIDS, RegistrationService
from civium.registration.store import CHANNEL

_POLL_SECONDS = 2.0
"""How often the worker looks for packets whose retry is due, beside being notified of new ones."""


def build(
    database: Database,
    sealer: Sealer,
    keys: Keys,
    objects: ObjectStore,
    outbox: Outbox,
    master_data: MasterData,
    register: Register,
    matcher: FingerMatcher,
    clock: Clock,
    settings: Settings,
) -> tuple[Registration, Module]:
    """Return the registration processor, its routes, and one job per core that processes packets."""
    service = RegistrationService(database, sealer, keys, objects, outbox, master_data, clock)
    pipeline = Pipeline(database, sealer, keys, objects, outbox, master_data, register, matcher, clock)
    signer = KernelSigner(keys)
    return service, Module(
        "registration",
        routers=(
            receiver_router(service, signer, clock),
            status_router(service, signer, clock),
            transaction_router(service, signer, clock),
            workflow_router(service, signer, clock),
        ),
        rewraps=tuple(column.rewrap(database, sealer) for column in (SEALED_RIDS, SEALED_FINGERS)),
        jobs=tuple(
            Job(f"registration.pipeline.{number}", pipeline.run, _POLL_SECONDS, CHANNEL)
            for number in range(settings.http.workers)
        ),
    )
