"""Reference data: what is shipped, what is registered, and that every process sees it."""

import asyncio
import hashlib
import json
import re
from importlib.resources import files

import pytest

from civium.kernel.errors import Rejected
from civium.kernel.identifiers import RID
from civium.masterdata.api import AttributeKind


async def rejection(awaitable):
    with pytest.raises(Rejected) as caught:
        await awaitable
    return caught.value.code


async def test_the_schema_is_shipped_with_its_typed_view(master_data):
    schema = await master_data.id_schema()
    assert (schema.id, schema.version) == ("1001", 0.1)
    raw = json.loads(schema.text)["properties"]["identity"]["properties"]
    assert list(raw) == list(schema.attributes)
    assert schema.attributes["fullName"].kind is AttributeKind.SIMPLE
    assert schema.attributes["IDSchemaVersion"].category == "none"
    assert schema.attributes["residenceStatus"].category == "kyc"
    assert schema.attributes["introducerRID"].category == "evidence"
    assert len(schema.attributes["individualBiometrics"].bio_attributes) == 13
    assert schema.of_kind(AttributeKind.BIOMETRICS) == (
        "individualBiometrics",
        "introducerBiometrics",
        "individualAuthBiometrics",
    )


async def test_schema_versions(master_data):
    assert await master_data.id_schema(0) == await master_data.id_schema(0.1) == await master_data.id_schema(None)
    assert await rejection(master_data.id_schema(0.3)) == "KER-SCH-007"


async def test_the_mapping_is_shipped(master_data):
    mapping = await master_data.identity_mapping()
    assert mapping.attribute("dob") == "dateOfBirth"
    assert mapping.attributes("locationHierarchyForProfiling") == ("zone", "postalCode")
    assert mapping.attribute("unmapped") == "unmapped"
    assert mapping.documents["poi"] == ("proofOfIdentity",)
    assert mapping.update_count_limits["gender"] == 2


async def test_many_processes_start_on_an_empty_database_at_once(build, db):
    found = await asyncio.gather(*(build().centre("10001") for _ in range(6)))
    assert found[0].names == {"eng": "Center A Ben Mansour", "ara": "المركز أ بن منصور"}
    assert (await db.as_owner("SELECT version FROM masterdata.change"))[0]["version"] == 1


async def test_a_machine_is_seen_by_the_other_process(build, machine_key):
    one, other = build(), build()
    assert await rejection(other.machine("10011")) == "KER-MSD-030"
    await one.register_machine("10011", name="m1", centre="10001", public_key=machine_key)
    machine = await other.machine("10011")
    assert machine.active
    assert machine.signing_key().key_size == 2048
    digest = hashlib.sha256(machine_key).hexdigest()
    assert machine.key_index == ":".join(re.findall("..", digest))
    assert len(machine.key_index) == 95
    assert await other.machine_by_key_index(machine.key_index) == machine
    assert await rejection(other.machine_by_key_index("ab:cd")) == "KER-SNC-148"


async def test_registering_again_changes_nothing(build, machine_key, db):
    master_data = build()
    for _ in range(2):
        await master_data.register_machine("10011", name="m1", centre="10001", public_key=machine_key)
        await master_data.register_operator("110011", centre="10001", role="REGISTRATION_OFFICER")
    # Another process, with a fresh view, writes nothing either.
    await build().register_machine("10011", name="m1", centre="10001", public_key=machine_key)
    assert (await db.as_owner("SELECT version FROM masterdata.change"))[0]["version"] == 3
    assert len(await db.outbox_rows()) == 2


async def test_operators(master_data):
    assert await rejection(master_data.operator("110011")) == "KER-USR-007"
    await master_data.register_operator("110011", centre="10001", role="REGISTRATION_OFFICER")
    operator = await master_data.operator("110011")
    assert (operator.centre, operator.role, operator.active) == ("10001", "REGISTRATION_OFFICER", True)


async def test_bad_registrations(master_data, machine_key, short_key):
    def register(**changes):
        return master_data.register_machine(
            "10011", **{"name": "m", "centre": "10001", "public_key": machine_key, **changes}
        )

    assert await rejection(register(centre="99999")) == "KER-MSD-215"
    assert await rejection(register(public_key=b"not a key")) == "KER-MSD-257"
    assert await rejection(register(public_key=short_key)) == "KER-MSD-257"
    assert await rejection(register(sign_public_key=b"")) == "KER-MSD-410"
    assert await rejection(master_data.register_operator("x", centre="99999", role="R")) == "KER-MSD-215"
    assert await rejection(master_data.machine("10011")) == "KER-MSD-030"


async def test_registration_ids_count_up_and_wrap(master_data, db):
    first, second = [RID.parse(await master_data.next_rid("10001", "10011")) for _ in range(2)]
    assert [rid.reveal()[:15] for rid in (first, second)] == ["100011001100001", "100011001100002"]
    await db.as_owner("UPDATE masterdata.rid_sequence SET last = 99999")
    assert (await master_data.next_rid("10001", "10011"))[:15] == "100011001100001"
    both = await asyncio.gather(*(master_data.next_rid("10001", "10012") for _ in range(20)))
    assert len({rid[:15] for rid in both}) == 20


@pytest.mark.parametrize(
    ("centre", "machine", "code"),
    [
        ("", "10011", "KER-RIG-002"),
        (" ", "10011", "KER-RIG-002"),
        ("1000", "10011", "KER-RIG-003"),
        ("10001", "1001a", "KER-RIG-003"),
        ("10001", "\u0661\u0660\u0660\u0661\u0661", "KER-RIG-003"),
    ],
)
async def test_bad_registration_id_parts(master_data, centre, machine, code):
    assert await rejection(master_data.next_rid(centre, machine)) == code


async def test_templates(master_data):
    assert "$otp" in await master_data.template("ida-auth-otp-sms-template", "eng")
    assert await rejection(master_data.template("ida-auth-otp-sms-template", "fra")) == "KER-MSD-046"
    assert await rejection(master_data.template("no-such", "eng")) == "KER-MSD-046"


def test_template_rules():
    folders = list((files("civium.masterdata") / "seed" / "templates").iterdir())
    texts = {folder.name: {file.name: file.read_text("utf-8") for file in folder.iterdir()} for folder in folders}
    assert texts["eng"].keys() == texts["ara"].keys()
    for by_name in texts.values():
        for name, text in by_name.items():
            if name.startswith("RPR_UIN_GEN"):
                assert "$UIN" not in text
            if "otp-sms" in name or "otp-email-content" in name:
                before = text.partition("$otp")[0]
                # A value before the password may hold digits, so there must be none.
                assert "$" not in before
                assert not re.search(r"\d", before)
