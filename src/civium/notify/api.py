"""The event by which every context asks for a message to a person."""

from civium.platform.outbox import Event


class NotificationRequested(Event, frozen=True, kw_only=True):
    """Send the template ``template`` (code of master data, without channel suffix) to the given addresses.

    The whole payload is sealed at rest by the outbox and deleted once delivered. ``values`` fill the template;
    ``languages`` are rendered one after the other. At least one address must be there.
    """

    template: str
    languages: tuple[str, ...]
    email: str | None = None
    phone: str | None = None
    values: dict[str, str] = {}

    @classmethod
    def topic(cls) -> str:
        return "notify.requested"
