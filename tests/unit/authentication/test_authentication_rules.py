"""The pure rules: comparing attributes, locks, masks, policies, e-KYC members."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest

from civium.authentication import demographics, kyc, locks, otp
from civium.authentication.demographics import Rule, age_on, claims_of, mismatches, needed, normalise, same_tokens
from civium.authentication.policy import AuthPolicy, Factor, TokenType
from civium.authentication.store import OtpRequestRow, OtpRow
from civium.authentication.validation import Channel
from civium.biometrics.api import BiometricRecord, Modality, compose_single
from civium.kernel.errors import IntegrityError, Rejected
from civium.platform.settings import AuthenticationSettings

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SETTINGS = AuthenticationSettings()


@pytest.mark.parametrize(
    ("given", "stored", "same"),
    [
        ("Asha Rao", "rao asha", True),
        ("Asha", "Asha Rao", False),
        ("Asha Rao Rao", "Asha Rao", False),
        ("Asha Asha", "Asha Rao", False),
        ("", "Asha", False),
    ],
)
def test_tokens(given: str, stored: str, same: bool) -> None:
    assert same_tokens(given, stored) is same


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("12/A, 1st Cross Street", "eng", "12 A 1 crs st"),
        ("S/O Mr. Rao; Opposite Market Road", "eng", "Rao; opp mkt rd"),
        ("No. 5 (main) apartment", "eng", "5 mn apt"),
        ("Rue de la Street", "fra", "Rue de la Street"),
    ],
)
def test_address_rules(text: str, language: str, expected: str) -> None:
    assert normalise(text, Rule.ADDRESS, language).split() == expected.split()


def test_names_lose_punctuation_only() -> None:
    assert normalise("O'Brien-Street", Rule.NAME, "eng").split() == ["O", "Brien", "Street"]


def test_claims_of_every_shape() -> None:
    read = msgspec.json.decode(
        json.dumps(
            {
                "name": [{"language": "eng", "value": "A"}],
                "age": 34,
                "dob": None,
                "addressLine2": [],
                "metadata": {"zone": "Z1"},
                "odd": {"nested": "x"},
            }
        ),
        type=dict[str, demographics.DemographicValue],
    )
    claims = claims_of(read)
    assert [(claim.attribute.name, claim.language, claim.value) for claim in claims] == [
        ("name", "eng", "A"), ("age", None, "34"), ("zone", None, "Z1"),
    ]  # fmt: skip
    assert needed(claims) == {"fullName", "dateOfBirth", "zone"}


def test_age_passes_when_not_above_the_real_one() -> None:
    assert age_on(date(1990, 5, 2), NOW.date()) == 35
    assert age_on(date(1990, 5, 1), NOW.date()) == 36
    for age, passes in (("35", True), ("20", True), ("36", False)):
        assert (mismatches(claims_of({"age": age}), {"dateOfBirth": "1990/05/02"}, NOW.date()) == []) is passes


def test_each_attribute_is_told_once() -> None:
    person = {"fullName": '[{"language":"eng","value":"A"},{"language":"ara","value":"B"}]'}
    claims = claims_of({"name": [demographics.LanguageValue("eng", "X"), demographics.LanguageValue("ara", "Y")]})
    assert [problem.message for problem in mismatches(claims, person, NOW.date())] == [
        "Demographic data name in eng did not match",
        "Demographic data name in ara did not match",
    ]


def test_dates_must_be_written_in_full() -> None:
    with pytest.raises(Rejected, match="IDA-MLC-009"):
        demographics.parse_date("1990/1/1")
    with pytest.raises(Rejected, match="IDA-MLC-009"):
        demographics.parse_date("1990/02/30")


@pytest.mark.parametrize(
    ("kind", "sub", "code"),
    [
        ("otp", None, "otp"),
        ("otp", "null", "otp"),
        ("otp", "email", "otp-email"),
        ("otp-email", None, "otp-email"),
        ("otp", "sms", "otp-phone"),
        ("otp-sms", None, "otp-phone"),
        ("demo", None, "demo"),
        ("bio", "FINGER", "bio-FINGER"),
    ],
)
def test_lock_codes(kind: str, sub: str | None, code: str) -> None:
    assert locks.code_of(kind, sub) == code


def test_otp_is_locked_by_itself_or_by_all_channels() -> None:
    factors = frozenset({Factor.OTP})
    assert locks.refusal_of_factors(factors, frozenset({"otp-email"})) is None
    assert locks.refusal_of_factors(factors, frozenset({"otp-email", "otp-phone"})) is not None
    assert locks.refusal_of_factors(factors, frozenset({"demo"})) is None
    assert locks.refusal_of_channels(frozenset({Channel.PHONE}), frozenset({"otp-email"})) is None
    assert locks.refusal_of_channels(frozenset({Channel.PHONE}), frozenset({"otp"})) is not None


@pytest.mark.parametrize(("phone", "masked"), [("9876543210", "XXXXXX3210"), ("123", "XX3"), ("1", "X"), ("", "")])
def test_phone_mask(phone: str, masked: str) -> None:
    assert otp.mask_phone(phone) == masked


@pytest.mark.parametrize(
    ("email", "masked"), [("aabbce@example.org", "XXbXXe@example.org"), ("ab@x.org", "XX@x.org"), ("abc", "abc")]
)
def test_email_mask(email: str, masked: str) -> None:
    assert otp.mask_email(email) == masked


def state(**changes: object) -> OtpRow:
    row = OtpRow(
        version=3, mac=b"m" * 32, status="active", expires_at=NOW + timedelta(seconds=180), failures=0, frozen_at=None
    )
    return replace(row, **changes)


ATTEMPT = otp.Attempt(b"m" * 32, "UIN", "rp")
REQUEST = OtpRequestRow("rp", "UIN")


@pytest.mark.parametrize(
    ("attempt", "request_row", "row", "code", "status"),
    [
        (ATTEMPT, None, state(), "IDA-OTA-005", None),
        (ATTEMPT, OtpRequestRow("other", "VID"), state(), "IDA-OTA-010", None),
        (ATTEMPT, OtpRequestRow("other", "UIN"), state(), "IDA-OTA-011", None),
        (ATTEMPT, REQUEST, None, "IDA-OTA-012", None),
        (ATTEMPT, REQUEST, state(status="used"), "IDA-OTA-012", None),
        (ATTEMPT, REQUEST, state(status="frozen", frozen_at=NOW - timedelta(minutes=29)), "IDA-OTA-013", None),
        (ATTEMPT, REQUEST, state(status="frozen", frozen_at=NOW - timedelta(minutes=31)), "IDA-OTA-012", "unfrozen"),
        (ATTEMPT, REQUEST, state(expires_at=NOW - timedelta(seconds=1)), "IDA-OTA-003", None),
        (ATTEMPT, REQUEST, state(mac=b"x" * 32), "IDA-OTA-004", "active"),
        (ATTEMPT, REQUEST, state(mac=b"x" * 32, failures=4), "IDA-OTA-013", "frozen"),
        (ATTEMPT, REQUEST, state(failures=4), None, "used"),
    ],
)
def test_the_steps_of_an_otp(
    attempt: otp.Attempt, request_row: OtpRequestRow | None, row: OtpRow | None, code: str | None, status: str | None
) -> None:
    verdict = otp.judge(attempt, request_row, row, NOW, SETTINGS)
    assert (verdict.refusal.code if verdict.refusal else None) == code
    assert (verdict.state.status if verdict.state else None) == status
    if verdict.state:
        assert verdict.state.version == 4


def test_a_new_otp_keeps_the_count_until_a_freeze_is_over() -> None:
    assert otp.issued(b"n" * 32, state(failures=3), NOW, SETTINGS).failures == 3
    assert otp.issued(b"n" * 32, state(failures=5, status="frozen"), NOW, SETTINGS).failures == 0
    assert otp.issued(b"n" * 32, None, NOW, SETTINGS).version == 1


def test_policies_are_read_without_regard_to_case() -> None:
    policy = AuthPolicy.parse(
        {
            "authTokenType": "Partner",
            "allowedAuthTypes": [{"authType": "OTP", "mandatory": True}, {"authType": "bio", "authSubType": "Face"}],
            "allowedKycAttributes": [{"attributeName": "fullName", "encrypted": True}],
            "kycLanguages": ["fra"],
        }
    )
    assert policy.token_type is TokenType.PARTNER
    assert policy.allowed == {"otp", "bio"}
    assert policy.mandatory == ("otp",)
    assert policy.languages(("eng", "ara")) == ("eng", "ara")
    assert policy.languages(("eng", "fra")) == ("fra",)
    assert AuthPolicy.parse({"authTokenType": "odd"}).token_type is TokenType.RANDOM
    assert AuthPolicy.parse({"allowKycRequestDelegation": True}).allowed == frozenset()


def test_kyc_members() -> None:
    person = {
        "fullName": '[{"language":"eng","value":"A B"},{"language":"ara","value":"ب"}]',
        "dateOfBirth": "1990/05/02",
        "addressLine1": '[{"language":"eng","value":"x"}]',
        "city": '[{"language":"eng","value":"y"}]',
        "postalCode": "1",
        "email": "a@b.org",
    }
    person["zone"] = "Z"
    allowed = ["fullName", "zone", "age", "dob", "fullAddress", "email", "phone", "postalCode", "unknown"]
    assert json.loads(kyc.identity(allowed, person, None, ("eng", "fra"), NOW.date())) == {
        "name_eng": "A B",
        "location4": "Z",
        "age": "35",
        "dob": "1990/05/02",
        "fullAddress_eng": "x,y,1",
        "emailId": "a@b.org",
        "postalCode": "1",
    }
    assert kyc.stored_attributes(["name", "photo", "city"]) == {"fullName", "city"}
    assert kyc.wants_photo(["face"])
    assert not kyc.wants_photo(["fullName"])


def test_the_photo_is_the_face_record_of_the_cbeff() -> None:
    cbeff = compose_single(BiometricRecord(Modality.FACE, "", b"face", created=NOW)).decode()
    assert json.loads(kyc.identity(["photo"], {}, cbeff, ("eng",), NOW.date())) == {"photo": "ZmFjZQ=="}
    for broken in ("<x/>", "text", '<!DOCTYPE a [<!ENTITY b "c">]><BIR>&b;</BIR>'):
        with pytest.raises(IntegrityError):
            kyc.face_record(broken)
