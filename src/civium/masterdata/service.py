"""Master data: answers from a snapshot in memory that follows the database by its change version."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, Final

from civium.audit.api import AuditRecorded
from civium.kernel.clock import Clock, iso_millis, monotonic
from civium.kernel.errors import Rejected, RejectedMany
from civium.kernel.identifiers import RID, CentreId, Language, MachineId
from civium.masterdata import shipped
from civium.masterdata.api import Centre, IdentityMapping, IdSchema, Machine, Operator, rsa_public_key
from civium.masterdata.domain import IdentityRules, key_index
from civium.masterdata.store import Snapshot, Store
from civium.platform.database import Database, Transaction
from civium.platform.outbox import Outbox
from civium.platform.sealing import Sealer

SNAPSHOT_SECONDS: Final = 1.0
"""How long a snapshot answers before the change version is asked for again."""

MIN_RSA_BITS: Final = 2048


class MasterDataService:
    """Implements :class:`civium.masterdata.api.MasterData`.

    A read costs a dictionary look-up; once a second one round trip checks the change version. A key that is not in
    the snapshot is looked for again in a fresh one, so that what was just registered elsewhere is found.
    """

    def __init__(
        self, database: Database, sealer: Sealer, outbox: Outbox, clock: Clock, languages: Collection[str]
    ) -> None:
        self._database = database
        self._store = Store(database)
        self._sealer = sealer
        self._outbox = outbox
        self._clock = clock
        self._languages = frozenset(languages)
        self._snapshot: Snapshot | None = None
        self._checked = 0.0
        self._refresh = asyncio.Lock()

    async def id_schema(self, version: float | None = None) -> IdSchema:
        schemas = (await self._current()).schemas
        wanted = version or schemas[0].version
        for schema in schemas:
            if schema.version == wanted:
                return schema
        raise Rejected("KER-SCH-007", "Identity schema not found")

    async def identity_mapping(self) -> IdentityMapping:
        return (await self._current()).mapping

    async def validate_identity(self, identity: Mapping[str, Any], *, required: Collection[str]) -> None:
        rules = IdentityRules(
            schema=await self._schema_of(identity),
            mapping=await self.identity_mapping(),
            languages=self._languages,
            today=self._clock.now().date(),
        )
        problems = rules.problems(identity, required)
        if problems:
            raise RejectedMany(problems)

    async def _schema_of(self, identity: Mapping[str, Any]) -> IdSchema:
        version = identity.get("IDSchemaVersion")
        if version is None:
            raise RejectedMany([Rejected("KER-IOV-005", "Missing input parameter - identity/IDSchemaVersion")])
        if isinstance(version, int | float) and not isinstance(version, bool) and version > 0:
            try:
                return await self.id_schema(version)
            except Rejected:
                pass
        raise RejectedMany([Rejected("KER-IOV-004", "Invalid input parameter - identity/IDSchemaVersion")])

    async def machine(self, machine: MachineId) -> Machine:
        found = (await self._current()).machines.get(machine) or (await self._fresh()).machines.get(machine)
        if found is None:
            raise Rejected("KER-MSD-030", "Machine not Found")
        return found

    async def machine_by_key_index(self, key_index: str) -> Machine:
        for snapshot in (await self._current(), await self._fresh()):
            for machine in snapshot.machines.values():
                if key_index in {machine.key_index, machine.sign_key_index}:
                    return machine
        raise Rejected("KER-SNC-148", "Key index not found")

    async def centre(self, centre: CentreId) -> Centre:
        found = (await self._current()).centres.get(centre) or (await self._fresh()).centres.get(centre)
        if found is None:
            raise Rejected("KER-MSD-215", "Registration Center not found")
        return found

    async def operator(self, user_id: str) -> Operator:
        found = (await self._current()).operators.get(user_id) or (await self._fresh()).operators.get(user_id)
        if found is None:
            raise Rejected("KER-USR-007", "User not found")
        return found

    async def template(self, code: str, language: Language) -> str:
        found = (await self._current()).templates.get((code, language))
        if found is None:
            raise Rejected("KER-MSD-046", "Template not found.")
        return found

    async def register_machine(
        self,
        machine: MachineId,
        *,
        name: str,
        centre: CentreId,
        public_key: bytes,
        sign_public_key: bytes | None = None,
    ) -> Machine:
        await self.centre(centre)
        _check_key(public_key, Rejected("KER-MSD-257", "Invalid public key provided"))
        sign_public_key = public_key if sign_public_key is None else sign_public_key
        _check_key(sign_public_key, Rejected("KER-MSD-410", "Invalid sign public key provided"))
        registered = Machine(
            id=machine,
            name=name,
            centre=centre,
            public_key=public_key,
            sign_public_key=sign_public_key,
            key_index=key_index(public_key),
            sign_key_index=key_index(sign_public_key),
            active=True,
        )
        if (await self._fresh()).machines.get(machine) != registered:
            async with self._database.transaction() as transaction:
                await self._store.save_machine(transaction, registered)
                await self._audit(transaction, "masterdata.machine.registered", machine)
        return registered

    async def register_operator(self, user_id: str, *, centre: CentreId, role: str) -> Operator:
        await self.centre(centre)
        registered = Operator(user_id=user_id, centre=centre, role=role, active=True)
        if (await self._fresh()).operators.get(user_id) != registered:
            subject = await self._sealer.keyed_hash("masterdata/operator", user_id.encode())
            async with self._database.transaction() as transaction:
                await self._store.save_operator(transaction, registered)
                await self._audit(transaction, "masterdata.operator.registered", subject.hex())
        return registered

    async def next_rid(self, centre: CentreId, machine: MachineId) -> str:
        for part in (centre, machine):
            if not part.strip():
                raise Rejected("KER-RIG-002", "Empty input entered")
            if len(part) != 5 or not (part.isascii() and part.isdigit()):
                raise Rejected("KER-RIG-003", "input length is not valid")
        sequence = await self._store.next_sequence(machine)
        return RID.compose(centre, machine, sequence, self._clock.now()).reveal()

    async def _audit(self, transaction: Transaction, action: str, subject: str) -> None:
        await self._outbox.publish(
            transaction,
            AuditRecorded(
                context="masterdata",
                action=action,
                actor="system",
                purpose="reference data",
                subject=subject,
                at=iso_millis(self._clock.now()),
            ),
            key=subject,
        )

    async def _current(self) -> Snapshot:
        if self._snapshot is None or self._is_old():
            async with self._refresh:
                if self._snapshot is None or self._is_old():
                    return await self._fresh()
        return self._snapshot

    def _is_old(self) -> bool:
        return monotonic() - self._checked > SNAPSHOT_SECONDS

    async def _fresh(self) -> Snapshot:
        """Return a snapshot of the database's present version. Concurrent callers may each load; all are right."""
        checked = monotonic()
        version = await self._store.version()
        if version == 0:
            await self._store.seed(shipped.read())
        snapshot = self._snapshot
        if snapshot is None or snapshot.version != version:
            snapshot = await self._store.load()
        self._snapshot = snapshot
        self._checked = checked
        return snapshot


def _check_key(public_key: bytes, otherwise: Rejected) -> None:
    try:
        size = rsa_public_key(public_key).key_size
    except ValueError:
        raise otherwise from None
    if size < MIN_RSA_BITS:
        raise otherwise
