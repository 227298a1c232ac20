"""Wire adapter of partner management: `/v1/partnermanager` and `/v1/policymanager` (section 4)."""

from typing import Annotated, Any

from fastapi import Query
from pydantic import Field

from civium.kernel.clock import iso_millis
from civium.partners.domain import Contact, Partner, Policy
from civium.partners.policies import policy_type
from civium.partners.service import Partners
from civium.platform.http import (
    Caller,
    CallerParameter,
    ErrorCodes,
    RequestEnvelope,
    ResponseSigner,
    Router,
    WireModel,
    allow,
)
from civium.platform.permissions import Permission

_CODES = ErrorCodes(invalid="PMS_COR_002", internal="PMS_PRT_500", invalid_message="Invalid Input Parameter")

Text = Annotated[str, Field(min_length=1, max_length=256)]
Pem = Annotated[str, Field(min_length=1, max_length=64_000)]


class NewGroup(WireModel):
    """Body of a new policy group."""

    name: Text
    desc: Text


class NewPolicy(WireModel):
    """Body of a new policy."""

    policy_id: str | None = Field(default=None, alias="policyId", max_length=36)
    policy_group_name: Text = Field(alias="policyGroupName")
    policy_type: Text = Field(alias="policyType")
    name: Text
    desc: Text
    version: Annotated[str, Field(pattern=r"^\d+(\.\d+)?$")] = "1.0"
    policies: dict[str, Any]


class Status(WireModel):
    """Body of a change of status."""

    status: Text


class NewPartner(WireModel):
    """Body of a self-registration."""

    partner_id: str = Field(alias="partnerId", max_length=256)
    policy_group: str | None = Field(default=None, alias="policyGroup")
    organization_name: Text = Field(alias="organizationName")
    address: Text
    contact_number: Text = Field(alias="contactNumber")
    email_id: Text = Field(alias="emailId")
    partner_type: Text = Field(alias="partnerType")


class CaUpload(WireModel):
    """Body of a CA certificate upload."""

    certificate_data: Pem = Field(alias="certificateData")
    partner_domain: Text = Field(alias="partnerDomain")


class CertificateUpload(CaUpload):
    """Body of a partner certificate upload."""

    partner_id: Text = Field(alias="partnerId")


class Revocation(WireModel):
    """Body of a certificate's revocation."""

    reason: Text


class MappingRequest(WireModel):
    """Body of a policy mapping request."""

    policy_name: Text = Field(alias="policyName")
    use_case: str = Field(default="", alias="useCaseDescription", max_length=512)


class KeyRequest(WireModel):
    """Body of an API key request."""

    policy_name: Text = Field(alias="policyName")
    label: Text


class KeyStatus(Status):
    """Body of a change of an API key's status."""

    label: Text


class Provider(WireModel):
    """Body of a MISP licence request."""

    provider_id: Text = Field(alias="providerId")


class LicenceStatus(Provider):
    """Body of a change of a licence's status."""

    licence_key: Text = Field(alias="licenseKey")
    status: Text = Field(alias="licenseKeyStatus")


def _policy_json(policy: Policy, group_name: str) -> dict[str, Any]:
    return {
        "id": policy.id,
        "policyGroupName": group_name,
        "policyType": policy.type.value,
        "name": policy.name,
        "desc": policy.description,
        "version": policy.version,
        "status": policy.status,
        "is_Active": policy.status == "active",
        "policies": policy.body,
        "publishDate": iso_millis(policy.commence_on),
        "validTill": iso_millis(policy.expires_on),
        "cr_by": policy.created_by,
        "cr_dtimes": iso_millis(policy.created_at),
    }


def _partner_json(partner: Partner, contact: Contact, group_name: str | None) -> dict[str, Any]:
    return {
        "partnerID": partner.id,
        "status": partner.status,
        "organizationName": partner.organisation,
        "contactNumber": contact.contact_number,
        "emailId": contact.email,
        "address": contact.address,
        "partnerType": partner.type.value,
        "policyGroup": group_name,
        "isActive": partner.active,
    }


def policy_router(partners: Partners, signer: ResponseSigner) -> Router:
    """Return the routes of the policy manager."""
    router = Router("/v1/policymanager", _CODES, signer=signer)
    manage = allow(Permission.POLICY_MANAGE)

    @router.enveloped("POST", "/policies/group/new", manage)
    async def add_group(body: RequestEnvelope[NewGroup], caller: CallerParameter) -> dict[str, Any]:
        """Make a policy group."""
        group = await partners.add_policy_group(body.request.name, body.request.desc, caller)
        return {
            "id": group.id,
            "name": group.name,
            "desc": group.description,
            "is_Active": group.active,
            "cr_by": group.created_by,
            "cr_dtimes": iso_millis(group.created_at),
        }

    @router.enveloped("POST", "/policies", manage)
    async def add_policy(body: RequestEnvelope[NewPolicy], caller: CallerParameter) -> dict[str, Any]:
        """Draft a policy."""
        new = body.request
        policy = await partners.add_policy(
            new.policy_group_name, policy_type(new.policy_type), new.name, new.desc, new.version, new.policies, caller,
            new.policy_id,
        )  # fmt: skip
        return _policy_json(policy, new.policy_group_name)

    @router.enveloped("POST", "/policies/{policy_id}/group/{group_id}/publish", manage)
    async def publish(policy_id: str, group_id: str, caller: CallerParameter) -> dict[str, Any]:
        """Publish a drafted policy."""
        policy = await partners.publish_policy(policy_id, group_id, caller)
        return _policy_json(policy, (await partners.group(group_id)).name)

    @router.enveloped("PATCH", "/policies/{policy_id}/group/{group_id}", manage)
    async def change_status(
        policy_id: str, group_id: str, body: RequestEnvelope[Status], caller: CallerParameter
    ) -> dict[str, Any]:
        """Activate or deactivate a policy."""
        return {"message": await partners.change_policy_status(policy_id, group_id, body.request.status, caller)}

    @router.enveloped("GET", "/policies/{policy_id}", allow(Permission.POLICY_READ))
    async def read(policy_id: str) -> dict[str, Any]:
        """Return a policy."""
        policy = await partners.policy(policy_id)
        return _policy_json(policy, (await partners.group(policy.group_id)).name)

    return router


def partner_router(partners: Partners, signer: ResponseSigner) -> Router:
    """Return the routes of the partner manager."""
    router = Router("/v1/partnermanager", _CODES, signer=signer)

    async def described(partner: Partner, caller: Caller) -> dict[str, Any]:
        group = await partners.group(partner.group_id) if partner.group_id else None
        return _partner_json(partner, await partners.contact(partner.id, caller), group.name if group else None)

    @router.enveloped("POST", "/partners", allow(Permission.PARTNER_REGISTER))
    async def register(body: RequestEnvelope[NewPartner], caller: CallerParameter) -> dict[str, Any]:
        """Register a partner."""
        new = body.request
        contact = Contact(new.address, new.contact_number, new.email_id)
        partner = await partners.register(
            new.partner_id, new.partner_type, new.organization_name, new.policy_group, contact, caller
        )
        return {"partnerId": partner.id, "status": partner.status}

    @router.enveloped("GET", "/partners", allow(Permission.PARTNER_LIST))
    async def list_partners(
        caller: CallerParameter, kind: Annotated[str | None, Query(alias="partnerType")] = None
    ) -> dict[str, Any]:
        """List partners, by type when given."""
        return {"partners": [await described(partner, caller) for partner in await partners.partners(kind)]}

    @router.enveloped("GET", "/partners/{partner_id}", allow(Permission.PARTNER_READ))
    async def read(partner_id: str, caller: CallerParameter) -> dict[str, Any]:
        """Return a partner."""
        return await described(await partners.partner(partner_id, caller), caller)

    @router.enveloped("POST", "/partners/certificate/ca/upload", allow(Permission.PARTNER_CA_UPLOAD))
    async def upload_ca(body: RequestEnvelope[CaUpload], caller: CallerParameter) -> dict[str, Any]:
        """Take a CA certificate into a domain's trust store."""
        new = body.request
        status = await partners.add_certificate_authority(new.certificate_data, new.partner_domain, caller)
        return {"status": status, "timestamp": iso_millis(router.clock.now())}

    @router.enveloped("POST", "/partners/certificate/upload", allow(Permission.PARTNER_CERTIFICATE_UPLOAD))
    async def upload(body: RequestEnvelope[CertificateUpload], caller: CallerParameter) -> dict[str, Any]:
        """Take a partner's certificate in and give it back re-signed."""
        new = body.request
        issued = await partners.add_certificate(new.partner_id, new.certificate_data, new.partner_domain, caller)
        return {
            "signedCertificateData": issued.signed_chain_p7b,
            "certificateId": issued.certificate_id,
            "timestamp": iso_millis(router.clock.now()),
        }

    @router.enveloped("GET", "/partners/{partner_id}/certificate", allow(Permission.PARTNER_READ))
    async def certificate(partner_id: str, caller: CallerParameter) -> dict[str, Any]:
        """Return a partner's re-signed certificate."""
        partner = await partners.partner(partner_id, caller)
        return {"certificateData": partner.signed_pem, "timestamp": iso_millis(router.clock.now())}

    @router.enveloped("POST", "/partners/{partner_id}/certificate/revoke", allow(Permission.PARTNER_ACTIVATE))
    async def revoke(partner_id: str, body: RequestEnvelope[Revocation], caller: CallerParameter) -> str:
        """Put a partner's certificate on the revocation list (an addition of ours to the wire)."""
        await partners.revoke_certificate(partner_id, body.request.reason, caller)
        return "Certificate revoked successfully"

    @router.enveloped("PATCH", "/partners/{partner_id}", allow(Permission.PARTNER_ACTIVATE))
    async def change_status(partner_id: str, body: RequestEnvelope[Status], caller: CallerParameter) -> dict[str, Any]:
        """Activate or deactivate a partner."""
        return {"message": await partners.change_partner_status(partner_id, body.request.status, caller)}

    _add_key_routes(router, partners)
    return router


def _add_key_routes(router: Router, partners: Partners) -> None:
    @router.enveloped("POST", "/partners/{partner_id}/policy/map", allow(Permission.PARTNER_MAPPING_REQUEST))
    async def request_mapping(
        partner_id: str, body: RequestEnvelope[MappingRequest], caller: CallerParameter
    ) -> dict[str, Any]:
        """Ask for a policy."""
        new = body.request
        mapping = await partners.request_mapping(partner_id, new.policy_name, new.use_case, caller)
        return {"mappingkey": mapping.key, "message": "Policy mapping request submitted successfully."}

    @router.enveloped("PUT", "/partners/policy/{key}", allow(Permission.PARTNER_MAPPING_APPROVE))
    async def decide_mapping(key: str, body: RequestEnvelope[Status], caller: CallerParameter) -> str:
        """Approve or reject a mapping request."""
        return await partners.decide_mapping(key, body.request.status, caller)

    @router.enveloped("PATCH", "/partners/{partner_id}/generate/apikey", allow(Permission.PARTNER_API_KEY_CHANGE))
    async def issue_api_key(
        partner_id: str, body: RequestEnvelope[KeyRequest], caller: CallerParameter
    ) -> dict[str, Any]:
        """Issue an API key; it is shown this once."""
        new = body.request
        clear, policy = await partners.issue_api_key(partner_id, new.policy_name, new.label, caller)
        return {"apiKey": clear, "label": new.label, "policyId": policy.id, "partnerId": partner_id}

    @router.enveloped(
        "PATCH", "/partners/{partner_id}/policy/{policy_id}/apiKey/status", allow(Permission.PARTNER_API_KEY_CHANGE)
    )
    async def change_api_key(
        partner_id: str, policy_id: str, body: RequestEnvelope[KeyStatus], caller: CallerParameter
    ) -> str:
        """Activate or deactivate an API key by its label."""
        new = body.request
        return await partners.change_api_key_status(partner_id, policy_id, new.label, new.status, caller)

    @router.enveloped("POST", "/misps", allow(Permission.PARTNER_MISP))
    async def issue_licence(body: RequestEnvelope[Provider], caller: CallerParameter) -> dict[str, Any]:
        """Issue a MISP's licence key."""
        licence = await partners.issue_licence(body.request.provider_id, caller)
        return {
            "providerId": licence.misp_id,
            "licenseKey": licence.licence_key,
            "licenseKeyStatus": "Active",
            "licenseKeyExpiry": licence.expires_on,
        }

    @router.enveloped("PUT", "/misps", allow(Permission.PARTNER_MISP))
    async def change_licence(body: RequestEnvelope[LicenceStatus], caller: CallerParameter) -> str:
        """Activate or deactivate a licence key."""
        new = body.request
        return await partners.change_licence_status(new.provider_id, new.licence_key, new.status, caller)
