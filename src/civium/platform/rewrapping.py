"""Sealing old boxes anew under new keys, in batches, while everything serves.

Each context tells in its :class:`Module` what it stores sealed, as :class:`Rewrap` steps: an ordinary column of boxes
is a :class:`BoxColumn`; where boxes are bound to each other the context brings its own step. A row is written only if
it is still what was read, so that a change in between wins and is simply new already.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from civium.platform.database import Database
from civium.platform.sealing import Place, Sealer


@dataclass(frozen=True, slots=True)
class Batch:
    """What one batch did: rows looked at, and rows that were sealed anew. The others were new already."""

    seen: int
    renewed: int


@dataclass(frozen=True, slots=True)
class Rewrap:
    """One kind of sealed thing. ``batches`` is given how many rows to take at a time."""

    name: str
    count: Callable[[], Awaitable[int]]
    batches: Callable[[int], AsyncIterator[Batch]]


@dataclass(frozen=True, slots=True)
class BoxColumn:
    """A column of boxes. ``key`` orders and names the table's rows; ``place`` is made of it and ``needed``."""

    table: str
    key: str
    box: str
    purpose: str
    place: Callable[[asyncpg.Record], Place]
    needed: tuple[str, ...] = ()

    def rewrap(self, database: Database, sealer: Sealer) -> Rewrap:
        """Return the step that seals the column's boxes anew."""

        async def count() -> int:
            found: int = await database.fetch_value(
                f"SELECT count(*) FROM {self.table} WHERE {self.box} IS NOT NULL"  # noqa: S608
            )
            return found

        async def batches(size: int) -> AsyncIterator[Batch]:
            after: Any = None
            while rows := await database.fetch(*self._page(after, size)):
                after = rows[-1]["rewrap_key"]
                renewed = 0
                for row in rows:
                    box = await sealer.renew(self.purpose, self.place(row), row["rewrap_box"])
                    if box is not None:
                        tag = await database.execute(self._replace, row["rewrap_key"], row["rewrap_box"], box)
                        renewed += tag.endswith(" 1")
                yield Batch(len(rows), renewed)

        return Rewrap(f"{self.table}.{self.box}", count, batches)

    @property
    def _replace(self) -> str:
        return f"UPDATE {self.table} SET {self.box} = $3 WHERE {self.key} = $1 AND {self.box} = $2"  # noqa: S608

    def _page(self, after: Any, size: int) -> tuple[Any, ...]:
        columns: Final = ", ".join((f"{self.key} AS rewrap_key", f"{self.box} AS rewrap_box", *self.needed))
        rows = f"SELECT {columns} FROM {self.table} WHERE {self.box} IS NOT NULL"  # noqa: S608
        order = f" ORDER BY {self.key} LIMIT $1"
        return (rows + order, size) if after is None else (f"{rows} AND {self.key} > $2{order}", size, after)
