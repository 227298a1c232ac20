"""Events by which partner management feeds authentication (portals-and-partners 4.9, id-authentication 15.2).

Every change publishes the whole current state of what changed; consumers upsert. Secrets (API key, licence key) travel
as they are because the payload is sealed at rest; consumers keep keyed hashes of them.
"""

from typing import Any

from civium.platform.outbox import Event


class PartnerData(Event, frozen=True, kw_only=True):
    """``partnerData``. ``certificate_pem`` is the re-signed leaf; ``original_pem`` the one that the partner brought."""

    partner_id: str
    name: str
    certificate_pem: str | None
    original_pem: str | None
    status: str


class PolicyData(Event, frozen=True, kw_only=True):
    """``policyData``; ``policy`` is the policy JSON of id-authentication section 16."""

    policy_id: str
    name: str
    policy: dict[str, Any]
    status: str
    commence_on: str
    expires_on: str


class ApiKeyData(Event, frozen=True, kw_only=True):
    """``apiKeyData``."""

    api_key: str
    partner_id: str
    policy_id: str
    status: str
    commence_on: str
    expires_on: str


class MispLicenceData(Event, frozen=True, kw_only=True):
    """``mispLicenseData``."""

    misp_id: str
    licence_key: str
    policy_id: str | None
    status: str
    commence_on: str
    expires_on: str


class PartnersChanged(Event, frozen=True, kw_only=True):
    """Any of APIKEY_APPROVED, APIKEY_UPDATED, PARTNER_UPDATED, POLICY_UPDATED, MISP_LICENSE_GENERATED/_UPDATED.

    ``name`` is that topic's name; the members that it does not carry are None. Status is ``ACTIVE`` or something else.
    """

    name: str
    partner: PartnerData | None = None
    policy: PolicyData | None = None
    api_key: ApiKeyData | None = None
    misp: MispLicenceData | None = None

    @classmethod
    def topic(cls) -> str:
        return "partners.changed"


class CertificateAuthorityAdded(Event, frozen=True, kw_only=True):
    """CA_CERTIFICATE_UPLOADED: the anchors (PEM) of a domain after the change."""

    domain: str
    anchors: tuple[str, ...]
    """Roots and intermediates; never a partner leaf."""

    @classmethod
    def topic(cls) -> str:
        return "partners.ca-added"
