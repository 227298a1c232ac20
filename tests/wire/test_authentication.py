"""Authentication through HTTP: what a relying party gets, and what it does not."""

import asyncio
import base64
import json
import logging
from datetime import timedelta

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from authentication_fixtures import *  # noqa: F403
from authentication_world import FACE_RECORD, PERSON, POLICY, World, codes, padded, pem_of
from civium.keys.api import IDA_SIGN
from civium.notify.api import NotificationRequested
from civium.platform.database import record_statements

REFUSED = {"authStatus": False, "authToken": None}


async def test_otp_authentication(world: World) -> None:
    person = await world.credential()
    client = world.client()
    otp = await client.otp(person.identifier, "1234567890")
    envelope = await client.send("auth", person.identifier, otp=otp, transactionID="1234567890")
    assert list(envelope) == ["transactionID", "version", "id", "errors", "responseTime", "response"]
    assert envelope["errors"] is None
    assert envelope["id"] == "mosip.identity.auth"
    assert envelope["version"] == "1.0"
    assert envelope["transactionID"] == "1234567890"
    assert envelope["responseTime"] == world.instant()
    assert envelope["response"] == {
        "authStatus": True,
        "authToken": await world.keys_auth.token_id(person.token, "policy-one"),
    }


async def test_otp_answer_is_masked_and_message_reaches_the_person(world: World) -> None:
    person = await world.credential()
    envelope = await world.client().send("otp", person.identifier)
    assert envelope["id"] == "mosip.identity.otp"
    assert envelope["response"] == {"maskedMobile": "XXXXXX3210", "maskedEmail": "XXhXXaX@example.org"}
    (message,) = await world.events(NotificationRequested)
    assert (message.template, message.phone, message.email) == ("ida-auth-otp", "9876543210", "asharao@example.org")
    assert message.values["name_ara"] == "آشا راو"
    assert message.values["idvid"] == "XXXXXXXX" + person.identifier[8:]
    assert message.values["validTime"] == "3"
    assert message.values["otp"].isdigit()
    assert len(message.values["otp"]) == 6


async def test_one_channel_leaves_the_other_null(world: World) -> None:
    person = await world.credential()
    envelope = await world.client().send("otp", person.identifier, otpChannel=["PHONE"])
    assert envelope["response"] == {"maskedMobile": "XXXXXX3210", "maskedEmail": None}


@pytest.mark.parametrize(
    ("missing", "channels", "suffix"),
    [
        ({"phone"}, ["phone"], ". Phone Number is not found in identity data."),
        ({"email"}, ["email"], ". Email ID is not found in identity data."),
        (
            {"phone", "email"},
            ["phone", "email"],
            ". Both Phone Number and Email ID are not found in identity data.",
        ),
    ],
)
async def test_no_address_no_otp(world: World, missing: set[str], channels: list[str], suffix: str) -> None:
    person = await world.credential(person={name: value for name, value in PERSON.items() if name not in missing})
    envelope = await world.client().send("otp", person.identifier, otpChannel=channels)
    assert envelope["errors"] == [{"errorCode": "IDA-OTA-002", "errorMessage": "Could not generate/send OTP" + suffix}]
    assert envelope["response"] is None


async def test_the_address_that_exists_gets_the_otp(world: World) -> None:
    person = await world.credential(person={name: value for name, value in PERSON.items() if name != "phone"})
    envelope = await world.client().send("otp", person.identifier)
    assert envelope["response"] == {"maskedMobile": None, "maskedEmail": "XXhXXaX@example.org"}


async def test_wrong_otp_four_times_then_frozen(world: World) -> None:
    person = await world.credential()
    client = world.client()
    otp = await client.otp(person.identifier, "1111111111")
    wrong = f"{(int(otp) + 1) % 10**6:06d}"
    for _ in range(4):
        envelope = await client.send("auth", person.identifier, otp=wrong, transactionID="1111111111")
        assert codes(envelope) == ["IDA-OTA-004"]
        assert envelope["response"] == REFUSED
    envelope = await client.send("auth", person.identifier, otp=wrong, transactionID="1111111111")
    assert envelope["errors"] == [
        {
            "errorCode": "IDA-OTA-013",
            "errorMessage": "OTP request/validation has been frozen for the Individual-ID for 30 seconds due to "
            "consecutive failure attempts for 5 times.",
        }
    ]
    right = await client.send("auth", person.identifier, otp=otp, transactionID="1111111111")
    assert codes(right) == ["IDA-OTA-013"]
    assert codes(await client.send("otp", person.identifier)) == ["IDA-OTA-013"]
    world.clock.advance(timedelta(minutes=30))
    fresh = await client.otp(person.identifier, "2222222222")
    assert (await client.send("auth", person.identifier, otp=fresh, transactionID="2222222222"))["errors"] is None


async def test_a_new_otp_gives_no_new_tries(world: World) -> None:
    person = await world.credential()
    client = world.client()
    seen = []
    for attempt in range(5):
        transaction = f"{attempt:010d}"
        otp = await client.otp(person.identifier, transaction)
        wrong = f"{(int(otp) + 1) % 10**6:06d}"
        seen += codes(await client.send("auth", person.identifier, otp=wrong, transactionID=transaction))
        world.clock.advance(timedelta(seconds=61))
    assert seen == ["IDA-OTA-004"] * 4 + ["IDA-OTA-013"]


async def test_parallel_guesses_get_no_extra_tries(world: World) -> None:
    person = await world.credential()
    client = world.client()
    otp = await client.otp(person.identifier, "1111111111")
    guesses = [f"{(int(otp) + step) % 10**6:06d}" for step in range(1, 13)]
    answers = await asyncio.gather(
        *(client.send("auth", person.identifier, otp=guess, transactionID="1111111111") for guess in guesses)
    )
    given = sorted(code for answer in answers for code in codes(answer) if code != "IDA-MLC-007")
    assert given.count("IDA-OTA-004") == 4
    (row,) = await world.rows("otp")
    assert (row["failures"], row["status"]) == (5, "frozen")


async def test_an_otp_is_bound_to_transaction_partner_and_one_use(world: World) -> None:
    person = await world.credential()
    client, other = world.client(), world.other_client()
    otp = await client.otp(person.identifier, "1111111111")
    assert codes(await client.send("auth", person.identifier, otp=otp, transactionID="2222222222")) == ["IDA-OTA-005"]
    assert codes(await other.send("auth", person.identifier, otp=otp, transactionID="1111111111")) == ["IDA-OTA-011"]
    assert codes(await client.send("auth", person.identifier, otp=otp, transactionID="1111111111")) == []
    assert codes(await client.send("auth", person.identifier, otp=otp, transactionID="1111111111")) == ["IDA-OTA-012"]


async def test_an_otp_of_the_uin_does_not_fit_the_vid(world: World) -> None:
    uin = await world.credential()
    vid = await world.credential(vid=True, token=uin.token)
    otp = await world.client().otp(uin.identifier, "1111111111")
    envelope = await world.client().send("auth", vid.identifier, otp=otp, transactionID="1111111111")
    assert codes(envelope) == ["IDA-OTA-010"]


async def test_two_uses_at_once_of_one_otp_pass_once(world: World) -> None:
    person = await world.credential()
    client = world.client()
    otp = await client.otp(person.identifier, "1111111111")
    answers = await asyncio.gather(
        *(client.send("auth", person.identifier, otp=otp, transactionID="1111111111") for _ in range(4))
    )
    assert sorted(code for answer in answers for code in codes(answer)) == ["IDA-OTA-012"] * 3


async def test_an_otp_expires(world: World) -> None:
    person = await world.credential()
    client = world.client()
    otp = await client.otp(person.identifier, "1111111111")
    world.clock.advance(timedelta(seconds=181))
    assert codes(await client.send("auth", person.identifier, otp=otp, transactionID="1111111111")) == ["IDA-OTA-003"]


async def test_otp_requests_are_limited_per_minute(world: World) -> None:
    person = await world.credential()
    for _ in range(5):
        assert codes(await world.client().send("otp", person.identifier)) == []
    assert codes(await world.client().send("otp", person.identifier)) == ["IDA-OTA-001"]
    world.clock.advance(timedelta(seconds=61))
    assert codes(await world.client().send("otp", person.identifier)) == []


@pytest.mark.parametrize(
    "claims",
    [
        {"name": [{"language": "eng", "value": "rao meera ASHA"}]},
        {"name": [{"language": "eng", "value": "Asha Meera Rao"}, {"language": "ara", "value": "آشا راو"}]},
        {"dob": "1990/01/31"},
        {"age": "34"},
        {"gender": [{"language": "ara", "value": "أنثى"}]},
        {"phoneNumber": "9876543210", "emailId": "ASHARAO@example.org", "postalCode": "10112"},
        {"addressLine1": [{"language": "eng", "value": "12 1 crs st"}]},
        {"location1": [{"language": "eng", "value": "Kenitra"}]},
        {"fullAddress": [{"language": "eng", "value": "No 12 1st cross street, Kenitra, 10112"}]},
        {"metadata": {"phone": "9876543210"}},
        {"city": [{"language": "eng", "value": "kenitra"}]},
    ],
)
async def test_demographics_match(world: World, claims: dict) -> None:
    person = await world.credential()
    envelope = await world.client().send("auth", person.identifier, demographics=claims)
    assert envelope["errors"] is None
    assert envelope["response"]["authStatus"] is True


@pytest.mark.parametrize(
    ("claims", "errors"),
    [
        (
            {"name": [{"language": "eng", "value": "Asha Rao"}], "dob": "1990/01/30"},
            [
                {
                    "errorCode": "IDA-DEA-001",
                    "errorMessage": "Demographic data name in eng did not match",
                    "actionMessage": "Please re-enter your name in eng",
                },
                {
                    "errorCode": "IDA-DEA-001",
                    "errorMessage": "Demographic data dob did not match",
                    "actionMessage": "Please re-enter your dob",
                },
            ],
        ),
        (
            {"addressLine2": [{"language": "eng", "value": "x"}]},
            [
                {
                    "errorCode": "IDA-DEA-003",
                    "errorMessage": "Demographic data address line item(s) in eng not available in database",
                }
            ],
        ),
        (
            {"age": "99"},
            [
                {
                    "errorCode": "IDA-DEA-001",
                    "errorMessage": "Demographic data age did not match",
                    "actionMessage": "Please re-enter your age",
                }
            ],
        ),
        (
            {"dob": "31-01-1990"},
            [{"errorCode": "IDA-MLC-009", "errorMessage": "Invalid Input Parameter - request/demographics/dob"}],
        ),
    ],
)
async def test_demographics_that_do_not_match(world: World, claims: dict, errors: list) -> None:
    person = await world.credential()
    envelope = await world.client().send("auth", person.identifier, demographics=claims)
    assert envelope["errors"] == errors
    assert envelope["response"] == REFUSED


async def test_both_factors_must_pass(world: World) -> None:
    person = await world.credential()
    client = world.client()
    otp = await client.otp(person.identifier, "1111111111")
    wrong = {"dob": "1999/01/31"}
    envelope = await client.send("auth", person.identifier, otp=otp, transactionID="1111111111", demographics=wrong)
    assert codes(envelope) == ["IDA-DEA-001"]
    assert envelope["response"] == REFUSED


async def test_kyc_gives_the_allowed_attributes_to_the_partner_alone(world: World) -> None:
    person = await world.credential()
    client = world.client()
    envelope = await client.send("kyc", person.identifier, demographics={"dob": "1990/01/31"})
    response = envelope["response"]
    assert envelope["id"] == "mosip.identity.kyc"
    assert response["kycStatus"] is True
    assert response["authToken"] == await world.keys_auth.token_id(person.token, "policy-one")
    assert response["thumbprint"] == world.leaves["rp-one"].fingerprint(hashes.SHA256()).hex().upper()
    assert "=" not in response["identity"] + response["sessionKey"]
    assert client.open_kyc(response) == {
        "name_eng": "Asha Meera Rao",
        "name_ara": "آشا راو",
        "gender_eng": "Female",
        "gender_ara": "أنثى",
        "dob": "1990/01/31",
        "phoneNumber": "9876543210",
        "photo": base64.b64encode(FACE_RECORD).decode(),
        "location1_eng": "Kenitra",
    }


async def test_kyc_refused_shows_nothing(world: World) -> None:
    person = await world.credential()
    envelope = await world.client().send("kyc", person.identifier, demographics={"dob": "1991/01/31"})
    assert envelope["response"] == {
        "kycStatus": False,
        "authToken": None,
        "thumbprint": None,
        "identity": None,
        "sessionKey": None,
    }


@pytest.mark.parametrize(("kind", "code"), [("partner", "rp-one"), ("policy", "policy-one")])
async def test_token_is_the_same_for_one_partner_and_different_for_another(world: World, kind: str, code: str) -> None:
    policy = world.policy({**POLICY, "authTokenType": kind})
    await world.change(policy=policy)
    other_policy = msgspec.structs.replace(policy, policy_id="policy-two")
    await world.change(policy=other_policy, api_key=world.api_key("rp-two", policy_id="policy-two"))
    uin = await world.credential()
    vid = await world.credential(vid=True, token=uin.token)
    claims = {"dob": "1990/01/31"}
    tokens = [
        (await client.send("auth", who.identifier, demographics=claims))["response"]["authToken"]
        for client in (world.client(), world.other_client())
        for who in (uin, vid)
    ]
    assert tokens[0] == tokens[1] == await world.keys_auth.token_id(uin.token, code)
    assert tokens[2] == tokens[3] != tokens[0]


async def test_random_tokens_differ(world: World) -> None:
    await world.change(policy=world.policy({**POLICY, "authTokenType": "random"}))
    person = await world.credential()
    claims = {"dob": "1990/01/31"}
    first, second = [
        (await world.client().send("auth", person.identifier, demographics=claims))["response"]["authToken"]
        for _ in range(2)
    ]
    assert first != second
    assert len(first) == len(second) == 36


async def test_unknown_and_deactivated_identifiers(world: World) -> None:
    claims = {"dob": "1990/01/31"}
    uin = await world.credential()
    vid = await world.credential(vid=True)
    await world.status(uin, "DEACTIVATE_ID", world.instant(seconds=-1))
    await world.status(vid, "DEACTIVATE_ID", world.instant(seconds=-1))
    client = world.client()
    assert codes(await client.send("auth", uin.identifier, demographics=claims)) == ["IDA-MLC-022"]
    assert codes(await client.send("auth", vid.identifier, demographics=claims)) == ["IDA-MLC-023"]
    assert codes(await client.send("otp", uin.identifier)) == ["IDA-MLC-022"]
    await world.status(uin, "ACTIVATE_ID")
    assert codes(await client.send("auth", uin.identifier, demographics=claims)) == []
    await world.status(uin, "REMOVE_ID")
    await world.status(vid, "REMOVE_ID")
    for who, alias in ((uin, "UIN"), (vid, "VID")):
        envelope = await client.send("auth", who.identifier, demographics=claims)
        assert envelope["errors"] == [
            {"errorCode": "IDA-MLC-018", "errorMessage": f"{alias} not available in database"}
        ]
        assert envelope["response"] == REFUSED


async def test_a_limited_vid_is_used_up_also_by_failures(world: World) -> None:
    vid = await world.credential(vid=True, limit=2)
    client = world.client()
    await client.send("otp", vid.identifier)
    assert codes(await client.send("auth", vid.identifier, demographics={"dob": "1990/01/30"})) == ["IDA-DEA-001"]
    assert codes(await client.send("kyc", vid.identifier, demographics={"dob": "1990/01/31"})) == []
    assert codes(await client.send("auth", vid.identifier, demographics={"dob": "1990/01/31"})) == ["IDA-MLC-018"]
    assert await world.rows("identity_cache") == []
    assert await world.rows("identity_head") == []


async def test_a_one_time_vid_passes_once_under_parallel_use(world: World) -> None:
    vid = await world.credential(vid=True, limit=1)
    answers = await asyncio.gather(
        *(world.client().send("auth", vid.identifier, demographics={"dob": "1990/01/31"}) for _ in range(5))
    )
    assert sorted(code for answer in answers for code in codes(answer)) == ["IDA-MLC-018"] * 4


async def test_a_limited_vid_passes_as_often_as_it_may_under_parallel_use(world: World) -> None:
    vid = await world.credential(vid=True, limit=3)
    answers = await asyncio.gather(
        *(world.client().send("auth", vid.identifier, demographics={"dob": "1990/01/31"}) for _ in range(6))
    )
    assert sorted(code for answer in answers for code in codes(answer)) == ["IDA-MLC-018"] * 3


@pytest.mark.parametrize(
    ("kind", "sub", "argument"), [("otp", None, "otp"), ("demo", None, "demo"), ("otp", "null", "otp")]
)
async def test_a_locked_type_is_refused(world: World, kind: str, sub: str | None, argument: str) -> None:
    person = await world.credential()
    client = world.client()
    otp = await client.otp(person.identifier, "1111111111")
    await world.lock(person, kind, sub)
    factor = {"otp": otp} if kind == "otp" else {"demographics": {"dob": "1990/01/31"}}
    envelope = await client.send("auth", person.identifier, transactionID="1111111111", **factor)
    assert envelope["errors"] == [
        {"errorCode": "IDA-MLC-019", "errorMessage": f"{argument} Auth Type is Locked for the UIN"}
    ]
    (row,) = await world.rows("otp")
    assert row["status"] == "active"
    await world.lock(person, kind, sub, until=world.instant(seconds=100))
    unlocked = await client.send("auth", person.identifier, transactionID="1111111111", **factor)
    assert codes(unlocked) == []
    world.clock.advance(timedelta(seconds=101))
    assert codes(await client.send("auth", person.identifier, demographics={"dob": "1990/01/31"})) == (
        ["IDA-MLC-019"] if kind == "demo" else []
    )


async def test_each_asked_channel_must_be_unlocked(world: World) -> None:
    person = await world.credential()
    client = world.client()
    await world.lock(person, "otp", "email")
    envelope = await client.send("otp", person.identifier)
    assert envelope["errors"] == [
        {"errorCode": "IDA-MLC-019", "errorMessage": "otp-email Auth Type is Locked for the UIN"}
    ]
    assert await world.events(NotificationRequested) == []
    assert await world.rows("otp") == []
    assert codes(await client.send("otp", person.identifier, otpChannel=["phone"])) == []
    await world.lock(person, "otp-sms")
    envelope = await client.send("otp", person.identifier, otpChannel=["phone"])
    assert envelope["errors"][0]["errorMessage"] == "otp-sms Auth Type is Locked for the UIN"
    await world.lock(person, "otp", "phone", until=world.instant(seconds=60))
    assert codes(await client.send("otp", person.identifier, otpChannel=["phone"])) == []


async def test_otp_authentication_needs_one_unlocked_channel(world: World) -> None:
    person = await world.credential()
    client = world.client()
    otp = await client.otp(person.identifier, "1111111111")
    await world.lock(person, "otp", "email")
    await world.lock(person, "otp", "phone")
    envelope = await client.send("auth", person.identifier, otp=otp, transactionID="1111111111")
    assert codes(envelope) == ["IDA-MLC-019"]
    await world.lock(person, "otp", "phone", locked=False)
    assert codes(await client.send("auth", person.identifier, otp=otp, transactionID="1111111111")) == []


async def test_a_child_does_not_authenticate_by_otp(world: World) -> None:
    born = (world.clock.now() - timedelta(days=3 * 365)).strftime("%Y/%m/%d")
    child = await world.credential(person={**PERSON, "dateOfBirth": born})
    client = world.client()
    otp = await client.otp(child.identifier, "1111111111")
    assert codes(await client.send("auth", child.identifier, otp=otp, transactionID="1111111111")) == ["IDA-MLC-011"]
    assert codes(await client.send("auth", child.identifier, demographics={"dob": born})) == []


async def test_a_replayed_request_is_refused(world: World) -> None:
    person = await world.credential()
    client = world.client()
    body = json.dumps(client.request("auth", person.identifier, demographics={"dob": "1990/01/31"})).encode()
    assert (await client.post("auth", body)).json()["errors"] is None
    again = (await client.post("auth", body)).json()
    assert codes(again) == ["IDA-MLC-007", "IDA-MLC-009"]
    assert again["errors"][1]["errorMessage"] == "Invalid Input Parameter - transactionID"
    assert again["response"] == REFUSED


async def test_a_replay_at_the_same_moment_passes_once(world: World) -> None:
    person = await world.credential()
    client = world.client()
    body = json.dumps(client.request("auth", person.identifier, demographics={"dob": "1990/01/31"})).encode()
    answers = [answer.json() for answer in await asyncio.gather(*(client.post("auth", body) for _ in range(4)))]
    assert sorted(codes(answer) for answer in answers) == [[]] + [["IDA-MLC-007", "IDA-MLC-009"]] * 3


async def test_replays_are_forgotten_when_the_window_has_passed(world: World) -> None:
    person = await world.credential()
    await world.client().send("auth", person.identifier, demographics={"dob": "1990/01/31"})
    (job,) = world.module.jobs
    assert await job.run() == 0
    world.clock.advance(timedelta(seconds=91))
    assert await job.run() == 1
    assert await world.rows("replay") == []


async def test_every_answer_is_signed_with_the_certificate_in_the_header(world: World) -> None:
    client = world.client()
    person = await world.credential()
    for answer in (
        await client.post("auth", client.request("auth", person.identifier, demographics={"dob": "1990/01/31"})),
        await client.post("auth", b"no json"),
    ):
        head, middle, signature = answer.headers["response-signature"].split(".")
        assert middle == ""
        header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
        signer = x509.load_der_x509_certificate(base64.b64decode(header["x5c"][0]))
        assert header["x5t#S256"] == padded(signer.fingerprint(hashes.SHA256())).rstrip("=")
        assert pem_of(signer).strip() == (await world.keys_auth.certificate(IDA_SIGN)).pem.strip()
        signed = f"{head}.{padded(answer.content).rstrip('=')}".encode()
        raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
        signer.public_key().verify(raw, signed, padding.PKCS1v15(), hashes.SHA256())


@pytest.mark.parametrize("usage", ["auth", "kyc", "otp"])
async def test_one_read_and_one_write(world: World, usage: str) -> None:
    person = await world.credential()
    client = world.client()
    request = {"demographics": {"dob": "1990/01/31"}} if usage != "otp" else {}
    await client.send(usage, person.identifier, **request)
    async with record_statements() as statements:
        assert codes(await client.send(usage, person.identifier, **request)) == []
    assert len(statements) == 2
    assert statements[0].lstrip().startswith("SELECT")
    assert statements[1].lstrip().startswith("WITH")


async def test_the_person_is_told_and_the_act_is_audited(world: World) -> None:
    person = await world.credential()
    await world.client().send("auth", person.identifier, demographics={"dob": "1990/01/30"})
    (notice,) = await world.events(NotificationRequested)
    assert notice.template == "auth"
    assert notice.values["status"] == "Failed"
    assert notice.values["authType"] == "Demographic"
    (entry,) = await world.audited()
    assert (entry.action, entry.actor, entry.outcome) == ("authentication.auth", "rp-one", "failure")
    assert entry.code == "IDA-DEA-001"
    (row,) = await world.rows("auth_transaction")
    assert (row["type_codes"], row["succeeded"], row["comment"]) == ("DEMO-AUTH", False, "Demo Authentication Failed")


async def test_nothing_about_the_person_is_stored_or_logged_in_clear(
    world: World, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    person = await world.credential()
    client = world.client()
    otp = await client.otp(person.identifier, "1111111111")
    await client.send("kyc", person.identifier, otp=otp, transactionID="1111111111")
    await client.send("auth", person.identifier, demographics={"name": [{"language": "eng", "value": "Zwx Nobody"}]})
    tables = await world.db.as_owner(
        "SELECT schemaname || '.' || tablename AS name FROM pg_tables WHERE schemaname IN ('authentication', 'outbox_auth')"
    )
    dump = ""
    for table in tables:
        for row in await world.db.as_owner(f"SELECT t::text AS text FROM {table['name']} t"):
            dump += row["text"] + "\n"
    written = capsys.readouterr()
    for secret in (person.identifier, person.token, person.id_hash, "Asha", "9876543210", "asharao", "Nobody"):
        for form in (secret, secret.encode().hex(), base64.b64encode(secret.encode()).decode().rstrip("=")):
            assert form not in dump
            assert form not in caplog.text + written.out + written.err
    assert otp not in caplog.text + written.out + written.err
    assert otp.encode().hex() not in dump


async def test_certificates_for_partners(world: World) -> None:
    url = "/idauthentication/v1/internal/getCertificate?applicationId=IDA&referenceId=PARTNER"
    answer = await world.http.get(url, headers={"authorization": "Bearer any"})
    response = answer.json()["response"]
    assert response["certificate"] == pem_of(world.encryption_certificate)
    assert list(response) == ["certificate", "certSignRequest", "issuedAt", "expiryAt", "timestamp"]
    assert (await world.http.get(url)).status_code == 401
    every = await world.http.get(
        "/idauthentication/v1/internal/getAllCertificates?applicationId=IDA&referenceId=SIGN",
        headers={"authorization": "Bearer any"},
    )
    (only,) = every.json()["response"]["allCertificates"]
    assert list(only) == ["certificateData", "issuedAt", "expiryAt", "keyId"]
    missing = await world.http.get(
        "/idauthentication/v1/internal/getCertificate", headers={"authorization": "Bearer any"}
    )
    assert missing.json()["errors"][0]["errorCode"] == "KER-KMS-005"
