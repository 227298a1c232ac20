"""The identity service through HTTP: its answers, and its code for each wrong input."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from civium.identity.api import AuthTypesLocked, IdentifierIssued
from civium.kernel.clock import iso_millis
from civium.kernel.encoding import b64u
from civium.platform.http.app import create_app
from civium.platform.settings import Settings
from identity_api import IDENTITY, VID, Api, Tokens
from identity_fixtures import biometrics, identity, identity_clock, new_person, some_rid, subject, text

__all__ = ["identity_clock", "subject"]

TIME_MESSAGE = (
    "IDR-IDC-002 Invalid Input Parameter - requesttime - the timestamp value can be at most 60 seconds before and after "
    "the current time."
)


@pytest.fixture
async def api(subject) -> AsyncIterator[Api]:
    app = create_app(subject.module.routers, Tokens(), Settings(mode="sandbox"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as http:
        yield Api(http, subject.clock)


def add_request(uin: str, **changes: Any) -> dict[str, Any]:
    return {
        "registrationId": some_rid().reveal(),
        "identity": {**identity(), "UIN": uin},
        "documents": [
            {"category": "individualBiometrics", "value": b64u(biometrics())},
            {"category": "proofOfIdentity", "value": b64u(b"%PDF-1.7 made up")},
        ],
        "verifiedAttributes": ["fullName"],
        **changes,
    }


async def issue_uin(api: Api) -> str:
    return (await api.ok("GET", "/v1/idgenerator/uin"))["uin"]


async def add(api: Api, request: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return await api.send("POST", f"{IDENTITY}/", api.envelope("mosip.id.create", request, **changes))


async def add_errors(api: Api, request: Any, **changes: Any) -> list[str]:
    return await api.errors("POST", f"{IDENTITY}/", api.envelope("mosip.id.create", request, **changes))


async def patch_errors(api: Api, request: Any, **changes: Any) -> list[str]:
    return await api.errors("PATCH", f"{IDENTITY}/", api.envelope("mosip.id.update", request, **changes))


@pytest.fixture
async def added(api) -> dict[str, Any]:
    request = add_request(await issue_uin(api))
    answer = await add(api, request)
    assert answer["errors"] is None
    return request


async def test_adding_and_reading_back(api, subject):
    uin = await issue_uin(api)
    request = add_request(uin)
    answer = await add(api, request)
    assert (answer["id"], answer["version"], answer["response"]) == ("mosip.id.create", "v1", {"status": "ACTIVATED"})
    assert (await subject.events(IdentifierIssued))[0].identifier == uin
    assert await api.ok("PUT", "/v1/idgenerator/uin", api.envelope("x", {"uin": uin, "status": "ASSIGNED"})) == {
        "uin": uin,
        "status": "ASSIGNED",
    }
    read = await api.send("GET", f"{IDENTITY}/idvid/{uin}?type=all")
    assert (read["id"], read["version"]) == ("mosip.id.read", "v1")
    assert read["response"]["status"] == "ACTIVATED"
    assert read["response"]["identity"] == request["identity"]
    assert read["response"]["verifiedAttributes"] == ["fullName"]
    documents = {document["category"]: document["value"] for document in read["response"]["documents"]}
    assert documents == {document["category"]: document["value"] for document in request["documents"]}


async def test_reading_by_every_identifier_and_type(api, added):
    uin, rid = added["identity"]["UIN"], added["registrationId"]
    vid = (await api.ok("POST", VID, api.envelope("mosip.vid.create", {"UIN": uin, "vidType": "Perpetual"})))["VID"]
    for path in (uin, vid, rid, f"{uin}?idType=UIN", f"{vid}?idType=VID", f"{rid}?idType=ID"):
        assert (await api.ok("GET", f"{IDENTITY}/idvid/{path}"))["identity"]["UIN"] == uin
    for kind, categories in {
        "demo": {"proofOfIdentity"},
        "bio": {"individualBiometrics"},
        "metadata": set(),
        "demo,bio": {"proofOfIdentity", "individualBiometrics"},
    }.items():
        read = await api.ok("GET", f"{IDENTITY}/idvid/{uin}?type={kind}", token="auth")
        assert {document["category"] for document in read["documents"]} == categories
        assert read["identity"]["UIN"] == uin
    by_body = await api.ok("POST", f"{IDENTITY}/idvid/", {"id": vid, "type": "demo", "idType": "VID"})
    assert by_body["identity"]["UIN"] == uin


async def test_wrong_reads(api, added):
    uin = added["identity"]["UIN"]
    path = f"{IDENTITY}/idvid"
    assert await api.errors("GET", f"{path}/5075291708") == ["IDR-IDC-007 No Record(s) found"]
    assert await api.errors("GET", f"{path}/no-such-rid") == ["IDR-IDC-007 No Record(s) found"]
    assert await api.errors("GET", f"{path}/3472541892807460") == ["IDR-IDC-007 No Record(s) found"]
    assert await api.errors("GET", f"{path}/someone@phone?idType=HANDLE") == ["IDR-IDC-007 No Record(s) found"]
    assert await api.errors("GET", f"{path}/{uin}?type=everything") == ["IDR-IDC-002 Invalid Input Parameter - type"]
    assert await api.errors("GET", f"{path}/{uin}?idType=PASSPORT") == ["IDR-IDC-002 Invalid Input Parameter - idType"]
    assert await api.errors("GET", f"{path}/1234567890?idType=UIN") == [
        "IDR-IDC-002 Invalid Input Parameter - individualId"
    ]
    extraction = "fingerExtractionFormat=mock-1.1"
    assert await api.errors("GET", f"{path}/{uin}?{extraction}") == ["IDR-IDC-001 Missing Input Parameter - type"]
    assert await api.errors("GET", f"{path}/{uin}?type=demo&{extraction}") == [
        "IDR-IDC-002 Invalid Input Parameter - type"
    ]
    assert (await api.errors("GET", f"{path}/{uin}?type=bio&{extraction}"))[0].startswith("IDR-IDS-009")
    assert await api.errors("POST", f"{path}/", {"type": "demo"}) == ["IDR-IDC-001 Missing Input Parameter - id"]
    assert (await api.errors("POST", f"{path}/", {"id": 7}))[0].startswith("IDR-IDC-003")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"id": "mosip.id.update"}, ["IDR-IDC-002 Invalid Input Parameter - id"]),
        ({"id": ...}, ["IDR-IDC-001 Missing Input Parameter - id"]),
        ({"version": "1.0"}, ["IDR-IDC-002 Invalid Input Parameter - version"]),
        ({"version": ...}, ["IDR-IDC-001 Missing Input Parameter - version"]),
        ({"requesttime": ...}, ["IDR-IDC-001 Missing Input Parameter - requesttime"]),
        ({"requesttime": "2025-02-03"}, ["IDR-IDC-002 Invalid Input Parameter - requesttime"]),
        ({"requesttime": "2025-13-03T09:15:02.114Z"}, ["IDR-IDC-002 Invalid Input Parameter - requesttime"]),
        ({"requesttime": "2025-02-03T09:15:02.114Z"}, [TIME_MESSAGE]),
    ],
)
async def test_wrong_envelopes(api, changes, expected):
    assert await add_errors(api, add_request("5075291708"), **changes) == expected


@pytest.mark.parametrize(("seconds", "accepted"), [(-60, True), (62, True), (-61, False), (63, False)])
async def test_the_time_window(api, subject, seconds, accepted):
    at = iso_millis(subject.clock.now() + timedelta(seconds=seconds))
    answer = await add(api, add_request(await issue_uin(api)), requesttime=at)
    assert (answer["errors"] is None) is accepted


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"registrationId": None}, ["IDR-IDC-001 Missing Input Parameter - registrationId"]),
        ({"registrationId": "9" * 40}, ["IDR-IDC-002 Invalid Input Parameter - registrationId"]),
        (
            {"identity": None, "documents": []},
            ["IDR-IDC-001 Missing Input Parameter - identity", "IDR-IDC-001 Missing Input Parameter - identity/UIN"],
        ),
        ({"identity": {**identity(), "UIN": "5075291709"}}, ["IDR-IDC-002 Invalid Input Parameter - UIN"]),
        ({"identity": {**identity(), "UIN": 5075291708}}, ["IDR-IDC-002 Invalid Input Parameter - UIN"]),
        ({"identity": identity()}, ["IDR-IDC-001 Missing Input Parameter - identity/UIN"]),
        ({"documents": [{"value": "AA"}]}, ["IDR-IDC-002 Invalid Input Parameter - documents"]),
        ({"documents": [{"category": "proofOfIdentity"}]}, ["IDR-IDC-002 Invalid Input Parameter - documents"]),
        (
            {"documents": [{"category": "proofOfAddress", "value": "AA"}]},
            ["IDR-IDC-002 Invalid Input Parameter - documents/0/category"],
        ),
        (
            {"documents": [{"category": "proofOfIdentity", "value": ""}]},
            ["IDR-IDC-002 Invalid Input Parameter - documents/0/value"],
        ),
        (
            {"documents": [{"category": "proofOfIdentity", "value": "**"}]},
            ["IDR-IDC-002 Invalid Input Parameter - documents/0/value"],
        ),
        (
            {"documents": [{"category": "proofOfIdentity", "value": "AA"}] * 2},
            ["IDR-IDC-002 Invalid Input Parameter - documents/1/category"],
        ),
        (
            {"documents": [{"category": "individualBiometrics", "value": b64u(b"<BIR/>")}]},
            ["IDR-IDC-002 Invalid Input Parameter - documents/0/value"],
        ),
        (
            {"identity": {**identity(dateOfBirth="1992-04-15"), "UIN": "5075291708"}},
            ["IDR-IDC-002 Invalid Input Parameter - identity/dateOfBirth"],
        ),
        (
            {"identity": {name: value for name, value in identity(UIN="5075291708").items() if name != "city"}},
            ["IDR-IDC-001 Missing Input Parameter - identity/city"],
        ),
    ],
)
async def test_wrong_additions(api, subject, changes, expected):
    assert await add_errors(api, add_request("5075291708", **changes)) == expected
    assert await subject.db.as_owner("SELECT 1 FROM identity.person") == []
    assert subject.blobs() == []


@pytest.mark.parametrize("request_body", [None, [], "text", {"registrationId": 1}, {"documents": {}}])
async def test_wrong_types(api, request_body):
    assert (await add_errors(api, request_body))[0].startswith("IDR-IDC-003 Invalid Request")


async def test_a_repeated_registration_or_uin_is_refused(api, subject, added):
    exists = ["IDR-IDC-012 Record already exists in DB"]
    assert await add_errors(api, added) == exists
    assert await add_errors(api, {**added, "registrationId": some_rid().reveal()}) == exists
    other = {**added, "identity": {**added["identity"], "UIN": await issue_uin(api)}}
    assert await add_errors(api, other) == exists
    person = new_person()
    await subject.register.create(person, actor="r")
    mine = add_request(await issue_uin(api), registrationId=person.rid.reveal())
    assert await add_errors(api, mine) == exists
    assert len(await subject.db.as_owner("SELECT 1 FROM identity.person")) == 2


async def test_an_addition_that_was_cut_short_can_come_back_with_another_uin(api, subject, monkeypatch):
    async def lost(*_):
        raise ConnectionResetError

    request = add_request(await issue_uin(api))
    with monkeypatch.context() as broken:
        broken.setattr(type(subject.objects), "put", lost)
        assert (await add(api, request))["http"] == 500
    again = {**request, "identity": {**request["identity"], "UIN": await issue_uin(api)}}
    assert (await add(api, again))["errors"] is None
    assert (await add_errors(api, request)) == ["IDR-IDC-012 Record already exists in DB"]


NO_TEXT = ["IDR-IDC-003 Invalid Request"]
"""Half a character in any string makes the whole body unreadable."""


async def test_odd_characters_never_break(api):
    uin = await issue_uin(api)
    broken = {**identity(fullName=text("Amina\ud800")), "UIN": uin}
    assert await add_errors(api, add_request(uin, identity=broken)) == NO_TEXT
    odd = {**identity(fullName=text("Amina\x00")), "UIN": uin}
    assert (await add(api, add_request(uin, identity=odd)))["errors"] is None
    assert (await api.ok("GET", f"{IDENTITY}/idvid/{uin}"))["identity"] == odd
    for name, value in {"registrationId": "1\ud800", "verifiedAttributes": ["a\ud800"]}.items():
        assert await add_errors(api, add_request(uin, **{name: value})) == NO_TEXT
    assert await api.errors("POST", f"{IDENTITY}/idvid/", {"id": "\ud800"}) == NO_TEXT


async def test_updating(api, added):
    uin = added["identity"]["UIN"]
    sent = {"IDSchemaVersion": 0.1, "UIN": uin, "city": text("Fes"), "phone": "9000000001"}
    body = api.envelope("mosip.id.update", {"registrationId": some_rid().reveal(), "identity": sent})
    answer = await api.send("PATCH", f"{IDENTITY}/", body, token="processor")
    assert (answer["id"], answer["version"], answer["response"]) == ("mosip.id.update", "v1", {"status": "ACTIVATED"})
    read = await api.ok("GET", f"{IDENTITY}/idvid/{uin}")
    assert read["identity"] == {**added["identity"], **sent}
    blocked = {"registrationId": some_rid().reveal(), "uin": uin, "status": "BLOCKED"}
    assert await api.ok("PATCH", f"{IDENTITY}/", api.envelope("mosip.id.update", blocked)) == {"status": "BLOCKED"}


async def test_wrong_updates(api, added):
    uin = added["identity"]["UIN"]
    fine = {"registrationId": some_rid().reveal(), "identity": {"IDSchemaVersion": 0.1, "UIN": uin}}
    assert await patch_errors(api, {**fine, "status": "DEAD"}) == ["IDR-IDC-002 Invalid Input Parameter - status"]
    assert await patch_errors(api, {**fine, "registrationId": added["registrationId"]}) == [
        "IDR-IDC-012 Record already exists in DB"
    ]
    assert await patch_errors(api, {"registrationId": "1", "uin": uin}) == [
        "IDR-IDC-001 Missing Input Parameter - identity"
    ]
    assert await patch_errors(api, {**fine, "identity": {"UIN": uin}}) == [
        "IDR-IDC-001 Missing Input Parameter - identity/IDSchemaVersion"
    ]
    unknown = {**fine, "identity": {"IDSchemaVersion": 0.1, "UIN": "5075291708"}}
    assert await patch_errors(api, unknown) == ["IDR-IDC-007 No Record(s) found"]
    assert await patch_errors(api, fine, id="mosip.id.create") == ["IDR-IDC-002 Invalid Input Parameter - id"]


async def test_the_registration_id_of_a_uin_and_a_vid(api, added):
    uin = added["identity"]["UIN"]
    vid = (await api.ok("POST", VID, api.envelope("mosip.vid.create", {"UIN": uin, "vidType": "Temporary"})))["VID"]
    answer = await api.send("GET", f"{IDENTITY}/rid/{vid}?idType=VID")
    assert (answer["id"], answer["version"]) == ("mosip.idrepo.rid.get", "1.0")
    assert answer["response"] == {"rid": added["registrationId"]}
    assert await api.ok("GET", f"{IDENTITY}/rid/{uin}") == {"rid": added["registrationId"]}
    assert await api.errors("GET", f"{IDENTITY}/rid/5075291708") == ["IDR-IDC-007 No Record(s) found"]


def lock_body(individual: str | None, *entries: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "id": "mosip.identity.authtype.status.update",
        "version": "v1",
        "requestTime": "2025-02-03T09:15:02.114Z",
        "consentObtained": True,
        "individualId": individual,
        "request": list(entries),
        **changes,
    }


async def test_locking_and_unlocking(api, subject, added):
    uin = added["identity"]["UIN"]
    vid = (await api.ok("POST", VID, api.envelope("mosip.vid.create", {"UIN": uin, "vidType": "Perpetual"})))["VID"]
    path = f"{IDENTITY}/authtypes/status"
    body = lock_body(
        vid,
        {"authType": "bio", "authSubType": "finger", "locked": True, "unlockForSeconds": None, "requestId": "r1"},
        {"authType": "DEMO", "locked": "true"},
    )
    assert await api.ok("POST", path, body, token="resident") == {"status": "Success"}
    (event,) = await subject.events(AuthTypesLocked)
    assert event.uin == uin
    assert [(lock.auth_type, lock.auth_sub_type, lock.locked, lock.request_id) for lock in event.locks] == [
        ("bio", "FINGER", True, "r1"),
        ("demo", None, True, None),
    ]
    states = (await api.ok("GET", f"{path}/{uin}", token="resident"))["authTypes"]
    assert states[0] == {
        "authType": "bio",
        "authSubType": "FINGER",
        "locked": True,
        "unlockForSeconds": None,
        "requestId": "r1",
        "metadata": None,
    }
    unlock = lock_body(uin, {"authType": "bio", "authSubType": "FINGER", "locked": False, "unlockForSeconds": 100})
    await api.ok("POST", path, {**unlock, "individualIdType": "UIN"})
    opened = (await subject.events(AuthTypesLocked))[-1].locks[0]
    assert (opened.locked, opened.unlock_expires_at is not None) == (True, True)
    subject.clock.advance(timedelta(seconds=40))
    state = (await api.ok("GET", f"{path}/{vid}"))["authTypes"][0]
    assert (state["locked"], state["unlockForSeconds"]) == (False, 60)
    subject.clock.advance(timedelta(seconds=60))
    state = (await api.ok("GET", f"{path}/{vid}"))["authTypes"][0]
    assert (state["locked"], state["unlockForSeconds"]) == (True, None)
    await api.ok("POST", path, lock_body(uin, {"authType": "demo", "locked": False}))
    state = (await api.ok("GET", f"{path}/{uin}"))["authTypes"][1]
    assert (state["authType"], state["locked"]) == ("demo", False)


async def test_wrong_locks(api, subject, added):
    uin = added["identity"]["UIN"]
    path = f"{IDENTITY}/authtypes/status"
    fine = {"authType": "demo", "locked": True}
    assert await api.errors("POST", path, lock_body(uin, fine, {"authType": "pin", "locked": True})) == [
        "IDR-IDC-002 Invalid Input Parameter - authTypes"
    ]
    assert await api.errors("POST", path, lock_body("1234567890", fine)) == [
        "IDR-IDC-002 Invalid Input Parameter - individualId"
    ]
    assert await api.errors("POST", path, lock_body(None, fine)) == [
        "IDR-IDC-001 Missing Input Parameter - individualId"
    ]
    assert await api.errors("POST", path, lock_body(uin)) == ["IDR-IDC-001 Missing Input Parameter - request"]
    assert await api.errors("POST", path, lock_body(uin, fine, individualIdType="ID")) == [
        "IDR-IDC-002 Invalid Input Parameter - individualIdType"
    ]
    assert await api.errors("POST", path, lock_body("5075291708", fine)) == ["IDR-IDC-007 No Record(s) found"]
    for wrong in (
        {"authType": "demo"},
        {**fine, "locked": "perhaps"},
        {**fine, "locked": 1},
        {**fine, "requestId": "\x00"},
        {**fine, "unlockForSeconds": 10**12},
    ):
        assert (await api.errors("POST", path, lock_body(uin, wrong)))[0].startswith("IDR-IDC-003")
    assert await api.errors("GET", f"{path}/{added['registrationId']}") == [
        "IDR-IDC-002 Invalid Input Parameter - individualId"
    ]
    assert await subject.events(AuthTypesLocked) == [], "all or none"


async def test_the_generator(api, subject):
    uin = await issue_uin(api)
    put = "/v1/idgenerator/uin"
    assert await api.errors("PUT", put, api.envelope("x", {"uin": uin, "status": "LOST"})) == [
        "KER-UIG-003 Given UIN status not found"
    ]
    for unknown in ("5075291708", "nonsense"):
        assert await api.errors("PUT", put, api.envelope("x", {"uin": unknown, "status": "ASSIGNED"})) == [
            "KER-UIG-001 UIN could not be found"
        ]
    await api.ok("PUT", put, api.envelope("x", {"uin": uin, "status": "UNASSIGNED"}))
    taken = await issue_uin(api)
    await api.ok("PUT", put, api.envelope("x", {"uin": taken, "status": "ASSIGNED"}))
    for status in ("ASSIGNED", "UNASSIGNED"):
        assert await api.errors("PUT", put, api.envelope("x", {"uin": taken, "status": status})) == [
            "KER-UIG-004 Given UIN is not in ISSUED status"
        ]
    later = iso_millis(subject.clock.now() + timedelta(days=1))
    for query in ("", f"?videxpiry={later}"):
        assert len((await api.ok("GET", f"/v1/idgenerator/vid{query}"))["vid"]) == 16
    for query, code in {
        "": "KER-VID-002",
        "tomorrow": "KER-VID-004",
        "2020-01-01T00:00:00.000Z": "KER-VID-003",
    }.items():
        assert (await api.errors("GET", f"/v1/idgenerator/vid?videxpiry={query}"))[0].startswith(code)


async def test_a_uin_of_a_person_cannot_be_given_back(api, added):
    body = api.envelope("x", {"uin": added["identity"]["UIN"], "status": "UNASSIGNED"})
    assert (await api.errors("PUT", "/v1/idgenerator/uin", body))[0].startswith("KER-UIG-004")


@pytest.mark.tamper
async def test_tampering_is_answered_with_its_code(api, subject, added):
    uin = added["identity"]["UIN"]
    blob = subject.blobs()[0]
    blob.write_bytes(blob.read_bytes()[:-1])
    assert await api.errors("GET", f"{IDENTITY}/idvid/{uin}?type=all") == [
        "IDR-IDS-002 Biometric/Document hash does not match"
    ]
    await subject.db.as_owner("UPDATE identity.person SET status = 'BLOCKED'")
    assert await api.errors("GET", f"{IDENTITY}/idvid/{uin}") == ["IDR-IDS-001 Identity Element hash does not match"]


@pytest.mark.parametrize(
    ("method", "path", "token", "status"),
    [
        ("POST", f"{IDENTITY}/", "resident", 403),
        ("PATCH", f"{IDENTITY}/", "auth", 403),
        ("GET", f"{IDENTITY}/idvid/5075291708", "partner", 403),
        ("GET", f"{IDENTITY}/rid/5075291708", "processor", 403),
        ("POST", f"{IDENTITY}/authtypes/status", "processor", 403),
        ("GET", "/v1/idgenerator/uin", "resident", 403),
        ("GET", f"{IDENTITY}/idvid/5075291708", "nobody", 401),
    ],
)
async def test_wrong_callers(api, method, path, token, status):
    answer = await api.send(method, path, {} if method != "GET" else None, token=token)
    assert answer["http"] == status
