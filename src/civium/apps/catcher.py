"""The sandbox's mail and SMS catcher: takes every message, shows it to who asks, keeps it in memory only.

Mail comes by SMTP on 127.0.0.1; the port is written to ``<home>/run/catcher.port``. SMS come by, and all messages are
read by, HTTP on the 0600 Unix socket ``<home>/run/catcher.sock``. Nothing of it exists in production mode.
"""

import argparse
import asyncio
import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Literal

import msgspec
import uvicorn
from aiosmtpd.smtp import SMTP
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from civium.kernel.clock import Clock, SystemClock

NICENESS = 10
"""As the worker's, for which it stands in where a mail server on another machine would be."""
_MOST_MESSAGES = 10_000
_MOST_MAIL_BYTES = 8 * 1024 * 1024
_NEXT_INSTANT = timedelta(microseconds=1)


class Sms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a sender posts."""

    to: str
    body: str


class Message(msgspec.Struct, frozen=True):
    """A message that was caught. ``at`` is later than that of every message before."""

    channel: Literal["email", "sms"]
    to: str
    subject: str
    body: str
    at: datetime


class Mailbox:
    """The caught messages, the oldest of which give way when there are too many."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._messages: deque[Message] = deque(maxlen=_MOST_MESSAGES)

    def put(self, channel: Literal["email", "sms"], to: str, subject: str, body: str) -> None:
        """Keep a message."""
        at = self._clock.now()
        if self._messages:
            at = max(at, self._messages[-1].at + _NEXT_INSTANT)
        self._messages.append(Message(channel, to, subject, body, at))

    def read(self, to: str | None = None) -> list[Message]:
        """Return the messages to an address or number (None: all), newest first. Letter case does not matter."""
        return [
            message
            for message in reversed(self._messages)
            if to is None or message.to.casefold() == to.strip().casefold()
        ]

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Take a mail: one message for each recipient, with the text part as body."""
        mail = message_from_bytes(envelope.content, policy=policy.default)
        body = _text_of(mail)
        for recipient in envelope.rcpt_tos:
            self.put("email", recipient, str(mail.get("subject", "")), body)
        return "250 OK"


def _text_of(mail: EmailMessage) -> str:
    part = mail.get_body(("plain",))
    if part is None:
        return ""
    content = part.get_content()
    return content.replace("\r\n", "\n").rstrip("\n") if isinstance(content, str) else ""


def application(mailbox: Mailbox) -> Starlette:
    """Return the HTTP interface: ``POST /sms`` and ``GET /messages?to=``."""

    async def post_sms(request: Request) -> Response:
        try:
            sms = msgspec.json.decode(await request.body(), type=Sms)
        except msgspec.DecodeError:
            return Response(status_code=400)
        mailbox.put("sms", sms.to, "", sms.body)
        return Response(status_code=204)

    async def get_messages(request: Request) -> Response:
        found = mailbox.read(request.query_params.get("to"))
        return Response(msgspec.json.encode(found), media_type="application/json")

    return Starlette(
        routes=[Route("/sms", post_sms, methods=["POST"]), Route("/messages", get_messages, methods=["GET"])]
    )


class _Server(uvicorn.Server):
    """A server that leaves the signals to :func:`serve`."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def serve(home: Path, port: int, clock: Clock) -> None:
    """Catch messages until SIGINT or SIGTERM. ``port`` 0 lets the system choose one, and keeps to it after a crash."""
    run = home / "run"
    run.mkdir(mode=0o700, parents=True, exist_ok=True)
    mailbox = Mailbox(clock)
    loop = asyncio.get_running_loop()
    smtp = await _listen(
        lambda: SMTP(mailbox, enable_SMTPUTF8=True, data_size_limit=_MOST_MAIL_BYTES, loop=loop),
        port,
        _last_port(run / "catcher.port"),
    )
    with _private_socket(run / "catcher.sock") as listening:
        server = _Server(uvicorn.Config(application(mailbox), log_config=None, access_log=False, lifespan="off"))
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        _write_whole(run / "catcher.port", str(smtp.sockets[0].getsockname()[1]))
        await stop.wait()
        server.should_exit = True
        await serving
    smtp.close()
    await smtp.wait_closed()


async def _listen(protocol: Callable[[], SMTP], port: int, last: int) -> asyncio.Server:
    """Listen on ``port``; for 0 on that of the catcher before this one, which the senders know, if it is free."""
    loop = asyncio.get_running_loop()
    if port == 0:
        with suppress(OSError):
            return await loop.create_server(protocol, "127.0.0.1", last)
    return await loop.create_server(protocol, "127.0.0.1", port)


def _last_port(note: Path) -> int:
    return int(note.read_text()) if note.exists() else 0


def _private_socket(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listening.bind(str(path))
    finally:
        os.umask(before)
    return listening


def _write_whole(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(path)


def main() -> None:
    """Run the catcher of a home directory."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    os.nice(NICENESS)
    asyncio.run(serve(arguments.home, arguments.port, SystemClock()))


if __name__ == "__main__":
    main()
