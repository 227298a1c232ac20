"""What access writes to the audit trail."""

from civium.audit.api import AuditRecorded
from civium.kernel.clock import Clock, iso_millis
from civium.platform.database import Transaction
from civium.platform.outbox import Outbox


class Trail:
    """Publishes acts in the transaction of the act. A subject is a keyed hash or a session's id."""

    def __init__(self, outbox: Outbox, clock: Clock) -> None:
        self._outbox = outbox
        self._clock = clock

    async def note(
        self,
        transaction: Transaction,
        action: str,
        *,
        actor: str,
        subject: str | None = None,
        outcome: str = "success",
    ) -> None:
        """Record an act; ``action`` is ``<thing>.<act>``."""
        await self._outbox.publish(
            transaction,
            AuditRecorded(
                context="access",
                action=f"access.{action}",
                actor=actor,
                purpose="authentication of callers",
                outcome=outcome,
                subject=subject,
                at=iso_millis(self._clock.now()),
            ),
            key=subject or "access",
        )
