"""Use cases of the register: adding, changing and reading people."""

import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import asyncpg

from civium.audit.api import AuditRecorded
from civium.biometrics.api import InvalidBiometrics, compose_cbeff, parse_cbeff
from civium.biometrics.api import merge as merge_biometrics
from civium.identity import store
from civium.identity.api import (
    Attributes,
    IdentifierIssued,
    IdentifierStatusChanged,
    IssuedVid,
    NewPerson,
    Person,
    PersonStatus,
    VidType,
)
from civium.identity.domain import (
    Addition,
    Change,
    already_there,
    charge,
    invalid,
    merge,
    missing,
    not_found,
    united,
)
from civium.identity.mint import Mint
from civium.identity.records import Records
from civium.identity.store import PersonRow
from civium.identity.vault import Contents, PersonKeys, Record, StoredFile, Vault
from civium.identity.vid.service import VidService
from civium.kernel import faults
from civium.kernel.clock import Clock, iso_millis
from civium.kernel.encoding import canonical_json
from civium.kernel.errors import Rejected, RejectedMany
from civium.kernel.identifiers import RID, UIN
from civium.masterdata.api import NEW_PACKET, NEW_REGISTRATION, UPDATE_UIN, AttributeKind, MasterData
from civium.platform.database import Database, Transaction
from civium.platform.outbox import Outbox

_ATTEMPTS = 5
"""Tries of an update that meets another one on the same person."""

_ACTIONS = {
    PersonStatus.ACTIVATED: "ACTIVATE_ID",
    PersonStatus.BLOCKED: "REMOVE_ID",
    PersonStatus.DEACTIVATED: "DEACTIVATE_ID",
}


class RegisterService:
    """The register (implements :class:`civium.identity.api.Register`, and what the wire asks beyond it)."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        records: Records,
        mint: Mint,
        vids: VidService,
        outbox: Outbox,
        master_data: MasterData,
        clock: Clock,
    ) -> None:
        self._database = database
        self._vault = vault
        self._records = records
        self._mint = mint
        self._vids = vids
        self._outbox = outbox
        self._master_data = master_data
        self._clock = clock

    async def create(self, person: NewPerson, *, actor: str) -> UIN:
        """Mint a UIN and store the person: two commits. Idempotent by RID (see the Protocol)."""
        rid_hash = await self._vault.rid_hash(person.rid)
        known = await self._uin_of_registration(rid_hash)
        if known is not None:
            return known
        identity = {name: value for name, value in person.identity.items() if name != "UIN"}
        await self._validate(identity, NEW_PACKET)
        _check_files(identity, {**person.documents, **person.biometrics}, person.biometrics)
        uin, ref = await self._mint.reserve(rid_hash)
        faults.point("identity.mint.reserved")
        record = _new_record(ref, uin, person.rid, identity)
        try:
            await self._store_new(record, person.documents, person.biometrics, actor)
        except asyncpg.UniqueViolationError:
            stored = await self._uin_of_registration(rid_hash)
            if stored is None:
                raise already_there() from None
            return stored
        faults.point("identity.create.committed")
        return uin

    async def add(self, addition: Addition, *, actor: str) -> PersonStatus:
        """Store a person under an issued UIN (section 1.3). Raises Rejected IDR-IDC-012 and the validation codes."""
        await self._validate(addition.identity, NEW_REGISTRATION)
        documents, biometrics = await self._sorted_files(addition.identity, addition.documents)
        rid_hash = await self._vault.rid_hash(addition.rid)
        if await self._records.of_registration(rid_hash) is not None:
            raise already_there()
        ref = await self._mint.claim(addition.uin, rid_hash)
        record = _new_record(ref, addition.uin, addition.rid, addition.identity, addition.verified)
        try:
            await self._store_new(record, documents, biometrics, actor)
        except asyncpg.UniqueViolationError:
            raise already_there() from None
        return record.status

    async def _uin_of_registration(self, rid_hash: bytes) -> UIN | None:
        row = await self._records.of_registration(rid_hash)
        if row is None:
            return None
        uin, _ = await self._vault.identifiers(row)
        return uin

    async def _store_new(
        self, record: Record, documents: Mapping[str, bytes], biometrics: Mapping[str, bytes], actor: str
    ) -> None:
        keys = await self._vault.new_keys(record.ref)
        files = await self._write_files(keys, record.ref, documents, biometrics)
        faults.point("identity.create.objects-written")
        row, head = await self._vault.seal(replace(record, files=files), keys)
        mac = await self._vault.registration_mac(row.rid_hash, row.ref)
        try:
            async with self._database.transaction() as transaction:
                await store.insert_person(transaction, row, head, mac, self._clock.now())
                await self._publish_issued(transaction, row, record.uin)
                await self._audit(transaction, "identity.person.created", row.ref, actor, "enrolment")
                faults.point("identity.create.before-commit")
        except asyncpg.UniqueViolationError:
            await self._vault.discard_files(files)
            raise

    async def update(self, change: Change, *, actor: str) -> PersonStatus:
        """Merge a change into a record (section 1.5) and return its status: one commit.

        Raises Rejected IDR-IDC-007 (unknown UIN), IDR-IDC-012 (registration used before), IDR-IDC-013 (update counts).
        """
        identity = change.identity
        if identity is not None:
            await self._validate(identity, UPDATE_UIN)
        for _ in range(_ATTEMPTS):
            row = await self._records.by_uin(change.uin)
            if await self._records.of_registration(await self._vault.rid_hash(change.rid)) is not None:
                raise already_there()
            if await self._replace(row, change, actor):
                return change.status or row.status
        raise Rejected("IDR-IDC-006", "Error occured while performing DB operations")

    async def _replace(self, row: PersonRow, change: Change, actor: str) -> bool:
        record = await self._vault.open(row)
        contents = await self._changed_contents(record.contents, change)
        documents, biometrics = await self._sorted_files(contents.identity, change.documents)
        stored = [file for file in record.files if file.category in biometrics]
        for category, blob in (await self._vault.read_files(row, stored)).items():
            biometrics[category] = self._merged_cbeff(blob, biometrics[category])
        keys = await self._vault.keys_of(row)
        written = await self._write_files(keys, row.ref, documents, biometrics)
        kept = tuple(file for file in record.files if file.category not in change.documents)
        changed = replace(
            record,
            version=record.version + 1,
            rid=change.rid,
            status=change.status or record.status,
            contents=contents,
            files=kept + written,
        )
        new_row, head = await self._vault.seal(changed, keys)
        mac = await self._vault.registration_mac(new_row.rid_hash, new_row.ref)
        try:
            async with self._database.transaction() as transaction:
                done = await store.replace_person(transaction, new_row, head, mac, self._clock.now())
                if done:
                    await self._announce(transaction, new_row, record, actor)
        except asyncpg.UniqueViolationError:
            await self._vault.discard_files(written)
            raise already_there() from None
        if not done:
            await self._vault.discard_files(written)
        return done

    def _merged_cbeff(self, stored: bytes, incoming: bytes) -> bytes:
        """Return both documents as one: a record that came replaces the stored one of its type and subtype."""
        records = merge_biometrics(parse_cbeff(stored), parse_cbeff(incoming))
        return compose_cbeff(records, self._clock.now())

    async def _changed_contents(self, stored: Contents, change: Change) -> Contents:
        if change.identity is None:
            return Contents(stored.identity, united(stored.verified, change.verified), stored.update_counts)
        merged = merge(stored.identity, change.identity)
        limits = (await self._master_data.identity_mapping()).update_count_limits
        counts = charge(stored.update_counts, limits, stored.identity, merged)
        return Contents(merged, united(stored.verified, change.verified), counts)

    async def _announce(self, transaction: Transaction, row: PersonRow, before: Record, actor: str) -> None:
        if row.status is not before.status:
            await self._publish_status(transaction, row, before.uin)
        if row.status is PersonStatus.ACTIVATED:
            await self._publish_issued(transaction, row, before.uin)
        await self._vids.follow_person(transaction, row, before.status, row.version)
        await self._audit(transaction, "identity.person.updated", row.ref, actor, "update")

    async def person_by_ref(self, ref: str, *, purpose: str) -> Person:
        """Open a record by its opaque id (see the Protocol)."""
        try:
            row = await self._records.by_ref(uuid.UUID(ref))
        except ValueError:
            raise not_found() from None
        return await self._person(row, purpose)

    async def person_by_rid(self, rid: RID, *, purpose: str) -> Person:
        """Open a record by a registration id, current or older (see the Protocol)."""
        return await self._person(await self._records.by_rid(rid), purpose)

    async def has_registration(self, rid: RID) -> bool:
        """Tell whether a registration became a person (see the Protocol)."""
        return await self._records.of_registration(await self._vault.rid_hash(rid)) is not None

    async def create_vid(self, uin: UIN, kind: VidType, *, actor: str) -> IssuedVid:
        """Issue a virtual ID (see the Protocol)."""
        return await self._vids.create(uin, kind, actor=actor)

    async def read(
        self, row: PersonRow, wanted: Callable[[StoredFile], bool], *, purpose: str, actor: str
    ) -> tuple[Record, dict[str, bytes]]:
        """Open a verified row with the wanted files, by category; audited.

        Costs one read, one audit commit and two to three round trips to the key process.
        """
        record = await self._vault.open(row)
        files = await self._vault.read_files(row, [file for file in record.files if wanted(file)])
        async with self._database.transaction() as transaction:
            await self._audit(transaction, "identity.person.read", row.ref, actor, purpose)
        return record, files

    async def _person(self, row: PersonRow, purpose: str) -> Person:
        record, files = await self.read(row, lambda _: True, purpose=purpose, actor="system")
        biometric = {file.category for file in record.files if file.biometric}
        return Person(
            ref=str(record.ref),
            uin=record.uin,
            rid=record.rid,
            status=record.status,
            identity=record.contents.identity,
            documents={category: blob for category, blob in files.items() if category not in biometric},
            biometrics={category: blob for category, blob in files.items() if category in biometric},
            version=record.version,
        )

    async def rid_of(self, row: PersonRow, *, actor: str) -> RID:
        """Return the current registration id of a verified row; audited."""
        _, rid = await self._vault.identifiers(row)
        async with self._database.transaction() as transaction:
            await self._audit(transaction, "identity.rid.read", row.ref, actor, "rid")
        return rid

    async def _validate(self, identity: Attributes, required: Collection[str]) -> None:
        """Check an identity by its schema; raises RejectedMany, or Rejected for text that is no Unicode."""
        try:
            canonical_json(identity)
        except UnicodeEncodeError:
            raise invalid("identity") from None
        try:
            await self._master_data.validate_identity(identity, required=required)
        except RejectedMany as problem:
            raise RejectedMany([_as_register_code(each) for each in problem.rejections]) from None
        except Rejected as problem:
            raise _as_register_code(problem) from None

    async def _sorted_files(
        self, identity: Attributes, files: Mapping[str, bytes]
    ) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """Return documents and biometrics; raises RejectedMany IDR-IDC-002 naming the wrong entry."""
        schema = await self._master_data.id_schema()
        biometric = schema.of_kind(AttributeKind.BIOMETRICS)
        _check_files(identity, files, biometric)
        documents = {category: blob for category, blob in files.items() if category not in biometric}
        return documents, {category: blob for category, blob in files.items() if category in biometric}

    async def _write_files(
        self, keys: PersonKeys, ref: uuid.UUID, documents: Mapping[str, bytes], biometrics: Mapping[str, bytes]
    ) -> tuple[StoredFile, ...]:
        written = await self._vault.write_files(keys, ref, biometrics, biometric=True)
        return written + await self._vault.write_files(keys, ref, documents, biometric=False)

    async def _publish_issued(self, transaction: Transaction, row: PersonRow, uin: UIN) -> None:
        event = IdentifierIssued(person_ref=str(row.ref), kind="UIN", identifier=uin.reveal(), version=row.version)
        await self._outbox.publish(transaction, event, key=str(row.ref))

    async def _publish_status(self, transaction: Transaction, row: PersonRow, uin: UIN) -> None:
        ended = row.status is PersonStatus.DEACTIVATED
        event = IdentifierStatusChanged(
            person_ref=str(row.ref),
            kind="UIN",
            identifier=uin.reveal(),
            action=_ACTIONS[row.status],
            expires_at=iso_millis(self._clock.now()) if ended else None,
        )
        await self._outbox.publish(transaction, event, key=str(row.ref))

    async def _audit(self, transaction: Transaction, action: str, ref: uuid.UUID, actor: str, purpose: str) -> None:
        event = AuditRecorded(
            context="identity",
            action=action,
            actor=actor,
            purpose=purpose,
            subject=str(ref),
            at=iso_millis(self._clock.now()),
        )
        await self._outbox.publish(transaction, event, key=str(ref))


def _new_record(ref: uuid.UUID, uin: UIN, rid: RID, identity: Attributes, verified: tuple[str, ...] = ()) -> Record:
    contents: dict[str, Any] = {**identity, "UIN": uin.reveal()}
    return Record(ref, uin, rid, PersonStatus.ACTIVATED, 1, Contents(contents, verified), ())


def _check_files(identity: Attributes, files: Mapping[str, bytes], biometric: Collection[str]) -> None:
    """Check files against the identity that describes them (section 1.2, number 8, and 1.3); raises RejectedMany."""
    problems = []
    for index, (category, blob) in enumerate(files.items()):
        if not isinstance(identity.get(category), dict):
            problems.append(invalid(f"documents/{index}/category"))
        elif not blob or (category in biometric and not _is_cbeff(blob)):
            problems.append(invalid(f"documents/{index}/value"))
    if problems:
        raise RejectedMany(problems)


def _is_cbeff(blob: bytes) -> bool:
    try:
        parse_cbeff(blob)
    except InvalidBiometrics:
        return False
    return True


def _as_register_code(problem: Rejected) -> Rejected:
    _, _, path = problem.message.partition(" - ")
    match problem.code:
        case "KER-IOV-004":
            return invalid(path)
        case "KER-IOV-005":
            return missing(path)
        case _:
            return Rejected("IDR-IDS-005", "Failed to process Id Object using kernel Id Object validator")
