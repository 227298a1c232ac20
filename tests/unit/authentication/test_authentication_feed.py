"""What comes in: idempotent, monotonic, sealed; and what tampering with it leads to."""

import uuid
from datetime import timedelta

import pytest

from authentication_world import PERSON, World, codes
from civium.authentication.api import CredentialIssued
from civium.authentication.store import Changed
from civium.partners.api import PartnersChanged

DOB = {"dob": "1990/01/31"}
OTHER = {**PERSON, "dateOfBirth": "1970/01/01"}


async def passes(world: World, identifier: str, born: str = "1990/01/31") -> list[str]:
    return codes(await world.client().send("auth", identifier, demographics={"dob": born}))


async def test_a_second_delivery_has_no_effect(world: World) -> None:
    id = uuid.uuid4()
    event = PartnersChanged(name="PARTNER_UPDATED", partner=world.partner("rp-one"))
    before = (await world.rows("reference_version"))[0]["version"]
    await world.deliver(event, id)
    await world.deliver(event, id)
    assert (await world.rows("reference_version"))[0]["version"] == before + 1


async def test_a_newer_credential_replaces_and_an_older_one_does_not(world: World) -> None:
    person = await world.credential(version=2)
    await world.credential(person.identifier, version=3, person=OTHER)
    assert await passes(world, person.identifier, "1970/01/01") == []
    await world.credential(person.identifier, version=2)
    assert await passes(world, person.identifier, "1970/01/01") == []
    assert await passes(world, person.identifier) == ["IDA-DEA-001"]


async def test_the_token_of_the_first_credential_stays(world: World) -> None:
    person = await world.credential()
    first = await world.client().send("auth", person.identifier, demographics=DOB)
    await world.credential(person.identifier, token="1" * 36, version=2)
    second = await world.client().send("auth", person.identifier, demographics=DOB)
    assert first["response"] == second["response"]


async def test_expiry_of_the_credential(world: World) -> None:
    vid = await world.credential(vid=True, expiry=world.instant(seconds=20))
    assert await passes(world, vid.identifier) == []
    world.clock.advance(timedelta(seconds=20))
    assert await passes(world, vid.identifier) == ["IDA-MLC-023"]


async def test_the_status_of_an_unknown_identifier_holds_nothing_up(world: World) -> None:
    person = await world.credential()
    await world.status(person, "REMOVE_ID")
    await world.status(person, "REMOVE_ID")
    await world.status(person, "DEACTIVATE_ID", world.instant())
    await world.status(person, "ACTIVATE_ID")
    assert await passes(world, person.identifier) == ["IDA-MLC-018"]


async def test_uses_do_not_come_back_by_deactivation_and_activation(world: World) -> None:
    vid = await world.credential(vid=True, limit=2)
    assert await passes(world, vid.identifier) == []
    await world.status(vid, "DEACTIVATE_ID", world.instant())
    await world.status(vid, "ACTIVATE_ID", limit=2)
    assert await passes(world, vid.identifier) == []
    assert await passes(world, vid.identifier) == ["IDA-MLC-018"]


async def test_a_pool_key_that_is_not_ours_is_refused(world: World) -> None:
    event = CredentialIssued(
        transaction_id="t", id_hash="A" * 64, modulo="1", salt="x", token="1" * 36, id_type="UIN",
        expiry_timestamp=None, transaction_limit=None, demographics={}, demo_encrypted_random_key="AAAA",
        demo_random_key_index="1", biometrics={}, bio_encrypted_random_key=None, bio_random_key_index=None,
    )  # fmt: skip
    with pytest.raises(Exception, match=r"KER-ZKC|[Kk]ey"):
        await world.deliver(event)
    assert await world.rows("identity_cache") == []


async def test_relying_parties_are_sealed_at_rest(world: World) -> None:
    text = str([(row["kind"], row["key"], bytes(row["box"])) for row in await world.rows("reference")])
    assert "api-key-one" not in text
    assert "licence-key-one" not in text
    assert "rp-one" in text


CACHE, HEAD = "authentication.identity_cache", "authentication.identity_head"


def swapped(table: str, column: str) -> str:
    return f"UPDATE {table} SET {column} = (SELECT {column} FROM {table} WHERE id <> $1 LIMIT 1) WHERE id = $1"


FLIPPED = "set_byte(demographics, 150, (get_byte(demographics, 150) + 1) % 256)"


@pytest.mark.tamper
@pytest.mark.parametrize(
    "statement",
    [
        swapped(CACHE, "demographics"),
        swapped(CACHE, "token"),
        swapped(CACHE, "token_hash"),
        swapped(HEAD, "box"),
        f"DELETE FROM {HEAD} WHERE id = $1",
        f"UPDATE {CACHE} SET demographics = {FLIPPED} WHERE id = $1",
        f"UPDATE {CACHE} SET demographics = substr(demographics, 1, 200) WHERE id = $1",
        f"UPDATE {CACHE} SET version = version + 1 WHERE id = $1",
    ],
)
async def test_a_row_that_was_changed_does_not_open(world: World, statement: str) -> None:
    person = await world.credential()
    (first,) = await world.rows("identity_cache")
    await world.credential()
    await world.db.as_owner(statement, first["id"])
    envelope = await world.client().send("auth", person.identifier, demographics=DOB)
    assert codes(envelope) == ["IDA-MLC-007"]
    assert envelope["response"] == {"authStatus": False, "authToken": None}


@pytest.mark.tamper
@pytest.mark.parametrize("table", ["identity_cache", "identity_head"])
@pytest.mark.parametrize("change", ["credential", "status", "use"])
async def test_a_row_put_back_to_its_old_version_is_detected(world: World, table: str, change: str) -> None:
    vid = await world.credential(vid=True, limit=5)
    await world.db.as_owner(f"CREATE TABLE authentication.kept AS SELECT * FROM authentication.{table}")
    match change:
        case "credential":
            await world.credential(vid.identifier, version=2, limit=5)
        case "status":
            await world.status(vid, "ACTIVATE_ID", limit=5)
        case "use":
            assert await passes(world, vid.identifier) == []
    assert (await passes(world, vid.identifier)) == []
    await world.db.as_owner(f"DELETE FROM authentication.{table}")
    await world.db.as_owner(f"INSERT INTO authentication.{table} SELECT * FROM authentication.kept")
    assert await passes(world, vid.identifier) == ["IDA-MLC-007"]


async def test_a_credential_that_meets_a_change_is_delivered_again(world: World) -> None:
    person = await world.credential()
    store = world.service._store
    row = await store.identity((await world.rows("identity_cache"))[0]["id"])
    opened = await world.service._people.open(row)
    boxes = await world.service._people.with_state(opened, expires_at=None, uses_left=None)
    await world.status(person, "ACTIVATE_ID")
    with pytest.raises(Changed):
        async with world.db.auth().transaction() as tx:
            await store.put_identity(tx, boxes)
