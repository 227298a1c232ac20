"""The registration processor over HTTP (registration section 4.4). Every answer is signed."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

from fastapi import Header
from pydantic import Field
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import Response

from civium.kernel.clock import Clock
from civium.kernel.errors import Rejected
from civium.packets.api import SYNC_ID
from civium.platform.http import (
    CallerParameter,
    ErrorCodes,
    RequestEnvelope,
    ResponseSigner,
    Router,
    WireModel,
    allow,
)
from civium.platform.permissions import Permission
from civium.registration.api import ItemStatus, Registration, SyncedItem, Upload, WorkflowAction
from civium.registration.service import MAX_PACKET_BYTES

BASE = "/registrationprocessor/v1"
RECEIVER_CODES = ErrorCodes("RPR-PKR-006", "RPR-PKR-007", "Packet Not Available in Request", "Unknown Exception Found")
STATUS_CODES = ErrorCodes(
    "RPR-RGS-015", "RPR-RGS-018", "Invalid Request Value - Input Data is Incorrect", "Unknown Exception Found"
)
TRANSACTION_CODES = ErrorCodes("RPR-RTS-003", "RPR-RTS-002", "Invalid request", "Unknown Exception Occured")
WORKFLOW_CODES = ErrorCodes("RPR-WAA-001", "RPR-WAA-002", "Invalid Request Value - request", "Unknown Exception")

_MAX_ITEMS = 100
_MAX_SYNC_BODY = 2 * 1024 * 1024
_PACKET_ID = "mosip.registration.packet"
_STATUS_ID = "mosip.registration.status"
_EXTERNAL_ID = "mosip.registration.external.status"
_PACKET_STATUS_ID = "mosip.registration.packet.external.status"
_VERSION = "1.0"


class RegistrationItem(WireModel):
    """One registration that is asked for."""

    registration_id: str = Field(alias="registrationId", max_length=64)


class PacketItem(WireModel):
    """One packet that is asked for."""

    packet_id: str = Field(alias="packetId", max_length=128)


class TransactionItem(WireModel):
    """One step of a registration."""

    id: str
    registration_id: str = Field(alias="registrationId")
    transaction_type_code: str = Field(alias="transactionTypeCode")
    parent_transaction_id: str | None = Field(alias="parentTransactionId")
    status_code: str = Field(alias="statusCode")
    sub_status_code: str = Field(alias="subStatusCode")
    status_comment: str = Field(alias="statusComment")
    created: str = Field(alias="createdDateTimes")


class ActionRequest(WireModel):
    """What to do with which registrations."""

    workflow_ids: list[str] = Field(alias="workflowIds", min_length=1, max_length=_MAX_ITEMS)
    action: str = Field(alias="workflowAction")


class WorkflowColumn(StrEnum):
    """Columns that workflows may be filtered by."""

    STATUS = "statusCode"


class WorkflowFilter(WireModel):
    """A condition of a workflow search."""

    column: str = Field(alias="columnName")
    value: str


class Page(WireModel):
    """A page of a search."""

    start: int = Field(0, alias="pageStart", ge=0, le=1_000_000)
    size: int = Field(10, alias="pageFetch", ge=1, le=100)


class WorkflowSearch(WireModel):
    """A search for registrations by their state, never by person."""

    filters: list[WorkflowFilter] = Field(default_factory=list, max_length=1)
    pagination: Page = Page()


Items = Annotated[list[RegistrationItem], Field(min_length=1, max_length=_MAX_ITEMS)]
PacketItems = Annotated[list[PacketItem], Field(min_length=1, max_length=_MAX_ITEMS)]


class _InMemory(MultiPartParser):
    """A multipart parser that never spools to disk; the body limit bounds it."""

    spool_max_size = 2 * MAX_PACKET_BYTES


def receiver_router(registration: Registration, signer: ResponseSigner, clock: Clock) -> Router:
    """Return the packet receiver's route."""
    router = Router(f"{BASE}/packetreceiver", RECEIVER_CODES, signer=signer, clock=clock)

    @router.enveloped(
        "POST", "/registrationpackets", allow(Permission.REGISTRATION_UPLOAD), id=_PACKET_ID, version=_VERSION
    )
    async def receive(request: Request, caller: CallerParameter) -> dict[str, str]:
        """Take a packet in: multipart field ``file``, named ``<packetId>.zip``."""
        await registration.receive(await _upload(request), actor=caller.subject)
        return {"status": "Packet has reached Packet Receiver"}

    return router


async def _upload(request: Request) -> Upload:
    missing = Rejected("RPR-PKR-006", "Packet Not Available in Request")
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise missing
    try:
        form = await _InMemory(request.headers, request.stream(), max_files=1, max_fields=4).parse()
    except (MultiPartException, KeyError):
        raise missing from None
    try:
        file = form.get("file")
        if not isinstance(file, UploadFile) or not file.filename:
            raise missing
        return Upload(file.filename, await file.read(MAX_PACKET_BYTES + 1))
    finally:
        await form.close()


def status_router(registration: Registration, signer: ResponseSigner, clock: Clock) -> Router:
    """Return the routes of sync and status."""
    router = Router(f"{BASE}/registrationstatus", STATUS_CODES, signer=signer, clock=clock)

    @router.enveloped("POST", "/syncV2", allow(Permission.REGISTRATION_SYNC), id=SYNC_ID, version=_VERSION)
    async def sync(
        request: Request,
        caller: CallerParameter,
        reference: Annotated[str, Header(alias="Center-Machine-RefId", max_length=64)],
    ) -> Response:
        """Take the announcement of packets in: the body is one JSON string, encrypted for the registration."""
        body = await request.body()
        if len(body) > _MAX_SYNC_BODY:
            raise Rejected("RPR-RGS-015", "Invalid Request Value - Input Data is Incorrect")
        items = await registration.sync(reference, body, actor=caller.subject)
        taken = [_synced(item) for item in items if item.problem is None]
        errors = [_not_synced(item, item.problem) for item in items if item.problem is not None]
        return await router.envelope(taken or None, id=SYNC_ID, version=_VERSION, errors=errors or None)

    async def registrations(envelope: RequestEnvelope[Items], expected: str, *, collapsed: bool) -> Response:
        _check(envelope, expected)
        ids = [item.registration_id for item in envelope.request]
        found = await registration.statuses(ids, collapsed=collapsed)
        return await _statuses(router, expected, found, "registrationId", ("RPR-RGS-031", "RID Not Found"))

    @router.enveloped("POST", "/search", allow(Permission.REGISTRATION_STATUS_READ), id=_STATUS_ID, version=_VERSION)
    async def search(envelope: RequestEnvelope[Items]) -> Response:
        """Tell the status of registrations; final words are shown as PROCESSED."""
        return await registrations(envelope, _STATUS_ID, collapsed=True)

    @router.enveloped(
        "POST", "/externalstatus/search", allow(Permission.REGISTRATION_STATUS_READ), id=_EXTERNAL_ID, version=_VERSION
    )
    async def external_search(envelope: RequestEnvelope[Items]) -> Response:
        """Tell the external status of registrations."""
        return await registrations(envelope, _EXTERNAL_ID, collapsed=False)

    @router.enveloped(
        "POST",
        "/packetexternalstatus",
        allow(Permission.REGISTRATION_STATUS_READ),
        id=_PACKET_STATUS_ID,
        version=_VERSION,
    )
    async def packet_status(envelope: RequestEnvelope[PacketItems]) -> Response:
        """Tell the external status of packets."""
        _check(envelope, _PACKET_STATUS_ID)
        found = await registration.packet_statuses([item.packet_id for item in envelope.request])
        return await _statuses(router, _PACKET_STATUS_ID, found, "packetId", ("RPR-RGS-037", "PacketId Not Found"))

    return router


def _check(envelope: RequestEnvelope[Any], expected: str) -> None:
    if envelope.id is None:
        raise Rejected("RPR-RGS-021", "Missing Request Parameter - id")
    if envelope.id != expected:
        raise Rejected("RPR-RGS-024", "Invalid Request Parameter - id")
    if envelope.version is None:
        raise Rejected("RPR-RGS-019", "Missing Request Value - version")
    if envelope.version != _VERSION:
        raise Rejected("RPR-RGS-022", "Invalid Request Parameter - version")
    if envelope.requesttime is None:
        raise Rejected("RPR-RGS-020", "Missing Request Parameter - requesttime")


def _synced(item: SyncedItem) -> dict[str, str | None]:
    return {"registrationId": item.registration_id, "packetId": item.packet_id, "status": "SUCCESS"}


def _not_synced(item: SyncedItem, problem: Rejected) -> dict[str, str]:
    return {
        "registrationId": item.registration_id or "",
        "packetId": item.packet_id or "",
        "status": "FAILURE",
        "errorCode": problem.code,
        "message": problem.message,
    }


async def _statuses(
    router: Router, id: str, found: Sequence[ItemStatus], member: str, unknown: tuple[str, str]
) -> Response:
    answer: list[dict[str, str | None]] = [
        {member: item.id, "statusCode": item.status} for item in found if item.status is not None
    ]
    if member == "registrationId":
        answer = [{**entry, "additionalInfoReqId": None} for entry in answer]
    code, message = unknown
    errors = [{"errorCode": code, "message": message, member: item.id} for item in found if item.status is None]
    return await router.envelope(answer or None, id=id, version=_VERSION, errors=errors or None)


def transaction_router(registration: Registration, signer: ResponseSigner, clock: Clock) -> Router:
    """Return the route of a registration's steps."""
    router = Router(f"{BASE}/registrationtransaction", TRANSACTION_CODES, signer=signer, clock=clock)

    @router.enveloped(
        "GET",
        "/search/{rid}",
        allow(Permission.REGISTRATION_TRANSACTION_READ),
        id="mosip.registration.transaction",
        version=_VERSION,
    )
    async def search(rid: str) -> list[TransactionItem]:
        """Tell the steps of a registration, oldest first."""
        return [
            TransactionItem(
                id=step.id,
                registration_id=rid,
                transaction_type_code=step.type,
                parent_transaction_id=step.parent_id,
                status_code=step.status,
                sub_status_code=step.sub_status,
                status_comment=step.comment,
                created=step.at,
            )
            for step in await registration.transactions(rid)
        ]

    return router


def workflow_router(registration: Registration, signer: ResponseSigner, clock: Clock) -> Router:
    """Return the routes by which an administrator finds, restarts and stops registrations."""
    router = Router(f"{BASE}/workflowmanager", WORKFLOW_CODES, signer=signer, clock=clock)

    @router.enveloped(
        "POST",
        "/workflowaction",
        allow(Permission.REGISTRATION_REPROCESS),
        id="mosip.registration.processor.workflow.action",
        version=_VERSION,
    )
    async def act(envelope: RequestEnvelope[ActionRequest], caller: CallerParameter) -> dict[str, str]:
        """Restart or stop registrations that failed or are paused."""
        try:
            action = WorkflowAction(envelope.request.action)
        except ValueError:
            raise Rejected("RPR-WAS-000", "Workflow Action not supported") from None
        await registration.act(envelope.request.workflow_ids, action, actor=caller.subject)
        return {"statusMessage": f"Process the workflow action {action} successfully"}

    @router.enveloped(
        "POST",
        "/workflow/search",
        allow(Permission.REGISTRATION_REPROCESS),
        id="mosip.registration.processor.workflow.search",
        version="v1",
    )
    async def search(envelope: RequestEnvelope[WorkflowSearch]) -> dict[str, Any]:
        """Find registrations by their status."""
        asked = envelope.request
        if any(condition.column not in set(WorkflowColumn) for condition in asked.filters):
            raise Rejected("RPR-WAA-001", "Invalid Request Value - columnName")
        status = next((condition.value for condition in asked.filters), None)
        start = asked.pagination.start * asked.pagination.size
        total, found = await registration.workflows(status=status, start=start, count=asked.pagination.size)
        return {
            "fromRecord": start,
            "toRecord": start + len(found),
            "totalRecord": total,
            "data": [
                {
                    "workflowId": workflow.workflow_id,
                    "statusCode": workflow.status,
                    "statusComment": workflow.comment,
                    "createdBy": "system",
                    "createDateTime": workflow.created_at,
                    "updatedBy": "system",
                    "updateDateTime": workflow.updated_at,
                    "workflowType": workflow.process,
                    "currentStageName": workflow.stage,
                    "resumeTimestamp": None,
                    "defaultResumeAction": None,
                    "pauseRuleIds": None,
                    "lastSuccessStageName": workflow.last_success_stage,
                }
                for workflow in found
            ],
        }

    return router
