from dataclasses import replace
from datetime import timedelta

import pytest

from civium.keys.api import (
    IDA_CRED_SERVICE,
    IDA_PARTNER,
    IDA_PUBLIC_KEY,
    KERNEL_SIGN,
    PMS,
    DecryptionFailed,
    KeyProblem,
    KeyRef,
    packet_key,
)
from civium.keys.formats import identifiers, zk
from civium.keys.formats.primitives import unwrap, wrap
from civium.keys.hierarchy import State
from civium.keys.plan import ROOT
from civium.keys.protocol import Sign, ZkDerive, ZkFresh, ZkInstall
from keys_fixtures import open_home

PACKET = packet_key("10001", "10001")
KEY = b"k" * 32


def test_a_base_key_is_succeeded_before_it_ends_and_still_decrypts(stores, fixed_clock):
    hierarchy = stores.core.hierarchy
    first = hierarchy.current(PACKET)
    fixed_clock.advance(timedelta(days=700) - timedelta(seconds=1))
    assert hierarchy.current(PACKET) is first
    fixed_clock.advance(timedelta(seconds=1))
    second = hierarchy.current(PACKET)
    assert second.thumbprint != first.thumbprint
    assert second.key_id != first.key_id
    assert hierarchy.current(PACKET) is second
    assert hierarchy.generations(PACKET) == (second, first)
    fixed_clock.advance(timedelta(days=5000))
    assert unwrap(hierarchy.holder(PACKET, first.thumbprint), wrap(first.certificate, KEY)) == KEY


@pytest.mark.parametrize(("ref", "days"), [(KERNEL_SIGN, 1095 - 60), (PMS, 1460 - 395), (ROOT, 2920 - 1125)])
def test_masters_renew_themselves_under_their_policy(stores, fixed_clock, ref, days):
    hierarchy = stores.core.hierarchy
    first = hierarchy.current(ref)
    fixed_clock.advance(timedelta(days=days - 1))
    assert hierarchy.current(ref) is first
    fixed_clock.advance(timedelta(days=2))
    second = hierarchy.current(ref)
    assert second is not first
    assert second.certificate.subject == first.certificate.subject
    second.certificate.verify_directly_issued_by(hierarchy.current(ROOT).certificate)


def test_signatures_follow_the_new_master(stores, fixed_clock):
    sign = Sign("KERNEL", "SIGN", b"{}", False, False, False)
    before = stores.core.perform(sign)
    fixed_clock.advance(timedelta(days=1095))
    after = stores.core.perform(sign)
    assert before.split(".")[0] != after.split(".")[0]


def test_a_base_key_renews_its_expired_master_and_root_first(stores, fixed_clock):
    hierarchy = stores.core.hierarchy
    fixed_clock.advance(timedelta(days=3000))
    base = hierarchy.current(PACKET)
    master = hierarchy.current(KeyRef("REGISTRATION"))
    base.certificate.verify_directly_issued_by(master.certificate)
    master.certificate.verify_directly_issued_by(hierarchy.current(ROOT).certificate)


def test_rotation_twice_in_a_day_gives_three_names(stores, home, fixed_clock):
    hierarchy = stores.core.hierarchy
    first = hierarchy.current(PACKET)
    assert first.uni_ident == identifiers.uni_ident("REGISTRATION", "10001_10001", fixed_clock.now().date())
    fixed_clock.advance(timedelta(seconds=1))
    second = hierarchy.rotate(PACKET)
    fixed_clock.advance(timedelta(seconds=1))
    third = hierarchy.rotate(PACKET)
    assert len({generation.key_id for generation in (first, second, third)}) == 3
    assert hierarchy.current(PACKET) is third
    for generation in (first, second, third):
        assert unwrap(hierarchy.holder(PACKET, generation.thumbprint), wrap(generation.certificate, KEY)) == KEY
    assert [generation.state for generation in hierarchy.generations(PACKET)] == [
        State.ACTIVE,
        State.DECRYPT_ONLY,
        State.DECRYPT_ONLY,
    ]
    stores.close()
    with open_home(home, fixed_clock) as again:
        assert again.core.hierarchy.current(PACKET).key_id == third.key_id
        assert unwrap(again.core.hierarchy.holder(PACKET, first.thumbprint), wrap(first.certificate, KEY)) == KEY


def test_a_destroyed_key_never_opens_again(stores, home, fixed_clock):
    hierarchy = stores.core.hierarchy
    first = hierarchy.current(PACKET)
    with pytest.raises(KeyProblem, match="KER-KMS-021"):
        hierarchy.destroy(PACKET, first.thumbprint)
    fixed_clock.advance(timedelta(seconds=1))
    hierarchy.rotate(PACKET)
    hierarchy.destroy(PACKET, first.thumbprint)
    with pytest.raises(DecryptionFailed):
        hierarchy.holder(PACKET, first.thumbprint)
    with pytest.raises(KeyProblem, match="KER-KMS-025"):
        hierarchy.destroy(PACKET, b"x" * 32)
    stores.close()
    with open_home(home, fixed_clock) as again, pytest.raises(DecryptionFailed):
        again.core.hierarchy.holder(PACKET, first.thumbprint)


def test_two_current_generations_are_an_error(stores):
    hierarchy = stores.core.hierarchy
    hierarchy._remember(replace(hierarchy.current(PACKET), alias="another"))
    with pytest.raises(KeyProblem, match="KER-KMS-003"):
        hierarchy.current(PACKET)


def test_an_expired_foreign_certificate_is_not_made_anew(stores, fixed_clock):
    fixed_clock.advance(timedelta(days=731))
    with pytest.raises(KeyProblem, match="KER-KMS-016"):
        stores.core.hierarchy.current(KeyRef("PARTNER", "mpartner-default-auth"))
    with pytest.raises(KeyProblem, match="KER-KMS-016"):
        stores.core.hierarchy.rotate(IDA_PUBLIC_KEY)


def test_the_core_follows_a_renewed_key_of_authentication(stores, fixed_clock):
    old = stores.core.perform(ZkFresh("1"))
    fixed_clock.advance(timedelta(days=701))
    renewed = stores.auth.hierarchy.current(IDA_CRED_SERVICE)
    stores.exchange()
    assert stores.core.hierarchy.current(IDA_PUBLIC_KEY).thumbprint == renewed.thumbprint
    new = stores.core.perform(ZkFresh("1"))
    for fresh in (old, new):
        stores.auth.perform(ZkInstall(fresh.encrypted_random_key, fresh.index))
        assert stores.auth.perform(ZkDerive("1", fresh.index)) == fresh.derived


def test_the_part_for_another_receiver_is_skipped(stores):
    other = stores.auth.hierarchy.current(IDA_PARTNER).certificate
    own = stores.auth.hierarchy.current(IDA_CRED_SERVICE).certificate
    stores.auth.perform(ZkInstall(zk.encrypted_random_key((other, own), KEY), 3))
    assert stores.auth.pool.key(3).reveal() == KEY
    with pytest.raises(DecryptionFailed):
        stores.auth.perform(ZkInstall(zk.encrypted_random_key((other,), KEY), 4))


def test_installed_pool_keys_survive_a_restart_and_tampering_shows(stores, home, fixed_clock):
    own = stores.auth.hierarchy.current(IDA_CRED_SERVICE).certificate
    stores.auth.perform(ZkInstall(zk.encrypted_random_key((own,), KEY), 3))
    stores.close()
    with open_home(home, fixed_clock) as again:
        assert again.auth.pool.key(3).reveal() == KEY
    path = home / "keys/auth/zk-3.sealed"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with open_home(home, fixed_clock) as again, pytest.raises(Exception, match="zk-3"):
        again.auth.pool.key(3)
