"""Writes acts into the trail, in the order in which they arrive."""

import asyncio
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from civium.audit.api import AuditRecorded, AuditTrailBroken
from civium.audit.domain import HEAD_DOMAIN, Head, Record, link
from civium.audit.store import Store
from civium.kernel.encoding import canonical_json
from civium.platform.database import Database
from civium.platform.outbox import Delivery, decode
from civium.platform.sealing import Sealer


@dataclass(slots=True, eq=False)
class _Waiting:
    delivery: Delivery
    content: str
    written: bool = False


class Recorder:
    """Appends events to the trail.

    Events that arrive while another is being written go together in the next transaction, so a burst costs few
    commits. The trail itself tells which events it has: it needs no inbox.
    """

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._store = Store(database)
        self._sealer = sealer
        self._writing = asyncio.Lock()
        self._queue: list[_Waiting] = []

    async def handle(self, delivery: Delivery) -> None:
        """Append one event; returns once it is durable. Raises AuditTrailBroken when the head was tampered with."""
        event = decode(delivery.payload, AuditRecorded)
        waiting = _Waiting(delivery, canonical_json(msgspec.to_builtins(event)).decode())
        self._queue.append(waiting)
        try:
            async with self._writing:
                if not waiting.written:
                    batch = list(self._queue)
                    await self._append(batch)
                    for each in batch:
                        each.written = True
        finally:
            self._queue.remove(waiting)

    async def _append(self, batch: Sequence[_Waiting]) -> None:
        async with self._database.transaction() as transaction:
            head = await self._store.lock_head(transaction)
            await self._check(head)
            known = await self._store.recorded(transaction, [each.delivery.id for each in batch])
            records: list[Record] = []
            previous, seq = head.digest, head.seq
            for event_id, content in {each.delivery.id: each.content for each in batch}.items():
                if event_id not in known:
                    seq += 1
                    records.append(link(previous, seq, event_id, content))
                    previous = records[-1].digest
            if records:
                await self._store.append(transaction, records, await self._sign(Head(seq, previous, None)))

    async def _sign(self, head: Head) -> Head:
        return replace(head, mac=await self._mac(head))

    async def _mac(self, head: Head) -> bytes:
        return await self._sealer.keyed_hash(HEAD_DOMAIN, head.covered())

    async def _check(self, head: Head) -> None:
        if head.seq == 0 and head.mac is None:
            return
        if head.mac is None or not hmac.compare_digest(await self._mac(head), head.mac):
            raise AuditTrailBroken(head.seq, "the head was not written by this installation")
