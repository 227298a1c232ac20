"""Use cases of the registration processor's interface: sync, upload, status, workflow actions."""

import asyncio
import hmac
import json
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from civium.audit.api import AuditRecorded
from civium.kernel import faults
from civium.kernel.clock import Clock, iso_millis, parse_instant
from civium.kernel.encoding import sha256, unb64
from civium.kernel.errors import Rejected
from civium.kernel.identifiers import RID, CentreId, IdentifierProblem, InvalidIdentifier, MachineId
from civium.keys.api import DecryptionFailed, Keys, packet_key
from civium.keys.api import packet as packet_bytes
from civium.masterdata.api import MasterData
from civium.packets.api import SYNC_ID, SYNC_VERSION, SyncEntry, SyncMessage, is_packet_id, reference_of
from civium.platform.database import Database, Transaction
from civium.platform.objects import ObjectStore
from civium.platform.outbox import Outbox
from civium.platform.rewrapping import BoxColumn
from civium.platform.sealing import Place, Sealer
from civium.registration import domain
from civium.registration.api import (
    ItemStatus,
    SyncedItem,
    TransactionView,
    Upload,
    WorkflowAction,
    WorkflowView,
)
from civium.registration.domain import COLLAPSED, External, Finding, Process, Progress, Status
from civium.registration.store import KnownRegistration, Store, SyncRow

MAX_PACKET_BYTES = 5 * 1024 * 1024
"""``registration.processor.max.file.size``."""
GRACE = timedelta(seconds=10_800)
"""How far ``requesttime`` of a sync may be from now."""
MAX_SYNC_ITEMS = 100

RID_PURPOSE = "registration/rid"
_RID_DOMAIN = "registration/rid"
_PACKET_DOMAIN = "registration/packet"
_OBJECT_DOMAIN = "registration/object"
_BUCKET = "packets"
_HASH_BYTES = 32
_RESTARTABLE = frozenset({Status.FAILED, Status.PAUSED, Status.REPROCESS_FAILED})

_RID_CODES = {
    IdentifierProblem.EMPTY: Rejected("RPR-RGS-006", "Invalid Request Value - RID cannot be NULL"),
    IdentifierProblem.FORM: Rejected("RPR-RGS-007", "Invalid Request Value - Invalid Timestamp in RID"),
    IdentifierProblem.NOT_NUMERIC: Rejected("RPR-RGS-008", "Invalid Request Value - RID must be Numberic"),
    IdentifierProblem.LENGTH: Rejected("RPR-RGS-009", "Invalid Request Value - RID Length is not as per Configuration"),
}


def rid_place(packet_hash: bytes, version: int) -> Place:
    """Return the place of the sealed RID of a sync entry."""
    return Place("registration.sync", packet_hash.hex(), "rid_box", version)


SEALED_RIDS: Final = BoxColumn(
    "registration.sync",
    "packet_hash",
    "rid_box",
    RID_PURPOSE,
    lambda row: rid_place(row["rewrap_key"], row["version"]),
    ("version",),
)


class RegistrationService:
    """Implements :class:`civium.registration.api.Registration`."""

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        keys: Keys,
        objects: ObjectStore,
        outbox: Outbox,
        master_data: MasterData,
        clock: Clock,
    ) -> None:
        self._database = database
        self._store = Store(database)
        self._sealer = sealer
        self._keys = keys
        self._objects = objects
        self._outbox = outbox
        self._master_data = master_data
        self._clock = clock

    async def sync(self, reference: str, body: bytes, *, actor: str) -> Sequence[SyncedItem]:
        now = self._clock.now()
        message = _parse_message(await self._open(reference, body))
        _check_message(message, now)
        items = [self._check(entry, reference) for entry in message.request]
        taken = [
            await self._row(entry, rid, reference, now)
            for entry, (rid, problem) in zip(message.request, items, strict=True)
            if problem is None and rid is not None
        ]
        if taken:
            async with self._database.transaction() as transaction:
                await self._store.put_sync(transaction, taken, now)
                await self._audit(transaction, "registration.packet.synced", actor, taken[0].packet_hash.hex())
        return [
            SyncedItem(entry.registration_id, entry.packet_id, problem)
            for entry, (_, problem) in zip(message.request, items, strict=True)
        ]

    async def _open(self, reference: str, body: bytes) -> bytes:
        """Decrypt a sync message with the key of a known machine."""
        undecryptable = Rejected("RPR-RGS-028", "Request Decryption Failed")
        centre, _, machine = reference.partition("_")
        try:
            found = await self._master_data.machine(MachineId(machine))
            text = json.loads(body)
            parts = packet_bytes.split(unb64(text) if isinstance(text, str) else b"")
            if reference_of(found.centre, found.id) != reference:
                raise undecryptable
            return await self._keys.decrypt(
                packet_key(CentreId(centre), found.id), parts.envelope, salt=parts.nonce, aad=parts.aad
            )
        except (Rejected, DecryptionFailed, ValueError, RecursionError):
            raise undecryptable from None

    def _check(self, entry: SyncEntry, reference: str) -> tuple[RID | None, Rejected | None]:
        """Return the RID of an announced packet, and what is wrong with the entry."""
        try:
            rid = _rid(entry.registration_id)
            _check_entry(entry, rid, reference)
        except Rejected as problem:
            return None, problem
        return rid, None

    async def _row(self, entry: SyncEntry, rid: RID, reference: str, now: datetime) -> SyncRow:
        packet_hash = await self._packet_hash(entry.packet_id or rid.reveal())
        version = int(now.timestamp() * 1000)
        return SyncRow(
            packet_hash=packet_hash,
            rid_hash=await self._rid_hash(rid.reveal()),
            process=entry.registration_type or "",
            reference=reference,
            checksum=bytes.fromhex(entry.packet_hash_value or ""),
            size=entry.packet_size or 0,
            supervisor_status=entry.supervisor_status or "",
            language=entry.lang_code or "",
            version=version,
            rid_box=await self._sealer.seal(RID_PURPOSE, rid_place(packet_hash, version), rid.reveal().encode()),
        )

    async def receive(self, upload: Upload, *, actor: str) -> None:
        """Checks in the order of section 4.3. Cost: one read, one object, one transaction."""
        stem, _, extension = upload.file_name.rpartition(".")
        packet_hash = await self._packet_hash(stem)
        found = await self._store.sync_of(packet_hash) if stem else None
        # 1 announced, 2 hash, 3 extension, 4 size, 5 first of its registration
        if found is None:
            raise Rejected("RPR-PKR-001", "Packet Not Found in Sync Table")
        sync, known = found
        now = self._clock.now()
        if len(upload.content) > MAX_PACKET_BYTES:
            raise Rejected("RPR-PKR-002", "Invalid Packet Size")
        if not hmac.compare_digest(await asyncio.to_thread(sha256, upload.content), sync.checksum):
            raise Rejected("RPR-PKR-009", "Packet HashSequence did not match")
        if extension != "zip":
            raise Rejected("RPR-PKR-003", "Invalid Packet Format")
        if len(upload.content) != sync.size:
            raise Rejected("RPR-PKR-013", "Packet Size is Not Matching")
        if known is not None and known.progress.external(now) is not External.RESEND:
            raise _duplicate()
        await self._admit(upload, sync, known, actor, now)

    async def _admit(
        self, upload: Upload, sync: SyncRow, known: KnownRegistration | None, actor: str, now: datetime
    ) -> None:
        """Store, then commit.

        The object's name depends on packet and content only, so that an upload that was cut short after the object
        was written is mended by its repetition.
        """
        name = f"{_BUCKET}/{await self._hash_hex(_OBJECT_DOMAIN, sync.packet_hash + sync.checksum)}"
        await self._objects.put(name, upload.content)
        faults.point("registration.upload.object-written")
        async with self._database.transaction() as transaction:
            workflow_id = await self._store.admit(transaction, sync, known, name, now)
            if workflow_id is None:
                raise _duplicate()
            await self._store.record(transaction, workflow_id, [domain.RECEIVED], Status.PROCESSING, now)
            await self._audit(transaction, "registration.packet.received", actor, str(workflow_id))
            faults.point("registration.upload.before-commit")
        faults.point("registration.upload.committed")

    async def statuses(self, registration_ids: Sequence[str], *, collapsed: bool) -> Sequence[ItemStatus]:
        hashes = {text: await self._rid_hash(text) for text in registration_ids}
        found = await self._store.progress_of(list(hashes.values()))
        now = self._clock.now()

        def word(progress: Progress | None) -> External:
            status = External.UPLOAD_PENDING if progress is None else progress.external(now)
            return External.PROCESSED if collapsed and status in COLLAPSED else status

        return [ItemStatus(text, word(found[key]) if key in found else None) for text, key in hashes.items()]

    async def packet_statuses(self, packet_ids: Sequence[str]) -> Sequence[ItemStatus]:
        hashes = {text: await self._packet_hash(text) for text in packet_ids}
        found = await self._store.packet_progress_of(list(hashes.values()))
        now = self._clock.now()

        def word(progress: Progress | None) -> External:
            return External.UPLOAD_PENDING if progress is None else progress.packet_external(now)

        return [ItemStatus(text, word(found[key]) if key in found else None) for text, key in hashes.items()]

    async def transactions(self, registration_id: str) -> Sequence[TransactionView]:
        rows = await self._store.transactions_of(await self._rid_hash(registration_id))
        if not rows:
            raise Rejected("RPR-RTS-001", "RID Not Found")
        return [
            TransactionView(
                id=str(row["id"]),
                type=row["type"],
                parent_id=None if row["parent_id"] is None else str(row["parent_id"]),
                status=row["status"],
                sub_status=row["sub_status"],
                comment=row["comment"],
                at=iso_millis(row["at"]),
            )
            for row in rows
        ]

    async def act(self, workflow_ids: Sequence[str], action: WorkflowAction, *, actor: str) -> None:
        """A restarted registration is examined and compared anew: no action lets a duplicate pass."""
        finding, status = (
            (domain.STOPPED, Status.REJECTED)
            if action is WorkflowAction.STOP_PROCESSING
            else (domain.RESTARTED, Status.PROCESSING)
        )
        for text in workflow_ids:
            workflow_id = _workflow_id(text)
            async with self._database.transaction() as transaction:
                await self._act(transaction, workflow_id, finding, status)
                await self._audit(
                    transaction, f"registration.workflow.{action.lower()}", actor, str(workflow_id), finding.code
                )

    async def _act(self, transaction: Transaction, workflow_id: uuid.UUID, finding: Finding, status: Status) -> None:
        current = await self._store.status_of(transaction, workflow_id)
        if current is None:
            raise _unknown_workflow(str(workflow_id))
        if current not in _RESTARTABLE:
            raise Rejected("RPR-WAA-004", f"Workflow id  {workflow_id} is not PAUSED")
        now = self._clock.now()
        await self._store.record(transaction, workflow_id, [finding], status, now)
        await self._store.withdraw_adjudication(transaction, workflow_id)
        if status is Status.PROCESSING:
            await self._store.queue(transaction, workflow_id, now)

    async def workflows(self, *, status: str | None, start: int, count: int) -> tuple[int, Sequence[WorkflowView]]:
        total, rows = await self._store.page(status, start, count)
        return total, [
            WorkflowView(
                workflow_id=str(row["workflow_id"]),
                status=row["status"],
                comment=row["comment"],
                process=row["process"],
                stage=row["stage"],
                last_success_stage=row["last_success_stage"],
                created_at=iso_millis(row["received_at"]),
                updated_at=iso_millis(row["latest_at"]),
            )
            for row in rows
        ]

    async def _rid_hash(self, text: str) -> bytes:
        return await self._sealer.keyed_hash(_RID_DOMAIN, text.encode())

    async def _packet_hash(self, text: str) -> bytes:
        return await self._sealer.keyed_hash(_PACKET_DOMAIN, text.encode())

    async def _hash_hex(self, domain: str, value: bytes) -> str:
        return (await self._sealer.keyed_hash(domain, value)).hex()

    async def _audit(
        self, transaction: Transaction, action: str, actor: str, subject: str, code: str | None = None
    ) -> None:
        event = AuditRecorded(
            context="registration",
            action=action,
            actor=actor,
            purpose="registration",
            subject=subject,
            code=code,
            at=iso_millis(self._clock.now()),
        )
        await self._outbox.publish(transaction, event, key=subject)


def _duplicate() -> Rejected:
    return Rejected("RPR-PKR-005", "Duplicate Request Received")


def _unknown_workflow(text: str) -> Rejected:
    return Rejected("RPR-WAA-003", f"Workflow id  {text}  not found in registration table")


def _workflow_id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise _unknown_workflow("") from None


def _parse_message(clear: bytes) -> SyncMessage:
    try:
        return msgspec.json.decode(clear, type=SyncMessage)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Rejected("RPR-RGS-017", "JSON Parsing Failed") from None


def _check_message(message: SyncMessage, now: datetime) -> None:
    if message.id is None:
        raise Rejected("RPR-RGS-021", "Missing Request Parameter - id")
    if message.id != SYNC_ID:
        raise Rejected("RPR-RGS-024", "Invalid Request Parameter - id")
    if message.version is None:
        raise Rejected("RPR-RGS-019", "Missing Request Value - version")
    if message.version != SYNC_VERSION:
        raise Rejected("RPR-RGS-022", "Invalid Request Parameter - version")
    if message.requesttime is None:
        raise Rejected("RPR-RGS-020", "Missing Request Parameter - requesttime")
    try:
        is_timely = abs(parse_instant(message.requesttime) - now) <= GRACE
    except ValueError:
        is_timely = False
    if not is_timely:
        raise Rejected("RPR-RGS-023", "Invalid Request Parameter - requesttime")
    if not 0 < len(message.request) <= MAX_SYNC_ITEMS:
        raise Rejected("RPR-RGS-015", "Invalid Request Value - Input Data is Incorrect")


def _rid(text: str | None) -> RID:
    try:
        return RID.parse(text or "")
    except InvalidIdentifier as invalid:
        raise _RID_CODES[invalid.problem] from None


def _check_entry(entry: SyncEntry, rid: RID, reference: str) -> None:
    """Check one announced packet (section 4.4); raises Rejected."""
    language = entry.lang_code or ""
    if not (len(language) == 3 and language.isascii() and language.isalpha()):
        raise Rejected("RPR-RGS-004", "Invalid Language Code - Language Code must be of Three Characters")
    if entry.registration_type not in set(Process):
        raise Rejected("RPR-RGS-003", "Invalid Sync Type")
    if not entry.packet_hash_value:
        raise Rejected("RPR-RGS-027", "Invalid Request Value - Hash Sequence is NULL")
    if not _is_checksum(entry.packet_hash_value):
        raise Rejected("RPR-RGS-014", "Invalid Request Value - packetHashValue")
    if entry.supervisor_status not in {"APPROVED", "REJECTED"}:
        raise Rejected("RPR-RGS-026", "Invalid Request Value - Supervisor Status can be APPROVED/REJECTED")
    if entry.additional_info_req_id:
        raise Rejected("RPR-RGS-036", "additionalInfoReqId is invalid")
    if entry.packet_size is None or entry.packet_size <= 0:
        raise Rejected("RPR-RGS-014", "Invalid Request Value - packetSize")
    if reference_of(rid.centre, rid.machine) != reference:
        raise Rejected("RPR-RGS-014", "Invalid Request Value - registrationId")
    if entry.packet_id is not None and not is_packet_id(entry.packet_id, rid, reference):
        raise Rejected("RPR-RGS-014", "Invalid Request Value - packetId")


def _is_checksum(text: str) -> bool:
    return len(text) == 2 * _HASH_BYTES and all(digit in "0123456789ABCDEF" for digit in text)
