"""Whoever can write to the tables or the object store cannot change what the register believes."""

import pytest

from civium.identity.api import VidType
from civium.identity.domain import Change, TamperedFile, TamperedRecord
from civium.kernel import faults
from civium.kernel.errors import IntegrityError, Rejected
from identity_fixtures import new_person, text

pytestmark = pytest.mark.tamper

COLUMNS = ("uin_box", "rid_box", "demographics_box", "objects_box", "demographic_key", "biometric_key")


async def read(subject, person):
    return await subject.register.person_by_rid(person.rid, purpose="test")


async def two_people(subject):
    people = [new_person(), new_person()]
    for person in people:
        await subject.register.create(person, actor="r")
    refs = [(await read(subject, person)).ref for person in people]
    return people, refs


@pytest.mark.parametrize("column", COLUMNS)
async def test_swapped_columns_of_two_people_are_found(subject, column):
    people, refs = await two_people(subject)
    await subject.db.as_owner(
        f"UPDATE identity.person a SET {column} = b.{column} FROM identity.person b "
        "WHERE a.ref::text = ANY($1) AND b.ref::text = ANY($1) AND a.ref <> b.ref",
        refs,
    )
    for person in people:
        with pytest.raises(IntegrityError):
            await read(subject, person)


@pytest.mark.parametrize("column", COLUMNS)
async def test_a_flipped_bit_is_found(subject, column):
    person = new_person()
    await subject.register.create(person, actor="r")
    await subject.db.as_owner(
        f"UPDATE identity.person SET {column} = set_bit({column}, 101, 1 - get_bit({column}, 101))"
    )
    with pytest.raises(TamperedRecord, match="IDR-IDS-001"):
        await read(subject, person)


@pytest.mark.parametrize("column", COLUMNS)
async def test_a_truncated_column_is_found(subject, column):
    person = new_person()
    await subject.register.create(person, actor="r")
    await subject.db.as_owner(f"UPDATE identity.person SET {column} = substr({column}, 1, 5)")
    with pytest.raises(TamperedRecord):
        await read(subject, person)


@pytest.mark.parametrize("change", ["status = 'BLOCKED'", "version = 2", "rid_hash = sha256('x')"])
async def test_a_changed_clear_column_is_found(subject, change):
    person = new_person()
    uin = await subject.register.create(person, actor="r")
    await subject.db.as_owner(f"UPDATE identity.person SET {change}")
    with pytest.raises(TamperedRecord):
        await subject.register.create_vid(uin, VidType.PERPETUAL, actor="r")


async def test_one_row_put_back_to_its_old_version_is_found(subject):
    person = new_person()
    uin = await subject.register.create(person, actor="r")
    (old,) = await subject.db.as_owner("SELECT * FROM identity.person")
    await subject.register.update(
        Change(new_person().rid, uin, identity={"IDSchemaVersion": 0.1, "UIN": uin.reveal(), "phone": "9000000001"}),
        actor="r",
    )
    assert (await read(subject, person)).identity["phone"] == "9000000001"
    await subject.db.as_owner(
        "UPDATE identity.person SET version = 1, rid_hash = $1, uin_box = $2, rid_box = $3, demographics_box = $4, "
        "objects_box = $5",
        *(old[name] for name in ("rid_hash", "uin_box", "rid_box", "demographics_box", "objects_box")),
    )
    with pytest.raises(TamperedRecord):
        await read(subject, person)


async def test_one_head_put_back_to_its_old_version_is_found(subject):
    person = new_person()
    uin = await subject.register.create(person, actor="r")
    (old,) = await subject.db.as_owner("SELECT * FROM identity.head")
    await subject.register.update(
        Change(new_person().rid, uin, identity={"IDSchemaVersion": 0.1, "UIN": uin.reveal(), "city": text("Fes")}),
        actor="r",
    )
    await subject.db.as_owner("UPDATE identity.head SET version = $1, mac = $2", old["version"], old["mac"])
    with pytest.raises(TamperedRecord):
        await read(subject, person)


async def test_swapped_heads_are_found(subject):
    people, refs = await two_people(subject)
    await subject.db.as_owner(
        "UPDATE identity.head a SET mac = b.mac FROM identity.head b WHERE a.ref <> b.ref AND a.ref::text = ANY($1)",
        refs,
    )
    with pytest.raises(TamperedRecord):
        await read(subject, people[0])


async def test_a_missing_head_is_found(subject):
    person = new_person()
    await subject.register.create(person, actor="r")
    await subject.db.as_owner("DELETE FROM identity.head")
    with pytest.raises(TamperedRecord):
        await read(subject, person)


async def test_registrations_pointed_at_each_others_people_are_found(subject):
    people, _ = await two_people(subject)
    await subject.db.as_owner(
        "UPDATE identity.registration a SET ref = b.ref FROM identity.registration b WHERE a.rid_hash <> b.rid_hash"
    )
    for person in people:
        with pytest.raises(TamperedRecord):
            await read(subject, person)
        with pytest.raises(TamperedRecord):
            await subject.register.create(person, actor="r")


async def test_numbers_pointed_at_each_others_people_are_found(subject):
    people = [new_person(), new_person()]
    uins = [await subject.register.create(person, actor="r") for person in people]
    rows = await subject.db.as_owner("SELECT ref, uin_hash FROM identity.person")
    await subject.db.as_owner("UPDATE identity.person SET uin_hash = sha256(ref::text::bytea)")
    for row, other in zip(rows, reversed(rows), strict=True):
        await subject.db.as_owner(
            "UPDATE identity.person SET uin_hash = $1 WHERE ref = $2", row["uin_hash"], other["ref"]
        )
    for uin in uins:
        with pytest.raises(TamperedRecord):
            await subject.register.create_vid(uin, VidType.PERPETUAL, actor="r")


async def test_a_flipped_byte_in_a_file_is_found(subject):
    person = new_person()
    await subject.register.create(person, actor="r")
    for path in subject.blobs():
        blob = bytearray(path.read_bytes())
        blob[20] ^= 1
        path.write_bytes(blob)
        with pytest.raises(TamperedFile, match="IDR-IDS-002"):
            await read(subject, person)


async def test_swapped_files_are_found(subject):
    person = new_person()
    await subject.register.create(person, actor="r")
    one, other = subject.blobs()
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    with pytest.raises(TamperedFile):
        await read(subject, person)


async def test_a_lost_file_is_named_as_such(subject):
    person = new_person()
    await subject.register.create(person, actor="r")
    subject.blobs()[0].unlink()
    with pytest.raises(Rejected, match="IDR-IDS-006"):
        await read(subject, person)


async def test_a_reserved_number_cannot_be_swapped(subject, monkeypatch):
    def die(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(faults, "point", die)
    people = [new_person(), new_person()]
    for person in people:
        with pytest.raises(KeyboardInterrupt):
            await subject.register.create(person, actor="r")
    await subject.db.as_owner(
        "UPDATE identity.mint a SET uin_box = b.uin_box FROM identity.mint b WHERE a.uin_hash <> b.uin_hash"
    )
    monkeypatch.setattr(faults, "point", lambda name: None)
    with pytest.raises(IntegrityError):
        await subject.register.create(people[0], actor="r")
