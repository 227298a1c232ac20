"""Sessions of users: refresh tokens that count once, and what happens when one counts twice (RFC 9700)."""

import hmac
import uuid
from dataclasses import dataclass
from typing import Final

import msgspec

from civium.access.api import RefreshToken
from civium.access.revocations import Revocations
from civium.access.store import Store, StoredSession
from civium.access.tokens import Lifetimes
from civium.access.trail import Trail
from civium.kernel.clock import Clock
from civium.kernel.encoding import b64u, unb64
from civium.kernel.secrets import Secret
from civium.platform.database import Database
from civium.platform.http.access import Unauthenticated
from civium.platform.rewrapping import BoxColumn
from civium.platform.sealing import Place, Sealer

PURPOSE: Final = "access/session"
HASH_DOMAIN: Final = "access/refresh"
_NUMBER: Final = 4
_NAMED: Final = 16 + _NUMBER
_LENGTH: Final = _NAMED + 32


class Holder(msgspec.Struct, frozen=True):
    """Whose session it is."""

    user: str
    client_id: str


@dataclass(frozen=True, slots=True)
class Use:
    """A refresh token that is good now."""

    session: StoredSession
    holder: Holder


class Sessions:
    """Sessions of all users.

    A refresh token is session id, generation, and a MAC of both under a key that stays in the key process: the
    database holds nothing that a token could be made of. Only the generation in the row is good. One of before is
    known to be ours, so somebody has a copy: the session ends.
    """

    def __init__(
        self,
        database: Database,
        store: Store,
        sealer: Sealer,
        clock: Clock,
        *,
        trail: Trail,
        revocations: Revocations,
        lifetimes: Lifetimes,
    ) -> None:
        self._database = database
        self._store = store
        self._sealer = sealer
        self._clock = clock
        self._trail = trail
        self._revocations = revocations
        self._lifetimes = lifetimes

    async def open(self, holder: Holder, name_hash: bytes) -> tuple[uuid.UUID, RefreshToken]:
        """Begin a session."""
        now = self._clock.now()
        session_id = uuid.uuid4()
        box = await self._sealer.seal(PURPOSE, _place(session_id), msgspec.json.encode(holder))
        async with self._database.transaction() as transaction:
            await self._store.add_session(
                transaction,
                StoredSession(
                    id=session_id,
                    name_hash=name_hash,
                    generation=0,
                    box=box,
                    idle_until=now + self._lifetimes.refresh,
                    ends_at=now + self._lifetimes.session,
                ),
            )
        return session_id, await self._token(session_id, 0)

    async def use(self, token: Secret[str], client_id: str) -> Use:
        """Return what a refresh token is good for; raises Unauthenticated, after ending a session that leaked."""
        session_id, generation = await self._read(token)
        stored = await self._store.session(session_id)
        now = self._clock.now()
        if stored is None or stored.idle_until <= now or stored.ends_at <= now:
            raise Unauthenticated
        holder = msgspec.json.decode(await self._sealer.unseal(PURPOSE, _place(session_id), stored.box), type=Holder)
        if generation != stored.generation:
            await self.end(session_id, actor=holder.user, outcome="reused")
            raise Unauthenticated
        if holder.client_id != client_id:
            raise Unauthenticated
        return Use(stored, holder)

    async def advance(self, use: Use) -> RefreshToken:
        """Return the next refresh token; the one used is good no more. Raises Unauthenticated as :meth:`use`."""
        session = use.session
        async with self._database.transaction() as transaction:
            moved = await self._store.advance_session(
                transaction, session.id, session.generation, self._clock.now() + self._lifetimes.refresh
            )
            if moved:
                await self._trail.note(transaction, "session.refreshed", actor=use.holder.user, subject=str(session.id))
        if not moved:
            await self.end(session.id, actor=use.holder.user, outcome="reused")
            raise Unauthenticated
        return await self._token(session.id, session.generation + 1)

    async def end(self, session_id: uuid.UUID, *, actor: str, outcome: str = "success") -> None:
        """End a session: its refresh token and all its access tokens are good no more."""
        async with self._revocations.change() as revoke, self._database.transaction() as transaction:
            await self._store.end_session(transaction, session_id)
            await revoke.session(transaction, session_id)
            await self._trail.note(transaction, "session.ended", actor=actor, subject=str(session_id), outcome=outcome)

    async def _token(self, session_id: uuid.UUID, generation: int) -> RefreshToken:
        named = session_id.bytes + generation.to_bytes(_NUMBER)
        mac = await self._sealer.keyed_hash(HASH_DOMAIN, named)
        return RefreshToken(Secret(b64u(named + mac)), int(self._lifetimes.refresh.total_seconds()))

    async def _read(self, token: Secret[str]) -> tuple[uuid.UUID, int]:
        try:
            octets = unb64(token.reveal())
        except ValueError as problem:
            raise Unauthenticated from problem
        if len(octets) != _LENGTH:
            raise Unauthenticated
        named, mac = octets[:_NAMED], octets[_NAMED:]
        if not hmac.compare_digest(mac, await self._sealer.keyed_hash(HASH_DOMAIN, named)):
            raise Unauthenticated
        return uuid.UUID(bytes=named[:16]), int.from_bytes(named[16:])


def _place(session_id: uuid.UUID) -> Place:
    return Place("access.session", str(session_id), "box")


SEALED_COLUMN: Final = BoxColumn("access.session", "id", "box", PURPOSE, lambda row: _place(row["rewrap_key"]))
