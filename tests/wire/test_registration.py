"""The registration processor over HTTP: what clients may send, and how each wrong thing is refused."""

import hashlib
import json
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from civium.kernel.clock import iso_millis
from civium.kernel.encoding import b64u
from civium.keys.api import packet as packet_bytes
from civium.packets.api import Packet, sync_body, sync_entry
from civium.platform.database import record_statements
from packet_fixtures import rsa_key, self_signed
from registration_fixtures import *  # noqa: F403
from registration_fixtures import BASE, code, enrolment_of


class TestSync:
    async def test_is_taken(self, office):
        enrolment = enrolment_of()
        packet = office.build(enrolment)
        answer = await office.announce((packet, enrolment))
        assert (answer["id"], answer["version"], answer["errors"]) == ("mosip.registration.sync", "1.0", None)
        assert answer["response"] == [
            {"registrationId": enrolment.rid.reveal(), "packetId": packet.id, "status": "SUCCESS"}
        ]
        assert answer["headers"]["response-signature"].count(".") == 2
        assert await office.status(enrolment.rid) == await office.packet_status(packet.id) == "UPLOAD_PENDING"

    async def test_again_updates(self, office):
        enrolment = enrolment_of()
        first, second = office.build(enrolment), office.build(enrolment)
        await office.announce((first, enrolment))
        await office.announce((second, enrolment))
        assert await office.count("sync") == 1
        assert code(await office.upload(first.sealed, first.file_name)) == "RPR-PKR-009"
        assert not (await office.upload(second.sealed, second.file_name))["errors"]

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"registration_id": None}, "RPR-RGS-006"),
            ({"registration_id": "10001100010000120251303091500"}, "RPR-RGS-007"),
            ({"registration_id": "1000110001000012025020309150x"}, "RPR-RGS-008"),
            ({"registration_id": "10001"}, "RPR-RGS-009"),
            ({"registration_id": "10002100010000120250203091500"}, "RPR-RGS-014"),
            ({"packet_id": "something-else"}, "RPR-RGS-014"),
            ({"packet_size": 0}, "RPR-RGS-014"),
            ({"packet_hash_value": "not hex"}, "RPR-RGS-014"),
            ({"packet_hash_value": None}, "RPR-RGS-027"),
            ({"registration_type": "SOMETHING"}, "RPR-RGS-003"),
            ({"lang_code": "en"}, "RPR-RGS-004"),
            ({"supervisor_status": "MAYBE"}, "RPR-RGS-026"),
            ({"additional_info_req_id": "x"}, "RPR-RGS-036"),
        ],
    )
    async def test_items_are_refused_one_by_one(self, office, changes, expected):
        enrolment, other = enrolment_of(), enrolment_of()
        good, packet = office.build(enrolment), office.build(other)
        bad = msgspec.structs.replace(sync_entry(packet, other), **changes)
        body = sync_body([sync_entry(good, enrolment), bad], at=office.clock.now(), certificate=office.certificate.x509)
        answer = await office.sync(body)
        assert [item["registrationId"] for item in answer["response"]] == [enrolment.rid.reveal()]
        [error] = answer["errors"]
        assert (error["status"], error["errorCode"]) == ("FAILURE", expected)
        assert await office.count("sync") == 1

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"id": None}, "RPR-RGS-021"),
            ({"id": "other"}, "RPR-RGS-024"),
            ({"version": None}, "RPR-RGS-019"),
            ({"version": "2.0"}, "RPR-RGS-022"),
            ({"requesttime": None}, "RPR-RGS-020"),
            ({"requesttime": "yesterday"}, "RPR-RGS-023"),
            ({"requesttime": "2020-01-01T00:00:00.000Z"}, "RPR-RGS-023"),
            ({"request": []}, "RPR-RGS-015"),
            ({"request": "text"}, "RPR-RGS-017"),
        ],
    )
    async def test_message(self, office, changes, expected):
        enrolment = enrolment_of()
        message = {
            "id": "mosip.registration.sync",
            "version": "1.0",
            "requesttime": iso_millis(office.clock.now()),
            "request": [msgspec.to_builtins(sync_entry(office.build(enrolment), enrolment))],
            **changes,
        }
        clear = json.dumps(message).encode()
        body = json.dumps(b64u(packet_bytes.encrypt(office.certificate.x509, clear)))
        assert code(await office.sync(body)) == expected
        assert await office.count("sync") == 0

    @pytest.mark.parametrize(
        "body", [b"", b"{}", b"[1", b'"AAAA"', b'"not base64!"', b"\xff", b'"' + b"A" * 900 + b'"']
    )
    async def test_what_does_not_decrypt(self, office, body):
        assert code(await office.sync(body)) == "RPR-RGS-028"

    async def test_for_another_key(self, office):
        enrolment = enrolment_of()
        entry = sync_entry(office.build(enrolment), enrolment)
        body = sync_body([entry], at=office.clock.now(), certificate=self_signed(rsa_key("centre")))
        assert code(await office.sync(body)) == "RPR-RGS-028"

    @pytest.mark.parametrize("reference", ["10001_99999", "10002_10001", "x", "10001_10001_1", "*_*"])
    async def test_from_a_machine_that_nobody_knows(self, office, reference):
        enrolment = enrolment_of()
        entry = sync_entry(office.build(enrolment), enrolment)
        body = sync_body([entry], at=office.clock.now(), certificate=office.certificate.x509)
        assert code(await office.sync(body, reference=reference)) == "RPR-RGS-028"

    async def test_for_a_registration_of_another_machine(self, office):
        enrolment = enrolment_of()
        own = sync_entry(office.build(enrolment), enrolment)
        other = "1000210001" + enrolment.rid.reveal()[10:]
        entry = msgspec.structs.replace(own, registration_id=other, packet_id=None)
        body = sync_body([entry], at=office.clock.now(), certificate=office.certificate.x509)
        assert code(await office.sync(body)) == "RPR-RGS-014"

    async def test_without_permission(self, office):
        assert (await office.sync('""', token="stranger"))["status"] == 403
        assert (await office.sync('""', token="nobody"))["status"] == 401


class TestUpload:
    @pytest.fixture
    async def announced(self, office) -> Packet:
        enrolment = enrolment_of()
        packet = office.build(enrolment)
        await office.announce((packet, enrolment))
        return packet

    async def test_is_taken(self, office, announced):
        answer = await office.upload(announced.sealed, announced.file_name)
        assert (answer["id"], answer["version"], answer["errors"]) == ("mosip.registration.packet", "1.0", None)
        assert answer["response"] == {"status": "Packet has reached Packet Receiver"}
        assert answer["headers"]["response-signature"].count(".") == 2
        assert await office.packet_status(announced.id) == "RECEIVED"
        [blob] = office.blobs()
        assert blob.read_bytes() == announced.sealed

    async def test_what_it_costs(self, office, announced):
        async with record_statements() as statements:
            await office.upload(announced.sealed, announced.file_name)
        # read; registration, work, notify, two of the record, two of the outbox
        assert len(statements) == 1 + 7, statements

    async def test_names_nobody(self, office, announced):
        await office.upload(announced.sealed, announced.file_name)
        rid = announced.id[:29]
        [blob] = office.blobs()
        assert rid not in str(blob)
        rows = [
            str(dict(row))
            for table in ("sync", "registration", "transaction", "work")
            for row in await office.db.as_owner(f"SELECT * FROM registration.{table}")
        ] + [str(dict(row)) for row in await office.db.outbox_rows()]
        digests = {rid, rid.encode().hex(), hashlib.sha256(rid.encode()).hexdigest(), announced.id}
        assert not any(digest in row for row in rows for digest in digests)

    async def test_not_announced(self, office):
        packet = office.build(enrolment_of())
        assert code(await office.upload(packet.sealed, packet.file_name)) == "RPR-PKR-001"
        assert code(await office.upload(packet.sealed, "zip")) == "RPR-PKR-001"
        assert not office.blobs()

    async def test_one_flipped_byte(self, office, announced):
        changed = bytearray(announced.sealed)
        changed[1000] ^= 1
        assert code(await office.upload(bytes(changed), announced.file_name)) == "RPR-PKR-009"
        assert not office.blobs()
        assert await office.packet_status(announced.id) == "UPLOAD_PENDING"

    async def test_wrong_extension(self, office, announced):
        assert code(await office.upload(announced.sealed, f"{announced.id}.exe")) == "RPR-PKR-003"

    async def test_wrong_size(self, office):
        enrolment = enrolment_of()
        packet = office.build(enrolment)
        entry = msgspec.structs.replace(sync_entry(packet, enrolment), packet_size=len(packet.sealed) + 1)
        await office.sync(sync_body([entry], at=office.clock.now(), certificate=office.certificate.x509))
        assert code(await office.upload(packet.sealed, packet.file_name)) == "RPR-PKR-013"

    async def test_too_large(self, office):
        enrolment = enrolment_of()
        packet = replace(office.build(enrolment), sealed=bytes(5 * 1024 * 1024 + 1))
        await office.announce((packet, enrolment))
        assert code(await office.upload(packet.sealed, packet.file_name)) == "RPR-PKR-002"

    async def test_far_too_large(self, office, announced):
        answer = await office.upload(bytes(7 * 1024 * 1024), announced.file_name)
        assert answer["status"] == 413
        assert not office.blobs()

    async def test_no_file(self, office, announced):
        assert code(await office.upload(announced.sealed, announced.file_name, part="other")) == "RPR-PKR-006"
        path, headers = f"{BASE}/packetreceiver/registrationpackets", {"authorization": "Bearer officer"}
        for content, kind in (
            (b"{}", "application/json"),
            (b"x", "multipart/form-data"),
            (b"", "multipart/form-data; boundary=b"),
        ):
            answer = await office.http.post(path, content=content, headers={**headers, "content-type": kind})
            assert answer.json()["errors"][0]["errorCode"] == "RPR-PKR-006"

    async def test_twice(self, office, announced):
        await office.upload(announced.sealed, announced.file_name)
        assert code(await office.upload(announced.sealed, announced.file_name)) == "RPR-PKR-005"
        await office.work()
        assert code(await office.upload(announced.sealed, announced.file_name)) == "RPR-PKR-005"

    async def test_two_packets_of_one_registration(self, office):
        enrolment = enrolment_of()
        await office.bring(enrolment)
        later = replace(enrolment, created_at=enrolment.created_at + timedelta(hours=1))
        packet = office.build(later)
        assert not (await office.announce((packet, later)))["errors"]
        assert code(await office.upload(packet.sealed, packet.file_name)) == "RPR-PKR-005"

    async def test_one_that_got_stuck_is_asked_for_again(self, office, announced):
        await office.upload(announced.sealed, announced.file_name)
        office.clock.advance(timedelta(minutes=16))
        assert await office.packet_status(announced.id) == "RESEND"
        assert not (await office.upload(announced.sealed, announced.file_name))["errors"]
        assert await office.packet_status(announced.id) == "RECEIVED"
        assert await office.work() == 1
        assert await office.work() == 0

    async def test_without_permission(self, office, announced):
        assert (await office.upload(announced.sealed, announced.file_name, token="stranger"))["status"] == 403


class TestStatus:
    async def test_unknown(self, office):
        assert await office.status(enrolment_of().rid) == "RPR-RGS-031"
        assert await office.packet_status("nothing") == "RPR-RGS-037"
        answer = await office.http.get(
            f"{BASE}/registrationtransaction/search/1", headers={"authorization": "Bearer admin"}
        )
        assert answer.json()["errors"][0]["errorCode"] == "RPR-RTS-001"

    async def test_known_and_unknown_together(self, office):
        enrolment, other = enrolment_of(), enrolment_of()
        await office.bring(enrolment)
        answer = await office.post(
            "/registrationstatus/search",
            "mosip.registration.status",
            [{"registrationId": item.rid.reveal()} for item in (enrolment, other)],
        )
        assert answer["response"] == [
            {"registrationId": enrolment.rid.reveal(), "statusCode": "PROCESSING", "additionalInfoReqId": None}
        ]
        assert answer["errors"] == [
            {"errorCode": "RPR-RGS-031", "message": "RID Not Found", "registrationId": other.rid.reveal()}
        ]

    @pytest.mark.parametrize(
        ("envelope", "expected"),
        [
            ({"id": "wrong"}, "RPR-RGS-024"),
            ({"id": None}, "RPR-RGS-021"),
            ({"version": "9"}, "RPR-RGS-022"),
            ({"version": None}, "RPR-RGS-019"),
            ({"requesttime": None}, "RPR-RGS-020"),
            ({"request": []}, "RPR-RGS-015"),
            ({"request": [{"registrationId": "1"}] * 101}, "RPR-RGS-015"),
            ({"request": [{"registrationId": 1}]}, "RPR-RGS-015"),
        ],
    )
    async def test_envelope(self, office, envelope, expected):
        answer = await office.post(
            "/registrationstatus/search", "mosip.registration.status", [{"registrationId": "1"}], **envelope
        )
        assert answer["errors"][0]["errorCode"] == expected


class TestWorkflow:
    async def test_only_what_stands_still_is_restarted(self, office):
        enrolment = enrolment_of()
        await office.bring(enrolment)
        assert code(await office.act(enrolment.rid, "RESUME_FROM_BEGINNING")) == "RPR-WAA-004"
        await office.work()
        assert code(await office.act(enrolment.rid, "STOP_PROCESSING")) == "RPR-WAA-004"

    async def test_a_failed_packet_is_found_and_processed_again(self, office):
        enrolment = enrolment_of(officer="newcomer")
        await office.bring(enrolment)
        await office.work()
        id = "mosip.registration.processor.workflow.search"
        found = await office.post(
            "/workflowmanager/workflow/search",
            id,
            {"filters": [{"columnName": "statusCode", "value": "FAILED"}]},
            version="v1",
        )
        [row] = found["response"]["data"]
        assert row["currentStageName"] == "OperatorValidatorStage"
        assert row["statusComment"] == "Officer was Not Active during Packet Creation -"
        assert enrolment.rid.reveal() not in str(row)

        await office.master_data.register_operator("newcomer", centre="10001", role="REGISTRATION_OFFICER")
        answer = await office.post(
            "/workflowmanager/workflowaction",
            "mosip.registration.processor.workflow.action",
            {"workflowIds": [row["workflowId"]], "workflowAction": "RESUME_FROM_BEGINNING"},
        )
        assert answer["response"]["statusMessage"]
        assert await office.work() == 1
        assert await office.status(enrolment.rid, external=True) == "UIN_GENERATED"
        steps = [step["transactionTypeCode"] for step in await office.steps(enrolment.rid)]
        assert steps.count("VALIDATE_PACKET") == 2
        assert "WORKFLOW_RESUME" in steps

    async def test_refusals(self, office):
        path, id = "/workflowmanager/workflowaction", "mosip.registration.processor.workflow.action"
        ghost = "00000000-0000-4000-8000-000000000000"
        for workflow in (ghost, "x"):
            answer = await office.post(path, id, {"workflowIds": [workflow], "workflowAction": "STOP_PROCESSING"})
            assert code(answer) == "RPR-WAA-003"
        assert code(await office.post(path, id, {"workflowIds": [ghost], "workflowAction": "DANCE"})) == "RPR-WAS-000"
        assert (
            code(await office.post(path, id, {"workflowIds": [], "workflowAction": "STOP_PROCESSING"})) == "RPR-WAA-001"
        )
        refused = await office.post(
            path, id, {"workflowIds": [ghost], "workflowAction": "STOP_PROCESSING"}, token="officer"
        )
        assert refused["status"] == 403
