"""Finding a person's row and proving that it is what was written last."""

import hmac
import uuid

from civium.identity import store
from civium.identity.domain import TamperedRecord, not_found
from civium.identity.store import Head, PersonRow
from civium.identity.vault import Vault
from civium.kernel.identifiers import RID, UIN
from civium.platform.database import Database


class Records:
    """Verified rows, by opaque id or keyed hash, never by attribute.

    A look-up costs one indexed read, two for a registration, and a keyed hash for each MAC.
    """

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault

    async def by_ref(self, ref: uuid.UUID) -> PersonRow:
        """Return a person's row; raises Rejected IDR-IDC-007, TamperedRecord."""
        return await self._verified(await store.person_by_ref(self._database, ref))

    async def by_uin(self, uin: UIN) -> PersonRow:
        """Return a person's row; raises Rejected IDR-IDC-007, TamperedRecord."""
        return await self._verified(await store.person_by_uin(self._database, await self._vault.uin_hash(uin)))

    async def by_rid(self, rid: RID) -> PersonRow:
        """Return the row that a registration, current or older, belongs to; raises as :meth:`by_uin`."""
        row = await self.of_registration(await self._vault.rid_hash(rid))
        if row is None:
            raise not_found()
        return row

    async def of_registration(self, rid_hash: bytes) -> PersonRow | None:
        """Return the row that a registration belongs to, None for an unknown one; raises TamperedRecord."""
        found = await store.registration(self._database, rid_hash)
        if found is None:
            return None
        ref, mac = found
        if not hmac.compare_digest(mac, await self._vault.registration_mac(rid_hash, ref)):
            raise TamperedRecord
        return await self.by_ref(ref)

    async def _verified(self, found: tuple[PersonRow, Head | None] | None) -> PersonRow:
        if found is None:
            raise not_found()
        return await self._vault.verify(*found)
