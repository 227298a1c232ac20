"""What other contexts may ask of access: accounts, tokens, and the check of tokens."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from civium.kernel.secrets import Secret
from civium.platform.http import Caller, TokenVerifier
from civium.platform.permissions import Role


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """An access token just issued: a compact RS256 JWT."""

    token: Secret[str]
    caller: Caller
    expires_at: datetime
    lifetime_seconds: int


class Access(TokenVerifier, Protocol):
    """Users, service clients and their tokens. Each operation owns its transaction and is audited."""

    async def authenticate_client(self, client_id: str, secret: Secret[str]) -> IssuedToken:
        """Log a service client in. Takes about 20 ms of one core.

        Raises Rejected KER-ATH-023 for an unknown client, a wrong secret or too many failures alike; Unavailable when
        too many log-ins wait.
        """
        ...

    async def authenticate_user(
        self, name: str, password: Secret[str], *, client_id: str, client_secret: Secret[str]
    ) -> IssuedToken:
        """Log a user in through a client; both must prove themselves. Raises as :meth:`authenticate_client`."""
        ...

    async def revoke(self, token: str) -> None:
        """Make a token invalid before it expires: at once here, within a second in other processes.

        Raises Unauthenticated for a token that is not valid.
        """
        ...

    async def register_client(self, client_id: str, secret: Secret[str], roles: Collection[Role]) -> None:
        """Add a service client or replace its secret and roles."""
        ...

    async def register_user(self, name: str, password: Secret[str], roles: Collection[Role]) -> None:
        """Add a user or replace the password and roles."""
        ...

    async def seed_sandbox(self) -> None:
        """Add the sandbox's well-known log-ins; those that exist already stay. Raises RuntimeError in production."""
        ...
