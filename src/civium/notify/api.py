"""The event by which every context asks for a message to a person, and the ways that a message goes out."""

from email.message import EmailMessage
from typing import Protocol

from msgspec import field

from civium.kernel.errors import CiviumError
from civium.platform.outbox import Event


class NotificationRequested(Event, frozen=True, kw_only=True):
    """Send the template ``template`` (code of master data, without channel suffix) to the given addresses.

    The whole payload is sealed at rest by the outbox and deleted once delivered. ``values`` fill the template's
    placeholders ``$key``; a value ``key_<language>`` goes before ``key`` in that language. ``languages`` are rendered
    one after the other. At least one address must be there. Templates and what they need:

    - ``RPR_UIN_GEN``: ``name``, ``RID``.
    - ``ida-auth-otp``: ``otp``, ``validTime`` (minutes); for mail also ``idvid`` (masked), ``idvidType``, ``date``,
      ``time``.
    - ``auth``: ``idvid`` (masked), ``idvidType``, ``authType``, ``date``, ``time``, ``status``.
    """

    template: str
    languages: tuple[str, ...]
    email: str | None = None
    phone: str | None = None
    values: dict[str, str] = field(default_factory=dict)

    @classmethod
    def topic(cls) -> str:
        return "notify.requested"


class MailTransport(Protocol):
    """Takes mail."""

    async def send(self, message: EmailMessage) -> None:
        """Hand ``message`` over; raises Unavailable when it was not taken."""
        ...


class SmsGateway(Protocol):
    """Takes text messages."""

    async def send(self, to: str, body: str) -> None:
        """Hand a message over; raises Unavailable when it was not taken."""
        ...


class CannotRender(CiviumError):
    """A template, or a value that it needs, is missing. Names the placeholder, never a value."""
