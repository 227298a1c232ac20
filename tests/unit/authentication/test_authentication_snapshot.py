"""Relying parties in memory: fresh, or denied."""

import pytest

from authentication_world import World, certificate, codes, pem_of, private_key, root_certificate
from civium.authentication import snapshot as module
from civium.authentication.snapshot import SnapshotHolder
from civium.authentication.store import AuthenticationStore
from civium.partners.api import CertificateAuthorityAdded
from civium.platform.database import record_statements


@pytest.fixture
async def holder(world: World) -> SnapshotHolder:
    return SnapshotHolder(AuthenticationStore(world.db.auth()), world.sealer, 60)


async def test_it_is_loaded_once_and_then_only_asked_for_its_version(holder: SnapshotHolder, world: World) -> None:
    first = await holder.current()
    async with record_statements() as statements:
        assert await holder.current() is first
        assert statements == []
        assert await holder.refreshed() is first
        assert len(statements) == 1
    await world.change(partner=world.partner("rp-one", status="DEACTIVE"))
    second = await holder.refreshed()
    assert second is not first
    assert not second.partners["rp-one"].active
    assert first.partners["rp-one"].active


async def test_it_expires_unless_it_is_confirmed(
    holder: SnapshotHolder, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    first = await holder.current()
    now = 1059.0
    assert holder.confirm(first, first.version)
    now = 1100.0
    async with record_statements() as statements:
        await holder.current()
        assert statements == []
        now = 1120.0
        await holder.current()
        assert len(statements) == 1
    assert not holder.confirm(first, first.version + 1)


async def test_an_old_snapshot_is_not_used_when_the_database_is_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await world.credential()
    client = world.client()
    assert codes(await client.send("auth", person.identifier, demographics={"dob": "1990/01/31"})) == []
    await world.db.auth_pool.close()
    monkeypatch.setattr(module, "monotonic", lambda: 10.0**9)
    envelope = await client.send("auth", person.identifier, demographics={"dob": "1990/01/31"})
    assert codes(envelope) == ["IDA-MLC-007"]
    assert envelope["response"]["authStatus"] is False


async def test_a_new_authority_counts_from_the_next_request_on(world: World) -> None:
    person = await world.credential()
    root = certificate("Second Root", private_key("second"), "Second Root", private_key("second"), ca=True)
    world.leaves["rp-one"] = certificate("rp-one", private_key("rp-one"), "Second Root", private_key("second"))
    await world.change(partner=world.partner("rp-one"))
    client = world.client()
    claims = {"dob": "1990/01/31"}
    envelope = await client.send("auth", person.identifier, demographics=claims)
    assert codes(envelope) == ["IDA-MLC-007", "IDA-MPA-001"]
    both = (pem_of(root_certificate()), pem_of(root))
    await world.deliver(CertificateAuthorityAdded(domain="auth", anchors=both))
    assert codes(await client.send("auth", person.identifier, demographics=claims)) == []
    await world.deliver(CertificateAuthorityAdded(domain="DEVICE", anchors=()))
    assert codes(await client.send("auth", person.identifier, demographics=claims)) == []
    await world.deliver(CertificateAuthorityAdded(domain="AUTH", anchors=both[:1]))
    envelope = await client.send("auth", person.identifier, demographics=claims)
    assert codes(envelope) == ["IDA-MLC-007", "IDA-MPA-001"]


async def test_keys_are_not_kept_in_clear(holder: SnapshotHolder) -> None:
    loaded = await holder.current()
    assert loaded.api_key("api-key-one") is not None
    assert loaded.api_key("api-key-three") is None
    assert "api-key-one" not in repr(loaded) + str(loaded.api_keys) + str(loaded.licences)


async def test_a_record_that_cannot_be_read_denies_only_itself(holder: SnapshotHolder, world: World) -> None:
    await world.change(partner=world.partner("rp-two", certificate_pem="no certificate"))
    await world.change(policy=world.policy({"allowedAuthTypes": 5}, policy_id="policy-odd"))
    await world.change(api_key=world.api_key("rp-two", commence_on="soon"))
    loaded = await holder.current()
    assert "rp-one" in loaded.partners
    assert "rp-two" not in loaded.partners
    assert set(loaded.policies) == {"policy-one"}
    assert loaded.api_key("api-key-one") is not None
    assert loaded.api_key("api-key-two") is None
