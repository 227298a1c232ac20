"""How many wrong guesses are allowed: for each account and for each network address, in all processes together.

An attempt is counted before its secret is looked at, so that parallel guesses get no extra tries; the right secret
takes the count back. Attempts that come too early, or after the last one allowed, are refused unseen.
"""

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from civium.access.store import Store
from civium.platform.database import Transaction
from civium.platform.sealing import Sealer

HASH_DOMAIN: Final = "access/throttle"
WINDOW: Final = timedelta(minutes=5)
"""So long after the first failure the count starts anew, and who was stopped may try again."""


@dataclass(frozen=True, slots=True)
class Limit:
    """``free`` failures cost nothing; each further one doubles the wait, from one second; ``stop`` end the window."""

    free: int
    stop: int


ACCOUNT: Final = Limit(free=5, stop=10)


class Throttle:
    """Counts attempts."""

    def __init__(self, store: Store, sealer: Sealer, *, failures_per_address: int) -> None:
        self._store = store
        self._sealer = sealer
        self._address = Limit(free=failures_per_address, stop=failures_per_address)

    async def address_hash(self, address: str | None) -> bytes | None:
        """Return what an address is counted under: an IPv6 address counts for its /64, which one party has."""
        if address is None:
            return None
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            place = address
        else:
            place = str(ipaddress.ip_network((ip, 64), strict=False)) if ip.version == 6 else str(ip)
        return await self._sealer.keyed_hash(HASH_DOMAIN, f"address:{place}".encode())

    async def admits(self, transaction: Transaction, account: bytes, address: bytes | None, *, at: datetime) -> bool:
        """Count an attempt; False when it must not be looked at."""
        since = at - WINDOW
        if address is not None and not await self._store.count_attempt(transaction, address, self._address, at, since):
            return False
        return await self._store.count_attempt(transaction, account, ACCOUNT, at, since)

    async def succeeded(self, transaction: Transaction, account: bytes, address: bytes | None) -> None:
        """Forget an account's failures, and of the address's this attempt only."""
        await self._store.forget_failures(transaction, account)
        if address is not None:
            await self._store.take_attempt_back(transaction, address)
