"""Requests of the wrong size, shape, name or time, on at least one route of every context of the running platform."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from civium.apps.sandbox.registration import load_machine_key
from civium.packets.api import sync_body
from civium.platform.permissions import Role
from forgery import *  # noqa: F403
from relying_party_client import *  # noqa: F403
from surface import *  # noqa: F403
from surface import CLIENT_LOGIN, PASSPHRASE, Surface, check_hygiene, codes, envelope, leaks, now

JSON = {"content-type": "application/json"}
CANARY = "Quillfeather Zymurgist"
"""Stands in every bad body for what a person might have written there; must come back in no answer and no log."""


@dataclass(frozen=True)
class Case:
    """A route that takes JSON, who may call it, the code for a request of the wrong shape, and a good request."""

    method: str
    path: str
    role: Role | None
    code: str
    good: Callable[[Surface, Any], dict[str, Any]]


def _machine(surface: Surface, _person: Any) -> dict[str, Any]:
    public = load_machine_key(surface.settings.home).public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {"machineName": "Sandbox machine", "publicKey": urlsafe_b64encode(der).decode()}


CASES = {
    "access": Case(
        "POST", CLIENT_LOGIN, None, "KER-ATH-004",
        lambda *_: {"clientId": "test-RESIDENT", "secretKey": PASSPHRASE.reveal(), "appId": "x"},
    ),
    "masterdata": Case(
        "POST", "/v1/syncdata/tpm/publickey/verify", Role.REGISTRATION_OFFICER, "KER-SNC-999", _machine
    ),
    "partners": Case(
        "POST", "/v1/policymanager/policies/group/new", Role.POLICYMANAGER, "PMS_COR_002",
        lambda *_: {"name": f"group {now()}", "desc": "x"},
    ),
    "identity": Case(
        "POST", "/idrepository/v1/vid", Role.RESIDENT, "IDR-IDC-003",
        lambda _, person: {"UIN": person.uin.reveal(), "vidType": "Temporary"},
    ),
    "registration": Case(
        "POST", "/registrationprocessor/v1/registrationstatus/search", Role.REGISTRATION_OFFICER, "RPR-RGS-015",
        lambda _, person: [{"registrationId": person.rid.reveal()}],
    ),
    "workflow": Case(
        "POST", "/registrationprocessor/v1/workflowmanager/workflow/search", Role.REGISTRATION_ADMIN, "RPR-WAA-001",
        lambda *_: {"filters": []},
    ),
}  # fmt: skip
IDS = {"identity": ("mosip.vid.create", "v1"), "registration": ("mosip.registration.status", "1.0")}


def wrapped(name: str, request: Any, **changes: Any) -> dict[str, Any]:
    id, version = IDS.get(name, ("civium.test", "1.0"))
    return envelope(request, **{"id": id, "version": version, **changes})


@pytest.fixture(params=CASES)
def name(request) -> str:
    return request.param


@pytest.fixture
def post(surface, person, name) -> Iterator[Callable[..., Any]]:
    """Send a body to the route; afterwards a good request must still work."""
    case = CASES[name]
    token = case.role and surface.role_tokens[case.role]

    def send(content: Any, **headers: str) -> Any:
        return surface.ask(case.method, case.path, token, content=content, headers={**JSON, **headers})

    yield send
    answer = send(json.dumps(wrapped(name, case.good(surface, person))))
    assert answer.json()["errors"] is None
    assert answer.json()["response"]
    if name == "identity":  # a person has only so many VIDs at once
        path = f"{case.path}/{answer.json()['response']['VID']}"
        body = envelope({"vidStatus": "REVOKED"}, id="mosip.vid.update")
        assert not codes(surface.ask("PATCH", path, token, json=body))


def pieces(size: int) -> Iterator[bytes]:
    for _ in range(size // 65536 + 1):
        yield CANARY.encode().ljust(65536)


@pytest.mark.parametrize("chunked", [False, True])
def test_too_large(surface, name, post, chunked):
    limit = surface.settings.http.max_body_bytes
    answer = post(pieces(limit) if chunked else b" " * (limit + 1))
    assert answer.status_code == 413
    assert codes(answer) == [CASES[name].code]


SHAPES = {
    "empty": b"",
    "not JSON": b"request=" + CANARY.encode(),
    "cut off": b'{"request": {"name": "' + CANARY.encode(),
    "not UTF-8": b'{"request": {"name": "' + CANARY.encode() + b'\xff\xfe"}}',
    "UTF-16": json.dumps({"request": CANARY}).encode("utf-16"),
    "two values": b"{} {}",
    "too deep": b'{"request": ' + b"[" * 40 + b'"' + CANARY.encode() + b'"' + b"]" * 40 + b"}",
    "far too deep": b'{"request": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "null": b"null",
    "a list": b"[]",
    "a text": json.dumps(CANARY).encode(),
    "a number": b"7",
    "infinite": b'{"request": 1e999}',
    "not a number": b'{"request": NaN}',
    "without request": b"{}",
    "request null": b'{"request": null}',
    "request text": json.dumps({"request": CANARY}).encode(),
    "request number": b'{"request": 7}',
    "id number": b'{"id": 7, "request": {}}',
    "version object": b'{"version": {}, "request": {}}',
    "metadata list": b'{"metadata": [], "request": {}}',
}


@pytest.mark.parametrize("shape", SHAPES)
def test_wrong_shape(name, post, shape):
    answer = post(SHAPES[shape])
    assert answer.status_code == 200
    assert answer.json()["response"] is None
    assert set(codes(answer)) == {CASES[name].code}
    assert CANARY not in answer.text


def test_wrong_types_inside(surface, person, name, post):
    good = CASES[name].good(surface, person)
    members = good[0] if isinstance(good, list) else good
    for member in members:
        for value in (7, True, [CANARY], {"a": CANARY}):
            wrong = {**members, member: value}
            answer = post(json.dumps(wrapped(name, [wrong] if isinstance(good, list) else wrong)))
            assert (answer.status_code, set(codes(answer))) == (200, {CASES[name].code}), (member, value)
            assert CANARY not in answer.text


def test_wrong_content_type(name, post):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/xml"):
        answer = post(b'{"request": {}}', **{"content-type": kind})
        assert (answer.status_code, set(codes(answer))) == (200, {CASES[name].code}), kind


class TestEnvelope:
    """Contexts whose wire checks the envelope's members."""

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"id": ...}, "IDR-IDC-001"),
            ({"id": "mosip.vid.other"}, "IDR-IDC-002"),
            ({"version": ...}, "IDR-IDC-001"),
            ({"version": "9"}, "IDR-IDC-002"),
            ({"requesttime": ...}, "IDR-IDC-001"),
            ({"requesttime": "yesterday"}, "IDR-IDC-002"),
            ({"requesttime": now(minutes=-5)}, "IDR-IDC-002"),
            ({"requesttime": now(minutes=65)}, "IDR-IDC-002"),
        ],
    )
    def test_identity(self, surface, person, changes, expected):
        case = CASES["identity"]
        body = wrapped("identity", case.good(surface, person), **changes)
        answer = surface.ask("POST", case.path, surface.role_tokens[case.role], json=body)
        assert (answer.status_code, codes(answer)) == (200, [expected])
        assert person.uin.reveal() not in answer.text

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"id": ...}, "RPR-RGS-021"),
            ({"id": "other"}, "RPR-RGS-024"),
            ({"version": ...}, "RPR-RGS-019"),
            ({"version": "9"}, "RPR-RGS-022"),
            ({"requesttime": ...}, "RPR-RGS-020"),
        ],
    )
    def test_registration(self, surface, person, changes, expected):
        case = CASES["registration"]
        body = wrapped("registration", case.good(surface, person), **changes)
        answer = surface.ask("POST", case.path, surface.role_tokens[case.role], json=body)
        assert (answer.status_code, codes(answer)) == (200, [expected])

    @pytest.mark.parametrize("hours", [-4, 4])
    def test_sync_outside_its_window(self, surface, station, hours):
        token = surface.role_tokens[Role.REGISTRATION_OFFICER]
        at = datetime.now(UTC) + timedelta(hours=hours)
        body = sync_body([], at=at, certificate=station.certificate)
        answer = surface.ask(
            "POST", "/registrationprocessor/v1/registrationstatus/syncV2", token, content=body,
            headers={**JSON, "Center-Machine-RefId": "10001_10001"},
        )  # fmt: skip
        assert codes(answer) == ["RPR-RGS-023"]

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"id": None}, ["IDA-MLC-007", "IDA-MLC-006"]),
            ({"id": "mosip.identity.other"}, ["IDA-MLC-007", "IDA-MLC-009"]),
            ({"version": None}, ["IDA-MLC-007", "IDA-MLC-006"]),
            ({"version": "one"}, ["IDA-MLC-007", "IDA-MLC-009"]),
            ({"requestTime": None}, ["IDA-MLC-006"]),
            ({"requestTime": "yesterday"}, ["IDA-MLC-009"]),
            ({"requestTime": now(hours=-1)}, ["IDA-MLC-001"]),
            ({"requestTime": now(hours=2)}, ["IDA-MLC-001"]),
        ],
    )
    def test_authentication(self, surface, client, person, changes, expected):
        answer = client.ask(surface, "auth", client.request("auth", person.uin.reveal(), otp="111111", **changes))
        assert codes(answer) == expected


class TestAuthenticationShape:
    @pytest.mark.parametrize("shape", SHAPES)
    def test_wrong_shape(self, surface, client, shape):
        for usage in ("auth", "kyc", "otp"):
            answer = client.ask(surface, usage, SHAPES[shape])
            assert codes(answer)[0] == "IDA-MLC-007"
            assert set(codes(answer)[1:]) <= {"IDA-MLC-006"}
            assert CANARY not in answer.text

    @pytest.mark.parametrize("chunked", [False, True])
    def test_too_large(self, surface, client, chunked):
        limit = surface.settings.http.max_body_bytes
        path = client.path("auth")
        answer = surface.ask("POST", path, content=pieces(limit) if chunked else b" " * (limit + 1), headers=JSON)
        assert (answer.status_code, codes(answer)) == (200, ["IDA-MLC-007"])


def test_pages_and_catcher(surface):
    for query in ({"to": ""}, {"to": "x" * 400}):
        answer = surface.ask("GET", "/sandbox/outbox", params=query)
        assert (answer.status_code, codes(answer)) == (200, ["KER-WEB-001"])
    assert surface.ask("GET", "/", params={"lang": "'" * 400}).status_code == 200


def test_headers_that_are_no_http(surface):
    """What the server itself refuses says nothing about it either."""
    for head in (b"GET / HTTP/1.1\r\n\x00\r\n\r\n", b"\x16\x03\x01\x02", b"GET / HTTP/9.9\r\n\r\n"):
        told = surface.talk(head)
        assert b"Traceback" not in told
        assert b"server:" not in told.lower()
    answer = surface.ask("GET", "/", headers={"x-long": "x" * 30_000})
    check_hygiene(answer)


def test_nothing_of_the_bad_requests_is_in_a_log(platform):
    assert not leaks(platform.home, CANARY)
