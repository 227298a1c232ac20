"""Merging identities: laws that hold for whatever was stored and sent."""

from hypothesis import given
from hypothesis import strategies as st

from civium.identity.domain import merge

TEXTS = st.lists(
    st.fixed_dictionaries({"language": st.sampled_from(["eng", "ara", "fra"]), "value": st.text(max_size=5)}),
    max_size=3,
    unique_by=lambda item: item["language"],
)
VALUES = st.one_of(st.none(), st.text(max_size=5), st.integers(), TEXTS)
IDENTITIES = st.dictionaries(st.sampled_from(["fullName", "phone", "city", "selectedHandles"]), VALUES)


@given(IDENTITIES, IDENTITIES)
def test_merging_twice_is_merging_once(stored, incoming):
    once = merge(stored, incoming)
    assert merge(once, incoming) == once


@given(IDENTITIES, IDENTITIES)
def test_nothing_stored_is_lost_and_no_attribute_is_invented(stored, incoming):
    merged = merge(stored, incoming)
    assert set(stored) <= set(merged) <= set(stored) | set(incoming)


@given(IDENTITIES)
def test_nothing_sent_changes_nothing(stored):
    assert merge(stored, {}) == stored
    assert merge(stored, dict.fromkeys(stored)) == stored


@given(TEXTS, TEXTS)
def test_every_sent_language_wins_and_every_stored_language_stays(stored, incoming):
    merged = merge({"fullName": stored}, {"fullName": incoming})["fullName"]
    values = {item["language"]: item["value"] for item in merged}
    if not stored or not incoming:
        assert merged == incoming
        return
    assert len(values) == len(merged)
    for item in incoming:
        assert values[item["language"]] == item["value"]
    assert {item["language"] for item in stored} <= set(values)
