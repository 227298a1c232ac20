"""Who calls: the declaration that every route carries, and the caller that it admits."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from civium.kernel.errors import Rejected
from civium.platform.permissions import GRANTS, Permission, Role


class CallerKind(StrEnum):
    """How a caller of a route proves who it is."""

    ANYONE = "anyone"
    TOKEN = "token"  # noqa: S105 - the name of a kind
    SIGNED = "signed"
    SANDBOX = "sandbox"


@dataclass(frozen=True, slots=True)
class Access:
    """A route's declaration: the kind of caller, and for tokens the permission."""

    kind: CallerKind
    permission: Permission | None = None


ANYONE = Access(CallerKind.ANYONE)
"""Open to the network: health, login, public pages. Reveals nothing about a person."""

SIGNED = Access(CallerKind.SIGNED)
"""The handler verifies the request's own signature (relying parties)."""

SANDBOX = Access(CallerKind.SANDBOX)
"""Open, but exists in sandbox mode only."""


def allow(permission: Permission) -> Access:
    """Declare a route for tokens whose roles have ``permission``."""
    return Access(CallerKind.TOKEN, permission)


@dataclass(frozen=True, slots=True)
class Caller:
    """A verified token's subject.

    ``subject`` is the user name (``service-account-<client>`` for clients), ``client_id`` the OAuth client.
    """

    subject: str
    client_id: str
    roles: frozenset[Role]

    def may(self, permission: Permission) -> bool:
        """Tell whether one of the roles has the permission."""
        return not self.roles.isdisjoint(GRANTS[permission])


class TokenVerifier(Protocol):
    """Checks access tokens; implemented by `access`."""

    async def verify(self, token: str) -> Caller:
        """Return the caller of a valid token; raises :class:`Unauthenticated`. Cached: about 5 microseconds warm."""
        ...


class Unauthenticated(Rejected):
    """No valid token came with the request (HTTP 401)."""

    def __init__(self) -> None:
        super().__init__("KER-ATH-401", "Authentication Failed")


class Forbidden(Rejected):
    """The token's roles do not have the route's permission (HTTP 403)."""

    def __init__(self, message: str = "Forbidden") -> None:
        super().__init__("KER-ATH-403", message)


class ForeignSite(Forbidden):
    """A page of another site sent the request with the user's cookie (HTTP 403)."""

    def __init__(self) -> None:
        super().__init__("Forbidden : request of another site")
