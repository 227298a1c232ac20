"""What the registration processor offers (registration section 4.4)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from civium.kernel.errors import Rejected


@dataclass(frozen=True, slots=True)
class SyncedItem:
    """One announced packet and what came of it; ``problem`` is None when it was taken."""

    registration_id: str | None = field(repr=False)
    packet_id: str | None = field(repr=False)
    problem: Rejected | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """A packet as it was uploaded. ``content`` was cut at one byte above the limit."""

    file_name: str = field(repr=False)
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ItemStatus:
    """The status word of one id; None when the id is not known."""

    id: str = field(repr=False)
    status: str | None


@dataclass(frozen=True, slots=True)
class TransactionView:
    """One step of a registration, as the wire shows it."""

    id: str
    type: str
    parent_id: str | None
    status: str
    sub_status: str
    comment: str
    at: str


class WorkflowAction(StrEnum):
    """What an administrator may ask for a registration that does not move on by itself."""

    RESUME_PROCESSING = "RESUME_PROCESSING"
    RESUME_FROM_BEGINNING = "RESUME_FROM_BEGINNING"
    STOP_PROCESSING = "STOP_PROCESSING"


@dataclass(frozen=True, slots=True)
class WorkflowView:
    """A registration as an administrator finds it; it names no person."""

    workflow_id: str
    status: str
    comment: str
    process: str
    stage: str
    last_success_stage: str | None
    created_at: str
    updated_at: str


class Registration(Protocol):
    """Operations of the registration processor; each owns its transaction."""

    async def sync(self, reference: str, body: bytes, *, actor: str) -> Sequence[SyncedItem]:
        """Take an encrypted sync message in; ``reference`` is the header ``Center-Machine-RefId``.

        Raises Rejected (RPR-RGS-*) for the message as a whole. An item announced again is updated.
        """
        ...

    async def receive(self, upload: Upload, *, actor: str) -> None:
        """Check an uploaded packet against its sync entry, store it durably, queue it. Raises Rejected (RPR-PKR-*)."""
        ...

    async def statuses(self, registration_ids: Sequence[str], *, collapsed: bool) -> Sequence[ItemStatus]:
        """Return the external status of each; ``collapsed`` shows final words as PROCESSED."""
        ...

    async def packet_statuses(self, packet_ids: Sequence[str]) -> Sequence[ItemStatus]:
        """Return the packet's external status of each."""
        ...

    async def transactions(self, registration_id: str) -> Sequence[TransactionView]:
        """Return the steps of a registration, oldest first. Raises Rejected RPR-RTS-001."""
        ...

    async def act(self, workflow_ids: Sequence[str], action: WorkflowAction, *, actor: str) -> None:
        """Restart or stop registrations that failed or are paused. Raises Rejected RPR-WAA-003, RPR-WAA-004."""
        ...

    async def workflows(self, *, status: str | None, start: int, count: int) -> tuple[int, Sequence[WorkflowView]]:
        """Return how many registrations have that status (None for all), and one page of them, newest first."""
        ...
