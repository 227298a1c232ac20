"""Use cases of partner management. Each owns its transaction and publishes what authentication must know."""

import base64
import json
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from civium.audit.api import AuditRecorded
from civium.kernel.clock import Clock, iso_millis
from civium.kernel.encoding import unb64
from civium.kernel.errors import Rejected
from civium.keys.api import PartnerCertificate, TrustStore
from civium.partners.api import (
    ApiKeyData,
    CertificateAuthorityAdded,
    MispLicenceData,
    PartnerData,
    PartnersChanged,
    PolicyData,
)
from civium.partners.domain import (
    API_KEY_DIGITS,
    ID_DIGITS,
    KEY_VALIDITY,
    POLICY_VALIDITY,
    Contact,
    Mapping,
    Partner,
    PartnerType,
    Policy,
    PolicyGroup,
    PolicyType,
    check_contact,
    random_digits,
    random_licence_key,
)
from civium.partners.policies import check_policy
from civium.partners.store import PartnerStore, StoredKey
from civium.platform.database import Database, Transaction
from civium.platform.http import Caller
from civium.platform.outbox import Outbox
from civium.platform.permissions import Role
from civium.platform.rewrapping import BoxColumn
from civium.platform.sealing import Place, Sealer

_CONTACT = "partners/contact"
_KEY = "partners/key"
_SYSTEM = "system"


class Partners:
    """Policies, partners, their certificates, mappings, API keys and licences."""

    def __init__(self, db: Database, sealer: Sealer, trust: TrustStore, outbox: Outbox, clock: Clock) -> None:
        self._db = db
        self._store = PartnerStore(db)
        self._sealer = sealer
        self._trust = trust
        self._outbox = outbox
        self._clock = clock

    # Policies

    async def add_policy_group(self, name: str, description: str, caller: Caller) -> PolicyGroup:
        """Make a policy group; raises Rejected PMS_POL_014 for a known name."""
        group = PolicyGroup(random_digits(ID_DIGITS), name, description, True, caller.subject, self._clock.now())
        async with self._db.transaction() as tx:
            if not await self._store.add_group(tx, group):
                raise Rejected("PMS_POL_014", f"Policy group exists with name : {name}")
            await self._audit(tx, "partners.policy-group.added", caller)
        return group

    async def add_policy(
        self, group_name: str, kind: PolicyType, name: str, description: str, version: str, body: dict[str, Any],
        caller: Caller, policy_id: str | None = None,
    ) -> Policy:  # fmt: skip
        """Draft a policy in a group; raises Rejected PMS_POL_* and PMS_PV_*."""
        group = await self._store.group(name=group_name)
        if group is None:
            raise Rejected("PMS_POL_019", "Policy group name does not exist")
        if not group.active:
            raise Rejected("PMS_POL_053", "Policy group is not active.")
        check_policy(kind, body)
        now = self._clock.now()
        policy = Policy(
            policy_id or random_digits(ID_DIGITS), group.id, kind, name, description, version, body, "draft",
            now, now + POLICY_VALIDITY, caller.subject, now,
        )  # fmt: skip
        async with self._db.transaction() as tx:
            if not await self._store.add_policy(tx, policy):
                raise Rejected("PMS_POL_009", f"Auth policy exists with name : {name}")
            await self._audit(tx, "partners.policy.drafted", caller)
        return policy

    async def publish_policy(self, policy_id: str, group_id: str, caller: Caller) -> Policy:
        """Publish a draft; it is valid from now for 180 days."""
        policy = await self._policy_in_group(policy_id, group_id)
        if policy.status != "draft":
            raise Rejected("PMS_POL_020", "Policy is already published.")
        now = self._clock.now()
        published = replace(policy, status="active", commence_on=now, expires_on=now + POLICY_VALIDITY)
        await self._save_policy(published, "partners.policy.published", caller)
        return published

    async def change_policy_status(self, policy_id: str, group_id: str, status: str, caller: Caller) -> str:
        """Activate or deactivate a published policy; returns the message of the wire."""
        policy = await self._policy_in_group(policy_id, group_id)
        wanted = _status(status, Rejected("PMS_POL_045", "Policy Status either Active or De-active."))
        if policy.status == "draft":
            raise Rejected("PMS_POL_054", "Cannot activate unpublished policy.")
        if not wanted:
            match await self._store.policy_in_use(policy_id):
                case "api key":
                    raise Rejected("PMS_POL_057", "Active API keys exist for the policy.")
                case "Approved":
                    raise Rejected("PMS_POL_063", "Approved partner mappings exist for the policy.")
                case "InProgress":
                    raise Rejected("PMS_POL_064", "Pending partner mappings exist for the policy.")
        changed = replace(policy, status="active" if wanted else "deactivated")
        await self._save_policy(changed, "partners.policy.status", caller)
        return f"Policy {'activated' if wanted else 'de-activated'} successfully"

    async def policy(self, policy_id: str) -> Policy:
        """Return a policy; raises Rejected PMS_POL_008."""
        policy = await self._store.policy(policy_id)
        if policy is None:
            raise Rejected("PMS_POL_008", "Policy ID does not exist")
        return policy

    async def group(self, group_id: str) -> PolicyGroup:
        """Return a policy group; raises Rejected PMS_POL_016."""
        group = await self._store.group(id=group_id)
        if group is None:
            raise Rejected("PMS_POL_016", "Policy Group ID does not exist")
        return group

    async def _policy_in_group(self, policy_id: str, group_id: str) -> Policy:
        policy = await self.policy(policy_id)
        if policy.group_id != (await self.group(group_id)).id:
            raise Rejected("PMS_POL_015", "Policy group and policy not mapped.")
        return policy

    async def _save_policy(self, policy: Policy, action: str, caller: Caller) -> None:
        async with self._db.transaction() as tx:
            await self._store.set_policy_status(tx, policy)
            await self._publish(tx, PartnersChanged(name="POLICY_UPDATED", policy=_policy_data(policy)), policy.id)
            await self._audit(tx, action, caller)

    # Partners and certificates

    async def register(
        self, partner_id: str, kind: str, organisation: str, group_name: str | None, contact: Contact, caller: Caller
    ) -> Partner:
        """Register a partner in status InProgress (self-registration, check order of section 4.3)."""
        check_contact(partner_id, contact)
        email_hash = await self._sealer.keyed_hash(_CONTACT, contact.email.lower().encode())
        if await self._store.email_taken(email_hash):
            raise Rejected("PMS_PRT_011", "Email id already exists.")
        if await self._store.partner(partner_id) is not None:
            raise Rejected("PMS_PRT_051", "Partner id already exists.")
        partner_type = PartnerType.named(kind)
        group = None
        if partner_type.needs_policy_group and not group_name:
            raise Rejected("PMS_PRT_108", f"Policy group is Mandatory for {partner_type.value}")
        if group_name:
            group = await self._store.group(name=group_name)
            if group is None or not group.active:
                raise Rejected("PMS_PRT_002", "Policy group does not exist")
        partner = Partner(
            partner_id, partner_type, organisation, group.id if group else None, "InProgress", False, None, None, None,
            caller.subject,
        )  # fmt: skip
        box = await self._sealed_contact(partner_id, contact)
        async with self._db.transaction() as tx:
            if not await self._store.add_partner(tx, partner, box, email_hash, self._clock.now()):
                raise Rejected("PMS_PRT_051", "Partner id already exists.")
            await self._audit(tx, "partners.partner.registered", caller, partner_id)
        return partner

    async def _sealed_contact(self, partner_id: str, contact: Contact) -> bytes:
        clear = json.dumps([contact.address, contact.contact_number, contact.email]).encode()
        return await self._sealer.seal(_CONTACT, _contact_place(partner_id), clear)

    async def partner(self, partner_id: str, caller: Caller) -> Partner:
        """Return a partner that the caller may see; raises Rejected PMS_PRT_005, PMS_PRT_055."""
        partner = await self._store.partner(partner_id)
        if partner is None:
            raise Rejected("PMS_PRT_005", "Partner does not exist")
        own = caller.subject in {partner.created_by, partner.id}
        if not own and caller.roles.isdisjoint({Role.PARTNER_ADMIN, Role.PMS_ADMIN}):
            raise Rejected("PMS_PRT_055", "User not authorized.")
        return partner

    async def contact(self, partner_id: str, caller: Caller) -> Contact:
        """Open a partner's contact data; audited."""
        box = await self._store.contact(partner_id)
        if box is None:
            raise Rejected("PMS_PRT_005", "Partner does not exist")
        clear = await self._sealer.unseal(_CONTACT, _contact_place(partner_id), box)
        async with self._db.transaction() as tx:
            await self._audit(tx, "partners.contact.read", caller, partner_id)
        return Contact(*json.loads(clear))

    async def partners(self, kind: str | None) -> Sequence[Partner]:
        """Return all partners, or those of one type."""
        return await self._store.partners(PartnerType.named(kind) if kind else None)

    async def add_certificate_authority(self, data: str, domain: str, caller: Caller) -> str:
        """Take a CA certificate into a domain's trust store and tell authentication; KER-PCM-* on refusal."""
        status = await self._trust.add_ca(data, domain)
        anchors = await self._trust.anchors(domain)
        async with self._db.transaction() as tx:
            await self._publish_anchors(tx, domain, anchors)
            await self._audit(tx, "partners.ca.uploaded", caller)
        return status

    async def add_certificate(self, partner_id: str, pem: str, domain: str, caller: Caller) -> PartnerCertificate:
        """Take a partner's leaf in: checked, re-signed, stored; a new partner becomes approved and active.

        One that was deactivated stays so: who uploads is the partner, who activates the administrator. The answer's
        ``signed_chain_p7b`` is PEM-armoured PKCS#7 here, as partner management gives it.
        """
        partner = await self.partner(partner_id, caller)
        certificate = await self._trust.register_partner(pem, partner.organisation, domain)
        anchors = await self._trust.anchors(domain)
        async with self._db.transaction() as tx:
            stored = await self._store.lock_partner(tx, partner.id)
            approved = replace(
                stored, status="approved", active=stored.active or stored.status != "approved",
                certificate_id=certificate.certificate_id, signed_pem=certificate.signed_pem,
                original_pem=certificate.original_pem,
            )  # fmt: skip
            await self._store.save_partner(tx, approved)
            await self._publish(
                tx, PartnersChanged(name="PARTNER_UPDATED", partner=_partner_data(approved)), partner.id
            )
            await self._publish_anchors(tx, domain, anchors)
            await self._audit(tx, "partners.certificate.uploaded", caller, partner.id)
        return replace(certificate, signed_chain_p7b=_armoured(certificate.signed_chain_p7b))

    async def seed_online_verification_partner(self, partner_id: str, pem: str) -> None:
        """Register our own authentication as a partner, with the certificate of its key; does nothing when known."""
        if await self._store.partner(partner_id) is not None:
            return
        partner = Partner(
            partner_id, PartnerType.ONLINE_VERIFICATION, "Civium authentication", None, "approved", True, None,
            pem, pem, _SYSTEM,
        )  # fmt: skip
        email = f"{partner_id}@civium.invalid"
        email_hash = await self._sealer.keyed_hash(_CONTACT, email.encode())
        box = await self._sealed_contact(partner_id, Contact("", "", email))
        async with self._db.transaction() as tx:
            await self._store.add_partner(tx, partner, box, email_hash, self._clock.now())

    async def change_partner_status(self, partner_id: str, status: str, caller: Caller) -> str:
        """Activate or deactivate a partner; returns the message of the wire."""
        partner = await self.partner(partner_id, caller)
        wanted = _status(status, Rejected("PMS_PM_058", "Status should be either Active or De-Active"))
        async with self._db.transaction() as tx:
            stored = await self._store.lock_partner(tx, partner.id)
            if wanted and stored.signed_pem is None:
                raise Rejected(
                    "PMS_PRT_108", "Certficate is not uploaded for the given partner.Cannot activate the same."
                )
            if not wanted and not stored.active:
                raise Rejected("PMS_PM_063", "The selected partner has already been deactivated.")
            changed = replace(stored, active=wanted)
            await self._store.save_partner(tx, changed)
            await self._publish(tx, PartnersChanged(name="PARTNER_UPDATED", partner=_partner_data(changed)), partner.id)
            await self._audit(tx, "partners.partner.status", caller, partner.id)
        return f"Partner {'activated' if wanted else 'de-activated'} successfully"

    async def revoke_certificate(self, partner_id: str, reason: str, caller: Caller) -> None:
        """Put a partner's certificates on the revocation list; signatures with them count no more.

        The partner may bring another certificate. Raises Rejected PMS_PMP_052 when it has none.
        """
        partner = await self.partner(partner_id, caller)
        if partner.signed_pem is None or partner.original_pem is None:
            raise Rejected("PMS_PMP_052", "Partner Certificate not available")
        for pem in {partner.signed_pem, partner.original_pem}:
            await self._trust.revoke(pem, reason)
        async with self._db.transaction() as tx:
            stored = await self._store.lock_partner(tx, partner.id)
            changed = replace(stored, certificate_id=None, signed_pem=None, original_pem=None)
            await self._store.save_partner(tx, changed)
            await self._publish(tx, PartnersChanged(name="PARTNER_UPDATED", partner=_partner_data(changed)), partner.id)
            await self._audit(tx, "partners.certificate.revoked", caller, partner.id)

    # Mapping, API keys, licences

    async def request_mapping(self, partner_id: str, policy_name: str, use_case: str, caller: Caller) -> Mapping:
        """Ask for a policy of the partner's group (any group for a partner type that has none)."""
        partner = await self.partner(partner_id, caller)
        if not partner.usable:
            raise Rejected("PMS_PMP_016", "Partner is not active.")
        policy = await self._named_policy(partner, policy_name)
        live = await self._store.live_mapping(partner.id, policy.id)
        if live is not None and live.status == "Approved":
            raise Rejected("PMS_PRT_060", "This policy has already been approved against your partner ID.")
        if live is not None:
            raise Rejected("PMS_PRT_053", "This policy is already pending for approval against your partner ID.")
        mapping = Mapping(random_digits(ID_DIGITS), partner.id, policy.id, "InProgress")
        async with self._db.transaction() as tx:
            await self._store.add_mapping(tx, mapping, use_case, caller.subject, self._clock.now())
            await self._audit(tx, "partners.mapping.requested", caller, partner.id)
        return mapping

    async def decide_mapping(self, key: str, status: str, caller: Caller) -> str:
        """Approve or reject a mapping request; returns the message of the wire."""
        decision = {"approved": "Approved", "rejected": "Rejected"}.get(status.lower())
        if decision is None:
            raise Rejected("PMS_PM_045", "Status should be either Approved or Rejected")
        mapping = await self._store.mapping(key)
        if mapping is None:
            raise Rejected("PMS_PRT_061", "Partner policy mapping not exists.")
        if mapping.status != "InProgress":
            raise _decided(mapping.status)
        async with self._db.transaction() as tx:
            if not await self._store.decide_mapping(tx, key, decision):
                raise _decided(await self._store.decision(tx, key))
            await self._audit(tx, "partners.mapping.decided", caller, mapping.partner_id)
        return f"Policy mapping {decision.lower()} successfully"

    async def issue_api_key(self, partner_id: str, policy_name: str, label: str, caller: Caller) -> tuple[str, Policy]:
        """Issue an API key for an approved mapping. The clear key is returned once and never shown again."""
        partner = await self.partner(partner_id, caller)
        if not partner.usable:
            raise Rejected("PMS_PMP_016", "Partner is not active.")
        policy = await self._named_policy(partner, policy_name)
        mapping = await self._store.live_mapping(partner.id, policy.id)
        if mapping is None or mapping.status != "Approved":
            raise Rejected("PMS_PRT_109", "No approved mapping of the policy to the partner.")
        now = self._clock.now()
        if policy.status != "active" or policy.expires_on <= now:
            raise Rejected("PMS_PMP_018", "Policy expired.")
        clear, key, key_hash = await self._new_key(random_digits(API_KEY_DIGITS), partner.id, policy.id, now)
        event = PartnersChanged(
            name="APIKEY_APPROVED",
            partner=_partner_data(partner),
            policy=_policy_data(policy),
            api_key=_api_key_data(clear, key),
        )
        async with self._db.transaction() as tx:
            if not await self._store.add_api_key(tx, key, key_hash, label, caller.subject):
                raise Rejected("PMS_PRT_110", "Label already exists for the partner and policy.")
            await self._publish(tx, event, partner.id)
            await self._audit(tx, "partners.api-key.issued", caller, partner.id)
        return clear, policy

    async def change_api_key_status(
        self, partner_id: str, policy_id: str, label: str, status: str, caller: Caller
    ) -> str:
        """Activate or deactivate an API key by its label; returns the message of the wire."""
        partner = await self.partner(partner_id, caller)
        wanted = _status(status, Rejected("PMS_PM_058", "Status should be either Active or De-Active"))
        key = await self._store.api_key(partner.id, policy_id, label)
        if key is None:
            raise Rejected("PMS_PRT_111", "API key not exists for the given combination")
        clear = (await self._sealer.unseal(_KEY, _key_place(key.row_id), key.sealed_key)).decode()
        event = PartnersChanged(name="APIKEY_UPDATED", api_key=_api_key_data(clear, replace(key, active=wanted)))
        async with self._db.transaction() as tx:
            await self._store.set_api_key_active(tx, key.row_id, active=wanted)
            await self._publish(tx, event, partner.id)
            await self._audit(tx, "partners.api-key.status", caller, partner.id)
        return f"API key {'activated' if wanted else 'de-activated'} successfully"

    async def issue_licence(self, misp_id: str, caller: Caller) -> MispLicenceData:
        """Issue a MISP's licence key; needs an approved MISP policy."""
        partner = await self._store.partner(misp_id)
        if partner is None:
            raise Rejected("PMS_MSP_005", "MISP Partner does not exist")
        await self.partner(misp_id, caller)
        if partner.type is not PartnerType.MISP:
            raise Rejected("PMS_MSP_009", "Given provider is not valid")
        if not partner.usable:
            raise Rejected("PMS_MSP_405", "MISP partner is not active.")
        policy = await self._misp_policy(misp_id)
        clear, key, key_hash = await self._new_key(random_licence_key(), misp_id, policy.id, self._clock.now())
        licence = _licence_data(clear, key)
        event = PartnersChanged(
            name="MISP_LICENSE_GENERATED", partner=_partner_data(partner), policy=_policy_data(policy), misp=licence
        )
        async with self._db.transaction() as tx:
            if not await self._store.add_licence(tx, key, key_hash, caller.subject):
                raise Rejected("PMS_MSP_416", "License key exists for the given provider.")
            await self._publish(tx, event, misp_id)
            await self._audit(tx, "partners.misp-licence.issued", caller, misp_id)
        return licence

    async def change_licence_status(self, misp_id: str, licence_key: str, status: str, caller: Caller) -> str:
        """Activate or deactivate a licence key; returns the message of the wire."""
        wanted = _status(status, Rejected("PMS_MSP_407", "mispStatus either Active or De-active."))
        await self.partner(misp_id, caller)
        key = await self._store.licence(await self._sealer.keyed_hash(_KEY, licence_key.encode()), misp_id)
        if key is None:
            raise Rejected("PMS_MSP_408", "MISP Partner and License key combintaion not exists.")
        event = PartnersChanged(
            name="MISP_LICENSE_UPDATED", misp=_licence_data(licence_key, replace(key, active=wanted))
        )
        async with self._db.transaction() as tx:
            await self._store.set_licence_active(tx, key.row_id, active=wanted)
            await self._publish(tx, event, misp_id)
            await self._audit(tx, "partners.misp-licence.status", caller, misp_id)
        return "Updated successfully"

    async def _misp_policy(self, misp_id: str) -> Policy:
        mappings = await self._store.mappings_of(misp_id)
        if not mappings:
            raise Rejected("PMS_MSP_417", "Policy not mapped.")
        for mapping in mappings:
            if mapping.status == "Approved":
                policy = await self.policy(mapping.policy_id)
                if policy.type is PolicyType.MISP:
                    return policy
        raise Rejected("PMS_MSP_418", "Policy not approved.")

    async def _named_policy(self, partner: Partner, name: str) -> Policy:
        if partner.group_id is None:
            raise Rejected("PMS_PRT_047", "Partner is not mapped to policy group")
        policy = await self._store.policy_named(partner.group_id, name)
        if policy is None:
            raise Rejected("PMS_PRT_098", "Given policy doesn't exists under partner's policy group.")
        if policy.status == "draft":
            raise Rejected("PMS_PMP_019", "Partner policy not active.")
        return policy

    async def _new_key(self, clear: str, owner_id: str, policy_id: str, now: datetime) -> tuple[str, StoredKey, bytes]:
        row_id = uuid.uuid4()
        box = await self._sealer.seal(_KEY, _key_place(row_id), clear.encode())
        key = StoredKey(row_id, box, owner_id, policy_id, True, now, now + KEY_VALIDITY)
        return clear, key, await self._sealer.keyed_hash(_KEY, clear.encode())

    async def _publish(self, tx: Transaction, event: PartnersChanged, key: str) -> None:
        await self._outbox.publish(tx, event, key=f"partner:{key}")

    async def _publish_anchors(self, tx: Transaction, domain: str, anchors: Sequence[str]) -> None:
        event = CertificateAuthorityAdded(domain=domain.upper(), anchors=tuple(anchors))
        await self._outbox.publish(tx, event, key=f"domain:{domain.upper()}")

    async def _audit(self, tx: Transaction, action: str, caller: Caller, subject: str | None = None) -> None:
        event = AuditRecorded(
            context="partners", action=action, actor=caller.subject, purpose="partner management", subject=subject,
            at=iso_millis(self._clock.now()),
        )  # fmt: skip
        await self._outbox.publish(tx, event, key=f"audit:{subject or caller.subject}")


def _status(text: str, refusal: Rejected) -> bool:
    match text.lower():
        case "active":
            return True
        case "de-active":
            return False
    raise refusal


def _decided(status: str) -> Rejected:
    if status == "Approved":
        return Rejected("PMS_PM_034", "Policy request already approved.")
    return Rejected("PMS_PM_035", "Policy request already rejected.")


def _key_place(row_id: uuid.UUID) -> Place:
    return Place("partners.key", str(row_id), "sealed_key")


def _contact_place(partner_id: str) -> Place:
    return Place("partners.partner", partner_id, "contact")


SEALED_COLUMNS = (
    BoxColumn("partners.partner", "id", "contact", _CONTACT, lambda row: _contact_place(row["rewrap_key"])),
    BoxColumn("partners.api_key", "row_id", "sealed_key", _KEY, lambda row: _key_place(row["rewrap_key"])),
    BoxColumn("partners.misp_licence", "row_id", "sealed_key", _KEY, lambda row: _key_place(row["rewrap_key"])),
)


def _armoured(p7b: str) -> str:
    text = base64.encodebytes(unb64(p7b)).decode()
    return f"-----BEGIN PKCS7-----\n{text}-----END PKCS7-----\n"


def _event_status(*, active: bool) -> str:
    return "ACTIVE" if active else "DEACTIVE"


def _partner_data(partner: Partner) -> PartnerData:
    return PartnerData(
        partner_id=partner.id,
        name=partner.organisation,
        certificate_pem=partner.signed_pem,
        original_pem=partner.original_pem,
        status=_event_status(active=partner.usable),
    )


def _policy_data(policy: Policy) -> PolicyData:
    return PolicyData(
        policy_id=policy.id,
        name=policy.name,
        policy=policy.body,
        status=_event_status(active=policy.status == "active"),
        commence_on=iso_millis(policy.commence_on),
        expires_on=iso_millis(policy.expires_on),
    )


def _api_key_data(clear: str, key: StoredKey) -> ApiKeyData:
    return ApiKeyData(
        api_key=clear,
        partner_id=key.owner_id,
        policy_id=key.policy_id,
        status=_event_status(active=key.active),
        commence_on=iso_millis(key.commence_on),
        expires_on=iso_millis(key.expires_on),
    )


def _licence_data(clear: str, key: StoredKey) -> MispLicenceData:
    return MispLicenceData(
        misp_id=key.owner_id,
        licence_key=clear,
        policy_id=key.policy_id,
        status=_event_status(active=key.active),
        commence_on=iso_millis(key.commence_on),
        expires_on=iso_millis(key.expires_on),
    )
