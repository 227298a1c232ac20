"""How messages leave: SMTP, and HTTP over a Unix socket to the sandbox's catcher."""

import asyncio
from email.message import EmailMessage
from pathlib import Path
from typing import Final

import aiosmtplib
import msgspec

from civium.kernel.errors import Unavailable
from civium.platform.settings import MailSettings

TIMEOUT_SECONDS: Final = 10.0
KEEP_SECONDS: Final = 1.0


class SmtpTransport:
    """Hands mail to the SMTP server of the settings.

    A connection is kept for the next message and closed when none came for a second: opening one costs several times
    as much as a message does.
    """

    def __init__(self, settings: MailSettings, *, starttls: bool) -> None:
        self._settings = settings
        self._starttls = starttls
        self._idle: dict[aiosmtplib.SMTP, asyncio.TimerHandle] = {}

    async def send(self, message: EmailMessage) -> None:
        """Hand ``message`` over. Errors never repeat the address, which the library's own do."""
        try:
            connection = await self._connection()
            try:
                await connection.send_message(message)
            except BaseException:
                connection.close()
                raise
        except (aiosmtplib.SMTPException, OSError) as problem:
            raise Unavailable(f"the mail server did not take a message: {type(problem).__name__}") from None
        self._idle[connection] = asyncio.get_running_loop().call_later(KEEP_SECONDS, self._close, connection)

    async def _connection(self) -> aiosmtplib.SMTP:
        while self._idle:
            connection, timer = self._idle.popitem()
            timer.cancel()
            if connection.is_connected:
                return connection
        password = self._settings.password
        connection = aiosmtplib.SMTP(
            hostname=self._settings.host,
            port=self._settings.port,
            username=self._settings.username,
            password=None if password is None else password.get_secret_value(),
            start_tls=self._starttls,
            timeout=TIMEOUT_SECONDS,
        )
        await connection.connect()
        return connection

    def _close(self, connection: aiosmtplib.SMTP) -> None:
        self._idle.pop(connection, None)
        connection.close()


class SocketSmsGateway:
    """Posts text messages to a local gateway: ``POST /sms {"to", "body"}`` by HTTP/1.1 over a Unix socket.

    One plain exchange of a known size on this machine: an HTTP client's machinery would cost twenty times as much.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def send(self, to: str, body: str) -> None:
        content = msgspec.json.encode({"to": to, "body": body})
        head = (
            "POST /sms HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                status = await self._exchange(head.encode() + content)
        except (OSError, ValueError) as problem:
            raise Unavailable(f"the SMS gateway did not answer: {type(problem).__name__}") from None
        if not status.startswith(b"2"):
            raise Unavailable(f"the SMS gateway answered {status.decode(errors='replace')}")

    async def _exchange(self, request: bytes) -> bytes:
        """Return the status code of the answer; raises ValueError for no HTTP."""
        reader, writer = await asyncio.open_unix_connection(self._socket)
        try:
            writer.write(request)
            _, status, *_ = (await reader.readline()).split(b" ")
            return status
        finally:
            writer.close()


class NoSmsGateway:
    """Stands where no gateway is configured: every message waits for one."""

    async def send(self, to: str, body: str) -> None:  # noqa: ARG002 - the protocol's
        """Refuse."""
        raise Unavailable("no SMS gateway is configured")
