"""The catcher as its users meet it: SMTP in, HTTP on a Unix socket out."""

import asyncio
import itertools
import stat
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import httpx
import pytest

from civium.apps.catcher import Mailbox
from civium.kernel.clock import FixedClock


@pytest.fixture(scope="module")
def home():
    with tempfile.TemporaryDirectory(prefix="catch") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def port(home):
    process = subprocess.Popen([sys.executable, "-m", "civium.apps.catcher", "--home", str(home)])
    try:
        file = home / "run" / "catcher.port"
        for _ in range(500):
            if file.exists():
                break
            assert process.poll() is None
            time.sleep(0.02)
        yield int(file.read_text())
    finally:
        process.terminate()
        assert process.wait(10) == 0


@pytest.fixture
async def http(home, port):
    transport = httpx.AsyncHTTPTransport(uds=str(home / "run" / "catcher.sock"))
    async with httpx.AsyncClient(transport=transport, base_url="http://catcher") as client:
        yield client


def mail(subject="s", body="b"):
    message = EmailMessage()
    message["From"] = "no-reply@civium.invalid"
    message["Subject"] = subject
    message.set_content(body)
    return message


async def send(port, message, *recipients):
    await aiosmtplib.send(message, recipients=list(recipients), hostname="127.0.0.1", port=port, start_tls=False)


async def test_a_mail_is_shown_to_each_recipient_decoded(port, http):
    message = mail("هويتك جاهزة", "رمزك 123456\nثم")
    message.add_alternative("<p>html</p>", subtype="html")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="card.pdf")
    await send(port, message, "one@example.test", "two@example.test")
    for to in ("one@example.test", "TWO@example.test"):
        [caught] = (await http.get("/messages", params={"to": to})).json()
        assert caught["channel"] == "email"
        assert caught["to"] == to.lower()
        assert caught["subject"] == "هويتك جاهزة"
        assert caught["body"] == "رمزك 123456\nثم"


async def test_an_sms_is_caught(http):
    assert (await http.post("/sms", json={"to": "+100", "body": "code 42"})).status_code == 204
    [caught] = (await http.get("/messages", params={"to": "+100"})).json()
    assert (caught["channel"], caught["body"]) == ("sms", "code 42")


async def test_messages_come_newest_first_with_strictly_falling_instants(port, http):
    await asyncio.gather(*(http.post("/sms", json={"to": "+200", "body": str(n)}) for n in range(20)))
    await send(port, mail(), "+200@example.test")
    instants = [datetime.fromisoformat(each["at"]) for each in (await http.get("/messages")).json()]
    assert all(later > earlier for later, earlier in itertools.pairwise(instants))
    assert (await http.get("/messages")).json()[0]["channel"] == "email"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"to": 1, "body": "x"}', b'{"to": "x"}', b'{"to":"x","body":"y","z":1}']
)
async def test_a_malformed_sms_is_refused(http, body):
    before = (await http.get("/messages")).json()
    assert (await http.post("/sms", content=body)).status_code == 400
    assert (await http.get("/messages")).json() == before


async def test_a_mail_without_text_has_an_empty_body(port, http):
    message = EmailMessage()
    message["From"] = "no-reply@civium.invalid"
    message.set_content(b"\x00\x01", maintype="application", subtype="octet-stream")
    await send(port, message, "bytes@example.test")
    [caught] = (await http.get("/messages", params={"to": "bytes@example.test"})).json()
    assert (caught["subject"], caught["body"]) == ("", "")


def test_only_the_owner_may_read(home, port):
    assert stat.S_IMODE((home / "run" / "catcher.sock").stat().st_mode) == 0o600


def test_the_oldest_give_way_and_a_standing_clock_does_not_confuse():
    box = Mailbox(FixedClock(datetime(2026, 1, 1, tzinfo=UTC)))
    for number in range(10_001):
        box.put("sms", "x", "", str(number))
    found = box.read("x")
    assert (len(found), found[0].body, found[-1].body) == (10_000, "10000", "1")
    assert found[0].at - found[1].at == timedelta(microseconds=1)
