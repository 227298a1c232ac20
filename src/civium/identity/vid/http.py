"""The VID service on the wire (section 2.1)."""

from pydantic import Field

from civium.identity.api import IssuedVid
from civium.identity.domain import invalid, missing
from civium.identity.requests import CODES, check_envelope, raise_all, uin_of
from civium.identity.vid.domain import VidStatus, kind_of
from civium.identity.vid.service import VidService
from civium.kernel.clock import Clock
from civium.kernel.identifiers import UIN, VID, InvalidIdentifier
from civium.platform.http import CallerParameter, RequestEnvelope, ResponseSigner, Router, WireModel, allow
from civium.platform.permissions import Permission

VERSION = "v1"


class VidRequest(WireModel):
    """Body of POST ``/vid``."""

    uin: str | None = Field(default=None, alias="UIN", repr=False)
    vid_type: str | None = Field(default=None, alias="vidType")


class UinRequest(WireModel):
    """Body of ``/vid/deactivate`` and ``/vid/reactivate``."""

    uin: str | None = Field(default=None, alias="UIN", repr=False)


class StatusRequest(WireModel):
    """Body of PATCH ``/vid/{VID}``."""

    vid_status: str | None = Field(default=None, alias="vidStatus")


def vid_router(vids: VidService, clock: Clock, signer: ResponseSigner) -> Router:
    """Return the VID routes under ``/idrepository/v1``; every answer is signed."""
    router = Router("/idrepository/v1", CODES, clock=clock, signer=signer)
    _add_person_routes(router, vids, clock)
    _add_vid_routes(router, vids, clock)
    return router


def _add_person_routes(router: Router, vids: VidService, clock: Clock) -> None:
    @router.enveloped("POST", "/vid", allow(Permission.VID_CREATE), id="mosip.vid.create", version=VERSION)
    async def create(body: RequestEnvelope[VidRequest], caller: CallerParameter) -> dict[str, object]:
        """Issue a VID."""
        raise_all(check_envelope(body, "mosip.vid.create", clock))
        if not body.request.vid_type:
            raise missing("vidType")
        kind = kind_of(body.request.vid_type)
        if kind is None:
            raise invalid("vidType")
        uin = uin_of(body.request.uin, "UIN")
        return _issued(await vids.create(uin, kind, actor=caller.subject))

    @router.enveloped("GET", "/vid/uin/{uin}", allow(Permission.VID_LIST), id="mosip.vid.read", version=VERSION)
    async def of_uin(uin: str, caller: CallerParameter) -> list[dict[str, object]]:
        """Return the usable VIDs of a UIN."""
        return [
            {
                "vid": listed.vid.reveal(),
                "vidType": listed.kind,
                "expiryTimestamp": listed.expires_at,
                "genratedOnTimestamp": listed.generated_at,
                "transactionLimit": listed.transaction_limit,
                "hashAttributes": {"id_hash": listed.id_hash, "SALT": listed.salt, "MODULO": listed.modulo},
            }
            for listed in await vids.of_uin(uin_of(uin, "UIN"), actor=caller.subject)
        ]

    @router.enveloped(
        "POST", "/vid/deactivate", allow(Permission.VID_RENEW), id="mosip.vid.deactivate", version=VERSION
    )
    async def deactivate(body: RequestEnvelope[UinRequest], caller: CallerParameter) -> dict[str, object]:
        """Deactivate every VID of a UIN."""
        await vids.deactivate_all(_uin(body, "mosip.vid.deactivate", clock), actor=caller.subject)
        return {"vidStatus": VidStatus.DEACTIVATED}

    @router.enveloped(
        "POST", "/vid/reactivate", allow(Permission.VID_RENEW), id="mosip.vid.reactivate", version=VERSION
    )
    async def reactivate(body: RequestEnvelope[UinRequest], caller: CallerParameter) -> dict[str, object]:
        """Make every deactivated VID of a UIN active again."""
        await vids.reactivate_all(_uin(body, "mosip.vid.reactivate", clock), actor=caller.subject)
        return {"vidStatus": VidStatus.ACTIVE}


def _add_vid_routes(router: Router, vids: VidService, clock: Clock) -> None:
    @router.enveloped("GET", "/vid/{vid}", allow(Permission.VID_READ), id="mosip.vid.read", version=VERSION)
    async def uin_of_vid(vid: str, caller: CallerParameter) -> dict[str, object]:
        """Return the UIN behind a usable VID."""
        return {"UIN": (await vids.uin_of(_vid(vid), actor=caller.subject)).reveal()}

    @router.enveloped("PATCH", "/vid/{vid}", allow(Permission.VID_UPDATE), id="mosip.vid.update", version=VERSION)
    async def change(vid: str, body: RequestEnvelope[StatusRequest], caller: CallerParameter) -> dict[str, object]:
        """Change a VID's status."""
        raise_all(check_envelope(body, "mosip.vid.update", clock))
        wanted = body.request.vid_status
        if not wanted:
            raise missing("vidStatus")
        if wanted not in VidStatus.__members__:
            raise invalid("vidStatus")
        replaced = await vids.change(_vid(vid), VidStatus(wanted), actor=caller.subject)
        restored = {"restoredVid": _issued(replaced.restored)} if replaced.restored is not None else {}
        return {"vidStatus": replaced.status, **restored}

    @router.enveloped(
        "POST", "/vid/{vid}/regenerate", allow(Permission.VID_RENEW), id="mosip.vid.regenerate", version=VERSION
    )
    async def regenerate(vid: str, caller: CallerParameter) -> dict[str, object]:
        """Replace a VID by a new one."""
        return _issued(await vids.regenerate(_vid(vid), actor=caller.subject))


def _uin(body: RequestEnvelope[UinRequest], operation: str, clock: Clock) -> UIN:
    raise_all(check_envelope(body, operation, clock))
    return uin_of(body.request.uin, "UIN")


def _vid(text: str) -> VID:
    try:
        return VID.parse(text)
    except InvalidIdentifier:
        raise invalid("vid") from None


def _issued(issued: IssuedVid) -> dict[str, object]:
    return {"VID": issued.vid.reveal(), "vidStatus": issued.status}
