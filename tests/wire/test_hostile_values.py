"""Hostile values for every declared route by its right caller: always a prompt answer with a code, never a failure."""

import itertools
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest

from civium.apps.sandbox.applicant import make_applicant
from civium.apps.sandbox.registration import enrol
from civium.apps.sandbox.relying_party import AUTH_POLICY
from civium.kernel.encoding import b64u
from civium.keys.api import packet as packet_bytes
from civium.packets.api import sync_entry
from civium.platform.http import CallerKind
from civium.platform.permissions import Role
from forgery import *  # noqa: F403
from relying_party_client import *  # noqa: F403
from surface import *  # noqa: F403
from surface import INVALIDATE, LOG_OUT, Surface, codes, concrete, envelope, now

SECONDS = 5.0
TRIES_WHEN_BUSY = 8
JSON = {"content-type": "application/json"}

VALUES: tuple[Any, ...] = (
    None, True, -1, 2**63, 1.5e300, "", " ", "\0", "a\0b", "x" * 100_000, "\u202egnp.exe", "\ud800", "\ufeff", "e\u0301" * 50,
    "\U0001f469\u200d\U0001f4bb", "' OR 1=1 --", "../../etc/passwd", "<script>", "${jndi:ldap://x}", "%s%n", [], [None], {}, {"": {}},
    {"$ref": "#"}, [[[[]]]], "9999-99-99T99:99:99.999Z", "0001-01-01T00:00:00.000Z", "1" * 16, "\uff11" * 10,
)  # fmt: skip
ALWAYS = ("\0", "a\0b", "\ud800")
"""What PostgreSQL and UTF-8 cannot hold."""
BODIES = (
    b"", b"null", b"[]", b"{}", b"7", b'"x"', b"{", b"\xff\xfe\x00", b'{"request":null}', b'{"request":[]}', b'{"request":{}}',
    b'{"request":"x"}', b'{"request":' + b"[" * 31 + b"]" * 31 + b"}", b'{"request":' + b'{"a":' * 200 + b"1" + b"}" * 200 + b"}",
    b'{"request":{"a":1e400}}', b'{"request":{"a":' + b"9" * 5000 + b"}}", b'{"request":{"\\u0000":"\\u0000"}}', b'{"request":{"a":"\\ud800"}}',
    b'{"request":{},"request":[]}', b'{"id":"' + b"x" * 100_000 + b'","request":{}}', b"\x1f\x8b\x08\x00", b"\x00" * 100,
)  # fmt: skip
IDS: dict[str, dict[str, str]] = {
    "POST /idrepository/v1/identity/": {"id": "mosip.id.create", "version": "v1"},
    "PATCH /idrepository/v1/identity/": {"id": "mosip.id.update", "version": "v1"},
    "POST /idrepository/v1/vid": {"id": "mosip.vid.create", "version": "v1"},
    "POST /idrepository/v1/vid/deactivate": {"id": "mosip.vid.deactivate", "version": "v1"},
    "POST /idrepository/v1/vid/reactivate": {"id": "mosip.vid.reactivate", "version": "v1"},
    "PATCH /idrepository/v1/vid/{vid}": {"id": "mosip.vid.update", "version": "v1"},
    "POST /registrationprocessor/v1/registrationstatus/search": {"id": "mosip.registration.status"},
    "POST /registrationprocessor/v1/registrationstatus/externalstatus/search": {
        "id": "mosip.registration.external.status"
    },
    "POST /registrationprocessor/v1/registrationstatus/packetexternalstatus": {
        "id": "mosip.registration.packet.external.status"
    },
}
"""The names that some routes want to be called by."""
PARTS = (
    "%00",
    "a%00b",
    "x" * 3000,
    quote("\u0627" * 40),
    "..%2f..%2fetc%2fpasswd",
    "%ff%fe",
    "%ed%a0%80",
    "'%20OR%201=1",
    "-1",
    "%0d%0aX-Evil:%201",
    quote("\uff11" * 10),
)
"""Path segments and query values, percent-encoded."""


@pytest.fixture
async def everyone(surface):
    """A token with every role."""
    await surface.register("test-hostile", *Role)
    return surface.log_in("test-hostile")


@pytest.fixture(scope="session")
def operations(surface) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Every operation of the API description, except the two that end the session, which take no input."""
    described = surface.ask("GET", "/openapi.json").json()
    found = [
        (method.upper(), path, operation | {"schemas": described["components"]["schemas"]})
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
        if path not in {INVALIDATE, LOG_OUT}
    ]
    assert len(found) > 50
    return found


class Judge:
    """Sends hostile requests and collects every answer that is not as it must be."""

    def __init__(self, surface: Surface, token: str) -> None:
        self.surface = surface
        self.token = token
        self.wrong: list[tuple[str, str, str]] = []
        self.asked = 0

    def try_(self, template: str, method: str, path: str, what: str, **sent: Any) -> None:
        self.asked += 1
        began = time.monotonic()
        try:
            answer = self.surface.ask(method, path, self.token, timeout=SECONDS, **sent)
            for _ in range(TRIES_WHEN_BUSY):
                if answer.status_code != 503:
                    break
                # The key process bounds how often keys may be made and retired; a later call must be answered.
                time.sleep(0.25)
                answer = self.surface.ask(method, path, self.token, timeout=SECONDS, **sent)
                began = time.monotonic()
        except (httpx.HTTPError, AssertionError) as problem:
            self.wrong.append((f"{method} {template}", what, repr(problem)[:200]))
            return
        if problem := self.problem(answer) or ("slow" if time.monotonic() - began > SECONDS else None):
            self.wrong.append((f"{method} {template}", what, f"{problem}: {answer.status_code} {answer.text[:200]}"))

    def conclude(self, least: int) -> None:
        """Fail with what was wrong, or when too little was asked."""
        assert not self.wrong, "\n".join(str(one) for one in self.wrong)
        assert self.asked >= least

    @staticmethod
    def problem(answer: httpx.Response) -> str | None:
        if answer.status_code >= 500:
            return "failure"
        if answer.status_code in {401, 403}:
            return "refused"
        if answer.status_code < 400 and "json" not in answer.headers.get("content-type", ""):
            return None  # a page, the metrics or an empty redirection
        try:
            document = answer.json()
        except ValueError:
            return "no JSON"
        if isinstance(document, list):  # the catcher's
            return None
        if answer.status_code == 200 and document.get("errors") is None:
            return None
        # The issuer answers with the codes of RFC 6749, all others with the wire's.
        told = [document["error"]] if isinstance(document.get("error"), str) else codes(answer)
        return None if told and all("-" in code or "_" in code for code in told) else "no code"


def described_body(operation: Mapping[str, Any]) -> Mapping[str, Any] | None:
    content = operation.get("requestBody", {}).get("content", {})
    return content.get("application/json", {}).get("schema")


def example(schema: Mapping[str, Any], schemas: Mapping[str, Any], named: Mapping[str, Any]) -> Any:
    """Return a value of the right shape, with the values of ``named`` for members of those names."""
    if "$ref" in schema:
        return example(schemas[schema["$ref"].rpartition("/")[2]], schemas, named)
    if "anyOf" in schema:
        return example(schema["anyOf"][0], schemas, named)
    match schema.get("type"):
        case "object":
            members = schema.get("properties", {}).items()
            return {name: named[name] if name in named else example(part, schemas, named) for name, part in members}
        case "array":
            return [example(schema.get("items", {}), schemas, named)]
        case "integer" | "number":
            return 1
        case "boolean":
            return True
    return "x"


def spoiled(value: Any) -> Iterator[Any]:
    """Return the value with each of its members, at any depth, replaced by something hostile."""
    hostile = itertools.cycle(VALUES)

    def walk(part: Any, put: Any) -> Iterator[Any]:
        items = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
        for key, inner in items:
            for bad in (*ALWAYS, *itertools.islice(hostile, 6)):
                copy = dict(part) if isinstance(part, dict) else list(part)
                copy[key] = bad
                yield put(copy)

            def put_deeper(changed: Any, part: Any = part, key: Any = key) -> Any:
                copy = dict(part) if isinstance(part, dict) else list(part)
                copy[key] = changed
                return put(copy)

            yield from walk(inner, put_deeper)

    yield from walk(value, lambda changed: changed)


@pytest.fixture(scope="module")
def guinea_pig(platform):
    """A person to whom the right callers may do harm."""
    with platform.client() as session:
        return enrol(session, platform.home, make_applicant(20261128))


@pytest.fixture
def named(guinea_pig) -> dict[str, Any]:
    """Values that get a request past the first checks, by the member's name."""
    return {
        "UIN": guinea_pig.uin.reveal(), "uin": guinea_pig.uin.reveal(), "individualId": guinea_pig.uin.reveal(),
        "individualIdType": "UIN", "registrationId": guinea_pig.rid.reveal(), "vidType": "OneTimeUse", "authType": "demo",
        "identity": {"fullName": [{"language": "eng", "value": "x"}], "phone": "9000000000", "proofOfAddress": {}},
        "partnerType": "FTM_Provider", "policyType": "Auth", "emailId": "x@partner.invalid",
        "partnerDomain": "AUTH", "policies": dict(AUTH_POLICY), "version": "1.0", "columnName": "statusCode",
        "workflowAction": "STOP_PROCESSING",
    }  # fmt: skip


def test_bodies(surface, everyone, operations, named):
    judge = Judge(surface, everyone)
    for method, path, operation in operations:
        schema = described_body(operation)
        if schema is None and method == "GET":
            continue
        target = concrete(path)
        for body in BODIES:
            judge.try_(path, method, target, repr(body[:60]), content=body, headers=JSON)
        if schema is not None:
            good = example(
                schema, operation["schemas"], named | IDS.get(f"{method} {path}", {}) | {"requesttime": now()}
            )
            for body in itertools.islice(spoiled(good), 300):
                content = json.dumps(body).encode()
                judge.try_(path, method, target, repr(content[:300]), content=content, headers=JSON)
    judge.conclude(1000)


def test_paths_and_queries(surface, everyone, operations):
    judge = Judge(surface, everyone)
    for method, path, operation in operations:
        sent: dict[str, Any] = {} if method == "GET" else {"json": envelope({})}
        for part in PARTS:
            if "{" in path:
                target = path
                for parameter in operation.get("parameters", []):
                    target = target.replace(f"{{{parameter['name']}}}", part)
                if "{" not in target:
                    judge.try_(path, method, target, part[:60], **sent)
            names = [one["name"] for one in operation.get("parameters", []) if one["in"] == "query"] or ["unknown"]
            for name in names:
                judge.try_(path, method, f"{concrete(path)}?{name}={part}", f"{name}={part[:60]}", **sent)
    judge.conclude(500)


def test_signed_bodies(surface, client, person):
    """The relying parties' routes check the signature first, so that it must be right for the rest to be tried."""
    good = client.request("auth", person.uin.reveal(), otp="111111")
    blocks = [
        {name: value} for name, value in itertools.product(("demographics", "otp", "biometrics", "timestamp"), VALUES)
    ]
    requests = [
        *BODIES,
        *(
            json.dumps({**good, name: value}).encode()
            for name in good
            for value in itertools.islice(VALUES, 0, None, 3)
        ),
        *(json.dumps(client.request("auth", person.uin.reveal(), block=block)).encode() for block in blocks[::2]),
    ]
    for body in requests:
        headers = {**JSON, "signature": client.signature(body), "authorization": "x"}
        answer = surface.ask("POST", client.path("auth"), content=body, headers=headers, timeout=SECONDS)
        assert answer.status_code == 200, body[:200]
        assert codes(answer), body[:200]
        assert all(code.startswith("IDA-") for code in codes(answer)), body[:200]


def test_announcements(surface, everyone, station, applicant):
    """What a machine announces is encrypted, so that it must be rightly encrypted for its content to be tried."""
    judge = Judge(surface, everyone)
    enrolment, packet = station.forge(applicant)
    good = {
        "id": "mosip.registration.sync",
        "version": "1.0",
        "requesttime": now(),
        "request": [msgspec.to_builtins(sync_entry(packet, enrolment))],
    }
    path = "/registrationprocessor/v1/registrationstatus/syncV2"
    headers = {**JSON, "Center-Machine-RefId": "10001_10001"}
    certificate = station.certificate
    contents = [*BODIES, *(json.dumps(body).encode() for body in spoiled(good))]
    for content in contents:
        sealed = json.dumps(b64u(packet_bytes.encrypt(certificate, content)))
        judge.try_(path, "POST", path, repr(content[:200]), content=sealed, headers=headers)
    judge.conclude(len(contents))


def test_uploads(surface, everyone):
    judge = Judge(surface, everyone)
    path = "/registrationprocessor/v1/packetreceiver/registrationpackets"
    names = [value for value in VALUES if isinstance(value, str) and value.isprintable() and value.isascii() and value]
    for name in names:
        judge.try_(path, "POST", path, name[:60], files={"file": (name, b"x", "x/y")})
    for head in (
        b'name="file"; filename="\xff\x00.zip"',
        b"name=\"file\"; filename*=utf-8''%00",
        b"name=file",
        b"",
        b"filename=x",
        b"\x00" * 50,
    ):
        body = b"--b\r\nContent-Disposition: form-data; " + head + b"\r\n\r\nx\r\n--b--\r\n"
        for content in (body, body[:-10], body * 50):
            headers = {"content-type": "multipart/form-data; boundary=b"}
            judge.try_(path, "POST", path, repr(head), content=content, headers=headers)
    judge.conclude(20)


@pytest.mark.parametrize("name", ["signature", "authorization", "cookie", "content-type", "center-machine-refid"])
def test_headers(surface, everyone, operations, name):
    judge = Judge(surface, everyone)
    for value in (
        b"\xff\xfe",
        b"a" * 20_000,
        b"..",
        b"x..y",
        b"{}",
        b"=;,=",
        b"multipart/form-data; boundary=",
        b"application/json; charset=x",
    ):
        for method, path, operation in operations:
            kind = operation["x-caller"]
            if (name in {"authorization", "cookie"}) == (kind == CallerKind.TOKEN):
                continue
            headers = {**JSON, name: value}
            judge.try_(
                path,
                method,
                concrete(path),
                repr(value[:40]),
                headers=headers,
                **({} if method == "GET" else {"content": b"{}"}),
            )
    judge.conclude(100)
