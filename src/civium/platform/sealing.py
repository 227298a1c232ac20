"""Sealing of data at rest, and keyed hashes for look-ups: what `keys` gives to every store.

A sealed box is authenticated encryption whose associated data is the box's place (table, row, column, version): a
box that was moved, truncated or changed does not open. The key process holds the keys; a process that seals many
boxes asks it for data keys, not for each box.
"""

from dataclasses import dataclass
from typing import Protocol

from civium.kernel.encoding import canonical_json


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sealed box lives. Its parts are authenticated with the box but not stored in it.

    ``row`` is the row's opaque identity (a UUID or keyed hash, never a clear identifier).
    """

    table: str
    row: str
    column: str
    version: int = 0

    def octets(self) -> bytes:
        """Return the canonical bytes that are bound to the box."""
        return canonical_json([self.table, self.row, self.column, self.version])


class Sealer(Protocol):
    """Seals and opens boxes for one security context (core or auth).

    ``purpose`` names the key (for example ``identity/demographics``); each purpose has its own key, so that
    demographic and biometric data are never under the same one. Boxes are ``bytes``; the overhead is about 100 bytes.
    """

    async def seal(self, purpose: str, place: Place, clear: bytes) -> bytes:
        """Return the box of ``clear`` for ``place``. Costs no round trip while a data key is cached."""
        ...

    async def unseal(self, purpose: str, place: Place, box: bytes) -> bytes:
        """Return what ``seal`` was given; raises kernel.errors.IntegrityError if anything differs."""
        ...

    async def renew(self, purpose: str, place: Place, box: bytes) -> bytes | None:
        """Return the content of a box sealed anew, or None when its key is under the newest master already.

        Raises IntegrityError as ``unseal`` does.
        """
        ...

    async def keyed_hash(self, domain: str, value: bytes) -> bytes:
        """Return 32 bytes: HMAC-SHA-256 of ``value`` under the key of ``domain``, which never leaves the keystore."""
        ...
