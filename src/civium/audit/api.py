"""Events by which every context writes the audit trail.

Publish an :class:`AuditRecorded` on the outbox in the transaction of the act itself. ``subject`` is a keyed hash or
opaque id, never a clear identifier; ``details`` hold codes and counts, never personal data.
"""

from dataclasses import dataclass
from typing import Protocol

from civium.kernel.errors import IntegrityError
from civium.platform.outbox import Event


class AuditRecorded(Event, frozen=True, kw_only=True):
    """One act. ``at`` is the wire's instant format."""

    context: str
    action: str
    """For example ``identity.person.created``."""
    actor: str
    """Token subject, partner id or ``system``."""
    purpose: str
    outcome: str = "success"
    subject: str | None = None
    code: str | None = None
    at: str

    @classmethod
    def topic(cls) -> str:
        return "audit.recorded"


@dataclass(frozen=True, slots=True)
class AuditVerified:
    """The trail is whole: how many acts it holds, and the digest of the last one (hexadecimal)."""

    records: int
    head: str


class AuditTrailBroken(IntegrityError):
    """The trail was changed. ``seq`` is the first record that does not hold."""

    def __init__(self, seq: int, reason: str) -> None:
        super().__init__(f"audit record {seq}: {reason}")
        self.seq = seq
        self.reason = reason


class Audit(Protocol):
    """The audit trail."""

    async def verify(self) -> AuditVerified:
        """Read the whole trail again and check every link; raises AuditTrailBroken."""
        ...
