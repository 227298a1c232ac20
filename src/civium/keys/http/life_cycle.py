"""Keys and certificates: making, requesting, listing, revoking (section 7.1)."""

from typing import Annotated, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from fastapi import Query
from pydantic import Field

from civium.kernel.clock import iso_millis
from civium.keys.api import IDA_PUBLIC_KEY, Certificate, KeyAdministration, KeyProblem, KeyRef
from civium.keys.formats.certificates import MIN_KEY_BITS, parse_pem
from civium.keys.http.access import IDENTITY_CACHE
from civium.keys.http.router import (
    ApplicationId,
    KeyRouter,
    OptionalReferenceId,
    Pem,
    ReferenceId,
)
from civium.keys.http.uses import UseLog
from civium.keys.plan import CORE, ROOT
from civium.keys.trust import signed_by
from civium.platform.http import CallerParameter, RequestEnvelope, WireModel, allow
from civium.platform.permissions import Permission

UPLOADED: Final = "Upload Success"


class _Address(WireModel):
    application_id: ApplicationId = Field(alias="applicationId")
    reference_id: OptionalReferenceId = Field(default=None, alias="referenceId")

    @property
    def ref(self) -> KeyRef:
        return KeyRef(self.application_id, (self.reference_id or "").strip())


class _Subject(_Address):
    common_name: str | None = Field(default=None, alias="commonName", max_length=64)
    organization_unit: str | None = Field(default=None, alias="organizationUnit", max_length=64)
    organization: str | None = Field(default=None, max_length=64)
    location: str | None = Field(default=None, max_length=128)
    state: str | None = Field(default=None, max_length=128)
    country: str | None = Field(default=None, max_length=2)

    @property
    def parts(self) -> tuple[str | None, ...]:
        return (
            self.country, self.state, self.location, self.organization, self.organization_unit, self.common_name,
        )  # fmt: skip


class MasterKey(_Subject):
    """Body of generateMasterKey."""

    force: bool | None = None


class SigningRequest(_Subject):
    """Body of generateCSR."""


class CertificateUpload(_Address):
    """Body of uploadCertificate."""

    certificate_data: Pem = Field(alias="certificateData")


class ForeignCertificateUpload(CertificateUpload):
    """Body of uploadOtherDomainCertificate."""

    reference_id: ReferenceId = Field(alias="referenceId")


class SymmetricKey(_Address):
    """Body of generateSymmetricKey."""

    reference_id: ReferenceId = Field(alias="referenceId")
    force: bool | None = None


class Revocation(_Address):
    """Body of revokeKey."""

    reference_id: ReferenceId = Field(alias="referenceId")


ApplicationQuery = Annotated[ApplicationId, Query(alias="applicationId")]
ReferenceQuery = Annotated[OptionalReferenceId, Query(alias="referenceId")]

Answer = dict[str, object]


def add_life_cycle(router: KeyRouter, keys: KeyAdministration, uses: UseLog) -> None:
    """Declare the routes of the life cycle."""
    _add_making(router, keys, uses)
    _add_reading(router, keys)
    _add_uploads(router, keys, uses)


def _add_making(router: KeyRouter, keys: KeyAdministration, uses: UseLog) -> None:
    make = allow(Permission.KEYS_KEY_MAKE)

    @router.enveloped("POST", "/generateMasterKey/{object_type}", make)
    async def make_master(object_type: str, body: RequestEnvelope[MasterKey], caller: CallerParameter) -> Answer:
        """Make a module's master key, or return the current one; the answer is its certificate or a request."""
        asked = body.request
        with uses.using(caller, "generateMasterKey", asked.ref):
            wanted = object_type.upper()
            if wanted not in {"CERTIFICATE", "CSR"}:
                raise KeyProblem("KER-KMS-009", "Invalid Response Object Type.")
            certificate = await keys.make_master(asked.ref, asked.parts, force=bool(asked.force))
            if wanted == "CERTIFICATE":
                return _answer(router, certificate, pem=certificate.pem)
            return _answer(router, certificate, pem=None, request=await keys.signing_request(asked.ref, asked.parts))

    @router.enveloped("POST", "/generateCSR", make)
    async def signing_request(body: RequestEnvelope[SigningRequest], caller: CallerParameter) -> Answer:
        """Return a signing request for the current key."""
        asked = body.request
        with uses.using(caller, "generateCSR", asked.ref):
            if asked.ref == IDENTITY_CACHE:
                raise KeyProblem("KER-KMS-022", "CSR Generation not allowed for the provided App Id & Ref Id.")
            request = await keys.signing_request(asked.ref, asked.parts)
            return _answer(router, await keys.certificate(asked.ref), pem=None, request=request)

    @router.enveloped("POST", "/generateSymmetricKey", make)
    async def make_symmetric(body: RequestEnvelope[SymmetricKey], caller: CallerParameter) -> Answer:
        """Make a new version of a symmetric master when ``force`` asks for it."""
        asked = body.request
        with uses.using(caller, "generateSymmetricKey", asked.ref):
            made = await keys.renew_symmetric(asked.ref, force=bool(asked.force))
        return {"status": "Generation Success" if made else "Key Exists.", "timestamp": router.timestamp()}

    @router.enveloped("PUT", "/revokeKey", make)
    async def revoke(body: RequestEnvelope[Revocation], caller: CallerParameter) -> Answer:
        """End the new use of a key; the next use makes a new one, and what it encrypted still opens."""
        asked = body.request
        with uses.using(caller, "revokeKey", asked.ref):
            if asked.ref == IDENTITY_CACHE:
                await keys.renew_symmetric(asked.ref, force=True)
            else:
                await keys.retire(asked.ref)
        return {"status": "Key Revoked", "timestamp": router.timestamp()}


def _add_reading(router: KeyRouter, keys: KeyAdministration) -> None:
    read = allow(Permission.KEYS_CERTIFICATE_READ)

    @router.enveloped("GET", "/getCertificate", read)
    async def certificate(application_id: ApplicationQuery, reference_id: ReferenceQuery = None) -> Answer:
        """Return the current certificate of a key; a base key is made on demand."""
        found = await keys.certificate(KeyRef(application_id, (reference_id or "").strip()))
        return _answer(router, found, pem=found.pem)

    @router.enveloped("GET", "/getAllCertificates", read)
    async def certificates(application_id: ApplicationQuery, reference_id: ReferenceQuery = None) -> Answer:
        """Return the certificates of all generations of a key, newest first."""
        ref = KeyRef(application_id, (reference_id or "").strip())
        found = await keys.certificates(ref) or [await keys.certificate(ref)]
        return {
            "allCertificates": [
                {
                    "certificateData": each.pem,
                    "issuedAt": iso_millis(each.issued_at),
                    "expiryAt": iso_millis(each.expires_at),
                    "keyId": each.key_id,
                }
                for each in found
            ]
        }

    @router.enveloped("GET", "/getCertificateChain", read)
    async def certificate_chain(application_id: ApplicationQuery, reference_id: ReferenceQuery = None) -> Answer:
        """Return the chain of a key's current certificate up to its root, as PKCS#7 in PEM."""
        leaf = (await keys.certificate(KeyRef(application_id, (reference_id or "").strip()))).x509
        chain = await chain_of(keys, leaf, application_id)
        return {"certificatesTrustPath": pkcs7_pem(chain), "timestamp": router.timestamp()}


def _add_uploads(router: KeyRouter, keys: KeyAdministration, uses: UseLog) -> None:
    @router.enveloped("POST", "/uploadCertificate", allow(Permission.KEYS_KEY_MAKE))
    async def upload(body: RequestEnvelope[CertificateUpload], caller: CallerParameter) -> Answer:
        """Give a key of ours the certificate that an outside authority issued."""
        asked = body.request
        with uses.using(caller, "uploadCertificate", asked.ref):
            await keys.certify(asked.ref, asked.certificate_data)
        return {"status": UPLOADED, "timestamp": router.timestamp()}

    @router.enveloped("POST", "/uploadOtherDomainCertificate", allow(Permission.KEYS_FOREIGN_UPLOAD))
    async def upload_foreign(body: RequestEnvelope[ForeignCertificateUpload], caller: CallerParameter) -> Answer:
        """Take in the certificate of another domain, to encrypt to it."""
        asked = body.request
        with uses.using(caller, "uploadOtherDomainCertificate", asked.ref):
            certificate = _accepted(asked.certificate_data)
            if asked.application_id in {*CORE.policies, IDA_PUBLIC_KEY.application_id}:
                raise KeyProblem(
                    "KER-KMS-015", "Upload of certificate will not be allowed to update other domain certificate."
                )
            known = await keys.certificates(asked.ref)
            if known and known[0].x509 == certificate and known[0].expires_at > router.clock.now():
                raise KeyProblem(
                    "KER-KMS-015", "Upload of certificate will not be allowed to update other domain certificate."
                )
            await keys.install_certificate(asked.ref, asked.certificate_data)
        return {"status": UPLOADED, "timestamp": router.timestamp()}


def _answer(router: KeyRouter, certificate: Certificate, *, pem: str | None, request: str | None = None) -> Answer:
    return {
        "certificate": pem,
        "certSignRequest": request,
        "issuedAt": iso_millis(certificate.issued_at),
        "expiryAt": iso_millis(certificate.expires_at),
        "timestamp": router.timestamp(),
    }


def _accepted(pem: str) -> x509.Certificate:
    """Return the certificate; raises KeyProblem (KER-KMS-013 for none, KER-CRY-002 for another key than RSA)."""
    try:
        certificate = parse_pem(pem)
    except KeyProblem:
        raise KeyProblem("KER-KMS-013", "Certificate Parsing Error.") from None
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < MIN_KEY_BITS:
        raise KeyProblem("KER-CRY-002", "public key is invalid")
    return certificate


async def chain_of(keys: KeyAdministration, leaf: x509.Certificate, application_id: str) -> list[x509.Certificate]:
    """Return a certificate and those of our masters that lead from it to its root. Two round trips."""
    masters = [*await keys.certificates(KeyRef(application_id)), *await keys.certificates(ROOT)]
    chain = [leaf]
    while chain[-1].issuer != chain[-1].subject:
        issuer = next((each.x509 for each in masters if signed_by(chain[-1], each.x509)), None)
        if issuer is None or issuer in chain:
            break
        chain.append(issuer)
    return chain


def pkcs7_pem(chain: list[x509.Certificate]) -> str:
    """Return a PKCS#7 of certificates only, in PEM."""
    return pkcs7.serialize_certificates(chain, Encoding.PEM).decode()
