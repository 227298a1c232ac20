"""What is stored is sealed anew under new keys: afterwards the old master may be destroyed, and everything opens."""

import pytest

from authentication_world import World
from civium.access.wiring import build as build_access
from civium.authentication.wiring import build as build_authentication
from civium.identity import store
from civium.identity.api import VidType
from civium.identity.wiring import build as build_identity
from civium.kernel.clock import SystemClock
from civium.kernel.errors import IntegrityError
from civium.keys.api import IDA_PARTNER_ID, KeyRef
from civium.keys.sealing import KeySealer
from civium.keys.secretbox import DATA_KEYS
from civium.keys.wiring import build_trust
from civium.partners.wiring import build as build_partners
from civium.platform.rewrapping import Rewrap
from civium.platform.sealing import Place
from civium.platform.settings import Settings
from identity_fixtures import new_person

DOB = {"dob": "1990/01/31"}


async def done(steps: tuple[Rewrap, ...], size: int = 2) -> dict[str, tuple[int, int, int]]:
    """Do the steps; returns for each what it counted, saw and renewed."""
    told = {}
    for step in steps:
        counted, seen, renewed = await step.count(), 0, 0
        async for batch in step.batches(size):
            assert 0 < batch.seen <= size
            seen, renewed = seen + batch.seen, renewed + batch.renewed
        told[step.name] = (counted, seen, renewed)
    return told


def anew(keys):
    """A sealer of a process that started after the rotation, as the command's is."""
    return KeySealer(keys)


async def test_a_box_is_renewed_once(keystores, keys_core, sealer_core):
    place = Place("t", "r", "c")
    box = await sealer_core.seal("p", place, b"clear")
    assert await sealer_core.renew("p", place, box) is None
    keystores.core.secrets.rotate(DATA_KEYS)
    renewing = anew(keys_core)
    new = await renewing.renew("p", place, box)
    assert new is not None
    assert await renewing.renew("p", place, new) is None
    with pytest.raises(IntegrityError):
        await renewing.renew("p", Place("t", "other", "c"), box)
    keystores.core.secrets.destroy(DATA_KEYS, 1)
    reader = anew(keys_core)
    assert await reader.unseal("p", place, new) == b"clear"
    with pytest.raises(IntegrityError):
        await reader.unseal("p", place, box)


async def test_identity_keeps_every_person_vid_and_number(keystores, keys_core, subject, db, outbox_core):
    people = [new_person() for _ in range(3)]
    uins = [await subject.register.create(person, actor="r") for person in people]
    vids = [await subject.register._vids.create(uin, VidType.PERPETUAL, actor="r") for uin in uins]
    keystores.core.secrets.rotate(DATA_KEYS)
    sealer = anew(keys_core)
    arguments = (subject.objects, outbox_core, subject.master_data, subject.clock)
    _, module = build_identity(db.core("identity"), sealer, keys_core, *arguments)
    told = await done(module.rewraps)
    assert told["identity.person keys"] == (3, 3, 3)
    assert told["identity.vid"] == (3, 3, 3)
    assert {counted - seen for counted, seen, _ in told.values()} == {0}
    assert {renewed for _, _, renewed in (await done(module.rewraps)).values()} == {0}
    keystores.core.secrets.destroy(DATA_KEYS, 1)
    register, _ = build_identity(db.core("identity"), anew(keys_core), keys_core, *arguments)
    for uin, vid in zip(uins, vids, strict=True):
        person = await register._vids.resolve(vid.vid)
        assert (await register._vault.open(await register._vault.verify(person, await _head(db, person)))).uin == uin


async def _head(db, person):
    found = await store.person_by_ref(db.core("identity"), person.ref)
    return found[1]


async def test_a_person_who_changes_meanwhile_wins(keystores, keys_core, subject, db, outbox_core):
    database = db.core("identity")
    await subject.register.create(new_person(), actor="r")
    ((row, head),) = await store.persons_after(database, None, 10)
    keystores.core.secrets.rotate(DATA_KEYS)
    vault = subject.register._vault
    changed = await vault.renewed(await vault.verify(row, head))
    async with database.transaction() as transaction:
        assert await store.replace_keys(transaction, row, *changed)
    async with database.transaction() as transaction:
        assert not await store.replace_keys(transaction, row, *changed)
    ((now, now_head),) = await store.persons_after(database, None, 10)
    assert await vault.verify(now, now_head)


async def test_authentication_goes_on_with_what_was_sealed_anew(keystores, keys_auth, world: World, db):
    people = [await world.credential() for _ in range(3)]
    limited = await world.credential(vid=True, limit=2)
    keystores.auth.secrets.rotate(DATA_KEYS)
    _, module = build_authentication(
        db.auth(), anew(keys_auth), keys_auth, world.outbox, world.clock, world.settings
    )  # fmt: skip
    told = await done(module.rewraps)
    assert told["authentication.identity_cache"] == (4, 4, 4)
    counted, seen, renewed = next(value for name, value in told.items() if name.startswith("authentication.reference"))
    assert counted == seen == renewed > 3
    assert {renewed for _, _, renewed in (await done(module.rewraps)).values()} == {0}
    keystores.auth.secrets.destroy(DATA_KEYS, 1)
    fresh = World(db, world.keys_core, keys_auth, anew(keys_auth), world.settings)
    fresh.leaves = world.leaves
    await fresh.start()
    for who in (*people, limited):
        answer = await fresh.client().send("auth", who.identifier, demographics=DOB)
        assert answer["errors"] in (None, []), answer
    await fresh.http.aclose()


async def test_partners_and_accounts_open_afterwards(keystores, keys_core, sealer_core, outbox_core, db):
    clock, settings = SystemClock(), Settings(mode="sandbox")

    def contexts(sealer):
        trust = build_trust(db.core("keys"), keys_core, outbox_core, clock)
        partners, partners_module = build_partners(db.core("partners"), sealer, keys_core, trust, outbox_core, clock)
        access, access_module = build_access(db.core("access"), sealer, keys_core, outbox_core, clock, settings)
        return partners, access, (*partners_module.rewraps, *access_module.rewraps)

    partners, access, _ = contexts(sealer_core)
    pem = (await keys_core.certificate(KeyRef("PARTNER", IDA_PARTNER_ID))).pem
    await partners.seed_online_verification_partner(IDA_PARTNER_ID, pem)
    await access.seed_sandbox()
    keystores.core.secrets.rotate(DATA_KEYS)
    _, _, steps = contexts(anew(keys_core))
    told = await done(steps)
    assert told["partners.partner.contact"] == (1, 1, 1)
    assert told["access.account.box"][0] == told["access.account.box"][2] > 3
    assert set(told) >= {"partners.api_key.sealed_key", "partners.misp_licence.sealed_key", "access.session.box"}
    keystores.core.secrets.destroy(DATA_KEYS, 1)
    reader = anew(keys_core)
    box = await db.core("partners").fetch_value("SELECT contact FROM partners.partner")
    assert await reader.unseal("partners/contact", Place("partners.partner", IDA_PARTNER_ID, "contact"), box)
    assert len(await contexts(reader)[1]._accounts.users(None)) > 3
