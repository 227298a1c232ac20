"""Minting UINs: a number is drawn, checked for uniqueness by its keyed hash, and noted before anyone uses it."""

import uuid

from civium.identity import store
from civium.identity.domain import already_there
from civium.identity.store import Minted
from civium.identity.vault import Vault
from civium.kernel.clock import Clock
from civium.kernel.errors import Rejected
from civium.kernel.identifiers import UIN, random_uin
from civium.platform.database import Database

_DRAWS = 64
"""Draws before giving up. About one in ten numbers passes the filters; this bounds a register that is nearly full."""

ISSUED = "ISSUED"
ASSIGNED = "ASSIGNED"
UNASSIGNED = "UNASSIGNED"


class Mint:
    """Numbers for people. Reserving is idempotent by registration, so that a crash never gives one person two."""

    def __init__(self, database: Database, vault: Vault, clock: Clock) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock

    async def reserve(self, rid_hash: bytes) -> tuple[UIN, uuid.UUID]:
        """Return number and person reference of a registration, the same ones every time until it is stored."""
        for _ in range(_DRAWS):
            found = await store.minted_by_rid(self._database, rid_hash)
            if found is not None and found.uin_box is not None:
                return await self._vault.open_minted(found.uin_hash, found.uin_box), found.ref
            if found is not None:
                raise already_there()
            await self._draw(ASSIGNED, rid_hash)
        raise _exhausted()

    async def issue(self) -> UIN:
        """Return a fresh number for a caller who will add the person with it (section 6.8)."""
        for _ in range(_DRAWS):
            uin = await self._draw(ISSUED, None)
            if uin is not None:
                return uin
        raise _exhausted()

    async def _draw(self, status: str, rid_hash: bytes | None) -> UIN | None:
        uin = random_uin()
        uin_hash = await self._vault.uin_hash(uin)
        box = await self._vault.seal_minted(uin_hash, uin)
        minted = Minted(uin_hash, uuid.uuid4(), rid_hash, status, box)
        return uin if await store.insert_minted(self._database, minted, self._clock.now()) else None

    async def claim(self, uin: UIN, rid_hash: bytes) -> uuid.UUID:
        """Bind a number that the caller brings to a registration; returns the person reference.

        An earlier number that the registration claimed and never used is free again. Raises Rejected IDR-IDC-012 when
        number or registration belong to someone else.
        """
        uin_hash = await self._vault.uin_hash(uin)
        box = await self._vault.seal_minted(uin_hash, uin)
        fresh = Minted(uin_hash, uuid.uuid4(), None, ISSUED, box)
        await store.insert_minted(self._database, fresh, self._clock.now())
        found = await store.minted_by_uin(self._database, uin_hash)
        if found is None or found.uin_box is None:
            raise already_there()
        await store.unclaim_minted(self._database, rid_hash, except_uin=uin_hash)
        if not await store.claim_minted(self._database, uin_hash, rid_hash):
            raise already_there()
        return found.ref

    async def set_status(self, uin: UIN, status: str) -> None:
        """Assign an issued number or give it back. Raises Rejected KER-UIG-001, -003, -004."""
        uin_hash = await self._vault.uin_hash(uin)
        if status not in {ASSIGNED, UNASSIGNED}:
            raise Rejected("KER-UIG-003", "Given UIN status not found")
        if await store.minted_by_uin(self._database, uin_hash) is None:
            raise Rejected("KER-UIG-001", "UIN could not be found")
        change = store.assign_minted if status == ASSIGNED else store.release_minted
        if not await change(self._database, uin_hash):
            raise Rejected("KER-UIG-004", "Given UIN is not in ISSUED status")


def _exhausted() -> Rejected:
    return Rejected("IDR-IDS-011", "Failed to generate UIN")
