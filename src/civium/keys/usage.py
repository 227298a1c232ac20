"""Accounts of key use: what every use is for, and how often each key was used for it.

A use cites a purpose and a transaction. The transaction is the correlation id of the request, delivery or job in
which it happens; a use outside of any has none, is counted apart, and so stands out.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from civium.keys.protocol import AnyCall, Citation, ReportUsage, TakeUsage, TotalUsage, UsageReply
from civium.platform.telemetry import correlation

ABOUT_USAGE: Final = (TakeUsage, ReportUsage, TotalUsage)
UNSEAL: Final = "Unseal"
"""The operation of a box that is opened with a data key which the caller holds."""
REPORT_SECONDS: Final = 1.0

_purpose: ContextVar[str | None] = ContextVar("purpose", default=None)


@contextmanager
def citing(purpose: str) -> Iterator[None]:
    """Name the purpose of the key uses in the block; without it a use is for what its key is for."""
    before = _purpose.set(purpose)
    try:
        yield
    finally:
        _purpose.reset(before)


def citation(call: AnyCall) -> Citation:
    """Return what a call is for, as this task knows it."""
    application, reference = call.key()
    return Citation(_purpose.get() or f"{application}/{reference}", correlation.get())


@dataclass(slots=True)
class _Count:
    uses: int = 0
    uncited: int = 0
    transactions: set[str] = field(default_factory=set)
    elsewhere: int = 0


class Uses:
    """Counts of uses by operation, key and purpose."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str, str], _Count] = {}

    def count(self, operation: str, key: tuple[str, str], citation: Citation) -> None:
        """Count one use. About a microsecond."""
        count = self._counts.setdefault((operation, *key, citation.purpose), _Count())
        count.uses += 1
        if citation.transaction is None:
            count.uncited += 1
        else:
            count.transactions.add(citation.transaction)

    def add(self, reply: UsageReply) -> None:
        """Count what was counted elsewhere."""
        use = (reply.operation, reply.application, reply.reference, reply.purpose)
        count = self._counts.setdefault(use, _Count())
        count.uses += reply.count
        count.uncited += reply.uncited
        count.elsewhere += reply.transactions

    def replies(self) -> list[UsageReply]:
        """Return all counts."""
        return [
            UsageReply(*use, count.uses, count.uncited, len(count.transactions) + count.elsewhere)
            for use, count in sorted(self._counts.items())
        ]


class Ledger:
    """The counts of one security context: since they were last taken, and in all."""

    def __init__(self) -> None:
        self._recent = Uses()
        self._total = Uses()
        self._taking = Lock()

    def count(self, operation: str, key: tuple[str, str], citation: Citation) -> None:
        """Count one use."""
        self._recent.count(operation, key, citation)

    def answer(self, call: TakeUsage | ReportUsage | TotalUsage) -> list[UsageReply] | None:
        """Answer a call about the counts. What is taken goes into the total, without the transactions' names."""
        with self._taking:
            match call:
                case ReportUsage():
                    for use in call.uses:
                        self._recent.add(use)
                    return None
                case TakeUsage():
                    taken, self._recent = self._recent.replies(), Uses()
                    for use in taken:
                        self._total.add(use)
                    return taken
                case TotalUsage():
                    total = Uses()
                    for use in (*self._total.replies(), *self._recent.replies()):
                        total.add(use)
                    return total.replies()
