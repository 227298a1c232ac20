"""Creating, resuming, reading: what is stored, what is sealed, what is announced."""

import asyncio

import pytest

from civium.audit.api import AuditRecorded
from civium.identity.api import IdentifierIssued, PersonStatus
from civium.kernel import faults
from civium.kernel.errors import Rejected, RejectedMany
from civium.kernel.identifiers import RID, UIN
from civium.platform.database import record_statements
from identity_fixtures import biometrics, new_person, some_rid


async def test_a_created_person_reads_back_whole(subject):
    person = new_person()
    uin = await subject.register.create(person, actor="registration")
    UIN.parse(uin.reveal())
    stored = await subject.register.person_by_rid(person.rid, purpose="test")
    assert stored.uin == uin
    assert stored.rid == person.rid
    assert stored.status is PersonStatus.ACTIVATED
    assert stored.identity == {**person.identity, "UIN": uin.reveal()}
    assert stored.documents == person.documents
    assert stored.biometrics == person.biometrics
    assert (await subject.register.person_by_ref(stored.ref, purpose="test")).uin == uin


async def test_creation_announces_the_uin_and_audits_it(subject):
    uin = await subject.register.create(new_person(), actor="registration")
    (issued,) = await subject.events(IdentifierIssued)
    assert (issued.kind, issued.identifier, issued.version) == ("UIN", uin.reveal(), 1)
    (audit,) = await subject.events(AuditRecorded)
    assert (audit.action, audit.actor, audit.subject) == (
        "identity.person.created",
        "registration",
        issued.person_ref,
    )


async def test_reading_is_audited_with_its_purpose(subject):
    person = new_person()
    await subject.register.create(person, actor="registration")
    await subject.register.person_by_rid(person.rid, purpose="card.print")
    read = (await subject.events(AuditRecorded))[-1]
    assert (read.action, read.purpose) == ("identity.person.read", "card.print")


async def test_the_same_rid_again_returns_the_first_uin(subject):
    person = new_person()
    first = await subject.register.create(person, actor="registration")
    assert await subject.register.create(person, actor="registration") == first
    assert len(await subject.events(IdentifierIssued)) == 1


async def test_parallel_creates_of_one_rid_make_one_person(subject):
    person = new_person()
    uins = await asyncio.gather(*(subject.register.create(person, actor="r") for _ in range(4)))
    assert len(set(uins)) == 1
    assert (await subject.db.as_owner("SELECT count(*) AS n FROM identity.person"))[0]["n"] == 1
    assert len(subject.blobs()) == 2, "the losers took their files away"


@pytest.mark.parametrize(
    "point", ["identity.mint.reserved", "identity.create.objects-written", "identity.create.before-commit"]
)
async def test_a_crash_before_the_commit_resumes_with_the_same_uin(subject, monkeypatch, point):
    class Killed(BaseException):
        pass

    def die(name):
        if name == point:
            raise Killed

    person = new_person()
    monkeypatch.setattr(faults, "point", die)
    with pytest.raises(Killed):
        await subject.register.create(person, actor="registration")
    minted = await subject.db.as_owner("SELECT uin_hash FROM identity.mint")
    assert await subject.db.as_owner("SELECT 1 FROM identity.person") == []
    assert await subject.events(IdentifierIssued) == []

    monkeypatch.setattr(faults, "point", lambda name: None)
    uin = await subject.register.create(person, actor="registration")
    after = await subject.db.as_owner("SELECT uin_hash, uin_box FROM identity.mint")
    assert [row["uin_hash"] for row in after] == [row["uin_hash"] for row in minted], "no second number"
    assert after[0]["uin_box"] is None
    assert (await subject.register.person_by_rid(person.rid, purpose="test")).uin == uin


async def test_a_crash_after_the_commit_returns_the_uin_again(subject, monkeypatch):
    class Killed(BaseException):
        pass

    def die(name):
        if name == "identity.create.committed":
            raise Killed

    person = new_person()
    monkeypatch.setattr(faults, "point", die)
    with pytest.raises(Killed):
        await subject.register.create(person, actor="registration")
    (issued,) = await subject.events(IdentifierIssued)
    assert (await subject.register.create(person, actor="registration")).reveal() == issued.identifier


async def test_a_uin_in_a_packet_is_ignored(subject):
    person = new_person(UIN="5075291708")
    assert (await subject.register.create(person, actor="r")).reveal() != "5075291708"


async def test_an_invalid_identity_is_refused_before_a_number_is_drawn(subject):
    with pytest.raises(RejectedMany) as refused:
        await subject.register.create(new_person(dateOfBirth="yesterday"), actor="r")
    assert [problem.code for problem in refused.value.rejections] == ["IDR-IDC-002"]
    assert refused.value.rejections[0].message == "Invalid Input Parameter - identity/dateOfBirth"
    assert await subject.db.as_owner("SELECT 1 FROM identity.mint") == []


async def test_a_file_that_the_identity_does_not_describe_is_refused(subject):
    person = new_person(proofOfIdentity=None)
    identity = {name: value for name, value in person.identity.items() if value is not None}
    with pytest.raises(RejectedMany) as refused:
        await subject.register.create(
            type(person)(person.rid, identity, person.documents, person.biometrics), actor="r"
        )
    assert refused.value.rejections[0].message == "Invalid Input Parameter - documents/0/category"


async def test_biometrics_that_are_no_cbeff_are_refused(subject):
    person = new_person()
    with pytest.raises(RejectedMany) as refused:
        await subject.register.create(
            type(person)(person.rid, person.identity, {}, {"individualBiometrics": b"<BIR/>"}), actor="r"
        )
    assert refused.value.rejections[0].message == "Invalid Input Parameter - documents/0/value"


async def test_unknown_people_are_not_found(subject):
    for call in (
        subject.register.person_by_rid(RID("10001100010999920250203091500"), purpose="test"),
        subject.register.person_by_ref("7c1a3f2e-0000-4000-8000-000000000000", purpose="test"),
    ):
        with pytest.raises(Rejected, match="IDR-IDC-007"):
            await call


async def test_nothing_readable_is_stored(subject):
    person = new_person()
    uin = await subject.register.create(person, actor="r")
    dump = b""
    for table in ("person", "person_version", "head", "mint", "registration"):
        for row in await subject.db.as_owner(f"SELECT t::text AS line FROM identity.{table} t"):
            dump += row["line"].encode()
    for path in subject.blobs():
        dump += path.read_bytes() + str(path.relative_to(subject.object_root)).encode()
    for secret in (uin.reveal(), person.rid.reveal(), "Amina", "9876543210", "FIR-thumb", "made up"):
        assert secret.encode() not in dump
        assert secret.encode().hex().encode() not in dump


async def test_demographics_and_biometrics_have_different_keys(subject, keys_core):
    await subject.register.create(new_person(), actor="r")
    (row,) = await subject.db.as_owner("SELECT * FROM identity.person")
    demographic = await keys_core.unwrap_data_key("identity/demographics", row["ref"].bytes, row["demographic_key"])
    biometric = await keys_core.unwrap_data_key("identity/biometrics", row["ref"].bytes, row["biometric_key"])
    assert demographic != biometric


async def test_two_people_have_different_keys_and_numbers(subject):
    uins = [await subject.register.create(new_person(), actor="r") for _ in range(2)]
    assert uins[0] != uins[1]
    rows = await subject.db.as_owner("SELECT demographic_key FROM identity.person")
    assert rows[0]["demographic_key"] != rows[1]["demographic_key"]


async def test_create_costs_are_bounded(subject):
    await subject.register.create(new_person(), actor="r")
    async with record_statements() as statements:
        await subject.register.create(new_person(some_rid()), actor="r")
    assert len([s for s in statements if "identity." in s]) <= 10


def test_the_sample_is_a_cbeff():
    assert biometrics().startswith(b"<")


async def test_a_number_that_one_registration_claimed_goes_to_no_other(subject):
    mint, vault = subject.register._mint, subject.register._vault
    first, second = [await vault.rid_hash(some_rid()) for _ in range(2)]
    uin = await mint.issue()
    ref = await mint.claim(uin, first)
    with pytest.raises(Rejected, match="IDR-IDC-012"):
        await mint.claim(uin, second)
    assert await mint.claim(uin, first) == ref
