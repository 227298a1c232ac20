from datetime import timedelta

import pytest

from civium.keys.api import DecryptionFailed, KeyProblem
from civium.keys.plan import SECRET_VALIDITY
from civium.keys.protocol import ListKeys, MakeDataKey, RotateSecret, UnwrapDataKey, ZkDerive, ZkFresh, ZkInstall
from civium.keys.secretbox import DATA_KEYS, IDENTITY_CACHE, KEYED_HASHES
from keys_fixtures import open_home


def _opens(operations, made) -> bool:
    return operations.perform(UnwrapDataKey("p", b"c", made.wrapped)) == made.clear


def test_an_older_version_goes_on_to_open_and_no_longer_seals(stores, home, fixed_clock):
    old = stores.core.perform(MakeDataKey("p", b"c"))
    assert stores.core.perform(RotateSecret(DATA_KEYS)) == 2
    new = stores.core.perform(MakeDataKey("p", b"c"))
    assert (old.wrapped[0], new.wrapped[0]) == (1, 2)
    assert _opens(stores.core, old)
    assert _opens(stores.core, new)
    stores.close()
    with open_home(home, fixed_clock) as again:
        assert _opens(again.core, old)
        assert _opens(again.core, new)
        assert again.core.perform(MakeDataKey("p", b"c")).wrapped[0] == 2


@pytest.mark.parametrize("version", [0, 2, 3, 255])
def test_the_version_is_part_of_what_is_sealed(stores, version):
    made = stores.core.perform(MakeDataKey("p", b"c"))
    stores.core.perform(RotateSecret(DATA_KEYS))
    with pytest.raises(DecryptionFailed):
        stores.core.perform(UnwrapDataKey("p", b"c", bytes([version]) + made.wrapped[1:]))
    with pytest.raises(DecryptionFailed):
        stores.core.perform(UnwrapDataKey("p", b"c", b""))


def test_a_destroyed_version_opens_nothing_even_after_a_restart(stores, home, fixed_clock):
    old = stores.core.perform(MakeDataKey("p", b"c"))
    with pytest.raises(KeyProblem, match="KER-KMS-021"):
        stores.core.secrets.destroy(DATA_KEYS, 1)
    stores.core.perform(RotateSecret(DATA_KEYS))
    stores.core.secrets.destroy(DATA_KEYS, 1)
    with pytest.raises(DecryptionFailed):
        _opens(stores.core, old)
    for bad in (1, 2, 3, 0):
        if bad != 1:
            with pytest.raises(KeyProblem):
                stores.core.secrets.destroy(DATA_KEYS, bad)
    stores.close()
    with open_home(home, fixed_clock) as again:
        with pytest.raises(DecryptionFailed):
            _opens(again.core, old)
        listed = {(each.reference, each.key_id): each.state for each in again.core.perform(ListKeys())}
        assert listed[DATA_KEYS, "1"] == "destroyed"
        assert listed[DATA_KEYS, "2"] == "active"


@pytest.mark.parametrize("name", [KEYED_HASHES, "uin-salt", "no-such-secret"])
def test_what_everything_is_found_by_does_not_rotate(stores, name):
    with pytest.raises(KeyProblem, match="KER-KMS-021"):
        stores.core.perform(RotateSecret(name))
    with pytest.raises(KeyProblem):
        stores.core.secrets.destroy(name, 1)


def test_the_pool_is_sealed_anew_with_the_identity_cache(stores, home, fixed_clock):
    fresh = stores.core.perform(ZkFresh("1"))
    stores.auth.perform(ZkInstall(fresh.encrypted_random_key, fresh.index))
    pool = [stores.core.pool.key(index) for index in range(16)]
    for operations in (stores.core, stores.auth):
        operations.perform(RotateSecret(IDENTITY_CACHE))
        operations.secrets.destroy(IDENTITY_CACHE, 1)
    stores.close()
    with open_home(home, fixed_clock) as again:
        assert [again.core.pool.key(index) for index in range(16)] == pool
        assert again.auth.perform(ZkDerive("1", fresh.index)) == fresh.derived


def test_aged_secrets_are_renewed_by_the_process_itself(stores, fixed_clock):
    stores.keep_fresh()
    assert len(stores.core.secrets.versions(DATA_KEYS)) == 1
    fixed_clock.advance(SECRET_VALIDITY[DATA_KEYS] - timedelta(seconds=1))
    stores.keep_fresh()
    assert len(stores.core.secrets.versions(DATA_KEYS)) == 1
    fixed_clock.advance(timedelta(seconds=1))
    stores.keep_fresh()
    assert [version.number for version in stores.core.secrets.versions(DATA_KEYS)] == [2, 1]
    assert len(stores.auth.secrets.versions(DATA_KEYS)) == 2
    assert len(stores.auth.secrets.versions(IDENTITY_CACHE)) == 1


def test_versions_have_an_end(stores):
    for _ in range(254):
        stores.core.secrets.rotate(DATA_KEYS)
    with pytest.raises(KeyProblem):
        stores.core.secrets.rotate(DATA_KEYS)
