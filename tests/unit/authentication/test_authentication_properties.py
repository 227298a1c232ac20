"""Whatever is sent, the answer is a refusal of the wire or a well-formed request: never another error."""

import json
from contextlib import suppress
from datetime import UTC, date, datetime

from hypothesis import given
from hypothesis import strategies as st

from civium.authentication import validation, wire
from civium.authentication.demographics import Rule, claims_of, mismatches, normalise, same_tokens
from civium.authentication.otp import mask_email, mask_identifier, mask_phone
from civium.authentication.policy import Factor
from civium.kernel.errors import Rejected, RejectedMany
from civium.platform.settings import AuthenticationSettings

RULES = validation.Rules(AuthenticationSettings(), ("eng", "ara"), datetime(2026, 5, 1, tzinfo=UTC))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
items = st.lists(
    st.fixed_dictionaries({}, optional={"language": st.none() | st.text(max_size=4), "value": st.none() | st.text()}),
    max_size=3,
)
names = st.sampled_from(["name", "dob", "dobType", "age", "gender", "fullAddress", "addressLine1", "metadata", "odd"])
blocks = st.fixed_dictionaries(
    {},
    optional={
        "timestamp": st.text(max_size=30),
        "otp": st.text(max_size=8),
        "demographics": st.dictionaries(names, json_values | items, max_size=4),
        "biometrics": json_values,
    },
)


@given(st.binary(max_size=200))
def test_any_bytes_as_body(body: bytes) -> None:
    with suppress(Rejected):
        wire.read_body(body, 32)


@given(blocks)
def test_any_block(block: object) -> None:
    body = wire.RequestBody(
        consent_obtained=True, request_time="2026-05-01T00:00:00.000Z", transaction_id="1234567890",
        individual_id="2419762130",
    )  # fmt: skip
    with suppress(Rejected, RejectedMany):
        read = wire.read_block(json.dumps(block).encode(), 32)
        claims = claims_of(read.demographics)
        validation.check_authentication(body, read, claims, frozenset({Factor.DEMO}), RULES)
        mismatches(claims, {"fullName": "x", "dateOfBirth": "1990/01/01"}, date(2026, 5, 1))


@given(st.text(max_size=60), st.sampled_from([Rule.NAME, Rule.ADDRESS]), st.sampled_from(["eng", "ara", None]))
def test_a_text_matches_itself_however_it_is_spaced(text: str, rule: Rule, language: str | None) -> None:
    once = normalise(text, rule, language)
    assert same_tokens(once, normalise(f"  {text}  ", rule, language))


@given(st.text("0123456789", min_size=1, max_size=20), st.emails())
def test_masks_keep_the_length_and_hide(number: str, address: str) -> None:
    assert len(mask_phone(number)) == len(number)
    assert mask_phone(number).count("X") >= len(number) / 2
    assert len(mask_email(address)) == len(address)
    assert len(mask_identifier(number)) == len(number)
