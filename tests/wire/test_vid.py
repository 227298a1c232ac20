"""The VID service through HTTP: its answers, and its code for each wrong input."""

from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest

from civium.audit.api import AuditRecorded
from civium.identity.api import PersonStatus
from civium.identity.domain import Change
from civium.kernel.identifiers import UIN
from civium.keys.api import KERNEL_SIGN, id_hash, jws
from civium.platform.http.app import create_app
from civium.platform.settings import Settings
from identity_api import IDENTITY, VID, Api, Tokens
from identity_fixtures import identity_clock, new_person, some_rid, subject

__all__ = ["identity_clock", "subject"]

UNKNOWN_UIN, UNKNOWN_VID = "5075291708", "3472541892807460"


@pytest.fixture
async def api(subject) -> AsyncIterator[Api]:
    app = create_app(subject.module.routers, Tokens(), Settings(mode="sandbox"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as http:
        yield Api(http, subject.clock)


@pytest.fixture
async def uin(subject) -> str:
    return (await subject.register.create(new_person(), actor="r")).reveal()


async def create(api: Api, uin: str, kind: str = "Temporary") -> str:
    body = api.envelope("mosip.vid.create", {"UIN": uin, "vidType": kind})
    return (await api.ok("POST", VID, body, token="resident"))["VID"]


async def create_errors(api: Api, request, **changes) -> list[str]:
    return await api.errors("POST", VID, api.envelope("mosip.vid.create", request, **changes))


async def patch(api: Api, vid: str, status: object, *, token: str = "auth"):
    body = api.envelope("mosip.vid.update", {"vidStatus": status})
    return await api.send("PATCH", f"{VID}/{vid}", body, token=token)


async def test_creating_and_resolving(api, uin):
    body = api.envelope("mosip.vid.create", {"UIN": uin, "vidType": "perpetual"})
    answer = await api.send("POST", VID, body, token="processor")
    assert (answer["id"], answer["version"], answer["response"]["vidStatus"]) == ("mosip.vid.create", "v1", "ACTIVE")
    vid = answer["response"]["VID"]
    read = await api.send("GET", f"{VID}/{vid}", token="auth")
    assert (read["id"], read["response"]) == ("mosip.vid.read", {"UIN": uin})


async def test_an_answer_and_a_refusal_are_signed_by_the_kernel(api, uin, keys_core):
    certificate = await keys_core.certificate(KERNEL_SIGN)
    for path in (f"/uin/{uin}", f"/{UNKNOWN_VID}"):
        answer = await api.http.get(f"{VID}{path}", headers={"cookie": "Authorization=resident"})
        jws.verify(answer.headers["response-signature"], answer.content, certificate=certificate.x509)


async def test_each_disclosure_is_audited_with_who_asked(api, subject, uin):
    vid = await create(api, uin)
    before = len(await subject.events(AuditRecorded))
    await api.ok("GET", f"{VID}/{vid}", token="auth")
    await api.ok("GET", f"{VID}/uin/{uin}", token="resident")
    ref = str((await subject.register._records.by_uin(UIN(uin))).ref)
    acts = [(act.action, act.actor, act.subject) for act in (await subject.events(AuditRecorded))[before:]]
    assert [(action, who) for action, _, who in acts] == [("identity.uin.read", ref), ("identity.vid.listed", ref)]
    assert len({actor for _, actor, _ in acts}) == 2


async def test_wrong_creations(api, subject, uin):
    fine = {"UIN": uin, "vidType": "Temporary"}
    assert await create_errors(api, {**fine, "vidType": "Eternal"}) == ["IDR-IDC-002 Invalid Input Parameter - vidType"]
    assert await create_errors(api, {"UIN": uin}) == ["IDR-IDC-001 Missing Input Parameter - vidType"]
    assert await create_errors(api, {"vidType": "Temporary"}) == ["IDR-IDC-001 Missing Input Parameter - UIN"]
    assert await create_errors(api, {**fine, "UIN": "5075291709"}) == ["IDR-IDC-002 Invalid Input Parameter - UIN"]
    assert await create_errors(api, {**fine, "UIN": UNKNOWN_UIN}) == ["IDR-IDC-007 No Record(s) found"]
    assert await create_errors(api, fine, id="mosip.vid.update") == ["IDR-IDC-002 Invalid Input Parameter - id"]
    assert await create_errors(api, fine, version="one") == ["IDR-IDC-002 Invalid Input Parameter - version"]
    assert (await create_errors(api, fine, requesttime="2020-01-01T00:00:00.000Z"))[0].startswith("IDR-IDC-002")
    assert (await create_errors(api, None))[0].startswith("IDR-IDC-003")
    await subject.register.update(Change(some_rid(), UIN(uin), PersonStatus.DEACTIVATED), actor="r")
    assert await create_errors(api, fine) == ["IDR-VID-004 DEACTIVATED UIN"]


async def test_the_instances_of_a_type_are_limited(api, uin):
    for _ in range(5):
        await create(api, uin)
    assert await create_errors(api, {"UIN": uin, "vidType": "Temporary"}) == [
        "IDR-VID-003 Could not generate/regenerate VID as per policy"
    ]


async def test_listing(api, uin):
    vid = await create(api, uin)
    (listed,) = await api.ok("GET", f"{VID}/uin/{uin}", token="resident")
    assert set(listed) == {
        "vid",
        "vidType",
        "expiryTimestamp",
        "genratedOnTimestamp",
        "transactionLimit",
        "hashAttributes",
    }
    assert (listed["vid"], listed["vidType"], listed["transactionLimit"]) == (vid, "Temporary", 2)
    hashes = listed["hashAttributes"]
    assert hashes["id_hash"] == id_hash(vid, hashes["SALT"])
    assert 0 <= int(hashes["MODULO"]) < 1000
    assert await api.ok("GET", f"{VID}/uin/{UNKNOWN_UIN}") == []
    assert await api.errors("GET", f"{VID}/uin/123") == ["IDR-IDC-002 Invalid Input Parameter - UIN"]


async def test_resolving_what_is_no_usable_vid(api, subject, uin):
    assert await api.errors("GET", f"{VID}/{UNKNOWN_VID}") == ["IDR-IDC-007 No Record(s) found"]
    assert await api.errors("GET", f"{VID}/123") == ["IDR-IDC-002 Invalid Input Parameter - vid"]
    vid = await create(api, uin)
    subject.clock.advance(timedelta(minutes=30))
    assert await api.errors("GET", f"{VID}/{vid}") == ["IDR-VID-001 VID is EXPIRED"]
    assert await api.errors("GET", f"{IDENTITY}/idvid/{vid}") == ["IDR-VID-001 VID is EXPIRED"]


async def test_changing_the_status(api, uin):
    vid = await create(api, uin)
    answer = await patch(api, vid, "REVOKED")
    assert (answer["id"], answer["response"]) == ("mosip.vid.update", {"vidStatus": "REVOKED"})
    assert (await patch(api, vid, "ACTIVE"))["errors"][0]["message"] == "VID is REVOKED"
    perpetual = await create(api, uin, "Perpetual")
    restored = (await patch(api, perpetual, "REVOKED"))["response"]["restoredVid"]
    assert restored["vidStatus"] == "ACTIVE"
    assert await api.ok("GET", f"{VID}/{restored['VID']}") == {"UIN": uin}
    assert (await patch(api, restored["VID"], "USED"))["response"] == {"vidStatus": "ACTIVE"}


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ("DRAFT", "Invalid Input Parameter - vidStatus"),
        ("GONE", "Invalid Input Parameter - vidStatus"),
        (None, "Missing Input Parameter - vidStatus"),
    ],
)
async def test_wrong_statuses(api, uin, status, message):
    assert (await patch(api, await create(api, uin), status))["errors"][0]["message"] == message


async def test_a_status_of_an_unknown_vid(api):
    assert (await patch(api, UNKNOWN_VID, "REVOKED"))["errors"][0]["errorCode"] == "IDR-IDC-007"


async def test_regenerating(api, uin):
    vid = await create(api, uin)
    answer = await api.send("POST", f"{VID}/{vid}/regenerate", token="resident")
    assert (answer["id"], answer["response"]["vidStatus"]) == ("mosip.vid.regenerate", "ACTIVE")
    assert await api.errors("GET", f"{VID}/{vid}") == ["IDR-VID-001 VID is INVALIDATED"]
    perpetual = await create(api, uin, "Perpetual")
    assert (await api.errors("POST", f"{VID}/{perpetual}/regenerate"))[0].startswith("IDR-VID-003")


async def test_deactivating_and_reactivating(api, uin):
    vid = await create(api, uin)
    body = api.envelope("mosip.vid.deactivate", {"UIN": uin})
    assert await api.ok("POST", f"{VID}/deactivate", body) == {"vidStatus": "DEACTIVATED"}
    assert await api.errors("GET", f"{VID}/{vid}") == ["IDR-VID-001 VID is DEACTIVATED"]
    assert await api.errors("POST", f"{VID}/deactivate", body) == ["IDR-IDC-007 No Record(s) found"]
    assert await api.errors("POST", f"{VID}/reactivate", body) == ["IDR-IDC-002 Invalid Input Parameter - id"]
    back = api.envelope("mosip.vid.reactivate", {"UIN": uin})
    assert await api.ok("POST", f"{VID}/reactivate", back) == {"vidStatus": "ACTIVE"}
    assert await api.ok("GET", f"{VID}/{vid}") == {"UIN": uin}


@pytest.mark.parametrize(
    ("method", "path", "token", "status"),
    [
        ("POST", VID, "auth", 403),
        ("GET", f"{VID}/{UNKNOWN_VID}", "partner", 403),
        ("GET", f"{VID}/uin/{UNKNOWN_UIN}", "auth", 403),
        ("POST", f"{VID}/deactivate", "processor", 403),
        ("POST", f"{VID}/{UNKNOWN_VID}/regenerate", "processor", 403),
        ("PATCH", f"{VID}/{UNKNOWN_VID}", "partner", 403),
        ("PATCH", f"{VID}/{UNKNOWN_VID}", "nobody", 401),
    ],
)
async def test_wrong_callers(api, method, path, token, status):
    answer = await api.send(method, path, {} if method != "GET" else None, token=token)
    assert answer["http"] == status
