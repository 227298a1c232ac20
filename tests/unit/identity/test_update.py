"""Changing people: merging, update counts, status, files, and what readers hear of it."""

import asyncio

import pytest

from civium.biometrics.api import Modality, parse_cbeff
from civium.identity.api import IdentifierIssued, IdentifierStatusChanged, PersonStatus, VidType
from civium.identity.domain import Change, merge
from civium.kernel.errors import Rejected, RejectedMany
from civium.kernel.identifiers import UIN
from identity_fixtures import cbeff, identity, new_person, some_rid, text


async def update(subject, uin, *, rid=None, status=None, documents=None, verified=(), **attributes):
    sent = {"IDSchemaVersion": 0.1, "UIN": uin.reveal(), **attributes}
    change = Change(rid or some_rid(), uin, status, sent, documents or {}, verified)
    return await subject.register.update(change, actor="registration")


@pytest.fixture
async def person(subject):
    return new_person()


@pytest.fixture
async def uin(subject, person):
    return await subject.register.create(person, actor="registration")


async def read(subject, person):
    return await subject.register.person_by_rid(person.rid, purpose="test")


def test_texts_merge_by_language():
    stored = {"fullName": text("Amina", "أمينة")}
    merged = merge(stored, {"fullName": [{"language": "eng", "value": "Amine"}, {"language": "fra", "value": "Aminé"}]})
    assert merged["fullName"] == [
        {"language": "eng", "value": "Amine"},
        {"language": "ara", "value": "أمينة"},
        {"language": "fra", "value": "Aminé"},
    ]


def test_scalars_and_objects_are_replaced_nulls_keep_and_absent_keeps():
    stored = {"phone": "1", "email": "a", "proof": {"type": "A", "value": "x"}, "kept": 1}
    merged = merge(stored, {"phone": "2", "email": None, "proof": {"type": "B"}, "new": "n", "nothing": None})
    assert merged == {"phone": "2", "email": "a", "proof": {"type": "B"}, "kept": 1, "new": "n"}


def test_lists_that_are_no_texts_are_replaced():
    assert merge({"selectedHandles": ["a", "b"]}, {"selectedHandles": ["c"]}) == {"selectedHandles": ["c"]}
    assert merge({"list": text("a")}, {"list": []}) == {"list": []}


async def test_an_update_merges_and_keeps_every_registration(subject, person, uin):
    rid = some_rid()
    assert await update(subject, uin, rid=rid, city=text("Fes", "فاس"), phone="9000000001") is PersonStatus.ACTIVATED
    old, new = await read(subject, person), await subject.register.person_by_rid(rid, purpose="test")
    assert old == new
    assert (new.version, new.rid, new.uin) == (2, rid, uin)
    assert new.identity == {
        **person.identity,
        "UIN": uin.reveal(),
        "city": text("Fes", "فاس"),
        "phone": "9000000001",
    }
    assert new.documents == person.documents
    versions = await subject.db.as_owner("SELECT version FROM identity.person_version ORDER BY version")
    assert [row["version"] for row in versions] == [1, 2]


async def test_an_update_asks_for_new_credentials(subject, uin):
    vid = await subject.register.create_vid(uin, VidType.PERPETUAL, actor="r")
    limited = await subject.register.create_vid(uin, VidType.ONE_TIME, actor="r")
    await update(subject, uin, phone="9000000001")
    issued = [(event.identifier, event.version) for event in await subject.events(IdentifierIssued)]
    assert issued == [
        (uin.reveal(), 1),
        (vid.vid.reveal(), 1),
        (limited.vid.reveal(), 1),
        (uin.reveal(), 2),
        (vid.vid.reveal(), 2),
    ], "a VID with a limited number of uses is not renewed"


async def test_a_registration_serves_only_once(subject, person, uin):
    with pytest.raises(Rejected, match="IDR-IDC-012"):
        await update(subject, uin, rid=person.rid, phone="9000000001")
    rid = some_rid()
    await update(subject, uin, rid=rid, phone="9000000001")
    with pytest.raises(Rejected, match="IDR-IDC-012"):
        await update(subject, uin, rid=rid, phone="9000000002")


async def test_an_unknown_uin_is_not_found(subject):
    with pytest.raises(Rejected, match="IDR-IDC-007"):
        await update(subject, UIN("5075291708"), phone="9000000001")


async def test_update_counts_are_charged_and_bounded(subject, person, uin):
    await update(subject, uin, gender=text("Male"))
    await update(subject, uin, gender=text("Male"), phone="9000000001")
    await update(subject, uin, gender=text("Female"))
    with pytest.raises(Rejected, match="IDR-IDC-013") as refused:
        await update(subject, uin, gender=text("Male"), phone="9000000002")
    assert refused.value.message == "Update count limit for the attributes exceeded:- gender"
    stored = await read(subject, person)
    assert (stored.version, stored.identity["phone"]) == (4, "9000000001"), "nothing of it is stored"


async def test_parallel_updates_both_arrive(subject, person, uin):
    await asyncio.gather(update(subject, uin, phone="9000000001"), update(subject, uin, city=text("Fes")))
    stored = await read(subject, person)
    assert (stored.version, stored.identity["phone"], stored.identity["city"]) == (3, "9000000001", text("Fes"))


async def test_a_new_document_replaces_its_category_and_keeps_the_rest(subject, person, uin):
    await update(
        subject,
        uin,
        proofOfAddress={"format": "pdf", "type": "COR", "value": "proofOfAddress"},
        documents={"proofOfAddress": b"address", "proofOfIdentity": b"newer"},
    )
    stored = await read(subject, person)
    assert stored.documents == {"proofOfAddress": b"address", "proofOfIdentity": b"newer"}
    assert stored.biometrics == person.biometrics


async def test_new_biometrics_merge_by_type_and_subtype(subject, person, uin):
    incoming = cbeff((Modality.FINGER, "Left Thumb", b"new thumb"), (Modality.IRIS, "Right", b"new iris"))
    await update(subject, uin, documents={"individualBiometrics": incoming})
    stored = await read(subject, person)
    records = {record.key: record.bdb for record in parse_cbeff(stored.biometrics["individualBiometrics"])}
    assert records[Modality.FINGER, "Left Thumb"] == b"new thumb"
    assert records[Modality.IRIS, "Left"] == b"IIR-left"
    assert records[Modality.IRIS, "Right"] == b"new iris"


async def test_a_document_without_its_attribute_is_refused(subject, uin):
    with pytest.raises(RejectedMany, match="documents/0/category"):
        await update(subject, uin, documents={"proofOfAddress": b"address"})


async def test_verified_attributes_are_united(subject, uin):
    await update(subject, uin, verified=("fullName",))
    await update(subject, uin, verified=("phone", "fullName"))
    row = await subject.register._records.by_uin(uin)
    record = await subject.register._vault.open(row)
    assert record.contents.verified == ("fullName", "phone")


async def test_a_blocked_uin_and_its_vids_are_removed(subject, person, uin):
    vid = await subject.register.create_vid(uin, VidType.PERPETUAL, actor="r")
    before = len(await subject.events(IdentifierIssued))
    assert await update(subject, uin, status=PersonStatus.BLOCKED) is PersonStatus.BLOCKED
    changes = [(event.kind, event.identifier, event.action) for event in await subject.events(IdentifierStatusChanged)]
    assert changes == [("UIN", uin.reveal(), "REMOVE_ID"), ("VID", vid.vid.reveal(), "REMOVE_ID")]
    assert len(await subject.events(IdentifierIssued)) == before
    with pytest.raises(Rejected, match="IDR-VID-004 BLOCKED UIN"):
        await subject.register.create_vid(uin, VidType.PERPETUAL, actor="r")


async def test_a_deactivated_uin_ends_now_and_comes_back(subject, uin):
    vid = await subject.register.create_vid(uin, VidType.PERPETUAL, actor="r")
    await update(subject, uin, status=PersonStatus.DEACTIVATED)
    ended = await subject.events(IdentifierStatusChanged)
    assert [(event.identifier, event.action) for event in ended] == [
        (uin.reveal(), "DEACTIVATE_ID"),
        (vid.vid.reveal(), "DEACTIVATE_ID"),
    ]
    assert all(event.expires_at is not None for event in ended)
    await update(subject, uin, status=PersonStatus.ACTIVATED)
    back = (await subject.events(IdentifierStatusChanged))[2:]
    assert [(event.identifier, event.action, event.expires_at) for event in back] == [
        (uin.reveal(), "ACTIVATE_ID", None),
        (vid.vid.reveal(), "ACTIVATE_ID", None),
    ]
    assert [event.identifier for event in (await subject.events(IdentifierIssued))[-2:]] == [
        uin.reveal(),
        vid.vid.reveal(),
    ]


async def test_an_update_without_identity_changes_the_status_only(subject, person, uin):
    await subject.register.update(Change(some_rid(), uin, PersonStatus.DEACTIVATED), actor="r")
    stored = await read(subject, person)
    assert (stored.status, stored.identity) == (PersonStatus.DEACTIVATED, {**identity(), "UIN": uin.reveal()})
