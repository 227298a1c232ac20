"""Master data over HTTP: ID schema, sync data for registration machines, RID generator."""

from typing import Annotated, Any

from fastapi import Query
from pydantic import Field

from civium.kernel.clock import Clock, iso_millis
from civium.kernel.encoding import b64u, unb64
from civium.kernel.errors import Rejected
from civium.kernel.identifiers import CentreId, MachineId
from civium.keys.api import KeyRef, Keys
from civium.masterdata.api import IdSchema, MasterData
from civium.masterdata.domain import key_index
from civium.platform.http import ErrorCodes, RequestEnvelope, ResponseSigner, Router, WireModel, allow
from civium.platform.permissions import Permission

MASTERDATA_CODES = ErrorCodes("KER-MSD-999", "KER-MSD-500", "Invalid request input", "Internal server error")
SYNCDATA_CODES = ErrorCodes("KER-SNC-999", "KER-SNC-500", "Invalid request input", "Internal server error")
RID_CODES = ErrorCodes("KER-RIG-999", "KER-RIG-500", "Invalid request input", "Internal server error")


class SchemaAnswer(WireModel):
    """A published ID schema (section 7.5)."""

    id: str
    id_version: float = Field(alias="idVersion")
    title: str
    description: str
    schema_text: str = Field(alias="schemaJson")
    status: str = "PUBLISHED"
    effective_from: str = Field(alias="effectiveFrom")
    created_by: str = Field("system", alias="createdBy")
    updated_by: str | None = Field(None, alias="updatedBy")
    created_on: str = Field(alias="createdOn")
    updated_on: str | None = Field(None, alias="updatedOn")

    @classmethod
    def of(cls, schema: IdSchema) -> "SchemaAnswer":
        """Return the wire's view."""
        return cls(
            id=schema.id,
            id_version=schema.version,
            title=schema.title,
            description=schema.description,
            schema_text=schema.text,
            effective_from=schema.effective_from,
            created_on=schema.effective_from,
        )


class CertificateAnswer(WireModel):
    """A certificate with its time stamps."""

    certificate: str
    cert_sign_request: str | None = Field(None, alias="certSignRequest")
    issued_at: str = Field(alias="issuedAt")
    expiry_at: str = Field(alias="expiryAt")
    timestamp: str


class PublicKeys(WireModel):
    """The public keys of a machine, base64url of DER."""

    signing_public_key: str = Field(alias="signingPublicKey")
    encryption_public_key: str = Field(alias="encryptionPublicKey")


class MachineClaim(WireModel):
    """What a machine says about itself before it is trusted."""

    machine_name: str = Field(alias="machineName", min_length=1, max_length=64)
    public_key: str = Field(alias="publicKey", min_length=1, max_length=4096)
    sign_public_key: str | None = Field(None, alias="signPublicKey", max_length=4096)


SchemaVersion = Annotated[float, Query(alias="schemaVersion", ge=0)]


def masterdata_router(master_data: MasterData, clock: Clock, signer: ResponseSigner) -> Router:
    """Return the routes under ``/v1/masterdata``."""
    router = Router("/v1/masterdata", MASTERDATA_CODES, signer=signer, clock=clock)

    @router.enveloped("GET", "/idschema/latest", allow(Permission.MASTERDATA_READ))
    async def latest_schema(version: SchemaVersion = 0) -> SchemaAnswer:
        """Return the ID schema of a version, 0 for the latest."""
        return SchemaAnswer.of(await master_data.id_schema(version))

    return router


def syncdata_router(master_data: MasterData, keys: Keys, clock: Clock, signer: ResponseSigner) -> Router:
    """Return the routes under ``/v1/syncdata``; every answer is signed (keys-and-crypto section 6.6)."""
    router = Router("/v1/syncdata", SYNCDATA_CODES, signer=signer, clock=clock)

    @router.enveloped("GET", "/latestidschema", allow(Permission.MASTERDATA_READ))
    async def latest_schema(version: SchemaVersion = 0) -> SchemaAnswer:
        """Return the ID schema of a version, 0 for the latest."""
        return SchemaAnswer.of(await master_data.id_schema(version))

    @router.enveloped("GET", "/getCertificate", allow(Permission.KEYS_CERTIFICATE_READ))
    async def certificate(
        application_id: Annotated[str, Query(alias="applicationId", min_length=1, max_length=36)],
        reference_id: Annotated[str, Query(alias="referenceId", max_length=128)] = "",
    ) -> CertificateAnswer:
        """Return the current certificate of a key."""
        found = await keys.certificate(KeyRef(application_id, reference_id))
        return CertificateAnswer(
            certificate=found.pem,
            issued_at=iso_millis(found.issued_at),
            expiry_at=iso_millis(found.expires_at),
            timestamp=iso_millis(clock.now()),
        )

    @router.enveloped("GET", "/tpm/publickey/{machine_id}", allow(Permission.SYNCDATA_READ))
    async def machine_keys(machine_id: str) -> PublicKeys:
        """Return the public keys of a machine."""
        machine = await master_data.machine(MachineId(machine_id))
        return PublicKeys(
            signing_public_key=b64u(machine.sign_public_key), encryption_public_key=b64u(machine.public_key)
        )

    @router.enveloped("POST", "/tpm/publickey/verify", allow(Permission.SYNCDATA_READ))
    async def verify_machine(body: RequestEnvelope[MachineClaim]) -> dict[str, Any]:
        """Return the key index of a machine that is registered under this name with these keys."""
        claim = body.request
        machine = await master_data.machine_by_key_index(_index_of(claim.public_key))
        signing = machine.sign_key_index if claim.sign_public_key is None else _index_of(claim.sign_public_key)
        if machine.name != claim.machine_name or machine.sign_key_index != signing or not machine.active:
            raise Rejected("KER-SNC-148", "Key index not found")
        return {"keyIndex": machine.key_index}

    return router


def _index_of(public_key: str) -> str:
    try:
        return key_index(unb64(public_key))
    except ValueError:
        raise Rejected(SYNCDATA_CODES.invalid, SYNCDATA_CODES.invalid_message) from None


def rid_router(master_data: MasterData, clock: Clock, signer: ResponseSigner) -> Router:
    """Return the route under ``/v1/ridgenerator``."""
    router = Router("/v1/ridgenerator", RID_CODES, signer=signer, clock=clock)

    @router.enveloped("GET", "/generate/rid/{centre_id}/{machine_id}", allow(Permission.REGISTRATION_RID_GENERATE))
    async def next_rid(centre_id: str, machine_id: str) -> dict[str, str]:
        """Return the next registration id of a machine."""
        return {"rid": await master_data.next_rid(CentreId(centre_id), MachineId(machine_id))}

    return router
