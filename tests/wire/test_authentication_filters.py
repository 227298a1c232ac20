"""The filter stage and bean validation through HTTP: every row, its code, and which of two faults is told."""

import json
import os
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from authentication_fixtures import *  # noqa: F403
from authentication_world import (
    BASE,
    OAEP,
    POLICY,
    Client,
    World,
    certificate,
    codes,
    leaf,
    padded,
    private_key,
    unpadded,
)

PAIR = "IDA-MLC-007"
DOB = {"dob": "1990/01/31"}
UIN = "2419762130"


def flipped(text: str) -> str:
    """Flip one bit in the middle of base64url data."""
    raw = bytearray(unpadded(text))
    raw[len(raw) // 2] ^= 1
    return padded(bytes(raw))


def pair(envelope: dict[str, Any], code: str, argument: str | None = None) -> None:
    assert codes(envelope) == [PAIR, code], envelope
    assert envelope["errors"][0]["errorMessage"] == "Request could not be processed. Please try again"
    if argument is not None:
        assert envelope["errors"][1]["errorMessage"].endswith(argument)


@pytest.mark.parametrize(
    "body",
    [b"", b"no json", b"[]", b'"text"', b"{}", b"null", b'{"id":1}', b'{"id":"mosip.identity.auth"', b"\xff\xfe",
     b'{"consentObtained":"yes"}', b'{"metadata":' + b"[" * 40 + b"]" * 40 + b"}"],
)  # fmt: skip
@pytest.mark.parametrize("usage", ["auth", "kyc", "otp"])
async def test_what_is_no_request(world: World, usage: str, body: bytes) -> None:
    answer = await world.client().post(usage, body)
    assert answer.status_code == 200
    envelope = answer.json()
    assert codes(envelope) == [PAIR]
    assert envelope["transactionID"] is None
    failed = {"auth": {"authStatus": False, "authToken": None}, "otp": None}
    assert envelope["response"] == failed.get(usage, envelope["response"])


async def test_a_body_that_is_too_large(world: World) -> None:
    answer = await world.client().post("auth", b'{"id":"' + b"x" * world.settings.http.max_body_bytes + b'"}')
    assert answer.status_code == 200
    assert codes(answer.json()) == [PAIR]
    assert "response-signature" in answer.headers


async def test_a_block_that_is_too_deep_or_no_json(world: World) -> None:
    client = world.client()
    for clear in (b"{" * 50, b'{"demographics":' + b'{"a":' * 50 + b"1" + b"}" * 51, b"text", b"\xff", b'{"otp":7.5}'):
        members = client.members("auth", UIN, **client.sealed_bytes(clear))
        assert codes((await client.post("auth", members)).json()) == [PAIR]


@pytest.mark.parametrize(
    ("changes", "code", "argument"),
    [
        ({"id": ""}, "IDA-MLC-006", "id"),
        ({"id": "mosip.identity.kyc"}, "IDA-MLC-009", "id"),
        ({"version": None}, "IDA-MLC-006", "version"),
        ({"version": "1"}, "IDA-MLC-009", "version"),
        ({"version": "1.0.0.0"}, "IDA-MLC-009", "version"),
        ({"request": None}, "IDA-MLC-006", "request"),
        ({"requestHMAC": None}, "IDA-MLC-006", "requestHMAC"),
        ({"requestSessionKey": None}, "IDA-MLC-006", "requestSessionKey"),
        ({"thumbprint": None}, "IDA-MLC-006", "thumbprint"),
        ({"thumbprint": "A" * 44}, "IDA-MPA-003", None),
        ({"requestSessionKey": "AAAA"}, "IDA-MPA-003", None),
        ({"requestHMAC": "AAAA"}, "IDA-MPA-003", None),
    ],
)
async def test_members_of_the_filter_stage(world: World, changes: dict, code: str, argument: str | None) -> None:
    pair(await world.client().send("auth", UIN, demographics=DOB, **changes), code, argument)


@pytest.mark.parametrize(
    ("member", "code"),
    [("request", "IDA-MPA-003"), ("requestHMAC", "IDA-MPA-003"), ("requestSessionKey", "IDA-MPA-003"),
     ("thumbprint", "IDA-MPA-003")],
)  # fmt: skip
async def test_one_flipped_bit_in_a_sealed_member(world: World, member: str, code: str) -> None:
    client = world.client()
    request = client.request("auth", UIN, demographics=DOB)
    request[member] = flipped(request[member])
    pair((await client.post("auth", request)).json(), code)


async def test_a_digest_of_another_request(world: World) -> None:
    client = world.client()
    one = client.sealed({"timestamp": world.instant(), "demographics": DOB})
    key = os.urandom(32)
    iv = os.urandom(16)
    clear = b'{"timestamp":"x"}'
    public = world.encryption_certificate.public_key()
    members = {
        **one,
        "requestSessionKey": padded(public.encrypt(key, OAEP)),
        "request": padded(AESGCM(key).encrypt(iv, clear, None) + iv),
        "requestHMAC": padded(AESGCM(key).encrypt(iv, b"0" * 64, None) + iv),
    }
    pair((await client.post("auth", client.members("auth", UIN, **members))).json(), "IDA-MPA-016")


@pytest.mark.parametrize("member", ["request", "requestHMAC", "requestSessionKey"])
async def test_a_sealed_member_that_is_not_base64(world: World, member: str) -> None:
    assert codes(await world.client().send("auth", UIN, demographics=DOB, **{member: "not base64!"})) == [PAIR]


async def test_an_expired_key_of_ours(world: World) -> None:
    world.leaves["rp-one"] = leaf("rp-one", days=3600)
    client = world.client()
    request = client.request("auth", UIN, demographics=DOB)
    world.clock.advance(world.encryption_certificate.not_valid_after_utc - world.clock.now() + timedelta(seconds=1))
    pair((await client.post("auth", request)).json(), "IDA-MPA-004")


async def test_hexadecimal_thumbprint_and_prefixed_session_key_are_read(world: World) -> None:
    person = await world.credential()
    client = world.client()
    sealed = client.sealed({"timestamp": world.instant(), "demographics": DOB})
    thumbprint = unpadded(sealed["thumbprint"])
    sealed["requestSessionKey"] = padded(thumbprint + unpadded(sealed["requestSessionKey"])).rstrip("=")
    for text in (thumbprint.hex(), thumbprint.hex().upper(), sealed["thumbprint"].rstrip("=")):
        members = client.members("auth", person.identifier, **{**sealed, "thumbprint": text})
        assert codes((await client.post("auth", members)).json()) == []


@pytest.mark.parametrize("pem", [True, False])
async def test_x5c_of_pem_or_der(world: World, pem: bool) -> None:
    person = await world.credential()
    client = world.client(pem_in_x5c=pem)
    assert codes(await client.send("auth", person.identifier, demographics=DOB)) == []


async def test_headers(world: World) -> None:
    client = world.client()
    request = client.request("auth", UIN, demographics=DOB)
    pair((await client.post("auth", request, signature=None)).json(), "IDA-MLC-006", "signature header")
    for value in (None, "", "  "):
        envelope = (await client.post("auth", request, authorization=value)).json()
        pair(envelope, "IDA-MLC-006", "Authorization - header")


async def test_an_empty_authorization_can_be_accepted_by_setting(db, keys_core, keys_auth, sealer_auth, ida_settings):
    accepting = ida_settings.authentication.model_copy(update={"accept_empty_authorization": True})
    settings = ida_settings.model_copy(update={"authentication": accepting})
    world = World(db, keys_core, keys_auth, sealer_auth, settings)
    await world.start()
    await world.settle()
    person = await world.credential()
    client = world.client()
    request = client.request("auth", person.identifier, demographics=DOB)
    assert codes((await client.post("auth", request, authorization=None)).json()) == []
    await world.http.aclose()


async def test_signatures_that_do_not_hold(world: World) -> None:
    client = world.client()
    request = client.request("auth", UIN, demographics=DOB)
    body = json.dumps(request).encode()
    good = client.signature(body)
    stranger = Client(world, key=private_key("stranger"), certificate=certificate(
        "stranger", private_key("stranger"), "stranger", private_key("stranger")
    ))  # fmt: skip
    by_leaf = certificate("minted", private_key("minted"), "rp-one", private_key("rp-one"))
    expired = leaf("rp-one", valid_from=world.clock.now() - timedelta(days=400), days=365)
    bad = [
        flipped_signature(good),
        "a.b",
        "nonsense",
        client.signature(body + b" "),
        Client(world, key=private_key("rp-two")).signature(body),
        stranger.signature(body),
        Client(world, key=private_key("minted"), certificate=by_leaf).signature(body),
        Client(world, certificate=expired).signature(body),
    ]
    for signature in bad:
        envelope = (await client.post("auth", body, signature=signature)).json()
        pair(envelope, "IDA-MPA-001", "signature header")
    pair((await client.post("auth", body + b" ", signature=good)).json(), "IDA-MPA-001")


def flipped_signature(signature: str) -> str:
    head, _, tail = signature.partition("..")
    return f"{head}..{flipped(tail)}"


async def test_a_withdrawn_certificate_is_revoked(world: World) -> None:
    await world.change(partner=world.partner("rp-one", certificate_pem=None, original_pem=None))
    pair(await world.client().send("auth", UIN, demographics=DOB), "IDA-MPA-002")


@pytest.mark.parametrize("path", ["auth", "auth/", "auth/one", "auth/one/two", "auth/one//two"])
async def test_too_few_path_parts(world: World, path: str) -> None:
    client = world.client()
    request = client.request("auth", UIN, demographics=DOB)
    envelope = (await client.post("auth", request, path=f"{BASE}/{path}")).json()
    pair(envelope, "IDA-MPA-038")
    assert envelope["errors"][1]["actionMessage"] == "Please try adding all the required path parameters."


# Section 7.2: each row, then rows of the table two at a time

PAST, FUTURE = (-30, -1), (1, 30)


FAULTS = {
    "partner inactive": lambda world: world.change(partner=world.partner("rp-one", status="DEACTIVE")),
    "policy inactive": lambda world: world.change(policy=world.policy(status="DEACTIVE")),
    "policy over": lambda world: world.change(policy=world.policy(**world.window(*PAST))),
    "policy not begun": lambda world: world.change(policy=world.policy(**world.window(*FUTURE))),
    "policy unknown": lambda world: world.change(api_key=world.api_key(policy_id="none")),
    "api key inactive": lambda world: world.change(api_key=world.api_key(status="DEACTIVE")),
    "api key over": lambda world: world.change(api_key=world.api_key(**world.window(*PAST))),
    "api key not begun": lambda world: world.change(api_key=world.api_key(**world.window(*FUTURE))),
    "other certificate": lambda world: world.change(
        partner=world.partner("rp-one", certificate_pem=world.partner("rp-two").certificate_pem, original_pem=None)
    ),
    "licence not begun": lambda world: world.change(misp=world.licence(**world.window(*FUTURE))),
    "licence blocked": lambda world: world.change(misp=world.licence(status="NOT_ACTIVE")),
    "licence over": lambda world: world.change(misp=world.licence(**world.window(*PAST))),
    "no kyc": lambda world: world.change(policy=policy_without(world, "kyc")),
    "no demo": lambda world: world.change(policy=policy_without(world, "demo")),
    "otp mandatory": lambda world: world.change(policy=policy_with_mandatory(world, "otp")),
}


def policy_without(world: World, kind: str) -> Any:
    allowed = [entry for entry in POLICY["allowedAuthTypes"] if entry["authType"] != kind]
    return world.policy({**POLICY, "allowedAuthTypes": allowed})


def policy_with_mandatory(world: World, kind: str) -> Any:
    allowed = [{**entry, "mandatory": entry["authType"] == kind} for entry in POLICY["allowedAuthTypes"]]
    return world.policy({**POLICY, "allowedAuthTypes": allowed})


ROWS = [
    ("partner inactive", "IDA-MPA-012"),
    ("policy inactive", "IDA-MPA-019"),
    ("policy over", "IDA-MPA-019"),
    ("policy not begun", "IDA-MPA-019"),
    ("policy unknown", "IDA-MPA-018"),
    ("api key inactive", "IDA-MPA-012"),
    ("api key over", "IDA-MPA-039"),
    ("api key not begun", "IDA-MPA-039"),
    ("other certificate", "IDA-MPA-021"),
    ("licence not begun", "IDA-MPA-007"),
    ("licence blocked", "IDA-MPA-017"),
    ("licence over", "IDA-MPA-008"),
    ("no kyc", "IDA-MPA-013"),
    ("no demo", "IDA-MPA-006"),
    ("otp mandatory", "IDA-MPA-015"),
]
ORDERED = [
    ("partner inactive", "policy inactive"),
    ("policy inactive", "api key inactive"),
    ("policy over", "api key over"),
    ("api key inactive", "other certificate"),
    ("api key over", "licence over"),
    ("other certificate", "licence blocked"),
    ("other certificate", "licence not begun"),
    ("licence over", "no kyc"),
    ("partner inactive", "otp mandatory"),
]


@pytest.mark.parametrize(("fault", "code"), ROWS)
async def test_a_row_of_the_partner_stage(world: World, fault: str, code: str) -> None:
    """The change takes effect on the very next request although the process has answered one before."""
    person = await world.credential()
    client = world.client()
    assert codes(await client.send("kyc", person.identifier, demographics=DOB)) == []
    await FAULTS[fault](world)
    pair(await client.send("kyc", person.identifier, demographics=DOB), code)
    assert len(await world.rows("auth_transaction")) == 1


@pytest.mark.parametrize(("first", "second"), ORDERED)
async def test_of_two_faults_the_earlier_is_told(world: World, first: str, second: str) -> None:
    await FAULTS[second](world)
    await FAULTS[first](world)
    pair(await world.client().send("kyc", UIN, demographics=DOB), dict(ROWS)[first])


async def test_arguments_of_the_policy_stage(world: World) -> None:
    client = world.client()
    await FAULTS["no demo"](world)
    envelope = await client.send("auth", UIN, demographics=DOB)
    assert envelope["errors"][1] == {
        "errorCode": "IDA-MPA-006",
        "errorMessage": "DEMO Authentication usage not allowed as per policy",
        "actionMessage": "Please use other Authentication Types in the request",
    }
    await FAULTS["otp mandatory"](world)
    envelope = await client.send("auth", UIN, demographics=DOB)
    assert envelope["errors"][1]["errorMessage"] == "otp-authentiation usage is mandatory as per policy"
    await world.change(policy=policy_without(world, "otp-request"))
    pair(await client.send("otp", UIN), "IDA-MPA-005")
    await world.change(policy=policy_without(world, "otp"))
    pair(await client.send("auth", UIN, otp="123456"), "IDA-MPA-006")
    pair(await client.send("auth", UIN, block={"staticPin": "1234"}), "IDA-MPA-006")


async def test_keys_of_others_and_unknown_keys(world: World) -> None:
    for changes, code in (
        ({"api_key": "nothing"}, "IDA-MPA-009"),
        ({"api_key": "api-key-two"}, "IDA-MPA-009"),
        ({"partner_id": "nobody", "certificate": world.leaves["rp-one"]}, "IDA-MPA-009"),
        ({"licence_key": "nothing"}, "IDA-MPA-007"),
        ({"licence_key": "api-key-one"}, "IDA-MPA-007"),
        ({"certificate": world.leaves["rp-two"], "key": private_key("rp-two")}, "IDA-MPA-021"),
    ):
        pair(await world.client(**changes).send("auth", UIN, demographics=DOB), code)


async def test_the_misp_may_sign(world: World) -> None:
    person = await world.credential()
    client = world.client(key=private_key("misp-one"), certificate=world.leaves["misp-one"])
    assert codes(await client.send("auth", person.identifier, demographics=DOB)) == []


async def test_the_filter_stage_precedes_the_partner_stage_and_validation(world: World) -> None:
    client = world.client(api_key="nothing")
    pair(await client.send("auth", UIN, demographics=DOB, id="x", version="x"), "IDA-MLC-009", " id")
    pair(await client.send("auth", UIN, demographics=DOB, version="x"), "IDA-MLC-009", "version")
    pair(await client.send("auth", UIN, demographics=DOB, thumbprint="A" * 44), "IDA-MPA-003")
    pair(await client.send("auth", UIN, demographics=DOB, consentObtained=False), "IDA-MPA-009")
    request = client.request("auth", UIN, demographics=DOB, thumbprint="A" * 44)
    pair((await client.post("auth", request, authorization=None)).json(), "IDA-MLC-006", "Authorization - header")
    pair((await client.post("auth", request, authorization=None, signature="x")).json(), "IDA-MPA-001")


# Section 7.3


@pytest.mark.parametrize(("seconds", "fits"), [(-61, False), (-59, True), (29, True), (31, False)])
@pytest.mark.parametrize("member", ["requestTime", "timestamp"])
async def test_the_window(world: World, member: str, seconds: int, fits: bool) -> None:
    person = await world.credential()
    at = world.instant(seconds=seconds)
    changes = {"requestTime": at} if member == "requestTime" else {"block": {"timestamp": at}}
    envelope = await world.client().send("auth", person.identifier, demographics=DOB, **changes)
    if fits:
        assert envelope["errors"] is None
    else:
        assert envelope["errors"] == [
            {
                "errorCode": "IDA-MLC-001",
                "errorMessage": "Request to be received at MOSIP within 30 seconds",
                "actionMessage": "Please send the request within 30 seconds",
            }
        ]


async def test_an_offset_is_an_instant_like_another(world: World) -> None:
    person = await world.credential()
    there = (world.clock.now() + timedelta(hours=5, minutes=30)).strftime("%Y-%m-%dT%H:%M:%S.000+05:30")
    assert codes(await world.client().send("auth", person.identifier, demographics=DOB, requestTime=there)) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"consentObtained": False}, [("IDA-MLC-012", "Individual's Consent is not available")]),
        ({"consentObtained": None}, [("IDA-MLC-012", "Individual's Consent is not available")]),
        ({"requestTime": None}, [("IDA-MLC-006", "Missing Input Parameter - requestTime")]),
        ({"requestTime": "2024-05-01T10:00:00Z"}, [("IDA-MLC-009", "Invalid Input Parameter - requestTime")]),
        ({"requestTime": "2024-13-01T10:00:00.000Z"}, [("IDA-MLC-009", "Invalid Input Parameter - requestTime")]),
        (
            {"requestTime": "x", "block": {"timestamp": None}},
            [
                ("IDA-MLC-009", "Invalid Input Parameter - requestTime"),
                ("IDA-MLC-006", "Missing Input Parameter - request/timestamp"),
            ],
        ),
        ({"domainUri": "https://evil.example"}, [("IDA-MLC-009", "Invalid Input Parameter - request/domainUri")]),
        ({"env": "Moon"}, [("IDA-MLC-009", "Invalid Input Parameter - request/env")]),
        ({"transactionID": None}, [("IDA-MLC-006", "Missing Input Parameter - transactionID")]),
        ({"transactionID": "123"}, [("IDA-MLC-009", "Invalid Input Parameter - transactionID")]),
        ({"transactionID": "12345-7890"}, [("IDA-MLC-009", "Invalid Input Parameter - transactionID")]),
        ({"demographics": None}, [("IDA-MLC-008", "No authentication type selected")]),
        ({"demographics": {"name": [], "dob": None}}, [("IDA-MLC-008", "No authentication type selected")]),
        ({"individualId": ""}, [("IDA-MLC-006", "Missing Input Parameter - individualId")]),
        ({"individualId": "2419762131"}, [("IDA-MLC-002", "Invalid UIN")]),
        ({"individualId": "x", "individualIdType": "VID"}, [("IDA-MLC-004", "Invalid VID")]),
        ({"individualIdType": "PASSPORT"}, [("IDA-MLC-015", "Identity Type - PASSPORT not configured for the country")]),
        (
            {"individualId": "123", "individualIdType": None},
            [("IDA-MLC-009", "Invalid Input Parameter - individualId")],
        ),
        ({"demographics": {"dob": ""}}, [("IDA-MLC-013", "Missing dob auth attribute")]),
        ({"demographics": {"dobType": [{"language": None, "value": "Q"}]}},
         [("IDA-MLC-009", "Invalid Input Parameter - request/demographics/dobType")]),
        ({"demographics": {"age": "-3"}}, [("IDA-MLC-009", "Invalid Input Parameter - request/demographics/age")]),
        (
            {"demographics": {"name": [{"language": "fra", "value": "x"}, {"value": "y"}]}},
            [
                ("IDA-DEA-002", "Unsupported Language Code - fra"),
                ("IDA-MLC-006", "Missing Input Parameter - LanguageCode"),
            ],
        ),
        (
            {"demographics": {"name": [{"language": "English", "value": "x"}]}},
            [("IDA-MLC-009", "Invalid Input Parameter - LanguageCode")],
        ),
        ({"otp": "12345"}, [("IDA-MLC-009", "Invalid Input Parameter - OTP")]),
        ({"consentObtained": False, "requestTime": None}, [("IDA-MLC-012", "Individual's Consent is not available")]),
    ],
)  # fmt: skip
async def test_members_that_are_not_well_formed(world: World, changes: dict, expected: list[tuple[str, str]]) -> None:
    changes = {"demographics": DOB, **changes}
    envelope = await world.client().send("auth", UIN, **changes)
    assert [(error["errorCode"], error["errorMessage"]) for error in envelope["errors"]] == expected
    assert envelope["response"] == {"authStatus": False, "authToken": None}
    assert await world.rows("auth_transaction") == []


async def test_domain_and_environment_ignore_case_and_may_be_absent(world: World) -> None:
    person = await world.credential()
    client = world.client()
    for changes in ({"domainUri": "HTTP://127.0.0.1:8080", "env": "STAGING"}, {"domainUri": None, "env": None}):
        assert codes(await client.send("auth", person.identifier, demographics=DOB, **changes)) == []


async def test_the_identifier_type_is_derived(world: World) -> None:
    uin, vid = await world.credential(), await world.credential(vid=True)
    for who in (uin, vid):
        envelope = await world.client().send("auth", who.identifier, demographics=DOB, individualIdType=None)
        assert codes(envelope) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"otpChannel": None}, [("IDA-OTA-008", "OTP Notification Channel not provided")]),
        ({"otpChannel": []}, [("IDA-OTA-008", "OTP Notification Channel not provided")]),
        ({"otpChannel": ["pigeon", "email"]}, [("IDA-MLC-009", "Invalid Input Parameter - otpChannel - pigeon")]),
        ({"individualId": "2419762131"}, [("IDA-MLC-002", "Invalid UIN")]),
        ({"transactionID": ""}, [("IDA-MLC-006", "Missing Input Parameter - transactionID")]),
    ],
)
async def test_otp_requests_that_are_not_well_formed(world: World, changes: dict, expected: list) -> None:
    envelope = await world.client().send("otp", UIN, **changes)
    assert [(error["errorCode"], error["errorMessage"]) for error in envelope["errors"]] == expected
    assert envelope["response"] is None


async def test_biometrics_are_not_yet_supported_and_never_taken_as_objects(world: World) -> None:
    client = world.client()
    envelope = await client.send("auth", UIN, block={"biometrics": [{"data": {"bioValue": "x"}}]})
    pair(envelope, "IDA-MLC-006", "request/biometrics/0/data")
    envelope = await client.send("auth", UIN, block={"biometrics": [{"data": "a.b.c"}]})
    assert codes(envelope) == ["IDA-MLC-011"]


async def test_get_is_no_authentication(world: World) -> None:
    assert (await world.http.get(world.client().path("auth"))).status_code == 405


async def test_no_answer_repeats_what_was_sent(world: World) -> None:
    person = await world.credential()
    claims = {"name": [{"language": "eng", "value": "Zwx Planted"}], "phoneNumber": "9123456780"}
    answer = await world.client().post(
        "auth", world.client().request("auth", person.identifier, demographics=claims, otp="482913")
    )
    for secret in (person.identifier, "Planted", "9123456780", "482913", "Traceback"):
        assert secret not in answer.text
