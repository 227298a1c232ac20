"""The VID policy, its limits under concurrency, and the life of a VID."""

import asyncio
from datetime import timedelta

import pytest

from civium.identity.api import IdentifierIssued, IdentifierStatusChanged, VidType
from civium.identity.domain import TamperedRecord
from civium.identity.vid.domain import VidStatus, load_policies
from civium.kernel.errors import Rejected
from civium.kernel.identifiers import UIN, VID
from civium.keys.api import id_hash
from identity_fixtures import new_person


@pytest.fixture
async def uin(subject):
    return await subject.register.create(new_person(), actor="registration")


@pytest.fixture
def vids(subject):
    return subject.register._vids


def test_a_one_time_vid_is_good_for_one_use():
    assert load_policies()[VidType.ONE_TIME].transactions_allowed == 1


async def test_a_vid_is_valid_and_resolves_to_its_person(subject, vids, uin):
    issued = await vids.create(uin, VidType.PERPETUAL, actor="r")
    assert VID.parse(issued.vid.reveal()) == issued.vid
    assert (issued.status, issued.expires_at, issued.transaction_limit) == ("ACTIVE", "9999-12-31T23:59:59.999Z", None)
    person = await vids.resolve(issued.vid)
    assert (await subject.register._vault.identifiers(person))[0] == uin


async def test_issuing_is_announced_with_expiry_and_limit(subject, vids, uin):
    await vids.create(uin, VidType.TEMPORARY, actor="r")
    event = (await subject.events(IdentifierIssued))[-1]
    assert event.kind == "VID"
    assert event.transaction_limit == 2
    assert event.expires_at is not None


async def test_a_temporary_vid_expires_after_half_an_hour(subject, vids, uin):
    issued = await vids.create(uin, VidType.TEMPORARY, actor="r")
    subject.clock.advance(timedelta(minutes=29, seconds=59))
    await vids.resolve(issued.vid)
    subject.clock.advance(timedelta(seconds=1))
    with pytest.raises(Rejected, match="IDR-VID-001 VID is EXPIRED"):
        await vids.resolve(issued.vid)
    with pytest.raises(Rejected, match="IDR-VID-001 VID is EXPIRED"):
        await vids.change(issued.vid, VidStatus.REVOKED, actor="r")


async def test_a_second_perpetual_vid_revokes_the_first(subject, vids, uin):
    first = await vids.create(uin, VidType.PERPETUAL, actor="r")
    second = await vids.create(uin, VidType.PERPETUAL, actor="r")
    with pytest.raises(Rejected, match="VID is REVOKED"):
        await vids.resolve(first.vid)
    await vids.resolve(second.vid)
    (removed,) = await subject.events(IdentifierStatusChanged)
    assert (removed.identifier, removed.action) == (first.vid.reveal(), "REMOVE_ID")


async def test_the_number_of_instances_is_limited_and_frees_up(subject, vids, uin):
    for _ in range(5):
        await vids.create(uin, VidType.TEMPORARY, actor="r")
    with pytest.raises(Rejected, match="IDR-VID-003"):
        await vids.create(uin, VidType.TEMPORARY, actor="r")
    subject.clock.advance(timedelta(minutes=30))
    await vids.create(uin, VidType.TEMPORARY, actor="r")


async def test_parallel_creates_never_exceed_the_limit(vids, uin):
    outcomes = await asyncio.gather(
        *(vids.create(uin, VidType.TEMPORARY, actor="r") for _ in range(8)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, Rejected)]
    assert [problem.code for problem in refused] == ["IDR-VID-003"] * 3
    assert len(await vids.of_uin(uin, actor="r")) == 5


async def test_parallel_perpetual_creates_leave_one(vids, uin):
    await asyncio.gather(*(vids.create(uin, VidType.PERPETUAL, actor="r") for _ in range(6)))
    assert len(await vids.of_uin(uin, actor="r")) == 1


async def test_listing_shows_the_foreign_hash_forms(vids, uin):
    issued = await vids.create(uin, VidType.TEMPORARY, actor="r")
    (listed,) = await vids.of_uin(uin, actor="r")
    assert (listed.vid, listed.kind, listed.transaction_limit) == (issued.vid, VidType.TEMPORARY, 2)
    assert listed.id_hash == id_hash(issued.vid.reveal(), listed.salt)
    assert list(await vids.of_uin(UIN("5075291708"), actor="r")) == []


async def test_revoking_a_perpetual_vid_restores_another(vids, uin):
    issued = await vids.create(uin, VidType.PERPETUAL, actor="r")
    replaced = await vids.change(issued.vid, VidStatus.REVOKED, actor="r")
    assert replaced.restored is not None
    await vids.resolve(replaced.restored.vid)
    with pytest.raises(Rejected, match="VID is REVOKED"):
        await vids.change(issued.vid, VidStatus.ACTIVE, actor="r")


async def test_revoking_a_temporary_vid_restores_nothing(subject, vids, uin):
    issued = await vids.create(uin, VidType.TEMPORARY, actor="r")
    assert (await vids.change(issued.vid, VidStatus.REVOKED, actor="r")).restored is None
    assert (await subject.events(IdentifierStatusChanged))[-1].action == "REMOVE_ID"


async def test_use_counts_only_where_uses_are_limited(subject, vids, uin):
    perpetual = await vids.create(uin, VidType.PERPETUAL, actor="r")
    assert (await vids.change(perpetual.vid, VidStatus.USED, actor="r")).status is VidStatus.ACTIVE
    once = await vids.create(uin, VidType.ONE_TIME, actor="r")
    assert (await vids.change(once.vid, VidStatus.USED, actor="r")).status is VidStatus.USED
    assert (await subject.events(IdentifierStatusChanged))[-1].action == "DEACTIVATE_ID"
    with pytest.raises(Rejected, match="VID is USED"):
        await vids.resolve(once.vid)


async def test_regenerating(vids, uin):
    issued = await vids.create(uin, VidType.TEMPORARY, actor="r")
    renewed = await vids.regenerate(issued.vid, actor="r")
    await vids.resolve(renewed.vid)
    with pytest.raises(Rejected, match="VID is INVALIDATED"):
        await vids.resolve(issued.vid)
    with pytest.raises(Rejected, match="VID is INVALIDATED"):
        await vids.regenerate(issued.vid, actor="r")
    perpetual = await vids.create(uin, VidType.PERPETUAL, actor="r")
    with pytest.raises(Rejected, match="IDR-VID-003"):
        await vids.regenerate(perpetual.vid, actor="r")


async def test_deactivating_and_reactivating_all(subject, vids, uin):
    issued = [await vids.create(uin, kind, actor="r") for kind in (VidType.PERPETUAL, VidType.TEMPORARY)]
    await vids.deactivate_all(uin, actor="r")
    for each in issued:
        with pytest.raises(Rejected, match="VID is DEACTIVATED"):
            await vids.resolve(each.vid)
    with pytest.raises(Rejected, match="IDR-IDC-007"):
        await vids.deactivate_all(uin, actor="r")
    await vids.reactivate_all(uin, actor="r")
    for each in issued:
        await vids.resolve(each.vid)
    actions = [event.action for event in await subject.events(IdentifierStatusChanged)]
    assert actions == ["DEACTIVATE_ID", "DEACTIVATE_ID", "ACTIVATE_ID", "ACTIVATE_ID"]


async def test_unknown_numbers(vids, uin):
    with pytest.raises(Rejected, match="IDR-IDC-007"):
        await vids.resolve(VID("3472541892807460"))
    with pytest.raises(Rejected, match="IDR-IDC-007"):
        await vids.create(UIN("5075291708"), VidType.PERPETUAL, actor="r")


async def test_a_reserved_number_belongs_to_nobody(vids):
    vid = await vids.reserve_number(None)
    with pytest.raises(Rejected, match="IDR-IDC-007"):
        await vids.resolve(vid)


async def test_numbers_are_not_stored_readable(subject, vids, uin):
    issued = await vids.create(uin, VidType.TEMPORARY, actor="r")
    lines = [row["line"] for row in await subject.db.as_owner("SELECT t::text AS line FROM identity.vid t")]
    assert issued.vid.reveal() not in str(lines)
    assert issued.vid.reveal().encode().hex() not in str(lines)


@pytest.mark.tamper
@pytest.mark.parametrize(
    "change",
    [
        "ref = (SELECT ref FROM identity.person p WHERE p.ref <> v.ref)",
        "status = 'ACTIVE'",
        "expires_at = expires_at + interval '1 hour'",
        "kind = 'Perpetual'",
        "vid_box = set_bit(vid_box, 101, 1 - get_bit(vid_box, 101))",
    ],
)
async def test_a_changed_vid_row_is_found(subject, vids, uin, change):
    await subject.register.create(new_person(), actor="r")
    issued = await vids.create(uin, VidType.TEMPORARY, actor="r")
    if "status" in change:
        await vids.change(issued.vid, VidStatus.REVOKED, actor="r")
    await subject.db.as_owner(f"UPDATE identity.vid v SET {change}")
    with pytest.raises(TamperedRecord):
        await vids.resolve(issued.vid)


@pytest.mark.tamper
async def test_swapped_vid_boxes_are_found(subject, vids, uin):
    issued = [await vids.create(uin, VidType.TEMPORARY, actor="r") for _ in range(2)]
    await subject.db.as_owner(
        "UPDATE identity.vid a SET vid_box = b.vid_box FROM identity.vid b WHERE a.vid_hash <> b.vid_hash"
    )
    for each in issued:
        with pytest.raises(TamperedRecord):
            await vids.resolve(each.vid)


@pytest.mark.tamper
async def test_a_vid_row_put_back_to_its_old_state_is_found(subject, vids, uin):
    issued = await vids.create(uin, VidType.TEMPORARY, actor="r")
    (old,) = await subject.db.as_owner("SELECT status, vid_box FROM identity.vid")
    await vids.change(issued.vid, VidStatus.REVOKED, actor="r")
    await subject.db.as_owner("UPDATE identity.vid SET status = $1, vid_box = $2", old["status"], old["vid_box"])
    with pytest.raises(TamperedRecord):
        await vids.resolve(issued.vid)
