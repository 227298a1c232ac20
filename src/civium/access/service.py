"""Access: log-ins, tokens, sessions, revocation."""

import uuid
from collections.abc import Collection, Sequence

import structlog

from civium.access.accounts import Accounts, InvalidCredentials, Login
from civium.access.api import Client, ClientProof, IssuedToken, RefreshToken, User, VerifiedToken
from civium.access.assertions import Assertions, client_key
from civium.access.domain import Account, AccountKind
from civium.access.revocations import Revocations
from civium.access.sessions import Holder, Sessions
from civium.access.store import Store
from civium.access.throttle import WINDOW
from civium.access.tokens import Lifetimes, TokenIssuer, TokenReader, known_roles
from civium.access.trail import Trail
from civium.kernel.clock import Clock
from civium.kernel.secrets import Secret
from civium.platform.database import Database
from civium.platform.http import Caller
from civium.platform.http.access import Unauthenticated
from civium.platform.outbox import Outbox
from civium.platform.permissions import Role
from civium.platform.sealing import Sealer

_log = structlog.get_logger(__name__)


class AccessService:
    """Implements :class:`civium.access.api.Access`."""

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        outbox: Outbox,
        clock: Clock,
        *,
        issuer: TokenIssuer,
        reader: TokenReader,
        lifetimes: Lifetimes,
        assertion_audiences: Collection[str],
        failures_per_address: int,
        sandbox: bool,
    ) -> None:
        store = Store(database)
        self._database = database
        self._store = store
        self._clock = clock
        self._issuer = issuer
        self._reader = reader
        self._sandbox = sandbox
        self._trail = Trail(outbox, clock)
        self._revocations = Revocations(store, clock, token_lifetime=lifetimes.token)
        self._accounts = Accounts(
            database,
            store,
            sealer,
            clock,
            trail=self._trail,
            revocations=self._revocations,
            failures_per_address=failures_per_address,
            sandbox=sandbox,
        )
        self._sessions = Sessions(
            database, store, sealer, clock, trail=self._trail, revocations=self._revocations, lifetimes=lifetimes
        )
        self._assertions = Assertions(
            database,
            store,
            sealer,
            clock,
            accounts=self._accounts,
            trail=self._trail,
            audiences=assertion_audiences,
        )

    async def verify(self, token: str) -> Caller:
        return (await self.inspect(token)).caller

    async def inspect(self, token: str) -> VerifiedToken:
        verified = await self._reader.read(token)
        if await self._revocations.contain(verified):
            raise Unauthenticated
        return verified

    async def authenticate_client(
        self, client_id: str, secret: Secret[str], *, address: str | None = None
    ) -> IssuedToken:
        return await self.issue_to_client(await self.prove_client(ClientProof(client_id, secret), address=address))

    async def authenticate_user(
        self,
        name: str,
        password: Secret[str],
        *,
        client_id: str,
        client_secret: Secret[str],
        address: str | None = None,
    ) -> IssuedToken:
        client = await self.prove_client(ClientProof(client_id, client_secret), address=address)
        return await self.issue_to_user(name, password, client=client, address=address)

    async def prove_client(self, proof: ClientProof, *, address: str | None = None) -> Client:
        if proof.assertion is not None:
            account = await self._assertions.prove(proof.client_id, proof.assertion)
        elif proof.secret is not None:
            account = await self._accounts.prove(AccountKind.CLIENT, proof.client_id, proof.secret, address)
        else:
            raise InvalidCredentials
        return Client(proof.client_id, known_roles(account.roles), account.sandbox)

    async def issue_to_client(self, client: Client) -> IssuedToken:
        caller = Caller(f"service-account-{client.id}", client.id, client.roles)
        return await self._issue(caller, sandbox=client.sandbox)

    async def issue_to_user(
        self, name: str, password: Secret[str], *, client: Client, address: str | None = None
    ) -> IssuedToken:
        account = await self._accounts.prove(AccountKind.USER, name, password, address)
        name_hash = await self._accounts.name_hash(AccountKind.USER, name)
        session, refresh = await self._sessions.open(Holder(name, client.id), name_hash)
        return await self._issue(
            _user(name, client.id, account), sandbox=account.sandbox, session=session, refresh=refresh
        )

    async def issue_for_application(
        self, name: str, password: Secret[str], *, application: str, address: str | None = None
    ) -> IssuedToken:
        account = await self._accounts.prove(AccountKind.USER, name, password, address)
        return await self._issue(_user(name, f"app:{application}", account), sandbox=account.sandbox)

    async def refresh(self, token: Secret[str], client: Client) -> IssuedToken:
        use = await self._sessions.use(token, client.id)
        account = await self._accounts.find(AccountKind.USER, use.holder.user)
        if account is None:
            raise Unauthenticated
        refresh = await self._sessions.advance(use)
        caller = _user(use.holder.user, client.id, account)
        return await self._issue(caller, sandbox=account.sandbox, session=use.session.id, refresh=refresh)

    async def revoke(self, token: str) -> None:
        verified = await self.inspect(token)
        async with self._revocations.change() as revoke, self._database.transaction() as transaction:
            await revoke.token(transaction, verified)
            await self._trail.note(transaction, "token.revoked", actor=verified.caller.subject)

    async def revoke_for(self, token: str, client: Client) -> None:
        try:
            if (await self.inspect(token)).caller.client_id == client.id:
                await self.revoke(token)
        except Unauthenticated:
            await self._end_by_refresh_token(token, client)

    async def _end_by_refresh_token(self, token: str, client: Client) -> None:
        try:
            use = await self._sessions.use(Secret(token), client.id)
        except Unauthenticated:
            return
        await self._sessions.end(use.session.id, actor=use.holder.user)

    async def end_session(self, token: str) -> None:
        verified = await self.inspect(token)
        if verified.session is None:
            await self.revoke(token)
        else:
            await self._sessions.end(uuid.UUID(verified.session), actor=verified.caller.subject)

    async def users(self, names: Collection[str] | None = None) -> Sequence[User]:
        return await self._accounts.users(names)

    async def register_client(
        self,
        client_id: str,
        secret: Secret[str] | None,
        roles: Collection[Role],
        *,
        public_key: str | None = None,
    ) -> None:
        if public_key is not None:
            client_key(public_key)
        login = Login(AccountKind.CLIENT, client_id, secret, tuple(sorted(roles)), public_key)
        await self._accounts.register(login, sandbox=False)

    async def register_user(self, name: str, password: Secret[str], roles: Collection[Role]) -> None:
        login = Login(AccountKind.USER, name, password, tuple(sorted(roles)))
        await self._accounts.register(login, sandbox=False)

    async def seed_sandbox(self) -> None:
        if not self._sandbox:
            raise RuntimeError("the well-known log-ins exist in sandbox mode only")
        _log.info("sandbox_logins_ready", added=await self._accounts.seed_sandbox())

    async def purge(self) -> int:
        """Delete what has expired and past failures; a job of the worker."""
        now = self._clock.now()
        await self._store.purge(now=now, window_start=now - WINDOW)
        return 0

    async def _issue(
        self, caller: Caller, *, sandbox: bool, session: uuid.UUID | None = None, refresh: RefreshToken | None = None
    ) -> IssuedToken:
        sid = None if session is None else str(session)
        token, expires_at = await self._issuer.issue(caller, sandbox=sandbox, session=sid)
        return IssuedToken(token, caller, expires_at, int(self._issuer.lifetime.total_seconds()), sid, refresh)


def _user(name: str, client_id: str, account: Account) -> Caller:
    return Caller(name, client_id, known_roles(account.roles))
