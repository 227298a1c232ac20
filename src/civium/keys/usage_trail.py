"""Writes the accounts of key use into the audit trail: one act for each key and purpose in a second."""

from collections.abc import Mapping
from typing import Final

from civium.kernel.clock import Clock, iso_millis
from civium.keys.api import KeysAudited
from civium.keys.client import KeysClient
from civium.keys.protocol import UsageReply
from civium.keys.usage import REPORT_SECONDS
from civium.platform.database import Database
from civium.platform.jobs import Job
from civium.platform.outbox import PURPOSE, Outbox

RECORDED: Final = frozenset(
    {"IssuePartner", "MakeMaster", "Rotate", "Sign", "SignData", "Unseal", "Unwrap", "UnwrapDataKey", "ZkDerive"}
)
"""Operations that open or sign something. Hashes, certificates and fresh keys are counted, not recorded."""


class UsageTrail:
    """Takes the counts of both security contexts and publishes them."""

    def __init__(self, db: Database, keys: Mapping[str, KeysClient], outbox: Outbox, clock: Clock) -> None:
        self._db = db
        self._keys = keys
        self._outbox = outbox
        self._clock = clock
        self._unwritten: list[tuple[str, UsageReply]] = []

    def job(self) -> Job:
        """Return the background work, once a second."""
        return Job("keys.usage", self.run, REPORT_SECONDS)

    async def run(self) -> int:
        """Publish what was used since the last time; what could not be written comes with the next batch.

        The boxes of the outbox are left out: each act would cause the next for ever.
        """
        for context, keys in self._keys.items():
            self._unwritten += [
                (context, use)
                for use in await keys.usage()
                if use.operation in RECORDED and (use.application, use.reference) != ("DATA", PURPOSE)
            ]
        if self._unwritten:
            async with self._db.transaction() as transaction:
                for context, use in self._unwritten:
                    await self._outbox.publish(transaction, self._act(context, use), key=f"keys/{context}")
            self._unwritten.clear()
        return 0

    def _act(self, context: str, use: UsageReply) -> KeysAudited:
        return KeysAudited(
            context="keys",
            action=f"keys.used.{use.operation}",
            actor=context,
            purpose=use.purpose,
            outcome="uncited" if use.uncited else "success",
            code=f"key={use.application}/{use.reference} uses={use.count} transactions={use.transactions} "
            f"uncited={use.uncited}",
            at=iso_millis(self._clock.now()),
        )
