"""Accounts of users and service clients: sealed, found by the keyed hash of their name, proved in constant time."""

import asyncio
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

import msgspec

from civium.access.api import User
from civium.access.domain import Account, AccountKind, SecretHasher
from civium.access.revocations import Revocations
from civium.access.store import Store, StoredAccount
from civium.access.throttle import Throttle
from civium.access.tokens import known_roles
from civium.access.trail import Trail
from civium.kernel.clock import Clock
from civium.kernel.errors import Rejected
from civium.kernel.secrets import Secret
from civium.platform.database import Database
from civium.platform.rewrapping import BoxColumn
from civium.platform.sealing import Place, Sealer

PURPOSE: Final = "access/account"
HASH_DOMAIN: Final = "access/account"


@dataclass(frozen=True, slots=True)
class Login:
    """An account as it is registered."""

    kind: AccountKind
    name: str
    secret: Secret[str] | None
    roles: tuple[str, ...] = ()
    public_key: str | None = None


class InvalidCredentials(Rejected):
    """Unknown name, wrong secret, locked account or too many failures: nobody learns which."""

    def __init__(self) -> None:
        super().__init__("KER-ATH-023", "Invalid Credentials")


class Accounts:
    """The accounts of one installation."""

    def __init__(
        self,
        database: Database,
        store: Store,
        sealer: Sealer,
        clock: Clock,
        *,
        trail: Trail,
        revocations: Revocations,
        failures_per_address: int,
        sandbox: bool,
    ) -> None:
        self._database = database
        self._store = store
        self._sealer = sealer
        self._clock = clock
        self._trail = trail
        self._revocations = revocations
        self._sandbox = sandbox
        self._hasher = SecretHasher()
        self._throttle = Throttle(store, sealer, failures_per_address=failures_per_address)

    async def prove(self, kind: AccountKind, name: str, secret: Secret[str], address: str | None) -> Account:
        """Return the account that the secret proves; any failure looks and lasts the same.

        Raises InvalidCredentials, and Unavailable when too many log-ins wait.
        """
        name_hash = await self.name_hash(kind, name)
        address_hash = await self._throttle.address_hash(address)
        account = await self._open(name_hash)
        async with self._database.transaction() as transaction:
            admitted = await self._throttle.admits(transaction, name_hash, address_hash, at=self._clock.now())
        right = await self._hasher.check(account.secret_hash if account else None, secret)
        async with self._database.transaction() as transaction:
            if account is not None and right and admitted and self.may_log_in(account):
                await self._throttle.succeeded(transaction, name_hash, address_hash)
                await self._trail.note(transaction, f"{kind}.login", actor=name, subject=name_hash.hex())
                return account
            await self._trail.note(
                transaction,
                f"{kind}.login",
                actor="anonymous",
                subject=name_hash.hex(),
                outcome="failure" if admitted else "throttled",
            )
        raise InvalidCredentials

    def may_log_in(self, account: Account) -> bool:
        """Tell whether an account is good for anything here: sandbox log-ins are not in production."""
        return account.active and (self._sandbox or not account.sandbox)

    async def find(self, kind: AccountKind, name: str) -> Account | None:
        """Return the account of a name if it may log in."""
        account = await self._open(await self.name_hash(kind, name))
        return account if account is not None and self.may_log_in(account) else None

    async def users(self, names: Collection[str] | None) -> Sequence[User]:
        """Return users by name, all for None."""
        hashes = None if names is None else [await self.name_hash(AccountKind.USER, name) for name in names]
        accounts = [await self._unsealed(stored) for stored in await self._store.accounts(hashes)]
        found = [User(each.name, known_roles(each.roles)) for each in accounts if each.kind == AccountKind.USER]
        return sorted(found, key=lambda user: user.name)

    async def register(self, login: Login, *, sandbox: bool) -> None:
        """Add or replace an account. A user's sessions end."""
        name_hash = await self.name_hash(login.kind, login.name)
        content = msgspec.json.encode(
            Account(
                secret_hash=None if login.secret is None else await self._hasher.hash(login.secret),
                roles=login.roles,
                sandbox=sandbox,
                name=login.name,
                kind=login.kind,
                public_key=login.public_key,
            )
        )
        async with self._revocations.change() as revoke, self._database.transaction() as transaction:
            version = await self._store.next_version(transaction, name_hash)
            box = await self._sealer.seal(PURPOSE, _place(name_hash, version), content)
            await self._store.save(transaction, name_hash, version, box)
            for session in await self._store.end_sessions(transaction, name_hash):
                await revoke.session(transaction, session)
            await self._trail.note(transaction, f"{login.kind}.registered", actor="system", subject=name_hash.hex())

    async def seed_sandbox(self) -> int:
        """Add the well-known log-ins that are not there yet; returns how many."""
        logins = sandbox_logins()
        hashes = [await self.name_hash(login.kind, login.name) for login in logins]
        known = {stored.name_hash for stored in await self._store.accounts(hashes)}
        new = [login for login, name_hash in zip(logins, hashes, strict=True) if name_hash not in known]
        async with asyncio.TaskGroup() as tasks:
            for login in new:
                tasks.create_task(self.register(login, sandbox=True))
        return len(new)

    async def name_hash(self, kind: AccountKind, name: str) -> bytes:
        """Return what an account is found by."""
        return await self._sealer.keyed_hash(HASH_DOMAIN, f"{kind}:{name}".encode())

    async def _open(self, name_hash: bytes) -> Account | None:
        found = await self._store.accounts([name_hash])
        return await self._unsealed(found[0]) if found else None

    async def _unsealed(self, stored: StoredAccount) -> Account:
        box = await self._sealer.unseal(PURPOSE, _place(stored.name_hash, stored.version), stored.box)
        return msgspec.json.decode(box, type=Account)


def _place(name_hash: bytes, version: int) -> Place:
    return Place("access.account", name_hash.hex(), "box", version)


SEALED_COLUMN: Final = BoxColumn(
    "access.account", "name_hash", "box", PURPOSE, lambda row: _place(row["rewrap_key"], row["version"]), ("version",)
)


def sandbox_logins() -> list[Login]:
    """Return the sandbox's well-known log-ins."""
    seed = json.loads((files(__package__) / "seed" / "sandbox-logins.json").read_text("utf-8"))
    clients = [
        Login(AccountKind.CLIENT, entry["id"], Secret(entry["secret"]), tuple(entry["roles"]))
        for entry in seed["clients"]
    ]
    users = [
        Login(AccountKind.USER, entry["name"], Secret(entry["password"]), tuple(entry["roles"]))
        for entry in seed["users"]
    ]
    return clients + users
