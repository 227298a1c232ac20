"""How messages leave: SMTP, and HTTP over a Unix socket to the sandbox's catcher."""

from email.message import EmailMessage
from pathlib import Path
from typing import Final

import aiosmtplib
import httpx

from civium.kernel.errors import Unavailable
from civium.platform.settings import MailSettings

TIMEOUT_SECONDS: Final = 10.0


class SmtpTransport:
    """Hands mail to the SMTP server of the settings, one connection for each message."""

    def __init__(self, settings: MailSettings, *, starttls: bool) -> None:
        self._settings = settings
        self._starttls = starttls

    async def send(self, message: EmailMessage) -> None:
        """Hand ``message`` over. Errors never repeat the address, which the library's own do."""
        password = self._settings.password
        try:
            await aiosmtplib.send(
                message,
                hostname=self._settings.host,
                port=self._settings.port,
                username=self._settings.username,
                password=None if password is None else password.get_secret_value(),
                start_tls=self._starttls,
                timeout=TIMEOUT_SECONDS,
            )
        except (aiosmtplib.SMTPException, OSError) as problem:
            raise Unavailable(f"the mail server did not take a message: {type(problem).__name__}") from None


class SocketSmsGateway:
    """Posts text messages to a local gateway: ``POST /sms {"to", "body"}`` over a Unix socket."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def send(self, to: str, body: str) -> None:
        try:
            async with httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(uds=str(self._socket)), timeout=TIMEOUT_SECONDS
            ) as client:
                answer = await client.post("http://gateway/sms", json={"to": to, "body": body})
        except httpx.HTTPError as problem:
            raise Unavailable(f"the SMS gateway did not answer: {type(problem).__name__}") from None
        if not answer.is_success:
            raise Unavailable(f"the SMS gateway answered {answer.status_code}")


class NoSmsGateway:
    """Stands where no gateway is configured: every message waits for one."""

    async def send(self, to: str, body: str) -> None:  # noqa: ARG002 - the protocol's
        """Refuse."""
        raise Unavailable("no SMS gateway is configured")
