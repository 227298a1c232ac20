"""Locking and unlocking of authentication types by their owner (section 1.6)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from civium.audit.api import AuditRecorded
from civium.identity import store
from civium.identity.api import AuthTypeLock, AuthTypesLocked
from civium.identity.domain import Lock, LockRequest, lockable
from civium.identity.store import PersonRow
from civium.identity.vault import Vault
from civium.kernel.clock import Clock, iso_millis
from civium.platform.database import Database
from civium.platform.outbox import Outbox


@dataclass(frozen=True, slots=True)
class LockState:
    """What the owner sees of one auth type."""

    auth_type: str
    auth_sub_type: str | None
    locked: bool
    unlock_seconds: int | None
    request_id: str | None


class LockService:
    """Use cases of auth-type locks. Entries are only ever added; the newest of a type counts."""

    def __init__(self, database: Database, vault: Vault, outbox: Outbox, clock: Clock) -> None:
        self._database = database
        self._vault = vault
        self._outbox = outbox
        self._clock = clock

    async def change(self, person: PersonRow, requests: Sequence[LockRequest], *, actor: str) -> None:
        """Store and announce locks, all or none. Raises Rejected IDR-IDC-002 ``authTypes``.

        An unlock for some seconds is a lock that opens until then. Changes of one person are serialised, so that
        authentication hears of them in the order in which they count here.
        """
        now = self._clock.now()
        locks = []
        for request in requests:
            auth_type, auth_sub_type = lockable(request.auth_type, request.auth_sub_type)
            temporary = not request.locked and (request.unlock_seconds or 0) > 0
            expiry = now + timedelta(seconds=request.unlock_seconds or 0) if temporary else None
            locks.append(Lock(auth_type, auth_sub_type, request.locked or temporary, expiry, request.request_id))
        uin, _ = await self._vault.identifiers(person)
        event = AuthTypesLocked(
            person_ref=str(person.ref), uin=uin.reveal(), locks=tuple(_announced(lock) for lock in locks)
        )
        audit = AuditRecorded(
            context="identity",
            action="identity.auth-types.changed",
            actor=actor,
            purpose="lock",
            subject=str(person.ref),
            at=iso_millis(now),
        )
        async with self._database.transaction() as transaction:
            await store.lock_person(transaction, person.ref)
            await store.insert_locks(transaction, person.ref, locks, now)
            await self._outbox.publish(transaction, event, key=str(person.ref))
            await self._outbox.publish(transaction, audit, key=str(person.ref))

    async def states(self, person: PersonRow) -> Sequence[LockState]:
        """Return the state of each auth type that was ever changed."""
        now = self._clock.now()
        states = []
        for lock in await store.latest_locks(self._database, person.ref):
            remaining = lock.remaining_seconds(now)
            locked = lock.locked and remaining is None
            states.append(LockState(lock.auth_type, lock.auth_sub_type, locked, remaining, lock.request_id))
        return states


def _announced(lock: Lock) -> AuthTypeLock:
    return AuthTypeLock(
        auth_type=lock.auth_type,
        auth_sub_type=lock.auth_sub_type,
        locked=lock.locked,
        unlock_expires_at=None if lock.unlock_expires_at is None else iso_millis(lock.unlock_expires_at),
        request_id=lock.request_id,
    )
