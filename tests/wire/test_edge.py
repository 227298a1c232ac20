"""What the edge gives away: nothing of a path, nothing of an error, nothing to pages of other sites."""

import re
from pathlib import Path

import httpx
import pytest
from fastapi import Request
from structlog.testing import capture_logs

import civium
from civium.platform import telemetry
from civium.platform.http import ANYONE, Caller, ErrorCodes, Router
from civium.platform.http.access import Unauthenticated
from civium.platform.http.app import create_app
from civium.platform.settings import Settings

UIN = "2419762130"


class Nobody:
    async def verify(self, token) -> Caller:
        raise Unauthenticated


@pytest.fixture
async def http():
    routes = Router("/v1/probe", ErrorCodes("PRB-001", "PRB-500"))

    @routes.enveloped("GET", "/tokenid/{uin}/{partner}", ANYONE)
    async def token_id(uin: str, partner: str):
        """Answer."""
        return len(uin + partner)

    @routes.enveloped("GET", "/fails/{uin}", ANYONE)
    async def fails(request: Request, uin: str):
        """Fail with a text that nobody may see."""
        raise ValueError(f"row of {uin} in table secret_things, query {request.url.query}")

    app = create_app([routes], Nobody(), Settings(mode="sandbox"))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://civium") as client:
        yield client


async def test_neither_path_nor_query_reaches_the_log_or_the_metrics(http):
    with capture_logs() as lines:
        await http.get(f"/v1/probe/tokenid/{UIN}/partner-seven?key=value-of-the-query")
        await http.get(f"/v1/probe/fails/{UIN}?key=value-of-the-query")
        await http.get(f"/v1/nothing/{UIN}")
    requests = [line for line in lines if line["event"] == "request"]
    assert len(requests) == 3
    assert requests[0]["route"].endswith("/tokenid/{uin}/{partner}")
    assert requests[2]["route"] == "none"
    shown = str([{name: value for name, value in line.items() if name != "exc_info"} for line in lines])
    for secret in (UIN, "partner-seven", "value-of-the-query", "secret_things"):
        assert secret not in shown
    labels = [sample.labels for metric in telemetry.REQUESTS.collect() for sample in metric.samples]
    assert not any(UIN in value for label in labels for value in label.values())


async def test_an_error_shows_its_code_and_nothing_else(http):
    answer = await http.get(f"/v1/probe/fails/{UIN}")
    assert answer.status_code == 500
    assert answer.json()["errors"] == [{"errorCode": "PRB-500", "message": "Internal server error"}]
    assert UIN not in answer.text
    assert "secret_things" not in answer.text


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "POST"])
@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
async def test_no_page_of_another_site_may_read_an_answer(http, method, origin):
    headers = {"Origin": origin, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x"}
    answer = await http.request(method, "/v1/probe/tokenid/1/2", headers=headers)
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_no_source_turns_the_verification_of_certificates_off():
    forbidden = re.compile(r"verify\s*=\s*False|check_hostname\s*=\s*False|_create_unverified|CERT_NONE|ssl-bypass")
    found = {
        f"{path.name}: {line.strip()}"
        for path in Path(civium.__file__).parent.rglob("*.py")
        for line in path.read_text().splitlines()
        if forbidden.search(line)
    }
    # A server that asks its clients for no certificate is the one allowed use.
    assert {line for line in found if not line.startswith("server.py: ssl_cert_reqs=")} == set()


def test_no_source_uses_a_generator_that_can_be_predicted():
    root = Path(civium.__file__).parent
    predictable = re.compile(r"^\s*(import random\b|from random import|.*\buuid1\()", re.MULTILINE)
    found = {path.relative_to(root) for path in root.rglob("*.py") if predictable.search(path.read_text())}
    # A sandbox makes people up from a seed.
    assert found == {Path("apps/sandbox/applicant.py")}
