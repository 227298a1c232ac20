"""The checks of section 7.4, one broken rule at a time."""

import re
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from civium.kernel.errors import RejectedMany
from civium.masterdata import shipped
from civium.masterdata.api import NEW_PACKET, NEW_REGISTRATION, UPDATE_UIN
from civium.masterdata.domain import IdentityRules, parse_mapping
from civium.masterdata.schema import typed_schema


@pytest.fixture(scope="module")
def rules():
    data = shipped.read()
    schema = typed_schema(
        id=data.schema_id,
        version=data.schema_version,
        title=data.schema_title,
        description=data.schema_description,
        text=data.schema_text,
        effective_from="2020-01-01T00:00:00.000Z",
    )
    return IdentityRules(schema, parse_mapping(data.mapping_text), ("eng", "ara"), date(2024, 2, 29))


def problems(rules, identity, required=NEW_PACKET):
    return [(each.code, each.message) for each in rules.problems(identity, required)]


def missing(path):
    return ("KER-IOV-005", f"Missing input parameter - identity/{path}")


def invalid(path):
    return ("KER-IOV-004", f"Invalid input parameter - identity/{path}")


def test_a_legal_identity_passes(rules, identity):
    assert problems(rules, identity) == []
    assert problems(rules, {**identity, "UIN": "5075291708"}, NEW_REGISTRATION) == []
    assert problems(rules, {"IDSchemaVersion": 0.1, "UIN": "5075291708"}, UPDATE_UIN) == []


@pytest.mark.parametrize("name", [name for name in NEW_PACKET if "|" not in name and name != "IDSchemaVersion"])
def test_each_required_attribute_is_missed(rules, identity, name):
    del identity[name]
    assert problems(rules, identity) == [missing(name)]


def test_an_alternative_fills_the_requirement_and_its_first_name_is_reported(rules, identity):
    del identity["dateOfBirth"]
    assert problems(rules, identity) == [missing("dateOfBirth")]


def test_null_is_missing_and_wrong(rules, identity):
    identity["city"] = None
    assert problems(rules, identity) == [missing("city"), invalid("city")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dateOfBirth", "1992/02/30"),
        ("dateOfBirth", "1992-04-15"),
        ("dateOfBirth", "1992/4/15"),
        ("dateOfBirth", "1868/04/15"),
        ("dateOfBirth", "2099/01/01"),
        ("dateOfBirth", "1992/04/15\n"),
        ("dateOfBirth", 19920415),
        ("phone", "123"),
        ("phone", "98765432109"),
        ("phone", "9876543210\n"),
        ("phone", "٩٨٧٦٥٤٣٢١٠"),
        ("email", "no at sign"),
        ("email", "a@b"),
        ("email", "a@b.c" + "x" * 5000),
        ("postalCode", "1402"),
        ("preferredLang", 7),
        ("fullName", "Amina"),
        ("fullName", {"language": "eng", "value": "Amina"}),
        ("fullName", [["eng", "Amina"]]),
        ("fullName", [{"language": "eng", "value": "x"}] * 2),
        ("fullName", [{"language": "eng", "value": str(i)} for i in range(65)]),
        ("proofOfIdentity", "file"),
        ("proofOfIdentity", {"format": "pdf", "type": None}),
        ("proofOfIdentity", {"format": "pdf", "owner": "x"}),
        ("individualBiometrics", {"format": "cbeff", "version": "1.0", "value": "x"}),
        ("individualBiometrics", {"format": "cbeff", "version": True, "value": "x"}),
        ("individualBiometrics", {"format": "cbeff", "version": -1, "value": "x"}),
        ("nickname", "x"),
    ],
)
def test_a_wrong_value(rules, identity, name, value):
    identity[name] = value
    assert problems(rules, identity) == [invalid(name)]


def test_members_of_a_text_are_named_by_place(rules, identity):
    identity["city"] = [{"language": "eng"}, {"language": "xxx", "value": "K"}, {"language": "ara", "value": 1}]
    assert problems(rules, identity) == [
        missing("city/0/value"),
        invalid("city/1/language"),
        invalid("city/2/value"),
    ]


def test_a_hostile_attribute_name_is_not_repeated(rules, identity):
    identity["<script>"] = "x"
    assert problems(rules, identity) == [("KER-IOV-004", "Invalid input parameter - identity")]


def test_several_problems_come_together_missing_first(rules, identity):
    del identity["zone"]
    identity["phone"] = "1"
    assert problems(rules, identity) == [missing("zone"), invalid("phone")]


def test_patterns_beside_a_reference_have_no_effect_as_on_the_wire(rules, identity):
    identity["fullName"] = [{"language": "eng", "value": "X"}]
    assert problems(rules, identity) == []


def test_born_today_is_not_in_the_future(rules, identity):
    identity["dateOfBirth"] = "2024/02/29"
    assert problems(rules, identity) == []
    identity["dateOfBirth"] = "2024/03/01"
    assert problems(rules, identity) == [invalid("dateOfBirth")]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["language", "value", "format", "type", "version", "refNumber", "x"]), inner)
    ),
    max_leaves=12,
)
NAMES = st.sampled_from(
    ["UIN", "fullName", "dateOfBirth", "email", "phone", "proofOfIdentity", "individualBiometrics", "IDSchemaVersion"]
)


@given(st.dictionaries(NAMES | st.text(), JSON, max_size=6))
def test_whatever_comes_is_judged_by_codes_alone(rules, identity):
    for code, message in problems(rules, identity, UPDATE_UIN):
        assert code in {"KER-IOV-004", "KER-IOV-005"}
        assert re.fullmatch(r"(Missing|Invalid) input parameter - identity(/[A-Za-z0-9_/-]+)?", message)


async def test_the_schema_version_chooses_the_rules(master_data, identity):
    await master_data.validate_identity(identity, required=NEW_PACKET)
    for version in (0.2, -1, 0, "0.1", True, float("nan"), [], {}):
        with pytest.raises(RejectedMany) as caught:
            await master_data.validate_identity({**identity, "IDSchemaVersion": version}, required=NEW_PACKET)
        assert [(each.code, each.message) for each in caught.value.rejections] == [invalid("IDSchemaVersion")]
    with pytest.raises(RejectedMany, match="KER-IOV-005"):
        await master_data.validate_identity({}, required=NEW_PACKET)
    with pytest.raises(RejectedMany, match="identity/zone"):
        await master_data.validate_identity({**identity, "zone": None}, required=NEW_PACKET)
