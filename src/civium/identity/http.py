"""The identity service and the UIN and VID generator on the wire (sections 1.1, 6.8)."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from civium.identity.api import PersonStatus
from civium.identity.domain import (
    RETURNED_BIOMETRICS,
    RID_STORAGE_LENGTH,
    Addition,
    Change,
    LockRequest,
    invalid,
    missing,
)
from civium.identity.individuals import IndividualIds, kind_of
from civium.identity.locks import LockService
from civium.identity.mint import Mint
from civium.identity.requests import CODES, check_envelope, instant, uin_of
from civium.identity.service import RegisterService
from civium.identity.vid.service import VidService
from civium.kernel.clock import Clock
from civium.kernel.encoding import b64u, unb64
from civium.kernel.errors import Rejected, RejectedMany
from civium.kernel.identifiers import RID, UIN, InvalidIdentifier
from civium.platform.http import (
    CallerParameter,
    Count,
    ErrorCodes,
    Flag,
    RequestEnvelope,
    ResponseSigner,
    Router,
    WireModel,
    allow,
)
from civium.platform.permissions import Permission

VERSION = "v1"
MAX_UNLOCK_SECONDS = 10 * 365 * 24 * 3600
READ_TYPES = frozenset({"bio", "demo", "metadata", "all"})


class Document(WireModel):
    """A file of a category, base64url."""

    category: str | None = None
    value: str | None = Field(default=None, repr=False)


class IdentityRequest(WireModel):
    """Body of POST and PATCH ``/``."""

    registration_id: str | None = Field(default=None, alias="registrationId")
    uin: str | None = Field(default=None, repr=False)
    status: str | None = None
    identity: dict[str, Any] | None = Field(default=None, repr=False)
    documents: list[Document] | None = None
    verified_attributes: list[str] | None = Field(default=None, alias="verifiedAttributes")


class ReadRequest(WireModel):
    """Body of POST ``/idvid/``, not wrapped in the envelope."""

    id: str | None = None
    type: str | None = None
    id_type: str | None = Field(default=None, alias="idType")
    finger_format: str | None = Field(default=None, alias="fingerExtractionFormat")
    iris_format: str | None = Field(default=None, alias="irisExtractionFormat")
    face_format: str | None = Field(default=None, alias="faceExtractionFormat")


class LockEntry(WireModel):
    """One auth type to lock or unlock."""

    auth_type: str = Field(alias="authType")
    auth_sub_type: str | None = Field(default=None, alias="authSubType")
    locked: Flag
    unlock_for_seconds: Count | None = Field(default=None, alias="unlockForSeconds", le=MAX_UNLOCK_SECONDS)
    request_id: str | None = Field(default=None, alias="requestId", pattern=r"^[ -~]{1,64}$")


class LockBody(WireModel):
    """Body of POST ``/authtypes/status``: its own form of envelope."""

    individual_id: str | None = Field(default=None, alias="individualId", repr=False)
    individual_id_type: str | None = Field(default=None, alias="individualIdType")
    request: list[LockEntry] | None = None


class UinStatus(WireModel):
    """Body of PUT ``/uin``."""

    uin: str = Field(repr=False)
    status: str


def identity_router(
    register: RegisterService, locks: LockService, individuals: IndividualIds, clock: Clock, signer: ResponseSigner
) -> Router:
    """Return the routes under ``/idrepository/v1/identity``; every answer is signed."""
    router = Router("/idrepository/v1/identity", CODES, clock=clock, signer=signer)
    _add_writing_routes(router, register, clock)
    _add_reading_routes(router, register, individuals)
    _add_lock_routes(router, locks, individuals)
    return router


def _add_writing_routes(router: Router, register: RegisterService, clock: Clock) -> None:
    @router.enveloped("POST", "/", allow(Permission.IDENTITY_ADD), id="mosip.id.create", version=VERSION)
    async def add(body: RequestEnvelope[IdentityRequest], caller: CallerParameter) -> dict[str, object]:
        """Add an identity."""
        problems = check_envelope(body, "mosip.id.create", clock)
        request = body.request
        problems += _registration_problems(request) + ([] if request.identity else [missing("identity")])
        uin, files = _uin_and_files(request, problems)
        addition = Addition(RID(request.registration_id or ""), uin, request.identity or {}, files, _verified(request))
        return {"status": await register.add(addition, actor=caller.subject)}

    @router.enveloped("PATCH", "/", allow(Permission.IDENTITY_UPDATE), id="mosip.id.update", version=VERSION)
    async def update(body: RequestEnvelope[IdentityRequest], caller: CallerParameter) -> dict[str, object]:
        """Change an identity or its status."""
        problems = check_envelope(body, "mosip.id.update", clock)
        request = body.request
        if request.status is not None and request.status not in PersonStatus.__members__:
            problems.append(invalid("status"))
        problems += _registration_problems(request)
        if not request.identity and request.status is None:
            problems.append(missing("identity"))
        uin, files = _uin_and_files(request, problems)
        change = Change(
            RID(request.registration_id or ""),
            uin,
            PersonStatus(request.status) if request.status else None,
            request.identity or None,
            files,
            _verified(request),
        )
        return {"status": await register.update(change, actor=caller.subject)}


def _add_reading_routes(router: Router, register: RegisterService, individuals: IndividualIds) -> None:
    async def read(request: ReadRequest, actor: str) -> dict[str, object]:
        types = _types(request)
        person = await individuals.person(request.id, request.id_type)
        documents = not types.isdisjoint({"demo", "all"})
        biometrics = RETURNED_BIOMETRICS if not types.isdisjoint({"bio", "all"}) else frozenset()
        record, files = await register.read(
            person,
            lambda file: file.category in biometrics if file.biometric else documents,
            purpose="retrieve",
            actor=actor,
        )
        return {
            "status": record.status,
            "identity": record.contents.identity,
            "documents": [{"category": category, "value": b64u(blob)} for category, blob in files.items()],
            "verifiedAttributes": record.contents.verified,
        }

    @router.enveloped("GET", "/idvid/{id}", allow(Permission.IDENTITY_READ), id="mosip.id.read", version=VERSION)
    async def read_by_path(
        id: str,
        caller: CallerParameter,
        type: str | None = None,
        idType: str | None = None,  # noqa: N803 - query names are the wire's
        fingerExtractionFormat: str | None = None,  # noqa: N803
        irisExtractionFormat: str | None = None,  # noqa: N803
        faceExtractionFormat: str | None = None,  # noqa: N803
    ) -> dict[str, object]:
        """Read an identity by UIN, VID or registration id."""
        request = ReadRequest(
            id=id,
            type=type,
            id_type=idType,
            finger_format=fingerExtractionFormat,
            iris_format=irisExtractionFormat,
            face_format=faceExtractionFormat,
        )
        return await read(request, caller.subject)

    @router.enveloped("POST", "/idvid/", allow(Permission.IDENTITY_READ), id="mosip.id.read", version=VERSION)
    async def read_by_body(body: ReadRequest, caller: CallerParameter) -> dict[str, object]:
        """Read an identity; the identifier stays out of the path."""
        if not body.id:
            raise missing("id")
        return await read(body, caller.subject)

    @router.enveloped(
        "GET",
        "/rid/{individual_id}",
        allow(Permission.IDENTITY_RID_READ),
        id="mosip.idrepo.rid.get",
        version="1.0",
    )
    async def registration_id(
        individual_id: str,
        caller: CallerParameter,
        idType: str | None = None,  # noqa: N803
    ) -> dict[str, object]:
        """Return the registration id of a UIN or VID."""
        person = await individuals.person(individual_id, idType)
        return {"rid": (await register.rid_of(person, actor=caller.subject)).reveal()}


def _add_lock_routes(router: Router, locks: LockService, individuals: IndividualIds) -> None:
    @router.enveloped("POST", "/authtypes/status", allow(Permission.IDENTITY_LOCK))
    async def lock(body: LockBody, caller: CallerParameter) -> dict[str, object]:
        """Lock or unlock authentication types."""
        if not body.request:
            raise missing("request")
        person = await individuals.person(body.individual_id, _lock_id_type(body))
        requests = [
            LockRequest(entry.auth_type, entry.auth_sub_type, entry.locked, entry.unlock_for_seconds, entry.request_id)
            for entry in body.request
        ]
        await locks.change(person, requests, actor=caller.subject)
        return {"status": "Success"}

    @router.enveloped("GET", "/authtypes/status/{id}", allow(Permission.IDENTITY_LOCK))
    async def lock_states(id: str) -> dict[str, object]:
        """Tell which authentication types are locked."""
        person = await individuals.person(id, _uin_or_vid(id))
        states = await locks.states(person)
        return {
            "authTypes": [
                {
                    "authType": state.auth_type,
                    "authSubType": state.auth_sub_type,
                    "locked": state.locked,
                    "unlockForSeconds": state.unlock_seconds,
                    "requestId": state.request_id,
                    "metadata": None,
                }
                for state in states
            ]
        }


def _registration_problems(request: IdentityRequest) -> list[Rejected]:
    rid = request.registration_id
    if not rid:
        return [missing("registrationId")]
    problems = [] if len(rid) <= RID_STORAGE_LENGTH and rid.isprintable() else [invalid("registrationId")]
    if not all(name.isprintable() for name in _verified(request)):
        problems.append(invalid("verifiedAttributes"))
    return problems


def _uin_and_files(request: IdentityRequest, problems: list[Rejected]) -> tuple[UIN, dict[str, bytes]]:
    """Return the UIN and the decoded documents; raises RejectedMany with these problems and the earlier ones."""
    files = _files(request, problems)
    try:
        uin = uin_of((request.identity or {}).get("UIN", request.uin), "UIN")
    except Rejected as problem:
        uin = None
        problems.append(missing("identity/UIN") if problem.code == "IDR-IDC-001" else problem)
    if uin is None or problems:
        raise RejectedMany(problems)
    return uin, files


def _files(request: IdentityRequest, problems: list[Rejected]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    described: Mapping[str, Any] = request.identity or {}
    for index, document in enumerate(request.documents or ()):
        if document.category is None or document.value is None:
            problems.append(invalid("documents"))
        elif document.category in files or (document.category not in described):
            problems.append(invalid(f"documents/{index}/category"))
        else:
            blob = _decoded(document.value)
            if not blob:
                problems.append(invalid(f"documents/{index}/value"))
            files[document.category] = blob
    return files


def _decoded(value: str) -> bytes:
    try:
        return unb64(value)
    except ValueError:
        return b""


def _verified(request: IdentityRequest) -> tuple[str, ...]:
    return tuple(request.verified_attributes or ())


def _types(request: ReadRequest) -> frozenset[str]:
    types = frozenset(part.strip().lower() for part in (request.type or "").split(",") if part.strip())
    if not types <= READ_TYPES:
        raise invalid("type")
    if request.finger_format or request.iris_format or request.face_format:
        if not types:
            raise missing("type")
        if types.isdisjoint({"bio", "all"}):
            raise invalid("type")
        raise Rejected("IDR-IDS-009", "Failed to extract template from bio extractor service")
    return types


def _lock_id_type(body: LockBody) -> str:
    if not body.individual_id:
        raise missing("individualId")
    if body.individual_id_type is None:
        return _uin_or_vid(body.individual_id)
    if body.individual_id_type not in {"UIN", "VID"}:
        raise invalid("individualIdType")
    return body.individual_id_type


def _uin_or_vid(text: str) -> str:
    kind = kind_of(text)
    if kind == "ID":
        raise invalid("individualId")
    return kind


def generator_router(mint: Mint, vids: VidService, clock: Clock, signer: ResponseSigner) -> Router:
    """Return the routes under ``/v1/idgenerator``: numbers for services that add people themselves; signed."""
    codes = ErrorCodes("KER-UIG-005", "KER-UIG-005", internal_message="Internal Server Error")
    router = Router("/v1/idgenerator", codes, clock=clock, signer=signer)

    @router.enveloped("GET", "/uin", allow(Permission.IDGENERATOR_USE))
    async def issue_uin() -> dict[str, object]:
        """Issue a UIN."""
        return {"uin": (await mint.issue()).reveal()}

    @router.enveloped("PUT", "/uin", allow(Permission.IDGENERATOR_USE))
    async def set_uin_status(body: RequestEnvelope[UinStatus]) -> dict[str, object]:
        """Assign an issued UIN or give it back."""
        try:
            uin = UIN.parse(body.request.uin)
        except InvalidIdentifier:
            raise Rejected("KER-UIG-001", "UIN could not be found") from None
        await mint.set_status(uin, body.request.status)
        return {"uin": body.request.uin, "status": body.request.status}

    @router.enveloped("GET", "/vid", allow(Permission.IDGENERATOR_USE))
    async def issue_vid(videxpiry: str | None = None) -> dict[str, object]:
        """Issue a VID number that is bound to no person."""
        if videxpiry is None:
            return {"vid": (await vids.reserve_number(None)).reveal()}
        if not videxpiry:
            raise Rejected("KER-VID-002", "Vid expiry date is empty")
        expires_at = instant(videxpiry)
        if expires_at is None:
            raise Rejected("KER-VID-004", "Vid expiry date pattern should be yyyy-MM-dd'T'HH:mm:ss.SSS'Z'")
        if expires_at < clock.now():
            raise Rejected("KER-VID-003", "Vid expiry date is before current utc time")
        return {"vid": (await vids.reserve_number(expires_at)).reveal()}

    return router
