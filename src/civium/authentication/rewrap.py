"""Seals the identities of authentication anew when the master of their data keys has a new version."""

from collections.abc import AsyncIterator
from typing import Final

from civium.authentication.person import People
from civium.authentication.snapshot import REFERENCE_PURPOSE
from civium.authentication.store import AuthenticationStore, ReferenceKind, reference_place
from civium.platform.rewrapping import Batch, BoxColumn, Rewrap

SEALED_REFERENCES: Final = BoxColumn(
    "authentication.reference",
    "kind || '/' || key",
    "box",
    REFERENCE_PURPOSE,
    lambda row: reference_place(ReferenceKind(row["kind"]), row["key"]),
    ("kind", "key"),
)


def identities(store: AuthenticationStore, people: People) -> Rewrap:
    """Return the step for persons: all boxes of one in a transaction."""

    async def batches(size: int) -> AsyncIterator[Batch]:
        after: bytes | None = None
        while page := await store.identities_after(after, size):
            after = page[-1].id
            renewed = 0
            for row in page:
                anew = await people.renewed(await people.open(row))
                if anew is not None:
                    renewed += await store.replace_boxes(row, anew)
            yield Batch(len(page), renewed)

    return Rewrap("authentication.identity_cache", store.count_identities, batches)
