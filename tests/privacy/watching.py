"""Sees what a running platform leaves only for a moment: short-lived files, events in flight, running statements."""

import asyncio
import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import asyncpg

_TICK_SECONDS = 0.05
_TABLES = (
    "SELECT query || coalesce(application_name, '') FROM pg_stat_activity",
    "SELECT event::text FROM outbox_core.outbox AS event",
    "SELECT event::text FROM outbox_auth.outbox AS event",
)


class Watcher(threading.Thread):
    """Keeps a second link to each file that appears in ``folders``, and each row that it sees, in ``kept``.

    ``kept`` must be on the file system of the folders. :meth:`stop` leaves there what is gone from the folders.
    """

    def __init__(self, folders: Iterable[Path], dsn: str, kept: Path) -> None:
        super().__init__(daemon=True)
        self._folders = tuple(folders)
        self._dsn = dsn
        self._kept = kept
        self._links: dict[int, Path] = {}
        self._names: set[str] = set()
        self._rows: set[str] = set()
        self._enough = threading.Event()
        self._problem: Exception | None = None
        kept.mkdir()

    def run(self) -> None:
        try:
            asyncio.run(self._watch())
        except Exception as problem:  # noqa: BLE001 - told when the watch ends
            self._problem = problem

    def stop(self) -> int:
        """End the watch; return how many rows were seen."""
        self._enough.set()
        self.join()
        if self._problem is not None:
            raise self._problem
        for link in self._links.values():
            if link.stat().st_nlink > 1:
                link.unlink()
        (self._kept / "names").write_text("\n".join(sorted(self._names)))
        (self._kept / "rows").write_text("\n".join(sorted(self._rows)))
        return len(self._rows)

    async def _watch(self) -> None:
        connection = await asyncpg.connect(self._dsn)
        try:
            while not self._enough.is_set():
                for statement in _TABLES:
                    self._rows |= {str(row[0]) for row in await connection.fetch(statement)}
                self._look()
                await asyncio.sleep(_TICK_SECONDS)
        finally:
            await connection.close()

    def _look(self) -> None:
        for folder in self._folders:
            for path in folder.rglob("*"):
                self._names.add(str(path.relative_to(folder)))
                with suppress(FileNotFoundError):
                    if path.is_file() and (inode := path.stat().st_ino) not in self._links:
                        self._links[inode] = self._kept / str(inode)
                        os.link(path, self._links[inode])
