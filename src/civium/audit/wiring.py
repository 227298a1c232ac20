"""Builds the audit trail from its dependencies."""

from civium.audit.api import Audit, AuditRecorded
from civium.audit.service import Recorder
from civium.audit.verification import Verifier
from civium.platform.database import Database
from civium.platform.module import Module
from civium.platform.outbox import Consumer
from civium.platform.sealing import Sealer


def build(database: Database, sealer: Sealer) -> tuple[Audit, Module]:
    """Return the trail's verifier and the consumer that writes it."""
    recorder = Recorder(database, sealer)
    consumer = Consumer("audit", frozenset({AuditRecorded.topic()}), recorder.handle)
    return Verifier(database, sealer), Module("audit", consumers=(consumer,))
