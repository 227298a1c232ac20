"""Messages over real SMTP and a real Unix socket: each channel once, nothing personal left behind."""

import asyncio
import email
import email.policy
import re
import tempfile
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import structlog
from aiosmtpd.smtp import SMTP

from civium.kernel.clock import FixedClock
from civium.kernel.errors import Unavailable
from civium.masterdata import wiring as masterdata_wiring
from civium.notify import wiring
from civium.notify.api import CannotRender, NotificationRequested
from civium.platform.outbox import Delivery
from civium.platform.settings import MailSettings, Settings


class Mailbox:
    """The SMTP server's handler; ``refuse`` makes it turn mail away."""

    def __init__(self):
        self.messages = []
        self.refuse = False

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        if self.refuse:
            return f"550 no such mailbox {address}"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        self.messages.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"


class Phone:
    """A gateway on a Unix socket that answers like the sandbox's catcher."""

    def __init__(self):
        self.messages = []
        self.status = "200 OK"

    async def serve(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head.lower()).group(1))
        body = await reader.readexactly(length)
        if self.status == "200 OK":
            self.messages.append((head.split(b"\r\n")[0].decode(), msgspec.json.decode(body)))
        writer.write(f"HTTP/1.1 {self.status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@pytest.fixture
async def mailbox():
    box = Mailbox()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(box, hostname="localhost"), "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    yield box
    server.close()


@pytest.fixture
async def phone():
    with tempfile.TemporaryDirectory() as home:
        gateway = Phone()
        gateway.home = Path(home)
        (gateway.home / "run").mkdir()
        server = await asyncio.start_unix_server(gateway.serve, gateway.home / "run" / "catcher.sock")
        yield gateway
        server.close()


@pytest.fixture
def build(db, sealer_core, keys_core, outbox_core, clock, mailbox, phone):
    def again(clock=clock, mode="sandbox", port=None):
        settings = Settings(home=phone.home, mode=mode, mail=MailSettings(port=port or mailbox.port, starttls=False))
        master_data, _ = masterdata_wiring.build(
            db.core("masterdata"), sealer_core, keys_core, outbox_core, clock, settings
        )
        return wiring.build(db.core("notify"), master_data, clock, settings)

    return again


@pytest.fixture
def send(build):
    (consumer,) = build().consumers
    return consumer.handle


def request(event_id=None, **changes):
    members = {
        "template": "RPR_UIN_GEN",
        "languages": ("eng",),
        "email": "amina@example.com",
        "phone": "9876543210",
        "values": {"name": "Amina", "RID": "10001100010000120250203091500"},
        **changes,
    }
    payload = msgspec.json.encode(NotificationRequested(**members))
    return Delivery(event_id or uuid.uuid4(), NotificationRequested.topic(), "k", datetime.now(UTC), payload)


OTP_VALUES = {
    "otp": "493817",
    "validTime": "3",
    "idvid": "XXXXXXXX18052862",
    "idvidType": "VID",
    "date": "24-11-2026",
    "time": "10:00:00",
}


async def test_both_channels_are_served(send, mailbox, phone):
    await send(request())
    (mail,) = mailbox.messages
    assert mail["To"] == "amina@example.com"
    assert mail["From"] == "no-reply@civium.invalid"
    assert mail["Subject"] == "Your registration is complete"
    assert mail.get_content_type() == "text/plain"
    assert "Dear Amina" in mail.get_content()
    assert "10001100010000120250203091500" in mail.get_content()
    ((line, sms),) = phone.messages
    assert line.startswith("POST /sms ")
    assert sms["to"] == "9876543210"
    assert "Amina" in sms["body"]


async def test_one_address_means_one_message(send, mailbox, phone):
    await send(request(phone=None))
    await send(request(email=None))
    assert (len(mailbox.messages), len(phone.messages)) == (1, 1)


async def test_languages_follow_one_another(send, mailbox):
    await send(request(languages=("ara", "eng"), phone=None, values={"name": "A", "name_ara": "أمينة", "RID": "1"}))
    (mail,) = mailbox.messages
    assert mail["Subject"] == "اكتمل تسجيلكم / Your registration is complete"
    arabic, english = mail.get_content().index("أمينة"), mail.get_content().index("Dear A,")
    assert arabic < english


async def test_a_language_without_template_falls_back_to_the_default(send, mailbox):
    await send(request(languages=("fra",), phone=None))
    await send(request(languages=(), phone=None))
    assert [mail["Subject"] for mail in mailbox.messages] == ["Your registration is complete"] * 2


@pytest.mark.parametrize("languages", [("eng",), ("ara",), ("ara", "eng")])
async def test_the_first_number_of_an_otp_message_is_the_otp(send, mailbox, phone, languages):
    await send(request(template="ida-auth-otp", languages=languages, values=OTP_VALUES))
    for body in (mailbox.messages[0].get_content(), phone.messages[0][1]["body"]):
        assert re.search(r"\d{4,10}", body).group() == "493817"


async def test_the_notice_of_an_authentication(send, mailbox, phone):
    await send(request(template="auth", values={**OTP_VALUES, "authType": "OTP", "status": "Passed"}))
    assert "for OTP on 24-11-2026" in mailbox.messages[0].get_content()
    assert "Passed" in phone.messages[0][1]["body"]


async def test_a_second_delivery_sends_nothing(build, mailbox, phone):
    again = request()
    for _ in range(2):
        (consumer,) = build().consumers
        await consumer.handle(again)
    assert (len(mailbox.messages), len(phone.messages)) == (1, 1)


async def test_one_channel_that_fails_does_not_repeat_the_other(send, mailbox, phone):
    again = request()
    mailbox.refuse = True
    with pytest.raises(Unavailable) as caught:
        await send(again)
    assert "amina" not in str(caught.value)
    assert caught.value.__cause__ is None
    mailbox.refuse = False
    await send(again)
    assert (len(mailbox.messages), len(phone.messages)) == (1, 1)
    phone.status = "503 Busy"
    other = request()
    with pytest.raises(Unavailable):
        await send(other)
    phone.status = "200 OK"
    await send(other)
    assert (len(mailbox.messages), len(phone.messages)) == (2, 2)


async def test_nobody_listens(build, phone):
    (consumer,) = build(port=9).consumers
    (phone.home / "run" / "catcher.sock").unlink()
    with pytest.raises(Unavailable):
        await consumer.handle(request(phone=None))
    with pytest.raises(Unavailable):
        await consumer.handle(request(email=None))


async def test_production_has_no_catcher(build, phone):
    (consumer,) = build(mode="production").consumers
    with pytest.raises(Unavailable, match="no SMS gateway"):
        await consumer.handle(request(email=None))
    assert phone.messages == []


@pytest.mark.parametrize(
    "changes",
    [
        {"template": "no-such"},
        {"values": {}},
        {"email": "amina@example.com\r\nBcc: other@example.com"},
        {"email": "amina@example.com, other@example.com"},
        {"email": ""},
        {"email": None, "phone": "98765\r\n43210"},
        {"email": None, "phone": ""},
    ],
)
async def test_what_cannot_be_sent_is_an_error_that_shows_nothing(send, mailbox, phone, changes):
    with pytest.raises(CannotRender) as caught:
        await send(request(**{"phone": None, **changes}))
    assert not re.search("Amina|example|98765", str(caught.value))
    assert (mailbox.messages, phone.messages) == ([], [])


async def test_a_malformed_event_is_an_error(send):
    bad = Delivery(uuid.uuid4(), NotificationRequested.topic(), "k", datetime.now(UTC), b'{"template": 1}')
    with pytest.raises(msgspec.ValidationError):
        await send(bad)


async def test_a_value_cannot_change_the_headers(send, mailbox):
    hostile = "x\r\nBcc: other@example.com\r\n\r\nbody"
    await send(request(phone=None, values={"name": hostile, "RID": hostile}))
    (mail,) = mailbox.messages
    assert mail["Bcc"] is None
    assert mail["To"] == "amina@example.com"


async def test_logs_and_table_hold_no_address_and_no_text(send, db):
    with structlog.testing.capture_logs() as logs:
        await send(request())
    rows = await db.as_owner("SELECT sent::text AS row FROM notify.sent")
    kept = str(logs) + " ".join(row["row"] for row in rows)
    assert "notification_sent" in kept
    assert not re.search("amina|98765|10001100010000120250203091500", kept, re.IGNORECASE)


async def test_old_notes_are_purged(build, db):
    clock = FixedClock(datetime.now(UTC))
    module = build(clock=clock)
    await module.consumers[0].handle(request())
    (purge,) = module.jobs
    await purge.run()
    assert len(await db.as_owner("SELECT 1 FROM notify.sent")) == 2
    clock.advance(timedelta(days=31))
    await purge.run()
    assert await db.as_owner("SELECT 1 FROM notify.sent") == []
