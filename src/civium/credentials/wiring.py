"""Builds the issuing of credentials."""

from civium.credentials.service import CONSUMER, CredentialService
from civium.identity.api import AuthTypesLocked, IdentifierIssued, IdentifierStatusChanged, Register
from civium.kernel.clock import Clock
from civium.keys.api import Keys
from civium.masterdata.api import MasterData
from civium.platform.database import Database
from civium.platform.module import Module
from civium.platform.outbox import Consumer, Outbox
from civium.platform.sealing import Sealer


def build(
    database: Database,
    register: Register,
    keys: Keys,
    sealer: Sealer,
    outbox: Outbox,
    master_data: MasterData,
    clock: Clock,
) -> Module:
    """Return the consumer of the register's events."""
    service = CredentialService(database, register, keys, sealer, outbox, master_data, clock)
    topics = frozenset({IdentifierIssued.topic(), IdentifierStatusChanged.topic(), AuthTypesLocked.topic()})
    return Module("credentials", consumers=(Consumer(CONSUMER, topics, service.handle),))
