"""Accounts and secrets: what is stored of them, and how a secret is checked without giving away whether it exists."""

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import Final

import argon2
import msgspec

from civium.kernel.errors import Unavailable
from civium.kernel.secrets import Secret

MEMORY_KIB: Final = 19 * 1024
PASSES: Final = 2
LANES: Final = 1
"""Argon2id as recommended for log-ins: 19 MiB, 2 passes, 1 lane."""

THREADS: Final = 2
MAX_WAITING: Final = 64
"""Log-ins that may wait for a thread; one more is turned away, so that a flood costs no memory."""


class AccountKind(StrEnum):
    """Who an account belongs to."""

    CLIENT = "client"
    USER = "user"


class Account(msgspec.Struct, frozen=True):
    """What is sealed of an account. ``sandbox`` marks the well-known log-ins, which production refuses.

    ``name`` and ``kind`` are empty in accounts made before there was a list of users.
    """

    secret_hash: str | None
    roles: tuple[str, ...]
    sandbox: bool
    active: bool = True
    name: str = ""
    kind: str = ""
    public_key: str | None = None

    def __repr__(self) -> str:
        return "Account(...)"


class SecretHasher:
    """Argon2id in a few threads of its own, off the event loop. About 20 ms of one core for each secret."""

    def __init__(self) -> None:
        self._argon2 = argon2.PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="argon2")
        self._waiting = 0
        self._nobody = self._argon2.hash(secrets.token_bytes(32))

    async def hash(self, secret: Secret[str]) -> str:
        """Return the encoded hash of a new secret."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._argon2.hash, secret.reveal())

    async def check(self, secret_hash: str | None, secret: Secret[str]) -> bool:
        """Tell whether ``secret`` is the right one; without a hash it takes as long and is not.

        Raises Unavailable when too many checks wait.
        """
        if self._waiting >= MAX_WAITING:
            raise Unavailable("too many log-ins wait")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, self._matches, secret_hash or self._nobody, secret.reveal()
            )
        finally:
            self._waiting -= 1

    def _matches(self, secret_hash: str, secret: str) -> bool:
        try:
            return self._argon2.verify(secret_hash, secret)
        except argon2.exceptions.VerifyMismatchError:
            return False
