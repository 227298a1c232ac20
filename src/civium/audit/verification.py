"""Checks the trail. Shares no code with what writes it, so that one mistake does not hide in both."""

import hashlib
import hmac
import json
from typing import Final

from civium.audit.api import AuditTrailBroken, AuditVerified
from civium.audit.store import Store
from civium.platform.database import Database
from civium.platform.sealing import Sealer

_PAGE: Final = 5_000
_GENESIS: Final = bytes(32)


class Verifier:
    """Implements :class:`civium.audit.api.Audit`. About 5 microseconds and one row read for each act."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._store = Store(database)
        self._sealer = sealer

    async def verify(self) -> AuditVerified:
        head = await self._store.head()
        expected, seq = _GENESIS, 0
        while rows := await self._store.records(after=seq, until=head.seq, limit=_PAGE):
            for row in rows:
                seq += 1
                if row.seq != seq:
                    raise AuditTrailBroken(seq, "the record is missing")
                if row.previous != expected:
                    raise AuditTrailBroken(seq, "it does not follow the record before it")
                text = json.dumps(
                    [row.previous.hex(), row.seq, str(row.event_id), row.content],
                    ensure_ascii=False,
                    separators=(",", ":"),
                )
                expected = hashlib.sha256(text.encode()).digest()
                if row.digest != expected:
                    raise AuditTrailBroken(seq, "its content does not match its digest")
        if seq != head.seq:
            raise AuditTrailBroken(seq + 1, "the record is missing")
        await self._check_head(seq, expected, head.digest, head.mac)
        return AuditVerified(seq, expected.hex())

    async def _check_head(self, seq: int, expected: bytes, stored: bytes, mac: bytes | None) -> None:
        if stored != expected:
            raise AuditTrailBroken(seq, "it is not what the head was set to")
        beyond = await self._store.first_beyond_head()
        if beyond is not None:
            raise AuditTrailBroken(beyond, "the head does not reach it")
        if mac is None and seq == 0:
            return
        text = json.dumps([seq, expected.hex()], separators=(",", ":"))
        if mac is None or not hmac.compare_digest(mac, await self._sealer.keyed_hash("audit/head", text.encode())):
            raise AuditTrailBroken(seq, "the head was not written by this installation")
