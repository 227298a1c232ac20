"""The object store: sealed blobs under opaque names."""

from typing import Protocol


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
