"""The links of the audit trail."""

import uuid
from dataclasses import dataclass
from typing import Final

from civium.kernel.encoding import canonical_json, sha256

HEAD_DOMAIN: Final = "audit/head"


@dataclass(frozen=True, slots=True)
class Record:
    """One act in the trail. ``content`` is the canonical JSON of its event."""

    seq: int
    event_id: uuid.UUID
    content: str
    previous: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """The last link; ``mac`` is None only for a trail that never had a record."""

    seq: int
    digest: bytes
    mac: bytes | None

    def covered(self) -> bytes:
        """Return the bytes under the MAC."""
        return canonical_json([self.seq, self.digest.hex()])


def link(previous: bytes, seq: int, event_id: uuid.UUID, content: str) -> Record:
    """Return the record that follows ``previous``."""
    digest = sha256(canonical_json([previous.hex(), seq, str(event_id), content]))
    return Record(seq, event_id, content, previous, digest)
