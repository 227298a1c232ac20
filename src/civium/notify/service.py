"""Sends what other contexts ask for, each channel once."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from email.message import EmailMessage
from email.policy import SMTP
from typing import Final

import structlog

from civium.kernel import faults
from civium.kernel.clock import Clock
from civium.kernel.errors import Rejected
from civium.kernel.identifiers import Language
from civium.masterdata.api import MasterData
from civium.notify.api import CannotRender, MailTransport, NotificationRequested, SmsGateway
from civium.notify.domain import is_mail_address, is_phone_number, render, single_line, template_codes
from civium.notify.store import Store
from civium.platform.database import Database
from civium.platform.outbox import Delivery, decode

_log = structlog.get_logger(__name__)

KEPT_FOR: Final = timedelta(days=30)
"""How long an event is known to have been sent, so that a replayed dead letter repeats no channel."""

EMAIL: Final = "email"
SMS: Final = "sms"


class Notifier:
    """Renders and sends. A failure raises, and the dispatcher tries again later.

    A channel is noted as served after its message was taken: a crash between the two sends that message twice, and
    mail then carries the same ``Message-ID``.
    """

    def __init__(
        self,
        database: Database,
        master_data: MasterData,
        clock: Clock,
        mail: MailTransport,
        sms: SmsGateway,
        *,
        sender: str,
        default_language: str,
    ) -> None:
        self._store = Store(database)
        self._master_data = master_data
        self._clock = clock
        self._mail = mail
        self._sms = sms
        self._sender = sender
        self._default_language = default_language

    async def handle(self, delivery: Delivery) -> None:
        """Serve each channel that has an address and was not served yet; raises after all were tried."""
        request = decode(delivery.payload, NotificationRequested)
        served = await self._store.served(delivery.id)
        channels: list[tuple[str, Callable[[Delivery, NotificationRequested, str], Awaitable[None]], str | None]] = [
            (EMAIL, self._send_mail, request.email),
            (SMS, self._send_sms, request.phone),
        ]
        problems: list[Exception] = []
        for channel, send, address in channels:
            if address is None or channel in served:
                continue
            try:
                await send(delivery, request, address)
            except Exception as problem:  # noqa: BLE001 - one channel's failure must not keep the other from its turn
                problems.append(problem)
            else:
                faults.point("notify.sent")
                await self._store.note_sent(delivery.id, channel, self._clock.now())
                _log.info("notification_sent", channel=channel, template=request.template)
        if problems:
            raise problems[0]

    async def _send_mail(self, delivery: Delivery, request: NotificationRequested, address: str) -> None:
        if not is_mail_address(address):
            raise CannotRender("not a mail address")
        codes = template_codes(request.template)
        message = EmailMessage(policy=SMTP)
        message["From"] = self._sender
        message["To"] = address
        message["Subject"] = single_line(" / ".join(await self._render(codes.subject, request)))
        message["Date"] = self._clock.now()
        message["Message-ID"] = f"<{delivery.id}@{self._sender.rpartition('@')[2]}>"
        message.set_content("\n\n".join(await self._render(codes.content, request)), charset="utf-8")
        await self._mail.send(message)

    async def _send_sms(self, _delivery: Delivery, request: NotificationRequested, number: str) -> None:
        if not is_phone_number(number):
            raise CannotRender("not a telephone number")
        codes = template_codes(request.template)
        await self._sms.send(number, "\n".join(await self._render(codes.sms, request)))

    async def _render(self, code: str, request: NotificationRequested) -> Sequence[str]:
        """Return the text in each asked language that has the template, or else in the default language."""
        texts: list[str] = []
        for language in dict.fromkeys((*request.languages, self._default_language)):
            if language == self._default_language and texts and language not in request.languages:
                break
            try:
                text = await self._master_data.template(code, Language(language))
            except Rejected:
                continue
            texts.append(render(text, request.values, language))
        if not texts:
            raise CannotRender(f"no template {code}")
        return texts

    async def purge(self) -> int:
        """Delete old notes; a job of the worker."""
        await self._store.purge(self._clock.now() - KEPT_FOR)
        return 0
