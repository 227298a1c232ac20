"""Issuing auth credentials, and telling authentication what happens to identifiers.

Each handler gathers everything from other contexts first and then writes inbox, own row and events in one
transaction: a crash in between repeats the gathering, and a second delivery has no effect.
"""

import uuid

from civium.audit.api import AuditRecorded
from civium.authentication.api import AuthTypeStatusUpdated, CredentialIssued, IdStatusChanged, LockEntry
from civium.credentials import store
from civium.credentials.domain import auth_policy
from civium.credentials.store import CredentialRequest, RequestStatus
from civium.identity.api import (
    AuthTypesLocked,
    IdentifierIssued,
    IdentifierStatusChanged,
    Person,
    PersonStatus,
    Register,
)
from civium.kernel import faults
from civium.kernel.clock import Clock, iso_millis
from civium.keys.api import IDA_PARTNER_ID, Keys, hash_modulo, id_hash
from civium.masterdata.api import MasterData
from civium.platform.database import Database, Transaction
from civium.platform.outbox import Delivery, Event, Outbox, decode, first_time
from civium.platform.sealing import Sealer

CONSUMER = "credentials"
_INBOX = "outbox_core"
_PURPOSE = "credential.auth"


class CredentialService:
    """Consumes the register's events. One consumer for all of them keeps the order per person."""

    def __init__(
        self,
        database: Database,
        register: Register,
        keys: Keys,
        sealer: Sealer,
        outbox: Outbox,
        master_data: MasterData,
        clock: Clock,
    ) -> None:
        self._database = database
        self._register = register
        self._keys = keys
        self._sealer = sealer
        self._outbox = outbox
        self._master_data = master_data
        self._clock = clock
        self._policy = auth_policy()

    async def handle(self, delivery: Delivery) -> None:
        """Take one event of the register."""
        if delivery.topic == IdentifierIssued.topic():
            await self._issue(delivery, decode(delivery.payload, IdentifierIssued))
        elif delivery.topic == IdentifierStatusChanged.topic():
            await self._pass_on_status(delivery, decode(delivery.payload, IdentifierStatusChanged))
        elif delivery.topic == AuthTypesLocked.topic():
            await self._pass_on_locks(delivery, decode(delivery.payload, AuthTypesLocked))

    async def _issue(self, delivery: Delivery, event: IdentifierIssued) -> None:
        """Issue the credential of one identifier: two commits, about ten round trips to the key process."""
        request = await store.open_request(
            self._database,
            CredentialRequest(
                id=uuid.uuid4(),
                person_ref=uuid.UUID(event.person_ref),
                identifier_hash=await self._sealer.keyed_hash("credentials/identifier", event.identifier.encode()),
                version=event.version,
                kind=event.kind,
                status=RequestStatus.NEW,
            ),
            self._clock.now(),
        )
        if request.status is not RequestStatus.NEW:
            return
        faults.point("credentials.issue.requested")
        person = await self._register.person_by_ref(event.person_ref, purpose=_PURPOSE)
        if person.status is not PersonStatus.ACTIVATED:
            await self._finish(delivery, request, RequestStatus.CANCELLED)
            return
        await self._finish(delivery, request, RequestStatus.ISSUED, await self._credential(request, event, person))

    async def _credential(
        self, request: CredentialRequest, event: IdentifierIssued, person: Person
    ) -> CredentialIssued:
        mapping = await self._master_data.identity_mapping()
        demographics = await self._keys.zk_encrypt(
            event.identifier, self._policy.demographics(person.identity, mapping), hybrid=True
        )
        documents = self._policy.biometrics(person.biometrics)
        biometrics = await self._keys.zk_encrypt(event.identifier, documents, hybrid=True) if documents else None
        modulo = hash_modulo(event.identifier)
        salt = await self._keys.identifier_salt(modulo)
        return CredentialIssued(
            transaction_id=str(request.id),
            id_hash=id_hash(event.identifier, salt),
            modulo=str(modulo),
            salt=salt,
            token=await self._keys.token_id(person.uin.reveal(), IDA_PARTNER_ID),
            id_type=event.kind,
            expiry_timestamp=event.expires_at,
            transaction_limit=event.transaction_limit,
            demographics=dict(demographics.attributes),
            demo_encrypted_random_key=demographics.encrypted_random_key,
            demo_random_key_index=demographics.random_key_index,
            biometrics=dict(biometrics.attributes) if biometrics else {},
            bio_encrypted_random_key=biometrics.encrypted_random_key if biometrics else None,
            bio_random_key_index=biometrics.random_key_index if biometrics else None,
            version=event.version,
        )

    async def _finish(
        self,
        delivery: Delivery,
        request: CredentialRequest,
        status: RequestStatus,
        credential: CredentialIssued | None = None,
    ) -> None:
        now = self._clock.now()
        async with self._database.transaction() as transaction:
            if not await first_time(transaction, _INBOX, CONSUMER, delivery.id):
                return
            if not await store.finish_request(transaction, request.id, status, now):
                return
            if credential is not None:
                await self._outbox.publish(transaction, credential, key=str(request.person_ref))
            await self._audit(transaction, f"credential.{status.lower()}", str(request.person_ref))
            faults.point("credentials.issue.before-commit")

    async def _pass_on_status(self, delivery: Delivery, event: IdentifierStatusChanged) -> None:
        salt = await self._keys.identifier_salt(hash_modulo(event.identifier))
        changed = IdStatusChanged(
            action=event.action,
            id_hash=id_hash(event.identifier, salt),
            expiry_timestamp=event.expires_at,
            transaction_limit=event.transaction_limit,
        )
        await self._pass_on(delivery, changed, f"credential.{event.action.lower()}", event.person_ref)

    async def _pass_on_locks(self, delivery: Delivery, event: AuthTypesLocked) -> None:
        locks = tuple(
            LockEntry(
                auth_type=lock.auth_type,
                auth_sub_type=lock.auth_sub_type,
                locked=lock.locked,
                unlock_expiry_timestamp=lock.unlock_expires_at,
                request_id=lock.request_id,
            )
            for lock in event.locks
        )
        updated = AuthTypeStatusUpdated(token=await self._keys.token_id(event.uin, IDA_PARTNER_ID), locks=locks)
        await self._pass_on(delivery, updated, "credential.auth-types", event.person_ref)

    async def _pass_on(self, delivery: Delivery, event: Event, action: str, person_ref: str) -> None:
        async with self._database.transaction() as transaction:
            if await first_time(transaction, _INBOX, CONSUMER, delivery.id):
                await self._outbox.publish(transaction, event, key=person_ref)
                await self._audit(transaction, action, person_ref)

    async def _audit(self, transaction: Transaction, action: str, person_ref: str) -> None:
        event = AuditRecorded(
            context="credentials",
            action=action,
            actor="system",
            purpose=_PURPOSE,
            subject=person_ref,
            at=iso_millis(self._clock.now()),
        )
        await self._outbox.publish(transaction, event, key=person_ref)
