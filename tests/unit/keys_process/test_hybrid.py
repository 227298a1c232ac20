"""The pool keys of our own feed travel in the post-quantum hybrid envelope; nobody can choose a weaker form."""

from datetime import timedelta

import pytest

from civium.kernel.encoding import unb64
from civium.keys.api import IDA_CRED_SERVICE, IDA_PUBLIC_KEY, DecryptionFailed
from civium.keys.formats import hybrid_pq
from civium.keys.formats.primitives import thumbprint
from civium.keys.protocol import ZkDerive, ZkFresh, ZkInstall
from keys_fixtures import open_home


async def test_over_each_binding_the_feed_is_hybrid(bound):
    sealed = await bound.core.zk_encrypt("2419762130", {"name": "María"}, hybrid=True)
    assert hybrid_pq.is_hybrid(unb64(sealed.encrypted_random_key))
    with pytest.raises(DecryptionFailed):
        await bound.auth.zk_install(sealed.encrypted_random_key, sealed.random_key_index)
    await bound.auth.zk_install(sealed.encrypted_random_key, sealed.random_key_index, hybrid=True)
    assert await bound.auth.zk_decrypt("2419762130", sealed.attributes) == {"name": "María"}


async def test_a_downgrade_is_refused(bound):
    standard = await bound.core.zk_encrypt("1", {"a": "b"})
    assert not hybrid_pq.is_hybrid(unb64(standard.encrypted_random_key))
    with pytest.raises(DecryptionFailed):
        await bound.auth.zk_install(standard.encrypted_random_key, standard.random_key_index, hybrid=True)


def test_the_envelope_is_for_one_index(stores):
    fresh = stores.core.perform(ZkFresh("1", hybrid=True))
    with pytest.raises(DecryptionFailed):
        stores.auth.perform(ZkInstall(fresh.encrypted_random_key, fresh.index + 1, hybrid=True))
    stores.auth.perform(ZkInstall(fresh.encrypted_random_key, fresh.index, hybrid=True))


def test_without_an_offer_the_form_is_the_standard_one(stores, fixed_clock):
    other = stores.core.hierarchy.current(IDA_PUBLIC_KEY)
    assert stores.core.hybrid.offered(IDA_PUBLIC_KEY, b"another certificate") is None
    stores.core.hybrid._keys.clear()
    fresh = stores.core.perform(ZkFresh("1", hybrid=True))
    stores.auth.perform(ZkInstall(fresh.encrypted_random_key, fresh.index))
    assert thumbprint(other.certificate)


def test_keys_are_kept_sealed_renewed_and_open_what_was_before(stores, home, fixed_clock):
    fresh = stores.core.perform(ZkFresh("1", hybrid=True))
    first = stores.auth.hybrid.current(IDA_CRED_SERVICE)
    stores.close()
    secret = first.private.to_bytes()
    assert not any(secret in path.read_bytes() for path in (home / "keys").rglob("*.sealed"))
    fixed_clock.advance(timedelta(days=701))
    with open_home(home, fixed_clock) as again:
        second = again.auth.hybrid.current(IDA_CRED_SERVICE)
        assert second.id != first.id
        offered = again.core.hybrid.offered(IDA_PUBLIC_KEY, again.core.hierarchy.current(IDA_PUBLIC_KEY).thumbprint)
        assert offered.id == second.id
        again.auth.perform(ZkInstall(fresh.encrypted_random_key, fresh.index, hybrid=True))
        assert again.auth.perform(ZkDerive("1", fresh.index)) == fresh.derived
