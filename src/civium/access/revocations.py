"""Tokens and sessions that are invalid although they have not expired: known here at once, elsewhere in a second."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final

from civium.access.api import VerifiedToken
from civium.access.store import Store
from civium.kernel.clock import Clock, monotonic
from civium.platform.database import Transaction

REVOCATION_SECONDS: Final = 1.0
"""How old the list may be that a token is checked against."""


class Revocations:
    """The list as this process knows it. One query a second at most, whatever the number of requests."""

    def __init__(self, store: Store, clock: Clock, *, token_lifetime: timedelta) -> None:
        self._store = store
        self._clock = clock
        self._token_lifetime = token_lifetime
        self._known: frozenset[str] = frozenset()
        self._read_at = float("-inf")
        self._lock = asyncio.Lock()

    async def contain(self, token: VerifiedToken) -> bool:
        """Tell whether a token, or its session, is revoked. A set look-up while the list is fresh."""
        if self._is_old():
            async with self._lock:
                if self._is_old():
                    began = monotonic()
                    self._known = await self._store.revoked(now=self._clock.now())
                    self._read_at = began
        return token.id in self._known or (token.session is not None and session_key(token.session) in self._known)

    def _is_old(self) -> bool:
        return monotonic() - self._read_at > REVOCATION_SECONDS

    @asynccontextmanager
    async def change(self) -> AsyncIterator["Revoking"]:
        """Open around the transaction that revokes: a list read before its commit must not replace what it adds."""
        async with self._lock:
            revoking = Revoking(self._store, self._clock.now() + self._token_lifetime)
            yield revoking
            self._known |= revoking.added


class Revoking:
    """What one transaction revokes."""

    def __init__(self, store: Store, session_tokens_end: datetime) -> None:
        self._store = store
        self._session_tokens_end = session_tokens_end
        self.added: set[str] = set()

    async def token(self, transaction: Transaction, token: VerifiedToken) -> None:
        """Revoke one token."""
        await self._store.revoke(transaction, token.id, token.expires_at)
        self.added.add(token.id)

    async def session(self, transaction: Transaction, session: uuid.UUID) -> None:
        """Revoke all tokens of a session: the newest ends one lifetime from now."""
        key = session_key(str(session))
        await self._store.revoke(transaction, key, self._session_tokens_end)
        self.added.add(key)


def session_key(session: str) -> str:
    """Return the entry of a session in the list."""
    return f"sid:{session}"
