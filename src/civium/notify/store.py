"""All SQL of notify."""

import uuid
from datetime import datetime

from civium.platform.database import Database


class Store:
    """Rows of the schema ``notify``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def served(self, event_id: uuid.UUID) -> frozenset[str]:
        """Return the channels that the event was sent through."""
        rows = await self._database.fetch("SELECT channel FROM notify.sent WHERE event_id = $1", event_id)
        return frozenset(row["channel"] for row in rows)

    async def note_sent(self, event_id: uuid.UUID, channel: str, at: datetime) -> None:
        """Note that the event was sent through a channel."""
        await self._database.execute(
            "INSERT INTO notify.sent (event_id, channel, at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            event_id,
            channel,
            at,
        )

    async def purge(self, before: datetime) -> None:
        """Delete what is too old to be delivered again."""
        await self._database.execute("DELETE FROM notify.sent WHERE at < $1", before)
