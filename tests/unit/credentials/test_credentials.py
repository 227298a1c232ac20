"""Auth credentials: what they carry, that only the identifier opens them, and that a second delivery changes nothing."""

import json
import uuid
from types import SimpleNamespace

import pytest

from civium.audit.api import AuditRecorded
from civium.authentication.api import AuthTypeStatusUpdated, CredentialIssued, IdStatusChanged
from civium.biometrics.api import Modality, parse_cbeff
from civium.credentials.domain import attribute_text, auth_policy
from civium.credentials.wiring import build
from civium.identity.api import (
    AuthTypeLock,
    AuthTypesLocked,
    IdentifierIssued,
    IdentifierStatusChanged,
    PersonStatus,
    VidType,
)
from civium.identity.domain import Change
from civium.kernel.identifiers import VID
from civium.keys.api import (
    IDA_PARTNER_ID,
    DecryptionFailed,
    hash_modulo,
    id_hash,
)
from civium.platform.outbox import Delivery, place_of
from identity_fixtures import identity, new_person, some_rid, text


@pytest.fixture
async def world(subject, keys_core, keys_auth, sealer_core, outbox_core, identity_clock):
    module = build(
        subject.db.core("credentials"),
        subject.register,
        keys_core,
        sealer_core,
        outbox_core,
        subject.master_data,
        identity_clock,
    )
    (consumer,) = module.consumers

    async def deliver(*, again: bool = False):
        """Hand every event of the register to the consumer, as the dispatcher does; each once unless ``again``."""
        for row in await subject.db.outbox_rows():
            if row["topic"] in consumer.topics and (again or row["id"] not in delivered):
                delivered.add(row["id"])
                clear = await sealer_core.unseal("outbox", place_of(row["id"], row["topic"]), row["payload"])
                await consumer.handle(Delivery(row["id"], row["topic"], row["key"], row["at"], clear))

    delivered: set[uuid.UUID] = set()
    return SimpleNamespace(deliver=deliver, consumer=consumer, subject=subject, keys=keys_core, auth=keys_auth)


async def opened(world, credential, identifier):
    await world.auth.zk_install(credential.demo_encrypted_random_key, credential.demo_random_key_index, hybrid=True)
    if credential.bio_encrypted_random_key is not None:
        await world.auth.zk_install(credential.bio_encrypted_random_key, credential.bio_random_key_index, hybrid=True)
    return (
        await world.auth.zk_decrypt(identifier, credential.demographics),
        await world.auth.zk_decrypt(identifier, credential.biometrics),
    )


async def test_a_new_person_gets_a_credential_that_the_uin_opens(world):
    person = new_person(introducerUIN="5075291708")
    uin = (await world.subject.register.create(person, actor="r")).reveal()
    await world.deliver()
    (credential,) = await world.subject.events(CredentialIssued)
    demographics, biometrics = await opened(world, credential, uin)
    assert demographics["dateOfBirth"] == "1992/04/15"
    assert json.loads(demographics["fullName"]) == text("Amina Belkacem", "أمينة بلقاسم")
    assert "أمينة" in demographics["fullName"]
    for never in ("UIN", "IDSchemaVersion", "proofOfIdentity", "individualBiometrics", "introducerUIN"):
        assert never not in demographics
    assert set(biometrics) == {"Finger_Left Thumb", "Iris_Left", "Face"}
    (record,) = parse_cbeff(biometrics["Finger_Left Thumb"].encode())
    assert (record.modality, record.subtype, record.bdb) == (Modality.FINGER, "Left Thumb", b"FIR-thumb")
    with pytest.raises(DecryptionFailed):
        await opened(world, credential, "5075291708")


async def test_the_credential_carries_the_wires_hash_and_token(world):
    uin = (await world.subject.register.create(new_person(), actor="r")).reveal()
    await world.deliver()
    (credential,) = await world.subject.events(CredentialIssued)
    assert credential.modulo == str(hash_modulo(uin))
    assert credential.salt == await world.keys.identifier_salt(hash_modulo(uin))
    assert credential.id_hash == id_hash(uin, credential.salt)
    assert credential.token == await world.keys.token_id(uin, IDA_PARTNER_ID)
    assert len(credential.token) == 36
    assert (credential.id_type, credential.expiry_timestamp, credential.transaction_limit) == ("UIN", None, None)


async def test_a_vid_gets_its_own_credential_under_the_same_token(world):
    uin = await world.subject.register.create(new_person(), actor="r")
    issued = await world.subject.register.create_vid(uin, VidType.TEMPORARY, actor="r")
    await world.deliver()
    first, second = await world.subject.events(CredentialIssued)
    assert first.token == second.token
    assert first.id_hash != second.id_hash
    assert (second.id_type, second.expiry_timestamp, second.transaction_limit) == ("VID", issued.expires_at, 2)
    demographics, _ = await opened(world, second, issued.vid.reveal())
    assert demographics["phone"] == "9876543210"
    with pytest.raises(DecryptionFailed):
        await opened(world, second, uin.reveal())


async def test_no_clear_value_travels(world):
    uin = (await world.subject.register.create(new_person(), actor="r")).reveal()
    await world.deliver()
    (credential,) = await world.subject.events(CredentialIssued)
    shown = repr(credential)
    for secret in (uin, "Amina", "9876543210", "1992/04/15", "FIR-thumb"):
        assert secret not in shown


async def test_a_second_delivery_changes_nothing(world):
    await world.subject.register.create(new_person(), actor="r")
    await world.deliver()
    await world.deliver(again=True)
    assert len(await world.subject.events(CredentialIssued)) == 1
    (row,) = await world.subject.db.as_owner("SELECT * FROM credentials.credential_request")
    assert (row["status"], row["version"], row["kind"]) == ("ISSUED", 1, "UIN")


async def test_a_crash_before_the_commit_issues_once_afterwards(world, monkeypatch):
    await world.subject.register.create(new_person(), actor="r")

    async def fail(*_):
        raise RuntimeError

    with monkeypatch.context() as broken:
        broken.setattr(type(world.keys), "token_id", fail)
        with pytest.raises(RuntimeError):
            await world.deliver()
    rows = await world.subject.db.as_owner("SELECT id, status FROM credentials.credential_request")
    assert [row["status"] for row in rows] == ["NEW"]
    await world.deliver(again=True)
    (credential,) = await world.subject.events(CredentialIssued)
    assert credential.transaction_id == str(rows[0]["id"])


async def test_an_update_issues_the_new_data(world):
    uin = await world.subject.register.create(new_person(), actor="r")
    await world.deliver()
    sent = {"IDSchemaVersion": 0.1, "UIN": uin.reveal(), "phone": "9000000001"}
    await world.subject.register.update(Change(some_rid(), uin, identity=sent), actor="r")
    await world.deliver()
    credential = (await world.subject.events(CredentialIssued))[-1]
    assert credential.version == 2
    demographics, biometrics = await opened(world, credential, uin.reveal())
    assert demographics["phone"] == "9000000001"
    assert "Face" in biometrics


async def test_a_person_blocked_meanwhile_gets_none(world):
    uin = await world.subject.register.create(new_person(), actor="r")
    await world.subject.register.update(Change(some_rid(), uin, PersonStatus.BLOCKED), actor="r")
    await world.deliver()
    assert await world.subject.events(CredentialIssued) == []
    (row,) = await world.subject.db.as_owner("SELECT status FROM credentials.credential_request")
    assert row["status"] == "CANCELLED"
    (removed,) = await world.subject.events(IdStatusChanged)
    assert removed.action == "REMOVE_ID"


async def test_a_person_without_biometrics_gets_a_credential_without_them(world):
    attributes = {
        name: value for name, value in identity().items() if name not in {"individualBiometrics", "proofOfIdentity"}
    }
    person = type(new_person())(some_rid(), attributes, {}, {})
    await world.subject.register.create(person, actor="r")
    await world.deliver()
    (credential,) = await world.subject.events(CredentialIssued)
    assert (credential.biometrics, credential.bio_encrypted_random_key) == ({}, None)


async def test_the_end_of_a_vid_is_passed_on_by_hash(world):
    uin = await world.subject.register.create(new_person(), actor="r")
    first = await world.subject.register.create_vid(uin, VidType.PERPETUAL, actor="r")
    await world.subject.register.create_vid(uin, VidType.PERPETUAL, actor="r")
    await world.deliver()
    await world.deliver(again=True)
    (changed,) = await world.subject.events(IdStatusChanged)
    salt = await world.keys.identifier_salt(hash_modulo(first.vid.reveal()))
    assert (changed.action, changed.id_hash) == ("REMOVE_ID", id_hash(first.vid.reveal(), salt))


async def test_locks_are_passed_on_by_token(world, outbox_core):
    lock = AuthTypeLock(
        auth_type="otp", auth_sub_type="email", locked=True, unlock_expires_at="2030-01-01T00:00:00.000Z"
    )
    ref = str(uuid.uuid4())
    async with world.subject.db.core("identity").transaction() as transaction:
        await outbox_core.publish(
            transaction, AuthTypesLocked(person_ref=ref, uin="5075291708", locks=(lock,)), key=ref
        )
    await world.deliver()
    await world.deliver(again=True)
    (updated,) = await world.subject.events(AuthTypeStatusUpdated)
    assert updated.token == await world.keys.token_id("5075291708", IDA_PARTNER_ID)
    (entry,) = updated.locks
    assert (entry.auth_type, entry.auth_sub_type, entry.locked) == ("otp", "email", True)
    assert entry.unlock_expiry_timestamp == "2030-01-01T00:00:00.000Z"


async def test_opening_a_person_for_a_credential_is_audited(world):
    await world.subject.register.create(new_person(), actor="r")
    await world.deliver()
    audits = [(event.action, event.purpose) for event in await world.subject.events(AuditRecorded)]
    assert ("identity.person.read", "credential.auth") in audits
    assert ("credential.issued", "credential.auth") in audits


async def test_one_consumer_takes_all_topics_so_that_order_holds(world):
    assert world.consumer.topics == {
        IdentifierIssued.topic(),
        IdentifierStatusChanged.topic(),
        AuthTypesLocked.topic(),
    }


async def test_the_outbox_names_nobody(world):
    uin = await world.subject.register.create(new_person(), actor="r")
    vid = await world.subject.register.create_vid(uin, VidType.PERPETUAL, actor="r")
    await world.deliver()
    shown = str([tuple(row) for row in await world.subject.db.outbox_rows()])
    assert uin.reveal() not in shown
    assert vid.vid.reveal() not in shown
    assert isinstance(vid.vid, VID)


def test_texts_stay_plain_and_everything_else_is_json():
    assert attribute_text("plain") == "plain"
    assert attribute_text(0.1) == "0.1"
    assert json.loads(attribute_text(text("a"))) == text("a")


def test_the_policy_names_no_biometric_wildcard():
    (biometric,) = [each for each in auth_policy().shareable_attributes if each.group is not None]
    assert [each.type for each in biometric.source[0].filter] == [Modality.FINGER, Modality.IRIS, Modality.FACE]
