"""Events by which every context writes the audit trail.

Publish an :class:`AuditRecorded` on the outbox in the transaction of the act itself. ``subject`` is a keyed hash or
opaque id, never a clear identifier; ``details`` hold codes and counts, never personal data.
"""

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
