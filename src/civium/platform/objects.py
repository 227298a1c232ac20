"""The object store: sealed blobs under opaque names."""

import asyncio
import os
import re
import secrets
from pathlib import Path
from typing import Protocol

from civium.kernel import faults
from civium.kernel.errors import CiviumError

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_MAX_PARTS = 8


class ObjectNotFound(CiviumError):
    """No blob has this name."""


class ObjectStore(Protocol):
    """Keeps blobs by name. A name has the form ``<bucket>/<part>/...``; its parts are opaque, never an identifier.

    A blob is written whole or not at all, and is durable when :meth:`put` returns.
    """

    async def put(self, name: str, blob: bytes) -> None:
        """Store ``blob``; the same name again replaces it atomically."""
        ...

    async def get(self, name: str) -> bytes:
        """Return the blob; raises ObjectNotFound."""
        ...

    async def delete(self, name: str) -> None:
        """Remove the blob if it is there."""
        ...


class FileObjectStore:
    """Blobs as files under one directory. Costs two to three fsyncs for a put, in a thread.

    Raises ValueError for a name that does not have the form of :class:`ObjectStore`, so that none leads outside.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        # No object's name begins with a dot, so an unfinished file is never taken for one.
        self._unfinished = root / ".unfinished"
        self._unfinished.mkdir(mode=0o700, parents=True, exist_ok=True)

    def discard_unfinished(self) -> None:
        """Remove what processes that were killed while they wrote have left. Call it while nothing writes."""
        for rest in self._unfinished.iterdir():
            rest.unlink()

    async def put(self, name: str, blob: bytes) -> None:
        await asyncio.to_thread(_write, self._unfinished, self._path(name), blob)

    async def get(self, name: str) -> bytes:
        try:
            return await asyncio.to_thread(self._path(name).read_bytes)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise ObjectNotFound("no such object") from None

    async def delete(self, name: str) -> None:
        await asyncio.to_thread(_remove, self._path(name))

    def _path(self, name: str) -> Path:
        parts = name.split("/")
        if not 2 <= len(parts) <= _MAX_PARTS or not all(_PART.fullmatch(part) for part in parts):
            raise ValueError("not an object name")
        return self._root.joinpath(*parts)


def _write(unfinished: Path, path: Path, blob: bytes) -> None:
    _make_directory(path.parent)
    fresh = unfinished / secrets.token_hex(16)
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(blob)
            file.flush()
            os.fsync(file.fileno())
        faults.point("objects.unfinished")
        fresh.rename(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return
    _sync_directory(path.parent)


def _make_directory(path: Path) -> None:
    if path.is_dir():
        return
    _make_directory(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
