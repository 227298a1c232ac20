"""Partner management through its real API paths: the life cycle of section 4.2, and its refusals."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from civium.audit.api import AuditRecorded
from civium.keys.api import KERNEL_SIGN, SignatureInvalid, jws
from civium.keys.wiring import build_trust
from civium.partners.api import CertificateAuthorityAdded, PartnersChanged
from civium.partners.store import PartnerStore
from civium.partners.wiring import build
from civium.platform.http import Caller
from civium.platform.http.access import Unauthenticated
from civium.platform.http.app import create_app
from civium.platform.outbox import decode, place_of
from civium.platform.permissions import Role
from civium.platform.settings import Settings

CALLERS = {
    "admin": Caller("admin", "pms", frozenset({Role.PARTNER_ADMIN, Role.POLICYMANAGER})),
    "own": Caller("own", "pms", frozenset({Role.AUTH_PARTNER})),
    "other": Caller("other", "pms", frozenset({Role.AUTH_PARTNER})),
    "resident": Caller("resident", "resident", frozenset({Role.RESIDENT})),
}
AUTH_POLICY = {
    "authTokenType": "policy",
    "allowedAuthTypes": [{"authType": "otp", "mandatory": False}],
    "allowedKycAttributes": [{"attributeName": "fullName"}],
}
MISP_POLICY = {
    "allowAuthRequestDelegation": True,
    "allowKycRequestDelegation": True,
    "allowKeyBindingDelegation": False,
}


class Tokens:
    async def verify(self, token: str) -> Caller:
        if token not in CALLERS:
            raise Unauthenticated
        return CALLERS[token]


class Api:
    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def __call__(self, method: str, path: str, request: Any = None, *, token: str = "admin") -> dict[str, Any]:
        body = {"id": "x", "version": "1.0", "requesttime": "2026-01-01T00:00:00.000Z", "request": request}
        answer = await self.http.request(
            method, path, json=None if method == "GET" else body, headers={"authorization": f"Bearer {token}"}
        )
        return {"status": answer.status_code, **answer.json()}

    async def ok(self, method: str, path: str, request: Any = None, *, token: str = "admin") -> Any:
        answer = await self(method, path, request, token=token)
        assert not answer["errors"], answer["errors"]
        return answer["response"]

    async def code(self, method: str, path: str, request: Any = None, *, token: str = "admin") -> str:
        answer = await self(method, path, request, token=token)
        assert answer["response"] is None
        return answer["errors"][0]["errorCode"]


@pytest.fixture
async def api(db, keys_core, sealer_core, outbox_core, clock) -> AsyncIterator[Api]:
    trust = build_trust(db.core("keys"), keys_core, outbox_core, clock)
    _, module = build(db.core("partners"), sealer_core, keys_core, trust, outbox_core, clock)
    app = create_app(module.routers, Tokens(), Settings(mode="sandbox"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as http:
        yield Api(http)


def certificate(name: str, organisation: str, key: Any, issuer: Any = None, issuer_key: Any = None, days: int = 730):
    authority = issuer is None
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )
    begin = datetime.now(UTC) - timedelta(minutes=5)
    usage = x509.KeyUsage(not authority, False, not authority, False, False, authority, authority, False, False)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if authority else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
        .add_extension(x509.BasicConstraints(authority, None), True)
        .add_extension(usage, True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(issuer_key or key, hashes.SHA256())
    )


def pem(cert: x509.Certificate) -> str:
    return cert.public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture(scope="module")
def pki() -> dict[str, Any]:
    root_key, key = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
    root = certificate("Root", "Clinics", root_key)
    return {"root": root, "root_key": root_key, "key": key, "leaf": certificate("leaf", "clinic", key, root, root_key)}


def new_partner(partner_id: str = "clinic", **changes: Any) -> dict[str, Any]:
    return {
        "partnerId": partner_id,
        "policyGroup": "health",
        "organizationName": "clinic",
        "address": "1 Canary Road",
        "contactNumber": "9000000000",
        "emailId": f"{partner_id}@canary.example",
        "partnerType": "AUTH_PARTNER",
        **changes,
    }


def new_policy(name: str = "visits", kind: str = "Auth", body: Any = None) -> dict[str, Any]:
    return {
        "policyGroupName": "health",
        "policyType": kind,
        "name": name,
        "desc": name,
        "version": "1.0",
        "policies": body or AUTH_POLICY,
    }


async def group(api: Api) -> str:
    made = await api.ok("POST", "/v1/policymanager/policies/group/new", {"name": "health", "desc": "health"})
    return made["id"]


async def published(api: Api, group_id: str, **policy: Any) -> str:
    drafted = await api.ok("POST", "/v1/policymanager/policies", new_policy(**policy))
    await api.ok("POST", f"/v1/policymanager/policies/{drafted['id']}/group/{group_id}/publish", {})
    return drafted["id"]


async def upload(api: Api, pki: dict[str, Any], domain: str = "AUTH", partner_id: str = "clinic") -> dict[str, Any]:
    await api(
        "POST",
        "/v1/partnermanager/partners/certificate/ca/upload",
        {"certificateData": pem(pki["root"]), "partnerDomain": domain},
    )
    return await api.ok(
        "POST",
        "/v1/partnermanager/partners/certificate/upload",
        {"partnerId": partner_id, "certificateData": pem(pki["leaf"]), "partnerDomain": domain},
    )


async def mapped(api: Api, partner_id: str = "clinic", policy: str = "visits") -> str:
    path = f"/v1/partnermanager/partners/{partner_id}/policy/map"
    asked = await api.ok("POST", path, {"policyName": policy, "useCaseDescription": "care"})
    assert asked["message"] == "Policy mapping request submitted successfully."
    said = await api.ok("PUT", f"/v1/partnermanager/partners/policy/{asked['mappingkey']}", {"status": "Approved"})
    assert said == "Policy mapping approved successfully"
    return asked["mappingkey"]


async def events(db, sealer_core, kind: Any) -> list[Any]:
    rows = [row for row in await db.outbox_rows() if row["topic"] == kind.topic()]
    return [
        decode(await sealer_core.unseal("outbox", place_of(row["id"], row["topic"]), row["payload"]), kind)
        for row in rows
    ]


async def relying_party(api: Api, pki: dict[str, Any]) -> dict[str, Any]:
    group_id = await group(api)
    policy_id = await published(api, group_id)
    await api.ok("POST", "/v1/partnermanager/partners", new_partner())
    await upload(api, pki)
    await mapped(api)
    path = "/v1/partnermanager/partners/clinic/generate/apikey"
    key = await api.ok("PATCH", path, {"policyName": "visits", "label": "main"})
    return {**key, "group_id": group_id, "expected_policy": policy_id}


async def test_a_relying_party_from_policy_to_api_key(api, pki, db, sealer_core):
    party = await relying_party(api, pki)
    assert party["policyId"] == party["expected_policy"]
    assert len(party["apiKey"]) == 32
    read = await api.ok("GET", "/v1/partnermanager/partners/clinic")
    assert (read["status"], read["isActive"], read["policyGroup"]) == ("approved", True, "health")
    approved = [event for event in await events(db, sealer_core, PartnersChanged) if event.name == "APIKEY_APPROVED"]
    assert approved[0].api_key.api_key == party["apiKey"]
    assert approved[0].partner.status == approved[0].policy.status == "ACTIVE"


async def test_the_issued_certificate_is_no_ca_and_holds_the_partners_key(api, pki):
    await group(api)
    await api.ok("POST", "/v1/partnermanager/partners", new_partner())
    issued = await upload(api, pki)
    chain = pkcs7.load_pem_pkcs7_certificates(issued["signedCertificateData"].encode())
    leaf = next(one for one in chain if one.public_key() == pki["key"].public_key())
    assert leaf.issuer != pki["leaf"].issuer
    assert leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False


async def test_the_leaf_never_becomes_an_anchor(api, pki, db, sealer_core):
    await group(api)
    await api.ok("POST", "/v1/partnermanager/partners", new_partner())
    await upload(api, pki)
    last = (await events(db, sealer_core, CertificateAuthorityAdded))[-1]
    keys = [x509.load_pem_x509_certificate(anchor.encode()).public_key() for anchor in last.anchors]
    assert pki["root"].public_key() in keys
    assert pki["key"].public_key() not in keys


async def test_a_misp_gets_a_licence_for_an_approved_misp_policy(api, pki):
    group_id = await group(api)
    await published(api, group_id, name="brokers", kind="MISP", body=MISP_POLICY)
    await api.ok("POST", "/v1/partnermanager/partners", new_partner("misp", partnerType="misp_partner"))
    assert await api.code("POST", "/v1/partnermanager/misps", {"providerId": "misp"}) == "PMS_MSP_405"
    await upload(api, pki, "MISP", "misp")
    assert await api.code("POST", "/v1/partnermanager/misps", {"providerId": "misp"}) == "PMS_MSP_417"
    await mapped(api, "misp", "brokers")
    licence = await api.ok("POST", "/v1/partnermanager/misps", {"providerId": "misp"})
    assert len(licence["licenseKey"]) == 50
    assert await api.code("POST", "/v1/partnermanager/misps", {"providerId": "misp"}) == "PMS_MSP_416"
    change = {"providerId": "misp", "licenseKey": licence["licenseKey"], "licenseKeyStatus": "De-active"}
    await api.ok("PUT", "/v1/partnermanager/misps", change)
    change["licenseKey"] = "x" * 50
    assert await api.code("PUT", "/v1/partnermanager/misps", change) == "PMS_MSP_408"


async def test_deactivation_tells_authentication(api, pki, db, sealer_core):
    party = await relying_party(api, pki)
    path = f"/v1/partnermanager/partners/clinic/policy/{party['policyId']}/apiKey/status"
    await api.ok("PATCH", path, {"label": "main", "status": "De-active"})
    policy = f"/v1/policymanager/policies/{party['policyId']}/group/{party['group_id']}"
    assert await api.code("PATCH", policy, {"status": "De-active"}) == "PMS_POL_063"
    await api.ok("PATCH", "/v1/partnermanager/partners/clinic", {"status": "De-active"})
    seen = await events(db, sealer_core, PartnersChanged)
    assert [event.api_key.status for event in seen if event.name == "APIKEY_UPDATED"] == ["DEACTIVE"]
    assert [event.partner.status for event in seen if event.name == "PARTNER_UPDATED"] == ["ACTIVE", "DEACTIVE"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"contactNumber": "9" * 17}, "PMS_PRT_013"),
        ({"emailId": "nobody"}, "PMS_PRT_012"),
        ({"partnerId": "two words"}, "PMS_PRT_066"),
        ({"partnerId": "p" * 37}, "PMS_PRT_052"),
        ({"partnerType": "Sorcerer"}, "PMS_PRT_010"),
        ({"policyGroup": None}, "PMS_PRT_108"),
        ({"policyGroup": "nothing"}, "PMS_PRT_002"),
        ({"organizationName": 7}, "PMS_COR_002"),
        ({"emailId": None}, "PMS_COR_002"),
    ],
)
async def test_a_wrong_registration_is_refused(api, change, code):
    await group(api)
    assert await api.code("POST", "/v1/partnermanager/partners", new_partner(**change)) == code
    assert await api.ok("GET", "/v1/partnermanager/partners") == {"partners": []}


async def test_ids_and_emails_are_unique(api):
    await group(api)
    await api.ok("POST", "/v1/partnermanager/partners", new_partner())
    again = new_partner(emailId="other@canary.example")
    assert await api.code("POST", "/v1/partnermanager/partners", again) == "PMS_PRT_051"
    again = new_partner("second", emailId="CLINIC@canary.example")
    assert await api.code("POST", "/v1/partnermanager/partners", again) == "PMS_PRT_011"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({**AUTH_POLICY, "authTokenType": "secret"}, "PMS_POL_022"),
        ({**AUTH_POLICY, "allowedAuthTypes": [{"authType": "mood", "mandatory": False}]}, "PMS_POL_006"),
        ({**AUTH_POLICY, "allowedAuthTypes": "otp"}, "PMS_PV_005"),
        ({**AUTH_POLICY, "surprise": 1}, "PMS_PV_005"),
        ({"authTokenType": "policy", "allowedKycAttributes": []}, "PMS_PV_006"),
    ],
)
async def test_a_policy_that_does_not_fit_its_type_is_refused(api, body, code):
    await group(api)
    assert await api.code("POST", "/v1/policymanager/policies", new_policy(body=body)) == code


async def test_a_policy_is_published_once(api):
    group_id = await group(api)
    policy_id = await published(api, group_id)
    path = f"/v1/policymanager/policies/{policy_id}/group/{group_id}/publish"
    assert await api.code("POST", path, {}) == "PMS_POL_020"
    assert await api.code("POST", "/v1/policymanager/policies", new_policy()) == "PMS_POL_009"
    assert await api.code("POST", "/v1/policymanager/policies", new_policy(kind="Wish")) == "PMS_POL_023"


async def test_no_key_without_an_approved_mapping(api, pki):
    group_id = await group(api)
    await published(api, group_id)
    await api.ok("POST", "/v1/partnermanager/partners", new_partner())
    path = "/v1/partnermanager/partners/clinic/generate/apikey"
    assert await api.code("PATCH", path, {"policyName": "visits", "label": "main"}) == "PMS_PMP_016"
    await upload(api, pki)
    assert await api.code("PATCH", path, {"policyName": "visits", "label": "main"}) == "PMS_PRT_109"
    key = await mapped(api)
    again = {"policyName": "visits", "useCaseDescription": "care"}
    assert await api.code("POST", "/v1/partnermanager/partners/clinic/policy/map", again) == "PMS_PRT_060"
    assert await api.code("PUT", f"/v1/partnermanager/partners/policy/{key}", {"status": "Approved"}) == "PMS_PM_034"
    await api.ok("PATCH", path, {"policyName": "visits", "label": "main"})
    assert await api.code("PATCH", path, {"policyName": "visits", "label": "main"}) == "PMS_PRT_110"


async def test_a_partner_sees_only_its_own(api):
    await group(api)
    await api.ok("POST", "/v1/partnermanager/partners", new_partner(), token="own")
    assert await api.code("GET", "/v1/partnermanager/partners/clinic", token="other") == "PMS_PRT_055"
    assert (await api.ok("GET", "/v1/partnermanager/partners/clinic", token="own"))["partnerID"] == "clinic"


async def test_a_certificate_of_another_organisation_is_refused(api, pki):
    await group(api)
    await api.ok("POST", "/v1/partnermanager/partners", new_partner(organizationName="hospital"))
    ca = {"certificateData": pem(pki["root"]), "partnerDomain": "AUTH"}
    await api.ok("POST", "/v1/partnermanager/partners/certificate/ca/upload", ca)
    upload_ = {"partnerId": "clinic", "certificateData": pem(pki["leaf"]), "partnerDomain": "AUTH"}
    path = "/v1/partnermanager/partners/certificate/upload"
    assert await api.code("POST", path, upload_) == "KER-PCM-008"
    assert (await api.ok("GET", "/v1/partnermanager/partners/clinic"))["status"] == "InProgress"


async def test_a_deactivated_partner_does_not_activate_itself_by_an_upload(api, pki, db, sealer_core):
    await relying_party(api, pki)
    await api.ok("PATCH", "/v1/partnermanager/partners/clinic", {"status": "De-active"})
    await upload(api, pki)
    read = await api.ok("GET", "/v1/partnermanager/partners/clinic")
    assert (read["status"], read["isActive"]) == ("approved", False)
    updated = [event for event in await events(db, sealer_core, PartnersChanged) if event.name == "PARTNER_UPDATED"]
    assert updated[-1].partner.status == "DEACTIVE"


async def test_a_mapping_is_decided_once_also_by_two_at_the_same_time(api, pki, monkeypatch):
    await published(api, await group(api))
    await api.ok("POST", "/v1/partnermanager/partners", new_partner())
    await upload(api, pki)
    asked = await api.ok(
        "POST", "/v1/partnermanager/partners/clinic/policy/map", {"policyName": "visits", "useCaseDescription": "care"}
    )
    path = f"/v1/partnermanager/partners/policy/{asked['mappingkey']}"
    read = PartnerStore.mapping

    async def before_the_other_decided(self, key):
        return replace(await read(self, key), status="InProgress")

    await api.ok("PUT", path, {"status": "Rejected"})
    monkeypatch.setattr(PartnerStore, "mapping", before_the_other_decided)
    assert await api.code("PUT", path, {"status": "Approved"}) == "PMS_PM_035"
    monkeypatch.undo()
    key = {"policyName": "visits", "label": "main"}
    assert await api.code("PATCH", "/v1/partnermanager/partners/clinic/generate/apikey", key) == "PMS_PRT_109"


async def test_an_upload_at_the_same_time_does_not_undo_a_deactivation(api, pki, monkeypatch):
    await relying_party(api, pki)
    begin = PartnerStore.lock_partner

    async def deactivated_meanwhile(self, tx, id):
        monkeypatch.setattr(PartnerStore, "lock_partner", begin)
        await api.ok("PATCH", "/v1/partnermanager/partners/clinic", {"status": "De-active"})
        return await begin(self, tx, id)

    monkeypatch.setattr(PartnerStore, "lock_partner", deactivated_meanwhile)
    await upload(api, pki)
    assert not (await api.ok("GET", "/v1/partnermanager/partners/clinic"))["isActive"]


async def test_a_revoked_certificate_is_taken_back_and_not_taken_again(api, pki, db, sealer_core):
    await group(api)
    await api.ok("POST", "/v1/partnermanager/partners", new_partner())
    path = "/v1/partnermanager/partners/clinic/certificate/revoke"
    assert await api.code("POST", path, {"reason": "stolen"}) == "PMS_PMP_052"
    await upload(api, pki)
    await api.ok("POST", path, {"reason": "stolen"})
    last = (await events(db, sealer_core, PartnersChanged))[-1]
    assert (last.name, last.partner.certificate_pem, last.partner.status) == ("PARTNER_UPDATED", None, "ACTIVE")
    again = {"partnerId": "clinic", "certificateData": pem(pki["leaf"]), "partnerDomain": "AUTH"}
    code = await api.code("POST", "/v1/partnermanager/partners/certificate/upload", again)
    assert code == "KER-PCM-006"
    assert await api.code("POST", path, {"reason": ""}) == "PMS_COR_002"


async def test_opening_contact_data_is_audited_with_who_asked(api, db, sealer_core):
    await group(api)
    await api.ok("POST", "/v1/partnermanager/partners", new_partner(), token="own")
    await api.ok("GET", "/v1/partnermanager/partners/clinic", token="own")
    await api.ok("GET", "/v1/partnermanager/partners")
    opened = [
        (act.actor, act.subject)
        for act in await events(db, sealer_core, AuditRecorded)
        if act.action == "partners.contact.read"
    ]
    assert opened == [("own", "clinic"), ("admin", "clinic")]


async def test_contact_data_and_keys_are_sealed_at_rest(api, pki, db):
    party = await relying_party(api, pki)
    for table in ("partner", "api_key", "policy_mapping"):
        for row in await db.as_owner(f"SELECT * FROM partners.{table}"):
            stored = repr(dict(row))
            for canary in ("Canary Road", "canary.example", "9000000000", party["apiKey"]):
                assert canary not in stored


async def test_every_answer_is_signed(api, keys_core):
    answer = await api.http.get("/v1/partnermanager/partners", headers={"authorization": "Bearer admin"})
    certificate_ = (await keys_core.certificate(KERNEL_SIGN)).x509
    jws.verify(answer.headers["response-signature"], answer.content, certificate=certificate_, at=datetime.now(UTC))
    with pytest.raises(SignatureInvalid):
        jws.verify(
            answer.headers["response-signature"], answer.content + b" ", certificate=certificate_, at=datetime.now(UTC)
        )


async def test_roles_are_asked_for(api):
    answer = await api("POST", "/v1/policymanager/policies/group/new", {"name": "a", "desc": "a"}, token="resident")
    assert (answer["status"], answer["errors"][0]["errorCode"]) == (403, "KER-ATH-403")
    answer = await api("POST", "/v1/policymanager/policies/group/new", {"name": "a", "desc": "a"}, token="nobody")
    assert (answer["status"], answer["errors"][0]["errorCode"]) == (401, "KER-ATH-401")
