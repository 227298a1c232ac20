"""Guards PIN envelopes against guessing: how short a PIN may be, and how often one may be wrong (section 13 no. 20).

The counts are in the database, so that all processes share them. An attempt counts before it is made, and is taken
back when it was right: guesses sent at once are no cheaper.
"""

from datetime import timedelta
from typing import Final

from civium.kernel.clock import Clock
from civium.kernel.encoding import sha256
from civium.keys import store
from civium.keys.api import KeyProblem
from civium.platform.database import Database
from civium.platform.http import Caller

WINDOW: Final = timedelta(minutes=10)
PER_ENVELOPE: Final = 5
"""Wrong PINs of one caller for one envelope within the window."""
PER_CALLER: Final = 100
"""Wrong PINs of one caller for all envelopes within the window."""
_ALL: Final = b""


class PinGuard:
    """The guard of one installation. An attempt costs two small transactions."""

    def __init__(self, db: Database, clock: Clock, *, minimum_length: int) -> None:
        self._db = db
        self._clock = clock
        self._minimum_length = minimum_length

    def check_length(self, pin: str) -> None:
        """Raise KeyProblem (KER-KMS-005) for a PIN too short to protect anything."""
        if len(pin.strip()) < self._minimum_length:
            raise KeyProblem("KER-KMS-005", f"userPin should have at least {self._minimum_length} characters")

    async def admits(self, caller: Caller, sealed: bytes) -> bool:
        """Count an attempt; False when the caller had too many."""
        now = self._clock.now()
        async with self._db.transaction() as transaction:
            of_caller = await store.count_pin_attempt(transaction, caller.subject, _ALL, now, WINDOW)
            of_envelope = await store.count_pin_attempt(transaction, caller.subject, sha256(sealed), now, WINDOW)
        return of_caller <= PER_CALLER and of_envelope <= PER_ENVELOPE

    async def succeeded(self, caller: Caller, sealed: bytes) -> None:
        """Take the attempt back: it was right."""
        async with self._db.transaction() as transaction:
            await store.forget_pin_attempt(transaction, caller.subject, _ALL)
            await store.forget_pin_attempt(transaction, caller.subject, sha256(sealed))

    async def purge(self) -> int:
        """Delete the counts whose window has ended."""
        return await store.purge_pin_attempts(self._db, self._clock.now())
