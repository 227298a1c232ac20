"""Wire adapter: the relying parties' endpoints, and the certificates that they encrypt to."""

from collections.abc import Awaitable, Callable

import structlog
from fastapi import Query
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from civium.authentication import errors
from civium.authentication.api import Call, Usage
from civium.authentication.service import AuthenticationService
from civium.kernel.clock import Clock, iso_millis
from civium.keys.api import IDA_SIGN, Certificate, KeyRef, Keys
from civium.platform.http import SIGNED, ErrorCodes, Router, WireModel, allow
from civium.platform.permissions import Permission

_log = structlog.get_logger(__name__)

BASE = "/idauthentication/v1"


class CertificateResponse(WireModel):
    """One certificate (keys-and-crypto section 7.1)."""

    certificate: str
    certificate_signing_request: str | None = Field(None, alias="certSignRequest")
    issued_at: str = Field(alias="issuedAt")
    expiry_at: str = Field(alias="expiryAt")
    timestamp: str


class CertificateData(WireModel):
    """One generation of a certificate."""

    certificate_data: str = Field(alias="certificateData")
    issued_at: str = Field(alias="issuedAt")
    expiry_at: str = Field(alias="expiryAt")
    key_id: str = Field(alias="keyId")


class AllCertificates(WireModel):
    """Every generation of a certificate, newest first."""

    all_certificates: list[CertificateData] = Field(alias="allCertificates")


def routers(service: AuthenticationService, keys: Keys, clock: Clock) -> tuple[Router, ...]:
    """Return the service's routes. Internal ones first: no path of a relying party reaches them."""
    return _internal(keys, clock), _relying_parties(service, keys, clock)


class _Signer:
    """Signs answers with IDA:SIGN, certificate and its hash in the header (section 2.2)."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def sign(self, body: bytes) -> str:
        """Return the detached JWS over ``body``."""
        return await self._keys.jwt_sign(body, ref=IDA_SIGN, include_certificate=True, include_certificate_hash=True)


def _relying_parties(service: AuthenticationService, keys: Keys, clock: Clock) -> Router:
    signer = _Signer(keys)
    router = Router(BASE, ErrorCodes("IDA-MLC-007", "IDA-MLC-007"), signer=signer, clock=clock)

    def endpoint(usage: Usage) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            body = await _answer(service, usage, request)
            headers = {"response-signature": await signer.sign(body)}
            return Response(body, media_type="application/json", headers=headers)

        handle.__name__ = usage.name.lower()
        handle.__doc__ = _SUMMARIES[usage]
        return handle

    for usage in Usage:
        name = usage.name.lower()
        for path in (f"/{name}", f"/{name}/{{rest:path}}"):
            router.raw("POST", path, SIGNED)(endpoint(usage))
    return router


_SUMMARIES = {
    Usage.AUTH: "Tell whether the factors are the person's",
    Usage.KYC: "Give the person's allowed attributes, encrypted to the relying party",
    Usage.OTP: "Send the person a one-time password",
}


async def _answer(service: AuthenticationService, usage: Usage, request: Request) -> bytes:
    try:
        call = Call(
            path=tuple(part for part in request.path_params.get("rest", "").split("/") if part),
            signature=request.headers.get("signature", ""),
            authorization=request.headers.get("authorization", "").strip(),
            body=await request.body(),
        )
    except HTTPException:
        return service.refusal(usage, [errors.NOT_PROCESSED.of()])
    try:
        return await service.answer(usage, call)
    except Exception as problem:  # noqa: BLE001 - section 2.2: every failure is answered in the envelope
        _log.error("authentication_not_possible", exc_info=problem)
        return service.refusal(usage, [errors.NOT_PROCESSED.of()])


def _internal(keys: Keys, clock: Clock) -> Router:
    codes = ErrorCodes("KER-KMS-005", "KER-KMS-500", invalid_message="Invalid request")
    router = Router(f"{BASE}/internal", codes, signer=_Signer(keys), clock=clock)
    readable = allow(Permission.AUTHENTICATION_CERTIFICATE_READ)

    @router.enveloped("GET", "/getCertificate", readable)
    async def get_certificate(
        application_id: str = Query(alias="applicationId"), reference_id: str = Query("", alias="referenceId")
    ) -> CertificateResponse:
        """Return the current certificate of a key of authentication."""
        found = await keys.certificate(KeyRef(application_id, reference_id))
        return CertificateResponse(
            certificate=found.pem,
            issued_at=iso_millis(found.issued_at),
            expiry_at=iso_millis(found.expires_at),
            timestamp=iso_millis(clock.now()),
        )

    @router.enveloped("GET", "/getAllCertificates", readable)
    async def get_all_certificates(
        application_id: str = Query(alias="applicationId"), reference_id: str = Query("", alias="referenceId")
    ) -> AllCertificates:
        """Return every certificate of a key of authentication."""
        found = await keys.certificates(KeyRef(application_id, reference_id))
        return AllCertificates(all_certificates=[_certificate_data(certificate) for certificate in found])

    return router


def _certificate_data(certificate: Certificate) -> CertificateData:
    return CertificateData(
        certificate_data=certificate.pem,
        issued_at=iso_millis(certificate.issued_at),
        expiry_at=iso_millis(certificate.expires_at),
        key_id=certificate.key_id,
    )
