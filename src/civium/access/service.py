"""Access: log-ins, tokens, revocation."""

import asyncio
import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files
from typing import Final

import msgspec
import structlog

from civium.access.api import IssuedToken
from civium.access.domain import Account, AccountKind, SecretHasher
from civium.access.store import Store
from civium.access.tokens import TokenIssuer, TokenReader, VerifiedToken, known_roles
from civium.audit.api import AuditRecorded
from civium.kernel.clock import Clock, iso_millis, monotonic
from civium.kernel.errors import Rejected
from civium.kernel.secrets import Secret
from civium.platform.database import Database, Transaction
from civium.platform.http import Caller
from civium.platform.http.access import Unauthenticated
from civium.platform.outbox import Outbox
from civium.platform.permissions import Role
from civium.platform.sealing import Place, Sealer

_log = structlog.get_logger(__name__)

PURPOSE: Final = "access/account"
HASH_DOMAIN: Final = "access/account"

MAX_FAILURES: Final = 10
FAILURE_WINDOW: Final = timedelta(minutes=5)
"""After so many failures of one name within the window every log-in with it fails until the window ends."""

REVOCATION_SECONDS: Final = 1.0
"""How old the list of revoked tokens may be that a token is checked against."""


@dataclass(frozen=True, slots=True)
class _Login:
    kind: AccountKind
    name: str
    secret: Secret[str]
    roles: tuple[str, ...] = ()


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
        sandbox: bool,
    ) -> None:
        self._database = database
        self._store = Store(database)
        self._sealer = sealer
        self._outbox = outbox
        self._clock = clock
        self._issuer = issuer
        self._reader = reader
        self._sandbox = sandbox
        self._hasher = SecretHasher()
        self._revoked: frozenset[str] = frozenset()
        self._revoked_read = float("-inf")
        self._revoked_refresh = asyncio.Lock()

    async def verify(self, token: str) -> Caller:
        return (await self._read(token)).caller

    async def _read(self, token: str) -> VerifiedToken:
        verified = await self._reader.read(token)
        if self._revoked_is_old():
            async with self._revoked_refresh:
                if self._revoked_is_old():
                    began = monotonic()
                    self._revoked = await self._store.revoked(now=self._clock.now())
                    self._revoked_read = began
        if verified.id in self._revoked:
            raise Unauthenticated
        return verified

    def _revoked_is_old(self) -> bool:
        return monotonic() - self._revoked_read > REVOCATION_SECONDS

    async def authenticate_client(self, client_id: str, secret: Secret[str]) -> IssuedToken:
        account = await self._account(AccountKind.CLIENT, client_id, secret)
        return await self._issue(account, subject=f"service-account-{client_id}", client_id=client_id)

    async def authenticate_user(
        self, name: str, password: Secret[str], *, client_id: str, client_secret: Secret[str]
    ) -> IssuedToken:
        await self._account(AccountKind.CLIENT, client_id, client_secret)
        account = await self._account(AccountKind.USER, name, password)
        return await self._issue(account, subject=name, client_id=client_id)

    async def _account(self, kind: AccountKind, name: str, secret: Secret[str]) -> Account:
        """Return the account that the secret proves; any failure looks and lasts the same."""
        name_hash = await self._name_hash(kind, name)
        window_start = self._clock.now() - FAILURE_WINDOW
        found = await self._store.login(name_hash, window_start=window_start)
        account = None
        if found.box is not None:
            box = await self._sealer.unseal(PURPOSE, _place(name_hash, found.version), found.box)
            account = msgspec.json.decode(box, type=Account)
        right = await self._hasher.check(account.secret_hash if account else None, secret)
        allowed = account is not None and account.active and (self._sandbox or not account.sandbox)
        throttled = found.failures >= MAX_FAILURES
        async with self._database.transaction() as transaction:
            if account is not None and right and allowed and not throttled:
                if found.failures:
                    await self._store.forget_failures(transaction, name_hash)
                await self._audit(transaction, f"access.{kind}.login", actor=name, subject=name_hash.hex())
                return account
            if not throttled:
                await self._store.count_failure(transaction, name_hash, at=self._clock.now(), window_start=window_start)
            await self._audit(
                transaction,
                f"access.{kind}.login",
                actor="anonymous",
                subject=name_hash.hex(),
                outcome="throttled" if throttled else "failure",
            )
        raise Rejected("KER-ATH-023", "Invalid Credentials")

    async def _issue(self, account: Account, *, subject: str, client_id: str) -> IssuedToken:
        caller = Caller(subject, client_id, known_roles(account.roles))
        token, expires_at = await self._issuer.issue(caller, sandbox=account.sandbox)
        return IssuedToken(token, caller, expires_at, int(self._issuer.lifetime.total_seconds()))

    async def revoke(self, token: str) -> None:
        verified = await self._read(token)
        async with self._revoked_refresh:  # a list read before our commit must not replace the one that we extend
            async with self._database.transaction() as transaction:
                await self._store.revoke(transaction, verified.id, verified.expires_at)
                await self._audit(transaction, "access.token.revoked", actor=verified.caller.subject, subject=None)
            self._revoked |= {verified.id}

    async def register_client(self, client_id: str, secret: Secret[str], roles: Collection[Role]) -> None:
        await self._register(_Login(AccountKind.CLIENT, client_id, secret, tuple(sorted(roles))), sandbox=False)

    async def register_user(self, name: str, password: Secret[str], roles: Collection[Role]) -> None:
        await self._register(_Login(AccountKind.USER, name, password, tuple(sorted(roles))), sandbox=False)

    async def _register(self, login: _Login, *, sandbox: bool) -> None:
        name_hash = await self._name_hash(login.kind, login.name)
        secret_hash = await self._hasher.hash(login.secret)
        content = msgspec.json.encode(Account(secret_hash=secret_hash, roles=login.roles, sandbox=sandbox))
        async with self._database.transaction() as transaction:
            version = await self._store.next_version(transaction, name_hash)
            box = await self._sealer.seal(PURPOSE, _place(name_hash, version), content)
            await self._store.save(transaction, name_hash, version, box)
            await self._audit(transaction, f"access.{login.kind}.registered", actor="system", subject=name_hash.hex())

    async def seed_sandbox(self) -> None:
        if not self._sandbox:
            raise RuntimeError("the well-known log-ins exist in sandbox mode only")
        logins = _sandbox_logins()
        hashes = [await self._name_hash(login.kind, login.name) for login in logins]
        known = await self._store.known(hashes)
        new = [login for login, name_hash in zip(logins, hashes, strict=True) if name_hash not in known]
        async with asyncio.TaskGroup() as tasks:
            for login in new:
                tasks.create_task(self._register(login, sandbox=True))
        _log.info("sandbox_logins_ready", added=len(new))

    async def purge(self) -> int:
        """Delete expired revocations and past failures; a job of the worker."""
        now = self._clock.now()
        await self._store.purge(now=now, window_start=now - FAILURE_WINDOW)
        return 0

    async def _name_hash(self, kind: AccountKind, name: str) -> bytes:
        return await self._sealer.keyed_hash(HASH_DOMAIN, f"{kind}:{name}".encode())

    async def _audit(
        self, transaction: Transaction, action: str, *, actor: str, subject: str | None, outcome: str = "success"
    ) -> None:
        await self._outbox.publish(
            transaction,
            AuditRecorded(
                context="access",
                action=action,
                actor=actor,
                purpose="authentication of callers",
                outcome=outcome,
                subject=subject,
                at=iso_millis(self._clock.now()),
            ),
            key=subject or "access",
        )


def _place(name_hash: bytes, version: int) -> Place:
    return Place("access.account", name_hash.hex(), "box", version)


def _sandbox_logins() -> list[_Login]:
    seed = json.loads((files(__package__) / "seed" / "sandbox-logins.json").read_text("utf-8"))
    clients = [
        _Login(AccountKind.CLIENT, entry["id"], Secret(entry["secret"]), tuple(entry["roles"]))
        for entry in seed["clients"]
    ]
    users = [
        _Login(AccountKind.USER, entry["name"], Secret(entry["password"]), tuple(entry["roles"]))
        for entry in seed["users"]
    ]
    return clients + users
