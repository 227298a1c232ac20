"""What other contexts may ask of access: accounts, tokens, and the check of tokens."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from civium.kernel.secrets import Secret
from civium.platform.http import Caller, TokenVerifier
from civium.platform.permissions import Role


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """What a session's next access token is asked for with, once."""

    token: Secret[str]
    lifetime_seconds: int


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """An access token just issued: a compact RS256 JWT. A user's comes with a session."""

    token: Secret[str]
    caller: Caller
    expires_at: datetime
    lifetime_seconds: int
    session: str | None = None
    refresh: RefreshToken | None = None


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """A token whose signature, issuer, audience and times hold."""

    caller: Caller
    id: str
    issuer: str
    key_id: str
    expires_at: datetime
    session: str | None = None


@dataclass(frozen=True, slots=True)
class ClientProof:
    """What a client proves itself with: a secret, or an assertion signed with its key (RFC 7523)."""

    client_id: str
    secret: Secret[str] | None = None
    assertion: str | None = None


@dataclass(frozen=True, slots=True)
class Client:
    """A service client that has proved itself."""

    id: str
    roles: frozenset[Role]
    sandbox: bool


@dataclass(frozen=True, slots=True)
class User:
    """A user as administrators see it."""

    name: str
    roles: frozenset[Role]


class Access(TokenVerifier, Protocol):
    """Users, service clients and their tokens. Each operation owns its transaction and is audited.

    ``address`` is the network address of who tries: failures are counted for it too.
    """

    async def authenticate_client(
        self, client_id: str, secret: Secret[str], *, address: str | None = None
    ) -> IssuedToken:
        """Log a service client in. Takes about 20 ms of one core.

        Raises Rejected KER-ATH-023 for an unknown client, a wrong secret or too many failures alike; Unavailable when
        too many log-ins wait.
        """
        ...

    async def authenticate_user(
        self,
        name: str,
        password: Secret[str],
        *,
        client_id: str,
        client_secret: Secret[str],
        address: str | None = None,
    ) -> IssuedToken:
        """Log a user in through a client; both must prove themselves. Raises as :meth:`authenticate_client`."""
        ...

    async def prove_client(self, proof: ClientProof, *, address: str | None = None) -> Client:
        """Return the client that the proof is of. Raises as :meth:`authenticate_client`."""
        ...

    async def issue_to_client(self, client: Client) -> IssuedToken:
        """Return a token for the client itself."""
        ...

    async def issue_to_user(
        self, name: str, password: Secret[str], *, client: Client, address: str | None = None
    ) -> IssuedToken:
        """Log a user in, opening a session of ``client``. Raises as :meth:`authenticate_client`."""
        ...

    async def issue_for_application(
        self, name: str, password: Secret[str], *, application: str, address: str | None = None
    ) -> IssuedToken:
        """Log a user of our own page in, without client and without session. Raises as :meth:`authenticate_client`."""
        ...

    async def refresh(self, token: Secret[str], client: Client) -> IssuedToken:
        """Exchange a refresh token, once. A second use ends the session and all its tokens.

        Raises Unauthenticated for a token that is not good, is another client's or of a user who may not log in.
        """
        ...

    async def inspect(self, token: str) -> VerifiedToken:
        """Return the content of a valid access token; raises Unauthenticated."""
        ...

    async def revoke(self, token: str) -> None:
        """Make a token invalid before it expires: at once here, within a second in other processes.

        Raises Unauthenticated for a token that is not valid.
        """
        ...

    async def revoke_for(self, token: str, client: Client) -> None:
        """Make a token of ``client`` invalid; with a refresh token the whole session ends. Silent on any other."""
        ...

    async def end_session(self, token: str) -> None:
        """Make a token and all others of its session invalid. Raises Unauthenticated for a token that is not valid."""
        ...

    async def users(self, names: Collection[str] | None = None) -> Sequence[User]:
        """Return users by name, all without ``names``. Opens a sealed box for each, about 20 microseconds."""
        ...

    async def register_client(
        self,
        client_id: str,
        secret: Secret[str] | None,
        roles: Collection[Role],
        *,
        public_key: str | None = None,
    ) -> None:
        """Add a service client or replace its proofs and roles. ``public_key`` (PEM) verifies its assertions.

        Raises ValueError for a key that is no RSA key of 2048 bits and no key on P-256.
        """
        ...

    async def register_user(self, name: str, password: Secret[str], roles: Collection[Role]) -> None:
        """Add a user or replace the password and roles, which ends the user's sessions."""
        ...

    async def seed_sandbox(self) -> None:
        """Add the sandbox's well-known log-ins; those that exist already stay. Raises RuntimeError in production."""
        ...
