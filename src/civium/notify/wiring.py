"""Builds notify from its dependencies."""

from civium.kernel.clock import Clock
from civium.masterdata.api import MasterData
from civium.notify.api import MailTransport, NotificationRequested, SmsGateway
from civium.notify.service import Notifier
from civium.notify.transports import NoSmsGateway, SmtpTransport, SocketSmsGateway
from civium.platform.database import Database
from civium.platform.jobs import Job
from civium.platform.module import Module
from civium.platform.outbox import Consumer
from civium.platform.settings import Settings

_PURGE_SECONDS = 3600.0


def build(
    database: Database,
    master_data: MasterData,
    clock: Clock,
    settings: Settings,
    *,
    mail: MailTransport | None = None,
    sms: SmsGateway | None = None,
) -> Module:
    """Return the consumer that sends messages.

    Mail goes to ``settings.mail`` unless ``mail`` is given; the sandbox's catcher takes it without TLS. SMS go to the
    sandbox's catcher at ``<home>/run/catcher.sock`` unless ``sms`` is given.
    """
    if mail is None:
        mail = SmtpTransport(settings.mail, starttls=settings.mail.starttls and not settings.sandbox)
    if sms is None:
        sms = SocketSmsGateway(settings.home / "run" / "catcher.sock") if settings.sandbox else NoSmsGateway()
    notifier = Notifier(
        database,
        master_data,
        clock,
        mail,
        sms,
        sender=settings.mail.sender,
        default_language=settings.languages[0],
    )
    return Module(
        "notify",
        consumers=(Consumer("notify", frozenset({NotificationRequested.topic()}), notifier.handle),),
        jobs=(Job("notify.purge", notifier.purge, _PURGE_SECONDS),),
    )
