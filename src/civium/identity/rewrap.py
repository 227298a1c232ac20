"""Gives records new wrapped keys when the master that wraps them has a new version."""

import uuid
from collections.abc import AsyncIterator

from civium.identity import store
from civium.identity.vault import Vault
from civium.platform.database import Database
from civium.platform.rewrapping import Batch, Rewrap


def person_keys(database: Database, vault: Vault) -> Rewrap:
    """Return the step for persons' keys. Per record two round trips to the key process, one statement to read."""

    async def count() -> int:
        return await store.count_persons(database)

    async def batches(size: int) -> AsyncIterator[Batch]:
        after: uuid.UUID | None = None
        while page := await store.persons_after(database, after, size):
            after = page[-1][0].ref
            renewed = 0
            for row, head in page:
                changed = await vault.renewed(await vault.verify(row, head))
                if changed is not None:
                    async with database.transaction() as transaction:
                        renewed += await store.replace_keys(transaction, row, *changed)
            yield Batch(len(page), renewed)

    return Rewrap("identity.person keys", count, batches)
