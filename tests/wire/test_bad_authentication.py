"""What a relying party may do wrong, and what may be taken from it, on the running platform with signed requests.

Tests that take something away measure how long that needs to count, and give it back.
"""

import json
import re
import time
from dataclasses import replace

import pytest
from cryptography import x509

from authentication_world import certificate, pem_of, private_key
from civium.apps.sandbox.applicant import make_applicant
from civium.apps.sandbox.client import PARTNER_ADMIN, CallFailed
from civium.apps.sandbox.registration import enrol
from civium.apps.sandbox.relying_party import _certificate as partner_certificate
from civium.apps.sandbox.relying_party import make_licence, make_relying_party
from civium.kernel.identifiers import random_uin, random_vid
from civium.platform.permissions import Role
from relying_party_client import *  # noqa: F403
from relying_party_client import RelyingPartyClient, birth
from surface import *  # noqa: F403
from surface import codes, envelope, leaks, now

PAIR = "IDA-MLC-007"
EFFECTIVE_SECONDS = 2.0


@pytest.fixture(scope="module")
def admin(platform):
    """A partner administrator's session."""
    with platform.client() as session:
        session.login_user(PARTNER_ADMIN)
        yield session


@pytest.fixture(scope="module")
def citizen(platform):
    """A person whose things may be locked, frozen and deactivated."""
    with platform.client() as session:
        return enrol(session, platform.home, make_applicant(20261127))


@pytest.fixture(scope="module")
def victim(platform, surface, person):
    """A relying party of which things are taken away, once it works."""
    with platform.client() as session:
        party = make_relying_party(session, "test-victim")
    RelyingPartyClient.of(party).codes_soon(surface, person.uin.reveal(), [], demographics=birth(person))
    return party


def ask(surface, client, person, usage="auth", **changes):
    return codes(client.ask(surface, usage, client.request(usage, person.uin.reveal(), **changes)))


@pytest.fixture(autouse=True)
def works_afterwards(surface, client, person):
    """Whatever a test does, the good relying party can authenticate the good person."""
    yield
    assert ask(surface, client, person, demographics=birth(person)) == []


class TestSignature:
    def test_of_other_bytes(self, surface, client, person):
        body = json.dumps(client.request("auth", person.uin.reveal(), demographics=birth(person))).encode()
        headers = {"signature": client.signature(body + b" "), "authorization": "x", "content-type": "application/json"}
        answer = surface.ask("POST", client.path("auth"), content=body, headers=headers)
        assert codes(answer) == [PAIR, "IDA-MPA-001"]
        assert answer.json()["response"] == {"authStatus": False, "authToken": None}

    def test_with_another_key(self, surface, client, person):
        assert ask(surface, replace(client, key=private_key("other")), person) == [PAIR, "IDA-MPA-001"]

    def test_with_a_certificate_that_nobody_vouches_for(self, surface, client, person):
        key = private_key("foreign")
        foreign = replace(client, key=key, certificate=certificate(client.partner_id, key, "Foreign Root", key))
        assert ask(surface, foreign, person) == [PAIR, "IDA-MPA-001"]

    def test_with_another_partners_certificate(self, surface, client, victim, person):
        other = RelyingPartyClient.of(victim)
        mixed = replace(client, key=other.key, certificate=other.certificate)
        assert ask(surface, mixed, person) == [PAIR, "IDA-MPA-021"]

    def test_with_an_expired_certificate_of_a_trusted_authority(self, surface, admin, client, person):
        key, root = private_key("old"), private_key("authority")
        authority = certificate("Test Authority", root, "Test Authority", root, ca=True, days=3650)
        upload = {"certificateData": pem_of(authority), "partnerDomain": "AUTH"}
        admin.call("POST", "/v1/partnermanager/partners/certificate/ca/upload", upload)

        def signed(leaf: x509.Certificate) -> RelyingPartyClient:
            return replace(client, key=key, certificate=leaf)

        good = certificate("old", key, "Test Authority", root, days=30)
        signed(good).codes_soon(surface, person.uin.reveal(), [PAIR, "IDA-MPA-021"], demographics=birth(person))
        began = good.not_valid_before_utc.replace(year=good.not_valid_before_utc.year - 1)
        old = certificate("old", key, "Test Authority", root, valid_from=began, days=30)
        assert ask(surface, signed(old), person) == [PAIR, "IDA-MPA-001"]


class TestTakenAway:
    """Each right counts no more within two seconds of its end, and counts again after it is given back."""

    def check(self, surface, client, person, take, give, code):
        take()
        seconds = client.codes_soon(surface, person.uin.reveal(), [PAIR, code], demographics=birth(person))
        assert seconds < EFFECTIVE_SECONDS
        for usage in ("kyc", "otp"):
            assert ask(surface, client, person, usage) == [PAIR, code]
        give()
        seconds = client.codes_soon(surface, person.uin.reveal(), [], demographics=birth(person))
        assert seconds < EFFECTIVE_SECONDS

    def test_licence(self, surface, admin, victim, person):
        licence = make_licence(admin, "test-misp").reveal()
        client = replace(RelyingPartyClient.of(victim), licence_key=licence)
        client.codes_soon(surface, person.uin.reveal(), [], demographics=birth(person))

        def become(status):
            body = {"providerId": "test-misp", "licenseKey": licence, "licenseKeyStatus": status}
            admin.call("PUT", "/v1/partnermanager/misps", body)

        self.check(surface, client, person, lambda: become("De-Active"), lambda: become("Active"), "IDA-MPA-017")

    def test_api_key(self, surface, admin, victim, person):
        path = f"/v1/partnermanager/partners/{victim.partner_id}/policy/{victim.policy_id}/apiKey/status"

        def become(status):
            admin.call("PATCH", path, {"label": "sandbox", "status": status})

        client = RelyingPartyClient.of(victim)
        self.check(surface, client, person, lambda: become("De-Active"), lambda: become("Active"), "IDA-MPA-012")

    def test_partner(self, surface, admin, victim, person):
        def become(status):
            admin.call("PATCH", f"/v1/partnermanager/partners/{victim.partner_id}", {"status": status})

        client = RelyingPartyClient.of(victim)
        self.check(surface, client, person, lambda: become("De-Active"), lambda: become("Active"), "IDA-MPA-012")

    def test_certificate(self, surface, admin, victim, person):
        """A new certificate takes the place of the old one, which counts no more."""
        root, key = private_key("second authority"), private_key("second")
        authority = partner_certificate("Second Authority", victim.partner_id, root, None, root)
        upload = {"certificateData": pem_of(authority), "partnerDomain": "AUTH"}
        admin.call("POST", "/v1/partnermanager/partners/certificate/ca/upload", upload)
        second = partner_certificate(victim.partner_id, victim.partner_id, key, authority, root)
        body = {"partnerId": victim.partner_id, "certificateData": pem_of(second), "partnerDomain": "AUTH"}
        admin.call("POST", "/v1/partnermanager/partners/certificate/upload", body)
        old = RelyingPartyClient.of(victim)
        seconds = old.codes_soon(surface, person.uin.reveal(), [PAIR, "IDA-MPA-021"], demographics=birth(person))
        assert seconds < EFFECTIVE_SECONDS
        new = replace(old, key=key, certificate=second)
        new.codes_soon(surface, person.uin.reveal(), [], demographics=birth(person))

    def test_revoked_certificate(self, surface, platform, person):
        """For good: there is nothing to give back."""
        with platform.client() as session:
            party = make_relying_party(session, "test-revoked")
            client = RelyingPartyClient.of(party)
            client.codes_soon(surface, person.uin.reveal(), [], demographics=birth(person))
            path = f"/v1/partnermanager/partners/{party.partner_id}/certificate/revoke"
            session.call("POST", path, {"reason": "keyCompromise"})
        seconds = client.codes_soon(surface, person.uin.reveal(), [PAIR, "IDA-MPA-002"], demographics=birth(person))
        assert seconds < EFFECTIVE_SECONDS
        for usage in ("kyc", "otp"):
            assert ask(surface, client, person, usage) == [PAIR, "IDA-MPA-002"]

    async def test_policy_in_use_stays(self, surface, admin, victim):
        group = admin.call("POST", "/v1/policymanager/policies/group/new", {"name": "unused", "desc": "unused"})["id"]
        its_own = (await surface.installation.partners.policy(victim.policy_id)).group_id
        for group_id, code in ((group, "PMS_POL_015"), (its_own, "PMS_POL_057")):
            path = f"/v1/policymanager/policies/{victim.policy_id}/group/{group_id}"
            with pytest.raises(CallFailed) as refused:
                admin.call("PATCH", path, {"status": "De-Active"})
            assert refused.value.codes == (code,)


class TestPath:
    def test_what_nobody_was_given(self, surface, client, person):
        for changes, code in (
            ({"licence_key": "0" * 50}, "IDA-MPA-007"),
            ({"api_key": "123456"}, "IDA-MPA-009"),
            ({"partner_id": "nobody"}, "IDA-MPA-009"),
            ({"partner_id": "x' OR '1'='1"}, "IDA-MPA-009"),
            ({"api_key": "%00"}, "IDA-MPA-009"),
        ):
            assert ask(surface, replace(client, **changes), person) == [PAIR, code], changes

    def test_a_factor_outside_the_policy(self, surface, client, person):
        assert ask(surface, client, person, block={"staticPin": "123456"}) == [PAIR, "IDA-MPA-006"]


class TestReplay:
    def test_the_same_request_again(self, surface, client, person):
        request = client.request("auth", person.uin.reveal(), demographics=birth(person))
        assert codes(client.ask(surface, "auth", request)) == []
        for _ in range(3):
            answer = client.ask(surface, "auth", request)
            assert codes(answer) == [PAIR, "IDA-MLC-009"]
            assert answer.json()["errors"][1]["errorMessage"].endswith("transactionID")
            assert answer.json()["response"]["authToken"] is None


class TestPerson:
    def test_unknown(self, surface, client):
        for identifier in (random_uin(), random_vid()):
            request = client.request("auth", identifier.reveal(), demographics={"dob": "1990/01/31"})
            assert codes(client.ask(surface, "auth", request)) == ["IDA-MLC-018"]

    def test_no_identifier(self, surface, client):
        for wrong, code in (("1234567890", "IDA-MLC-002"), ("1234567890123456", "IDA-MLC-004")):
            request = client.request("auth", wrong, demographics={"dob": "1990/01/31"})
            assert codes(client.ask(surface, "auth", request)) == [code]

    def test_wrong_one_time_password_five_times(self, surface, platform, client, citizen):
        known = citizen.vid.reveal()
        client.codes_soon(surface, known, [], demographics=birth(citizen))
        transaction = "5550000001"
        code = self.requested(surface, platform, client, citizen, transaction)
        wrong = f"{(int(code) + 1) % 10**6:06d}"

        def tried(otp):
            return codes(client.ask(surface, "auth", client.request("auth", known, otp=otp, transactionID=transaction)))

        answers = [tried(wrong) for _ in range(5)]
        assert answers[0] == ["IDA-OTA-004"]
        assert answers[-1] == ["IDA-OTA-013"]
        assert tried(code) == ["IDA-OTA-013"], "the right one, too late"
        again = client.ask(surface, "otp", client.members("otp", known, transactionID="5550000002"))
        assert codes(again) == ["IDA-OTA-013"]
        assert not leaks(platform.home, f'"{code}"', f" {code} ")
        # What has nothing to do with one-time passwords still works.
        client.codes_soon(surface, known, [], demographics=birth(citizen))

    @staticmethod
    def requested(surface, platform, client, citizen, transaction):
        with platform.client() as session:
            before = len(session.messages(citizen.applicant.email))
            sent = client.ask(surface, "otp", client.members("otp", citizen.vid.reveal(), transactionID=transaction))
            assert codes(sent) == []
            limit = time.monotonic() + 10
            while time.monotonic() < limit:
                fresh = session.messages(citizen.applicant.email)
                for message in fresh[: len(fresh) - before]:
                    if found := re.search(r"(?<!\d)\d{6}(?!\d)", message["body"]):
                        return found[0]
                time.sleep(0.05)
        raise AssertionError("no one-time password arrived")

    def test_locked_types(self, surface, client, citizen):
        identifier = citizen.uin.reveal()

        def lock(auth_type, *, locked):
            body = {
                "id": "ida", "version": "v1", "requesttime": now(), "individualId": identifier,
                "individualIdType": "UIN", "request": [{"authType": auth_type, "locked": locked}],
            }  # fmt: skip
            path = "/idrepository/v1/identity/authtypes/status"
            assert codes(surface.ask("POST", path, surface.role_tokens[Role.RESIDENT], json=body)) == []

        lock("demo", locked=True)
        seconds = client.codes_soon(surface, identifier, ["IDA-MLC-019"], demographics=birth(citizen))
        assert seconds < EFFECTIVE_SECONDS
        lock("demo", locked=False)
        client.codes_soon(surface, identifier, [], demographics=birth(citizen))
        lock("otp", locked=True)
        client.codes_soon(surface, identifier, ["IDA-MLC-019"], otp="111111")
        lock("otp", locked=False)
        client.codes_soon(surface, identifier, ["IDA-OTA-005"], otp="111111")

    def test_deactivated_vid(self, surface, client, citizen):
        def become(action):
            body = envelope({"UIN": citizen.uin.reveal()}, id=f"mosip.vid.{action}")
            path = f"/idrepository/v1/vid/{action}"
            assert codes(surface.ask("POST", path, surface.role_tokens[Role.RESIDENT], json=body)) == []

        vid = citizen.vid.reveal()
        client.codes_soon(surface, vid, [], demographics=birth(citizen))
        become("deactivate")
        assert client.codes_soon(surface, vid, ["IDA-MLC-023"], demographics=birth(citizen)) < EFFECTIVE_SECONDS
        become("reactivate")
        client.codes_soon(surface, vid, [], demographics=birth(citizen))

    def test_deactivated_person(self, surface, client, citizen):
        identifier = citizen.uin.reveal()

        def become(status):
            token = surface.role_tokens[Role.REGISTRATION_PROCESSOR]
            rid = surface.ask("GET", "/v1/ridgenerator/generate/rid/10001/10001", token).json()["response"]["rid"]
            body = envelope({"registrationId": rid, "uin": identifier, "status": status}, id="mosip.id.update")
            assert codes(surface.ask("PATCH", "/idrepository/v1/identity/", token, json=body)) == []

        client.codes_soon(surface, identifier, [], demographics=birth(citizen))
        become("DEACTIVATED")
        assert client.codes_soon(surface, identifier, ["IDA-MLC-022"], demographics=birth(citizen)) < EFFECTIVE_SECONDS
        become("ACTIVATED")
        client.codes_soon(surface, identifier, [], demographics=birth(citizen))


def test_nothing_of_the_requests_is_in_a_log(platform, client, victim, citizen, person):
    values = [client.licence_key, client.api_key, victim.api_key.reveal(), victim.licence_key.reveal()]
    for someone in (citizen, person):
        values += [someone.uin.reveal(), someone.vid.reveal(), someone.rid.reveal(), *someone.applicant.names.values()]
        values += [someone.applicant.email, someone.applicant.phone, someone.applicant.date_of_birth]
    assert not leaks(platform.home, *values)
