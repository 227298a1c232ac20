"""Authorities and certificates of partners, by domain (section 7.6)."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Final

from pydantic import Field

from civium.kernel.clock import iso_millis, parse_instant
from civium.keys.api import PMS, Authority, KeyProblem, SignatureInvalid, TrustStore
from civium.keys.formats.certificates import chain_p7b, parse_pem
from civium.keys.formats.primitives import thumbprint
from civium.keys.http.access import ApplicationAccess
from civium.keys.http.router import KeyRouter, Mandatory, Pem, blank, invalid_request
from civium.keys.http.uses import UseLog
from civium.platform.http import CallerParameter, RequestEnvelope, WireModel, allow
from civium.platform.permissions import Permission

MAX_PAGE: Final = 500

Answer = dict[str, object]
Domain = Annotated[Mandatory, Field(max_length=36)]


class AuthorityUpload(WireModel):
    """Body of uploadCACertificate and verifyCertificateTrust."""

    certificate_data: Pem = Field(alias="certificateData")
    domain: Domain = Field(alias="partnerDomain")


class PartnerUpload(AuthorityUpload):
    """Body of uploadPartnerCertificate."""

    organisation: Mandatory = Field(alias="organizationName", max_length=256)


class AuthorityQuery(WireModel):
    """Body of getCaCertificates."""

    kind: str | None = Field(default=None, alias="caCertificateType", max_length=16)
    domain: str | None = Field(default=None, alias="partnerDomain", max_length=36)
    exclude_own: bool | None = Field(default=None, alias="excludeMosipCA")
    sort_field: str | None = Field(default=None, alias="sortByFieldName", max_length=36)
    sort_order: str | None = Field(default=None, alias="sortOrder", max_length=8)
    page_number: int | None = Field(default=None, alias="pageNumber", ge=1)
    page_size: int | None = Field(default=None, alias="pageSize", ge=1, le=MAX_PAGE)
    certificate_id: str | None = Field(default=None, alias="certId", max_length=64)
    issued_to: str | None = Field(default=None, alias="issuedTo", max_length=256)
    issued_by: str | None = Field(default=None, alias="issuedBy", max_length=256)
    valid_from: str | None = Field(default=None, alias="validFromDate", max_length=40)
    valid_till: str | None = Field(default=None, alias="validTillDate", max_length=40)
    uploaded_at: str | None = Field(default=None, alias="uploadTime", max_length=40)
    expiring_before: str | None = Field(default=None, alias="expiringWithinDate", max_length=40)

    def admits(self, authority: Authority, now: datetime) -> bool:
        """Tell whether an authority is asked for; raises KeyProblem (KER-PCM-018, KER-KMS-005)."""
        certificate = authority.certificate
        return (
            self._kind() in (None, authority.kind)
            and (blank(self.domain) or self.domain == authority.domain)
            and not (self.exclude_own and authority.own)
            and (blank(self.certificate_id) or self.certificate_id == authority.certificate_id)
            and _within(self.issued_to, certificate.subject.rfc4514_string())
            and _within(self.issued_by, certificate.issuer.rfc4514_string())
            and _same_day(self.valid_from, certificate.not_valid_before_utc)
            and _same_day(self.valid_till, certificate.not_valid_after_utc)
            and _same_day(self.uploaded_at, authority.added_at)
            and self._expires_in_time(certificate.not_valid_after_utc, now)
        )

    def _kind(self) -> str | None:
        if self.kind is None or blank(self.kind):
            return None
        kind = self.kind.strip().upper()
        if kind not in {"ROOT", "INTERMEDIATE"}:
            raise KeyProblem("KER-PCM-018", "Invalid Certificate Type")
        return kind

    def _expires_in_time(self, end: datetime, now: datetime) -> bool:
        limit = _date(self.expiring_before)
        return limit is None or now <= end <= limit

    def ordered(self, authorities: Sequence[Authority]) -> list[Authority]:
        """Return the authorities in the order asked for: newest first unless ``asc``."""
        key = _SORTS.get((self.sort_field or "createdtimes").strip().lower())
        if key is None:
            raise invalid_request()
        return sorted(authorities, key=key, reverse=(self.sort_order or "desc").strip().lower() != "asc")


_SORTS: Final[dict[str, Callable[[Authority], str]]] = {
    "createdtimes": lambda one: iso_millis(one.added_at),
    "uploadtime": lambda one: iso_millis(one.added_at),
    "validfromdate": lambda one: iso_millis(one.certificate.not_valid_before_utc),
    "validtilldate": lambda one: iso_millis(one.certificate.not_valid_after_utc),
    "issuedto": lambda one: one.certificate.subject.rfc4514_string(),
    "issuedby": lambda one: one.certificate.issuer.rfc4514_string(),
    "partnerdomain": lambda one: one.domain,
    "cacertificatetype": lambda one: one.kind,
}


def _within(part: str | None, whole: str) -> bool:
    return part is None or part.strip().lower() in whole.lower()


def _date(text: str | None) -> datetime | None:
    if text is None or blank(text):
        return None
    try:
        return parse_instant(text.strip())
    except ValueError:
        raise invalid_request() from None


def _same_day(text: str | None, at: datetime) -> bool:
    asked = _date(text)
    return asked is None or asked.date() == at.date()


def add_partner_certificates(router: KeyRouter, trust: TrustStore, access: ApplicationAccess, uses: UseLog) -> None:
    """Declare the routes of trust."""
    _add_uploads(router, trust, access, uses)
    _add_reading(router, trust)


def _add_uploads(router: KeyRouter, trust: TrustStore, access: ApplicationAccess, uses: UseLog) -> None:
    @router.enveloped("POST", "/uploadCACertificate", allow(Permission.KEYS_AUTHORITY_UPLOAD))
    async def upload_authority(body: RequestEnvelope[AuthorityUpload], caller: CallerParameter) -> Answer:
        """Take a domain's root or intermediates in."""
        with uses.using(caller, "uploadCACertificate", PMS):
            status = await trust.add_ca(body.request.certificate_data, body.request.domain)
        return {"status": status, "timestamp": router.timestamp()}

    @router.enveloped("POST", "/uploadPartnerCertificate", allow(Permission.KEYS_PARTNER_CERTIFICATE))
    async def upload_partner(body: RequestEnvelope[PartnerUpload], caller: CallerParameter) -> Answer:
        """Check a partner's certificate and return it re-signed, with its chain."""
        asked = body.request
        with uses.using(caller, "uploadPartnerCertificate", PMS):
            access.check_certify(caller)
            made = await trust.register_partner(asked.certificate_data, asked.organisation, asked.domain)
        return {
            "signedCertificateData": made.signed_chain_p7b,
            "certificateId": made.certificate_id,
            "timestamp": router.timestamp(),
        }


def _add_reading(router: KeyRouter, trust: TrustStore) -> None:
    read = allow(Permission.KEYS_PARTNER_CERTIFICATE)
    list_authorities = allow(Permission.KEYS_AUTHORITY_READ)

    @router.enveloped("GET", "/getPartnerCertificate/{certificate_id}", read)
    async def partner_certificate(certificate_id: str) -> Answer:
        """Return a partner's certificate as re-signed."""
        found = await trust.partner_certificate(certificate_id)
        return {"certificateData": found.signed_pem, "timestamp": router.timestamp()}

    @router.enveloped("GET", "/getPartnerSignedCertificate/{certificate_id}", read)
    async def both_certificates(certificate_id: str) -> Answer:
        """Return a partner's certificate as its authority signed it, and as re-signed."""
        found = await trust.partner_certificate(certificate_id)
        return {
            "caSignedCertificateData": found.original_pem,
            "mosipSignedCertificateData": found.signed_pem,
            "timestamp": router.timestamp(),
        }

    @router.enveloped("POST", "/verifyCertificateTrust", read)
    async def verify_trust(body: RequestEnvelope[AuthorityUpload]) -> Answer:
        """Tell whether a path leads from a certificate to a root of the domain."""
        try:
            await trust.verify(body.request.certificate_data, body.request.domain)
        except SignatureInvalid:
            return {"status": False}
        return {"status": True}

    @router.enveloped("POST", "/getCaCertificates", list_authorities)
    async def authorities(body: RequestEnvelope[AuthorityQuery]) -> Answer:
        """Return a page of the authorities that are asked for."""
        asked, now = body.request, router.clock.now()
        found = asked.ordered([each for each in await trust.listed_authorities() if asked.admits(each, now)])
        number, size = asked.page_number or 1, asked.page_size or 10
        page = found[(number - 1) * size : number * size]
        return {
            "pageNumber": number,
            "pageSize": size,
            "totalRecords": len(found),
            "totalPages": -(-len(found) // size),
            "allPartnerCertificates": [_listed(each, now) for each in page],
        }

    @router.enveloped("GET", "/getCACertificateTrustPath/{certificate_id}", list_authorities)
    async def authority_path(certificate_id: str) -> Answer:
        """Return the path from an authority to its root."""
        path = [parse_pem(text) for text in await trust.authority_path(certificate_id)]
        return {"p7bFile": chain_p7b(path), "timestamp": router.timestamp()}


def _listed(authority: Authority, now: datetime) -> Answer:
    certificate = authority.certificate
    valid = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc and not authority.revoked
    return {
        "caCertificateType": authority.kind,
        "partnerDomain": authority.domain,
        "certId": authority.certificate_id,
        "issuedTo": certificate.subject.rfc4514_string(),
        "issuedBy": certificate.issuer.rfc4514_string(),
        "certThumbprint": thumbprint(certificate).hex(),
        "validFromDate": iso_millis(certificate.not_valid_before_utc),
        "validTillDate": iso_millis(certificate.not_valid_after_utc),
        "uploadTime": iso_millis(authority.added_at),
        "status": valid,
    }
