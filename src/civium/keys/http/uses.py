"""The audit of key use: every use is counted at once and written within a second (issue: every use audited).

Uses that differ in nothing share a record with their number. While the trail cannot be written, uses go on for a
short time only: no key is used unseen.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

import structlog

from civium.kernel.clock import Clock, iso_millis, monotonic
from civium.kernel.errors import CiviumError, Rejected, RejectedMany, Unavailable
from civium.keys.api import KeyRef, KeysAudited
from civium.platform.database import Database
from civium.platform.http import Caller
from civium.platform.outbox import Outbox

FLUSH_SECONDS: Final = 1.0
MAX_BLIND_SECONDS: Final = 10.0
"""How long keys are used while the trail does not take their uses."""
MAX_KINDS: Final = 10_000
"""Different uses that wait to be written."""

_APPLICATION: Final = re.compile(r"[A-Z][A-Z0-9_]{0,35}")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Use:
    actor: str
    action: str
    key: str
    code: str | None


class UseLog:
    """The uses of one process. Counting one costs about 2 microseconds."""

    def __init__(self, db: Database, outbox: Outbox, clock: Clock) -> None:
        self._db = db
        self._outbox = outbox
        self._clock = clock
        self._uses: Counter[_Use] = Counter()
        self._writing: asyncio.Task[None] | None = None
        self._failing_since: float | None = None

    @contextmanager
    def using(self, caller: Caller, action: str, ref: KeyRef) -> Iterator[None]:
        """Count the block as a use of ``ref``, with its outcome. Raises Unavailable when uses cannot be written.

        A refused use names the application only: its reference may be anything that a caller typed.
        """
        self._require_trail()
        try:
            yield
        except (Rejected, RejectedMany) as problem:
            first = problem.rejections[0] if isinstance(problem, RejectedMany) else problem
            self._note(_Use(caller.subject, action, _application(ref), first.code))
            raise
        except CiviumError:
            self._note(_Use(caller.subject, action, _application(ref), "KER-KMS-500"))
            raise
        else:
            key = f"{ref.application_id}:{ref.reference_id}" if ref.reference_id else ref.application_id
            self._note(_Use(caller.subject, action, key, None))

    async def close(self) -> None:
        """Write what waits."""
        if self._writing is not None:
            self._writing.cancel()
            with suppress(asyncio.CancelledError):
                await self._writing
        await self._write()

    def _require_trail(self) -> None:
        blind = self._failing_since is not None and monotonic() - self._failing_since > MAX_BLIND_SECONDS
        if blind or len(self._uses) >= MAX_KINDS:
            raise Unavailable("the audit trail does not take the uses of keys")

    def _note(self, use: _Use) -> None:
        self._uses[use] += 1
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write_soon())

    async def _write_soon(self) -> None:
        while self._uses:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self._write()
            except Exception as problem:  # noqa: BLE001 - whatever fails, the uses stay and are tried again
                _log.error("key_uses_not_written", error=type(problem).__name__)
                if self._failing_since is None:
                    self._failing_since = monotonic()
            else:
                self._failing_since = None
        self._writing = None

    async def _write(self) -> None:
        uses, self._uses = self._uses, Counter()
        if not uses:
            return
        at = iso_millis(self._clock.now())
        try:
            async with self._db.transaction() as transaction:
                for use, count in uses.items():
                    event = KeysAudited(
                        context="keys",
                        action=f"keys.used.{use.action}",
                        actor=use.actor,
                        purpose=f"{use.key}, {count} times",
                        outcome="success" if use.code is None else "refused",
                        code=use.code,
                        at=at,
                    )
                    await self._outbox.publish(transaction, event, key="uses")
        except BaseException:
            self._uses.update(uses)
            raise


def _application(ref: KeyRef) -> str:
    return ref.application_id if _APPLICATION.fullmatch(ref.application_id) else "unknown"
