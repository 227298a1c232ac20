"""Issuing, changing and resolving virtual IDs.

A VID's row is bound to its person, type, status and times by the associated data of its box: a row that was pointed
at another person, or brought back to life by hand, does not open; one put back to an older state does not match the
MAC that another table keeps of its last one. Changes of one person's VIDs are serialised by the
lock on the person's row, so that the number of instances holds under concurrency.
"""

import hmac
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from civium.audit.api import AuditRecorded
from civium.identity import store as persons
from civium.identity.api import (
    IdentifierIssued,
    IdentifierStatusChanged,
    IssuedVid,
    PersonStatus,
    VidType,
)
from civium.identity.domain import TamperedRecord, not_found
from civium.identity.records import Records
from civium.identity.store import PersonRow
from civium.identity.vault import Vault
from civium.identity.vid import store
from civium.identity.vid.domain import (
    REGENERABLE,
    VidRow,
    VidStatus,
    against_policy,
    load_policies,
    wire_expiry,
    wrong_status,
)
from civium.kernel.clock import Clock, iso_millis
from civium.kernel.encoding import sha256
from civium.kernel.errors import IntegrityError, Rejected
from civium.kernel.identifiers import UIN, VID, random_vid
from civium.keys.api import Keys, hash_modulo, id_hash
from civium.platform.database import Database, Transaction
from civium.platform.outbox import Outbox
from civium.platform.rewrapping import Batch, Rewrap
from civium.platform.sealing import Place, Sealer

PURPOSE = "identity/vids"
_DRAWS = 8
"""Draws of a number before giving up: 10^15 numbers make even a second one improbable."""


@dataclass(frozen=True, slots=True)
class ListedVid:
    """A usable VID as its owner sees it, with the hash forms that a foreign reader needs."""

    vid: VID
    kind: VidType
    expires_at: str
    generated_at: str
    transaction_limit: int | None
    id_hash: str
    salt: str
    modulo: str


@dataclass(frozen=True, slots=True)
class Replaced:
    """Outcome of a status change: the new status, and the VID that replaces the old one, if any."""

    status: VidStatus
    restored: IssuedVid | None = None


class VidService:
    """Use cases of virtual IDs; each owns its transaction."""

    def __init__(
        self,
        database: Database,
        records: Records,
        vault: Vault,
        sealer: Sealer,
        keys: Keys,
        outbox: Outbox,
        clock: Clock,
    ) -> None:
        self._database = database
        self._records = records
        self._vault = vault
        self._sealer = sealer
        self._keys = keys
        self._outbox = outbox
        self._clock = clock
        self._policies = load_policies()

    async def create(self, uin: UIN, kind: VidType, *, actor: str) -> IssuedVid:
        """Issue a VID. Raises Rejected IDR-IDC-007, IDR-VID-004 (status of the UIN), -003 (instances), -002."""
        person = await self._active_person(uin)
        async with self._database.transaction() as transaction:
            version = await self._lock(transaction, person.ref)
            issued = await self._issue(transaction, person.ref, kind, version)
            await self._audit(transaction, "identity.vid.created", person.ref, actor)
        return issued

    async def resolve(self, vid: VID) -> PersonRow:
        """Return the person behind a usable VID; raises Rejected IDR-IDC-007, IDR-VID-001, IDR-VID-004."""
        row = await self._usable(await self._find(self._database, vid))
        person = await self._records.by_ref(row.ref)
        _require_active(person.status)
        return person

    async def uin_of(self, vid: VID, *, actor: str) -> UIN:
        """Return the UIN behind a usable VID; audited. Raises as :meth:`resolve`."""
        person = await self.resolve(vid)
        uin, _ = await self._vault.identifiers(person)
        async with self._database.transaction() as transaction:
            await self._audit(transaction, "identity.uin.read", person.ref, actor)
        return uin

    async def of_uin(self, uin: UIN, *, actor: str) -> Sequence[ListedVid]:
        """Return the usable VIDs of a UIN, none for an unknown UIN (section 2.1); audited."""
        try:
            person = await self._records.by_uin(uin)
        except Rejected as problem:
            if problem.code == "IDR-IDC-007":
                return ()
            raise
        now = self._clock.now()
        rows = await store.of_person(self._database, person.ref, VidStatus.ACTIVE)
        listed = [await self._listed(row) for row in rows if row.effective_status(now) is VidStatus.ACTIVE]
        async with self._database.transaction() as transaction:
            await self._audit(transaction, "identity.vid.listed", person.ref, actor)
        return listed

    async def _listed(self, row: VidRow) -> ListedVid:
        vid = await self._open(row)
        modulo = hash_modulo(vid.reveal())
        salt = await self._keys.identifier_salt(modulo)
        return ListedVid(
            vid=vid,
            kind=row.kind,
            expires_at=wire_expiry(row.expires_at),
            generated_at=iso_millis(row.generated_at),
            transaction_limit=self._policies[row.kind].transactions_allowed,
            id_hash=id_hash(vid.reveal(), salt),
            salt=salt,
            modulo=str(modulo),
        )

    async def change(self, vid: VID, status: VidStatus, *, actor: str) -> Replaced:
        """Give a usable VID another status; raises Rejected IDR-IDC-007, IDR-VID-001."""
        found = await self._find(self._database, vid)
        async with self._database.transaction() as transaction:
            person_status, version = await persons.lock_person(transaction, found.ref)
            row = await self._usable(await self._find(transaction, vid))
            policy = self._policies[row.kind]
            if status is VidStatus.USED and policy.transactions_allowed is None:
                return Replaced(row.status)
            await self._set_status(transaction, row, vid, status)
            await self._audit(transaction, "identity.vid.changed", row.ref, actor)
            if policy.restores(status):
                _require_active(person_status)
                return Replaced(status, await self._issue(transaction, row.ref, row.kind, version))
            return Replaced(status)

    async def regenerate(self, vid: VID, *, actor: str) -> IssuedVid:
        """Replace a VID by a new one of its type; raises Rejected IDR-IDC-007, IDR-VID-001, -003, -004."""
        found = await self._find(self._database, vid)
        async with self._database.transaction() as transaction:
            version = await self._lock(transaction, found.ref)
            row = await self._find(transaction, vid)
            status = row.effective_status(self._clock.now())
            if status not in REGENERABLE:
                raise wrong_status(status)
            if self._policies[row.kind].auto_restore_allowed:
                raise against_policy()
            await self._set_status(transaction, row, vid, VidStatus.INVALIDATED)
            issued = await self._issue(transaction, row.ref, row.kind, version)
            await self._audit(transaction, "identity.vid.regenerated", row.ref, actor)
        return issued

    async def deactivate_all(self, uin: UIN, *, actor: str) -> None:
        """Deactivate every active VID of a UIN; raises Rejected IDR-IDC-007 when there is none."""
        await self._switch_all(uin, VidStatus.ACTIVE, VidStatus.DEACTIVATED, actor)

    async def reactivate_all(self, uin: UIN, *, actor: str) -> None:
        """Make every deactivated VID of a UIN active again; raises Rejected IDR-IDC-007 when there is none."""
        await self._switch_all(uin, VidStatus.DEACTIVATED, VidStatus.ACTIVE, actor)

    async def _switch_all(self, uin: UIN, old: VidStatus, new: VidStatus, actor: str) -> None:
        person = await self._active_person(uin)
        async with self._database.transaction() as transaction:
            await self._lock(transaction, person.ref)
            now = self._clock.now()
            rows = [
                row
                for row in await store.of_person(transaction, person.ref, old)
                if replace(row, status=VidStatus.ACTIVE).effective_status(now) is VidStatus.ACTIVE
            ]
            if not rows:
                raise not_found()
            for row in rows:
                await self._set_status(transaction, row, await self._open(row), new)
            await self._audit(transaction, f"identity.vid.{new.lower()}", person.ref, actor)

    async def reserve_number(self, expires_at: datetime | None) -> VID:
        """Issue a number that is bound to no person (section 6.8); it is never issued again."""
        vid, _ = await self._take_number(self._database, expires_at)
        return vid

    async def follow_person(
        self, transaction: Transaction, person: PersonRow, before: PersonStatus, version: int
    ) -> None:
        """Tell readers what a change of the person means for the VIDs, within the change's transaction.

        A blocked person's VIDs end. VIDs with a limited number of uses are not issued again, since that would reset
        the uses that are left.
        """
        now = self._clock.now()
        for row in await store.of_person(transaction, person.ref, VidStatus.ACTIVE):
            if row.effective_status(now) is not VidStatus.ACTIVE:
                continue
            vid = await self._open(row)
            match person.status:
                case PersonStatus.BLOCKED:
                    await self._set_status(transaction, row, vid, VidStatus.REVOKED)
                case PersonStatus.DEACTIVATED if before is PersonStatus.ACTIVATED:
                    await self._publish_status(transaction, row, vid, VidStatus.DEACTIVATED)
                case PersonStatus.ACTIVATED:
                    if before is not PersonStatus.ACTIVATED:
                        await self._publish_status(transaction, row, vid, VidStatus.ACTIVE)
                    if self._policies[row.kind].transactions_allowed is None:
                        await self._publish_issued(transaction, row, vid, version)

    async def _active_person(self, uin: UIN) -> PersonRow:
        person = await self._records.by_uin(uin)
        _require_active(person.status)
        return person

    async def _lock(self, transaction: Transaction, ref: uuid.UUID) -> int:
        status, version = await persons.lock_person(transaction, ref)
        _require_active(status)
        return version

    async def _issue(self, transaction: Transaction, ref: uuid.UUID, kind: VidType, version: int) -> IssuedVid:
        """Issue within a transaction that holds the person's lock."""
        policy = self._policies[kind]
        now = self._clock.now()
        active = [
            row
            for row in await store.of_person(transaction, ref, VidStatus.ACTIVE)
            if row.kind is kind and row.effective_status(now) is VidStatus.ACTIVE
        ]
        if len(active) >= policy.instances_allowed:
            if not policy.auto_restore_allowed:
                raise against_policy()
            oldest = active[0]
            await self._set_status(transaction, oldest, await self._open(oldest), VidStatus(policy.restore_on_action))
        expires_at = policy.expiry(now)
        vid, vid_hash = await self._take_number(transaction, expires_at)
        row = await self._sealed(VidRow(vid_hash, ref, kind, VidStatus.ACTIVE, b"", None, now, expires_at), vid)
        await store.insert(transaction, row)
        await self._publish_issued(transaction, row, vid, version)
        return IssuedVid(vid, row.status, wire_expiry(expires_at), policy.transactions_allowed)

    async def _take_number(self, source: Database | Transaction, expires_at: datetime | None) -> tuple[VID, bytes]:
        for _ in range(_DRAWS):
            vid = random_vid()
            vid_hash = await self._vault.vid_hash(vid)
            if await store.take_number(source, vid_hash, expires_at):
                return vid, vid_hash
        raise Rejected("IDR-VID-002", "Failed to generate VID")

    async def _find(self, source: Database | Transaction, vid: VID) -> VidRow:
        row = await store.by_hash(source, await self._vault.vid_hash(vid))
        if row is None:
            raise not_found()
        return row

    async def _usable(self, row: VidRow) -> VidRow:
        await self._open(row)
        status = row.effective_status(self._clock.now())
        if status is not VidStatus.ACTIVE:
            raise wrong_status(status)
        return row

    def rewrap(self) -> Rewrap:
        """Return the step that seals VIDs anew."""
        return Rewrap("identity.vid", partial(store.count, self._database), self._renew)

    async def _renew(self, size: int) -> AsyncIterator[Batch]:
        after: bytes | None = None
        while page := await store.after(self._database, after, size):
            after = page[-1].vid_hash
            renewed = 0
            for row in page:
                await self._open(row)
                box = await self._sealer.renew(PURPOSE, _place(row), row.box)
                if box is not None:
                    anew = replace(row, box=box, mac=await self._mac(row.vid_hash, box))
                    async with self._database.transaction() as transaction:
                        renewed += await store.replace_box(transaction, row, anew)
            yield Batch(len(page), renewed)

    async def _sealed(self, row: VidRow, vid: VID) -> VidRow:
        box = await self._sealer.seal(PURPOSE, _place(row), vid.reveal().encode())
        return replace(row, box=box, mac=await self._mac(row.vid_hash, box))

    async def _mac(self, vid_hash: bytes, box: bytes) -> bytes:
        return await self._sealer.keyed_hash("identity/vid-head", vid_hash + sha256(box))

    async def _open(self, row: VidRow) -> VID:
        if row.mac is None or not hmac.compare_digest(row.mac, await self._mac(row.vid_hash, row.box)):
            raise TamperedRecord
        try:
            return VID((await self._sealer.unseal(PURPOSE, _place(row), row.box)).decode())
        except IntegrityError as problem:
            raise TamperedRecord from problem

    async def _set_status(self, transaction: Transaction, row: VidRow, vid: VID, status: VidStatus) -> None:
        await store.set_status(transaction, await self._sealed(replace(row, status=status), vid))
        await self._publish_status(transaction, row, vid, status)

    async def _publish_status(self, transaction: Transaction, row: VidRow, vid: VID, status: VidStatus) -> None:
        expires_at, limit = None, None
        match status:
            case VidStatus.REVOKED:
                action = "REMOVE_ID"
            case VidStatus.ACTIVE:
                action = "ACTIVATE_ID"
                expires_at, limit = row.expires_at, self._policies[row.kind].transactions_allowed
            case _:
                action = "DEACTIVATE_ID"
                expires_at = self._clock.now()
        event = IdentifierStatusChanged(
            person_ref=str(row.ref),
            kind="VID",
            identifier=vid.reveal(),
            action=action,
            expires_at=None if expires_at is None else iso_millis(expires_at),
            transaction_limit=limit,
        )
        await self._outbox.publish(transaction, event, key=str(row.ref))

    async def _publish_issued(self, transaction: Transaction, row: VidRow, vid: VID, version: int) -> None:
        event = IdentifierIssued(
            person_ref=str(row.ref),
            kind="VID",
            identifier=vid.reveal(),
            expires_at=None if row.expires_at is None else iso_millis(row.expires_at),
            transaction_limit=self._policies[row.kind].transactions_allowed,
            version=version,
        )
        await self._outbox.publish(transaction, event, key=str(row.ref))

    async def _audit(self, transaction: Transaction, action: str, ref: uuid.UUID, actor: str) -> None:
        await self._outbox.publish(
            transaction,
            AuditRecorded(
                context="identity",
                action=action,
                actor=actor,
                purpose="vid",
                subject=str(ref),
                at=iso_millis(self._clock.now()),
            ),
            key=str(ref),
        )


def _require_active(status: PersonStatus) -> None:
    if status is not PersonStatus.ACTIVATED:
        raise Rejected("IDR-VID-004", f"{status} UIN")


def _place(row: VidRow) -> Place:
    expiry = "-" if row.expires_at is None else iso_millis(row.expires_at)
    bound = f"{row.ref}/{row.kind}/{row.status}/{iso_millis(row.generated_at)}/{expiry}"
    return Place("identity.vid", row.vid_hash.hex(), bound)
