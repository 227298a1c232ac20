"""From the upload to the UIN, and every way in which a packet ends before it."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from civium.biometrics.api import Modality
from civium.identity.api import IdentifierIssued
from civium.kernel import faults
from civium.notify.api import NotificationRequested
from civium.platform.database import record_statements
from civium.platform.sealing import Place
from civium.registration import pipeline
from civium.registration.store import LeaseLost
from packet_fixtures import rsa_key
from registration_fixtures import enrolment_of, hand, without

ROUTE = [
    ("PACKET_RECEIVER", "RPR-PKR-SUCCESS-001"),
    ("SECUREZONE_NOTIFICATION", "RPR-SEN-SUCCESS-001"),
    ("UPLOAD_PACKET", "RPR-PKU-SUCCESS-001"),
    ("VALIDATE_PACKET", "RPR-PKV-SUCCESS-001"),
    ("PACKET_CLASSIFICATION", "RPR-PKCSUCCESS-001"),
    ("CMD_VALIDATION", "RPR-CMD-SUCCESS-001"),
    ("OPERATOR_VALIDATION", "RPR-OVM-SUCCESS-001"),
    ("SUPERVISOR_VALIDATION", "RPR-SVM-SUCCESS-001"),
    ("QUALITY_CLASSIFIER", "RPR-QCK-SUCCESS-002"),
    ("DEMOGRAPHIC_VERIFICATION", "RPR-DDP-SUCCESS-001"),
    ("BIOGRAPHIC_VERIFICATION", "RPR-BDP-SUCCESS-002"),
    ("UIN_GENERATOR", "RPR-UIN-SUCCESS-001"),
    ("BIOMETRIC_EXTRACTION", "RPR-BEN-SUCCESS-001"),
    ("FINALIZATION", "RPR-FIN-SUCCESS-001"),
]


async def test_a_packet_becomes_a_person(office):
    enrolment = enrolment_of()
    await office.bring(enrolment)
    assert await office.status(enrolment.rid) == "PROCESSING"
    assert await office.work() == 1
    assert await office.status(enrolment.rid) == "PROCESSED"
    assert await office.status(enrolment.rid, external=True) == "UIN_GENERATED"
    steps = await office.steps(enrolment.rid)
    assert [(step["transactionTypeCode"], step["subStatusCode"]) for step in steps] == ROUTE
    assert {step["statusCode"] for step in steps} == {"SUCCESS"}
    assert steps[1]["parentTransactionId"] == steps[0]["id"]

    person = await office.register.person_by_rid(enrolment.rid, purpose="test")
    assert person.identity["fullName"] == enrolment.identity["fullName"]
    assert person.documents["proofOfIdentity"] == b"%PDF-1.4 passport"
    assert "individualBiometrics" in person.biometrics
    assert len(await office.events(IdentifierIssued)) >= 1

    [notice] = await office.events(NotificationRequested)
    assert notice.template == "RPR_UIN_GEN"
    assert notice.email == "amina.belkacem@example.com"
    assert notice.values["RID"] == enrolment.rid.reveal()
    assert notice.values["name"] == "Amina Belkacem"
    assert person.uin.reveal() not in str(notice)
    assert await office.count("work") == 0


async def test_what_a_packet_costs(office):
    await office.bring(enrolment_of())
    async with record_statements() as statements:
        assert await office.module.jobs[0].run() == 1
    own = [statement for statement in statements if "registration." in statement]
    # lease; fence, lock and four of the enlisting, two of the record; one page of the gallery;
    # fence, two of the record, one of the queue
    assert len(own) == 1 + 6 + 1 + 4, own
    assert len(statements) <= 40, len(statements)


class TestDuplicates:
    async def test_the_same_fingers_again(self, office):
        first, second = enrolment_of("Amina Belkacem"), enrolment_of("Zohra Other", hand(1, 1))
        await office.bring(first)
        await office.bring(second)
        assert await office.work() == 2
        assert await office.status(first.rid, external=True) == "UIN_GENERATED"
        steps = await office.steps(second.rid)
        assert [(step["transactionTypeCode"], step["statusCode"], step["subStatusCode"]) for step in steps[-3:]] == [
            ("DEMOGRAPHIC_VERIFICATION", "SUCCESS", "RPR-DDP-SUCCESS-001"),
            ("BIOGRAPHIC_VERIFICATION", "FAILED", "RPR-BDP-FAILED-001"),
            ("MANUAL_ADJUDICATION", "IN_PROGRESS", "RPR-MVS-002"),
        ]
        assert (await office.workflow(second.rid))["status"] == "PAUSED"
        [row] = await office.db.as_owner("SELECT * FROM registration.adjudication")
        assert row["matched_id"] == (await office.workflow(first.rid))["workflow_id"]
        assert len(await office.events(NotificationRequested)) == 1

    async def test_a_paused_packet_that_is_resumed_is_paused_again(self, office):
        first, second = enrolment_of(), enrolment_of("Zohra Other", hand(1, 1))
        await office.bring(first)
        await office.bring(second)
        await office.work()
        for action in ("RESUME_PROCESSING", "RESUME_FROM_BEGINNING"):
            assert not (await office.act(second.rid, action))["errors"]
            assert await office.work() == 1
            assert (await office.workflow(second.rid))["status"] == "PAUSED"
        assert not (await office.act(second.rid, "STOP_PROCESSING"))["errors"]
        assert await office.status(second.rid, external=True) == "REJECTED"
        assert await office.count("adjudication") == 0

    async def test_same_demographics_and_fingers(self, office):
        first, second = enrolment_of(), enrolment_of("  amina   BELKACEM", hand(1, 1))
        await office.bring(first)
        await office.bring(second)
        await office.work()
        steps = await office.steps(second.rid)
        assert (steps[-2]["transactionTypeCode"], steps[-2]["subStatusCode"]) == (
            "DEMOGRAPHIC_VERIFICATION",
            "RPR-DDP-FAILED-001",
        )
        assert (await office.workflow(second.rid))["status"] == "PAUSED"

    async def test_namesakes_with_different_fingers_are_two_people(self, office):
        first, second = enrolment_of(), enrolment_of(records=hand(2))
        await office.bring(first)
        await office.bring(second)
        await office.work()
        assert await office.status(second.rid, external=True) == "UIN_GENERATED"

    async def test_namesakes_whose_fingers_cannot_be_compared_go_to_a_human(self, office):
        first = enrolment_of(records=hand(1, 0, ("Right Thumb",)))
        second = enrolment_of(records=hand(1, 1, ("Left MiddleFinger",)))
        await office.bring(first)
        await office.bring(second)
        await office.work()
        steps = await office.steps(second.rid)
        assert steps[-2]["subStatusCode"] == "RPR-DDP-FAILED-002"
        assert (await office.workflow(second.rid))["status"] == "PAUSED"

    async def test_nobody_without_any_finger_passes_unseen(self, office):
        enrolment = enrolment_of(records=hand(3, 0, ()))
        await office.bring(enrolment)
        await office.work()
        assert await office.last_step(enrolment.rid) == ("VERIFICATION", "IN_PROGRESS", "RPR-VER-003")
        assert (await office.workflow(enrolment.rid))["status"] == "PAUSED"

    async def test_places_are_given_one_at_a_time_so_that_the_later_sees_the_earlier(self, office):
        """Of two packets of one person that are worked on at once."""
        packets = [enrolment_of(), enrolment_of()]
        for packet in packets:
            await office.bring(packet)
        one, other = [(await office.workflow(packet.rid))["workflow_id"] for packet in packets]
        database, store = office.db.core("registration"), office.module.jobs[0].run.__self__._store

        async def enlist_other():
            async with database.transaction() as transaction:
                return await store.enlist(transaction, other, b"box", [bytes(32)])

        async with database.transaction() as transaction:
            first = await store.enlist(transaction, one, b"box", [bytes(32)])
            waiting = asyncio.create_task(enlist_other())
            await asyncio.sleep(0.2)
            assert not waiting.done()
        second = await waiting
        assert second.seq > first.seq
        assert second.same_demographics == {one}

    async def test_a_failed_packet_leaves_no_fingers_behind(self, office):
        enrolment = enrolment_of(consent=False)
        await office.bring(enrolment)
        await office.work()
        assert await office.count("candidate") == await office.count("demographic") == 0

    async def test_no_face_is_kept_for_comparison(self, office, sealer_core):
        enrolment = enrolment_of()
        await office.bring(enrolment)
        await office.work()
        [row] = await office.db.as_owner("SELECT * FROM registration.candidate")
        place = Place("registration.candidate", str(row["workflow_id"]), "fingers_box")
        kept = await sealer_core.unseal("registration/fingers", place, row["fingers_box"])
        assert msgspec.msgpack.decode(kept, type=dict[str, bytes]).keys() == {"Right Thumb", "Left MiddleFinger"}


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({"consent": False}, ("VALIDATE_PACKET", "FAILED", "RPR-PKV-FAILED-017")),
        ({"identity": {"phone": "call me"}}, ("VALIDATE_PACKET", "FAILED", "RPR-PKV-FAILED-002")),
        ({"identity": {"city": None}}, ("VALIDATE_PACKET", "FAILED", "RPR-PKV-FAILED-009")),
        ({"officer": ""}, ("OPERATOR_VALIDATION", "FAILED", "RPR-OVM-FAILED-005")),
        ({"officer": "nobody"}, ("OPERATOR_VALIDATION", "FAILED", "RPR-OVM-FAILED-004")),
        ({"supervisor": ""}, ("SUPERVISOR_VALIDATION", "FAILED", "RPR-OVM-FAILED-006")),
        ({"supervisor": "nobody"}, ("SUPERVISOR_VALIDATION", "FAILED", "RPR-SVM-FAILED-004")),
    ],
)
async def test_packets_that_fail(office, changes, step):
    enrolment = enrolment_of(**changes)
    packet = await office.bring(enrolment)
    await office.work()
    assert await office.last_step(enrolment.rid) == step
    assert await office.status(enrolment.rid, external=True) == "REREGISTER"
    assert await office.packet_status(packet.id) == "ACCEPTED"
    assert (await office.workflow(enrolment.rid))["status"] == "FAILED"


async def test_biometrics_that_are_missing(office):
    enrolment = enrolment_of(records=without(hand(1), Modality.EXCEPTION_PHOTO))
    await office.bring(enrolment)
    await office.work()
    assert await office.last_step(enrolment.rid) == ("VALIDATE_PACKET", "FAILED", "RPR-PKV-FAILED-004")


async def test_a_finger_that_is_no_image(office):
    records = tuple(replace(record, bdb=b"no") if record.subtype == "Right Thumb" else record for record in hand(1))
    enrolment = enrolment_of(records=records)
    await office.bring(enrolment)
    await office.work()
    assert await office.last_step(enrolment.rid) == ("VALIDATE_PACKET", "FAILED", "RPR-PKV-FAILED-013")


async def test_biometrics_of_low_quality(office):
    records = tuple(replace(record, quality=12) if record.subtype == "Right Thumb" else record for record in hand(1))
    enrolment = enrolment_of(records=records)
    await office.bring(enrolment)
    await office.work()
    assert await office.last_step(enrolment.rid) == ("QUALITY_CLASSIFIER", "FAILED", "RPR-QCK-FAILED-001")


async def test_the_supervisor_said_no(office):
    enrolment = enrolment_of()
    await office.bring(enrolment, supervisor_status="REJECTED")
    await office.work()
    assert await office.last_step(enrolment.rid) == ("VALIDATE_PACKET", "REJECTED", "RPR-PKV-FAILED-011")
    assert await office.status(enrolment.rid, external=True) == "REJECTED"


async def test_a_no_of_the_supervisor_is_not_overturned_by_announcing_again(office):
    enrolment = enrolment_of()
    packet = await office.bring(enrolment, supervisor_status="REJECTED")
    await office.announce((packet, enrolment), supervisor_status="APPROVED")
    await office.work()
    assert await office.last_step(enrolment.rid) == ("VALIDATE_PACKET", "REJECTED", "RPR-PKV-FAILED-011")


async def test_signed_by_another_machine(office):
    enrolment = enrolment_of()
    packet = office.build(enrolment, machine_key=rsa_key("stranger"))
    await office.announce((packet, enrolment))
    await office.upload(packet.sealed, packet.file_name)
    await office.work()
    assert await office.last_step(enrolment.rid) == ("VALIDATE_PACKET", "FAILED", "RPR-PKV-FAILED-012")


async def test_a_packet_that_does_not_decrypt_is_asked_for_again(office):
    enrolment = enrolment_of()
    packet = office.build(enrolment)
    broken = replace(packet, sealed=packet.sealed[:-1] + bytes([packet.sealed[-1] ^ 1]))
    await office.announce((broken, enrolment))
    await office.upload(broken.sealed, broken.file_name)
    await office.work()
    assert await office.last_step(enrolment.rid) == ("UPLOAD_PACKET", "FAILED", "RPR-PKU-FAILED-007")
    assert await office.status(enrolment.rid) == await office.packet_status(packet.id) == "RESEND"
    assert len(office.blobs()) == 1

    assert not (await office.announce((packet, enrolment)))["errors"]
    assert not (await office.upload(packet.sealed, packet.file_name))["errors"]
    await office.work()
    assert await office.status(enrolment.rid, external=True) == "UIN_GENERATED"


async def test_a_packet_whose_object_was_changed(office):
    enrolment = enrolment_of()
    await office.bring(enrolment)
    [blob] = office.blobs()
    blob.write_bytes(b"changed")
    await office.work()
    assert await office.last_step(enrolment.rid) == ("UPLOAD_PACKET", "FAILED", "RPR-PKU-FAILED-005")


class _SlowMatcher:
    """Takes three minutes for each page; calls ``meanwhile`` then."""

    def __init__(self, matcher, clock):
        self._matcher, self._clock = matcher, clock
        self.templates = matcher.templates

    async def best_score(self, probe, gallery):
        self._clock.advance(timedelta(minutes=3))
        await self.meanwhile()
        return await self._matcher.best_score(probe, gallery)


class TestTechnicalTrouble:
    async def test_is_tried_again_and_nothing_is_lost(self, office):
        enrolment = enrolment_of()
        await office.bring(enrolment)
        [blob] = office.blobs()
        content = blob.read_bytes()
        blob.unlink()
        assert await office.work() == 1
        assert await office.last_step(enrolment.rid) == ("UPLOAD_PACKET", "REPROCESS", "RPR-SYS-EXCEPTION-001")
        assert await office.status(enrolment.rid) == "PROCESSING"
        assert await office.work() == 0
        blob.write_bytes(content)
        office.clock.advance(timedelta(seconds=3))
        assert await office.work() == 1
        assert await office.status(enrolment.rid, external=True) == "UIN_GENERATED"

    async def test_is_given_up_in_the_end_and_can_be_restarted(self, office):
        enrolment = enrolment_of()
        await office.bring(enrolment)
        [blob] = office.blobs()
        content = blob.read_bytes()
        blob.unlink()
        for _ in range(20):
            assert await office.work() == 1
            office.clock.advance(timedelta(minutes=16))
        assert await office.work() == 0
        assert (await office.workflow(enrolment.rid))["status"] == "REPROCESS_FAILED"
        assert await office.status(enrolment.rid, external=True) == "REJECTED"
        blob.write_bytes(content)
        assert not (await office.act(enrolment.rid, "RESUME_FROM_BEGINNING"))["errors"]
        await office.work()
        assert await office.status(enrolment.rid, external=True) == "UIN_GENERATED"

    async def test_a_person_of_an_interrupted_packet_stays_comparable(self, office, killed_at):
        """The register has the person already; the packet then fails for another reason, and is given up."""
        first, second = enrolment_of(), enrolment_of("Zohra Other", hand(1, 1))
        await office.bring(first)
        killed_at("registration.process.minted")
        with pytest.raises(_Killed):
            await office.work()
        [blob] = office.blobs()
        blob.write_bytes(b"changed")
        office.clock.advance(timedelta(minutes=6))
        await office.work()
        assert (await office.workflow(first.rid))["status"] == "FAILED"

        await office.bring(second)
        await office.work()
        assert (await office.workflow(second.rid))["status"] == "PAUSED"
        assert len(await office.db.as_owner("SELECT * FROM identity.person")) == 1

    async def test_a_worker_that_lost_its_lease_writes_nothing(self, office):
        enrolment = enrolment_of()
        await office.bring(enrolment)
        engine = office.module.jobs[0].run.__self__
        stale = await engine._store.lease(office.clock.now(), timedelta(minutes=5))
        office.clock.advance(timedelta(minutes=6))
        assert await office.work() == 1
        before = await office.steps(enrolment.rid)
        with pytest.raises(LeaseLost):
            await engine._process(stale)
        assert await office.steps(enrolment.rid) == before
        assert await office.status(enrolment.rid, external=True) == "UIN_GENERATED"

    async def test_a_long_comparison_keeps_its_lease(self, office, monkeypatch):
        for number in (1, 2, 3):
            await office.bring(enrolment_of(f"Person {number}", hand(number)))
            await office.work()
        last = enrolment_of("Person 4", hand(4))
        await office.bring(last)
        engine = office.module.jobs[0].run.__self__
        monkeypatch.setattr(pipeline, "GALLERY_PAGE", 1)
        monkeypatch.setattr(engine, "_matcher", _SlowMatcher(engine._matcher, office.clock))
        others = []

        async def another_worker():
            others.append(await engine._store.lease(office.clock.now(), timedelta(minutes=5)))

        engine._matcher.meanwhile = another_worker
        assert await engine.run() == 1
        assert others == [None, None, None]
        assert await office.status(last.rid, external=True) == "UIN_GENERATED"

    async def test_two_workers_never_take_the_same_packet(self, office):
        enrolments = [enrolment_of(f"Person {number}", hand(number)) for number in (1, 2)]
        for enrolment in enrolments:
            await office.bring(enrolment)
        done = await asyncio.gather(*(job.run() for job in (office.module.jobs * 3)[:3]))
        assert sorted(done) == [0, 1, 1]
        for enrolment in enrolments:
            assert len(await office.steps(enrolment.rid)) == len(ROUTE)


class _Killed(BaseException):
    """Ends everything at once, as SIGKILL does: no handler of the code under test catches it."""


@pytest.fixture
def killed_at(monkeypatch):
    """Arm a fault point once."""

    def arm(name: str) -> None:
        def strike(reached: str) -> None:
            if reached == name:
                monkeypatch.setattr(faults, "point", lambda _: None)
                raise _Killed

        monkeypatch.setattr(faults, "point", strike)

    return arm


class TestCrash:
    @pytest.mark.parametrize("point", ["object-written", "before-commit"])
    async def test_before_the_upload_was_acknowledged(self, office, killed_at, point):
        enrolment = enrolment_of()
        packet = office.build(enrolment)
        await office.announce((packet, enrolment))
        killed_at(f"registration.upload.{point}")
        with pytest.raises(_Killed):
            await office.upload(packet.sealed, packet.file_name)
        assert await office.count("registration") == await office.count("work") == 0
        assert await office.status(enrolment.rid) == "UPLOAD_PENDING"

        assert not (await office.upload(packet.sealed, packet.file_name))["errors"]
        assert len(office.blobs()) == 1
        assert await office.work() == 1
        assert await office.status(enrolment.rid, external=True) == "UIN_GENERATED"

    async def test_after_the_commit(self, office, killed_at):
        enrolment = enrolment_of()
        packet = office.build(enrolment)
        await office.announce((packet, enrolment))
        killed_at("registration.upload.committed")
        with pytest.raises(_Killed):
            await office.upload(packet.sealed, packet.file_name)
        assert await office.packet_status(packet.id) == "RECEIVED"
        assert await office.work() == 1
        assert await office.status(enrolment.rid, external=True) == "UIN_GENERATED"

    @pytest.mark.parametrize("point", ["validated", "minted"])
    async def test_while_processing(self, office, killed_at, point):
        enrolment = enrolment_of()
        await office.bring(enrolment)
        killed_at(f"registration.process.{point}")
        with pytest.raises(_Killed):
            await office.work()
        assert await office.work() == 0
        office.clock.advance(timedelta(minutes=6))
        assert await office.work() == 1
        assert await office.status(enrolment.rid, external=True) == "UIN_GENERATED"
        assert len(await office.db.as_owner("SELECT * FROM identity.person")) == 1
        assert len(await office.events(NotificationRequested)) == 1
        assert await office.count("candidate") == 1
