"""What comes in from the issuer and from partner management (id-authentication sections 14 and 15.2).

Handlers prepare everything first (keys, boxes), then write in one short transaction with the inbox row. A person who
changed meanwhile makes the delivery fail; the dispatcher brings it again.
"""

import msgspec

from civium.authentication import locks
from civium.authentication.api import AuthTypeStatusUpdated, CredentialIssued, IdStatusChanged
from civium.authentication.person import Credential, People, Person
from civium.authentication.snapshot import REFERENCE_PURPOSE, Anchors, RevokedCertificate, Salt, certificates, instant
from civium.authentication.store import AuthenticationStore, ReferenceKind, ReferenceRow, reference_place
from civium.kernel import faults
from civium.keys.api import Keys, thumbprint
from civium.partners.api import CertificateAuthorityAdded, PartnerData, PartnersChanged
from civium.platform.database import Database
from civium.platform.outbox import Consumer, Delivery, decode, first_time
from civium.platform.sealing import Sealer

OUTBOX = "outbox_auth"
PEOPLE = "authentication.people"
PARTNERS = "authentication.partners"
REMOVE_ID = "REMOVE_ID"
API_KEY_HASH = "authentication/api-key"
LICENCE_HASH = "authentication/licence-key"


class Feed:
    """Takes events in."""

    def __init__(self, db: Database, store: AuthenticationStore, people: People, sealer: Sealer, keys: Keys) -> None:
        self._db = db
        self._store = store
        self._people = people
        self._sealer = sealer
        self._keys = keys

    def consumers(self) -> tuple[Consumer, ...]:
        """Return the subscriptions: one for people and one for relying parties, so that order holds within each."""
        return (
            Consumer(
                PEOPLE,
                frozenset({CredentialIssued.topic(), IdStatusChanged.topic(), AuthTypeStatusUpdated.topic()}),
                self._people_event,
            ),
            Consumer(
                PARTNERS,
                frozenset({PartnersChanged.topic(), CertificateAuthorityAdded.topic()}),
                self._partners_event,
            ),
        )

    async def _people_event(self, delivery: Delivery) -> None:
        if delivery.topic == CredentialIssued.topic():
            await self.credential_issued(delivery)
        elif delivery.topic == IdStatusChanged.topic():
            await self.id_status_changed(delivery)
        else:
            await self.locks_updated(delivery)

    async def _partners_event(self, delivery: Delivery) -> None:
        if delivery.topic == PartnersChanged.topic():
            await self.partners_changed(delivery)
        else:
            await self.anchors_changed(delivery)

    async def credential_issued(self, delivery: Delivery) -> None:
        """Store a person's credential (section 14.1). An older version than the stored one changes nothing."""
        event = decode(delivery.payload, CredentialIssued)
        await self._keys.zk_install(event.demo_encrypted_random_key, event.demo_random_key_index, hybrid=True)
        if event.bio_encrypted_random_key and event.bio_random_key_index:
            await self._keys.zk_install(event.bio_encrypted_random_key, event.bio_random_key_index, hybrid=True)
        id = await self._people.identity_of(event.id_hash)
        previous = await self._person(id)
        salt = await self._new_salt(event)
        stale = previous is not None and previous.head.credential > event.version
        boxes = None
        if not stale:
            boxes = await self._people.sealed(
                id,
                previous,
                Credential(event.version, event.demographics, event.biometrics),
                token=previous.token if previous else event.token,
                expires_at=instant(event.expiry_timestamp) if event.expiry_timestamp else None,
                uses_left=event.transaction_limit,
            )
        async with self._db.transaction() as tx:
            if not await first_time(tx, OUTBOX, PEOPLE, delivery.id):
                return
            if boxes is not None:
                await self._store.put_identity(tx, boxes)
            if salt is not None:
                await self._store.put_references(tx, [salt])
            faults.point("authentication.intake.before-commit")

    async def id_status_changed(self, delivery: Delivery) -> None:
        """Remove, deactivate or activate an identifier (section 14.2).

        One that is unknown was used up or removed before: there is nothing to do, and refusing the event would hold up
        everything that follows for the person. Uses that are gone do not come back by deactivation and activation.
        """
        event = decode(delivery.payload, IdStatusChanged)
        id = await self._people.identity_of(event.id_hash)
        boxes = None
        if event.action != REMOVE_ID:
            person = await self._person(id)
            if person is None:
                return
            boxes = await self._people.with_state(
                person,
                expires_at=instant(event.expiry_timestamp) if event.expiry_timestamp else None,
                uses_left=_fewer(person.head.uses_left, event.transaction_limit),
            )
        async with self._db.transaction() as tx:
            if not await first_time(tx, OUTBOX, PEOPLE, delivery.id):
                return
            if boxes is None:
                await self._store.remove_identity(tx, id)
            else:
                await self._store.put_identity(tx, boxes)

    async def locks_updated(self, delivery: Delivery) -> None:
        """Replace the state of the named auth types (section 14.3); of two entries for one the last counts."""
        event = decode(delivery.payload, AuthTypeStatusUpdated)
        token_hash = await self._people.token_hash(event.token)
        entries = {
            locks.code_of(entry.auth_type, entry.auth_sub_type): (
                entry.locked,
                instant(entry.unlock_expiry_timestamp) if entry.unlock_expiry_timestamp else None,
            )
            for entry in event.locks
        }
        async with self._db.transaction() as tx:
            if not await first_time(tx, OUTBOX, PEOPLE, delivery.id):
                return
            await self._store.put_locks(tx, token_hash, [(code, *state) for code, state in entries.items()])

    async def partners_changed(self, delivery: Delivery) -> None:
        """Store what partner management says of partners, policies, keys and licences (section 15.2)."""
        event = decode(delivery.payload, PartnersChanged)
        rows: list[ReferenceRow] = []
        if event.partner is not None:
            rows += await self._withdrawn(event.partner)
            rows.append(await self._row(ReferenceKind.PARTNER, event.partner.partner_id, event.partner))
        if event.policy is not None:
            rows.append(await self._row(ReferenceKind.POLICY, event.policy.policy_id, event.policy))
        if event.api_key is not None:
            key = await self._sealer.keyed_hash(API_KEY_HASH, event.api_key.api_key.encode())
            rows.append(await self._row(ReferenceKind.API_KEY, key.hex(), event.api_key))
        if event.misp is not None:
            key = await self._sealer.keyed_hash(LICENCE_HASH, event.misp.licence_key.encode())
            rows.append(await self._row(ReferenceKind.LICENCE, key.hex(), event.misp))
        await self._put(delivery, rows)

    async def anchors_changed(self, delivery: Delivery) -> None:
        """Replace the trust anchors of a domain."""
        event = decode(delivery.payload, CertificateAuthorityAdded)
        row = await self._row(ReferenceKind.ANCHORS, event.domain.upper(), Anchors(event.anchors))
        await self._put(delivery, [row])

    async def _put(self, delivery: Delivery, rows: list[ReferenceRow]) -> None:
        async with self._db.transaction() as tx:
            if await first_time(tx, OUTBOX, PARTNERS, delivery.id):
                await self._store.put_references(tx, rows)

    async def _row(self, kind: ReferenceKind, key: str, record: msgspec.Struct) -> ReferenceRow:
        clear = msgspec.json.encode(record)
        return ReferenceRow(kind, key, await self._sealer.seal(REFERENCE_PURPOSE, reference_place(kind, key), clear))

    async def _person(self, id: bytes) -> Person | None:
        row = await self._store.identity(id)
        return await self._people.open(row) if row else None

    async def _new_salt(self, event: CredentialIssued) -> ReferenceRow | None:
        """Return the event's salt to store, None when that modulo has one."""
        if await self._store.reference(ReferenceKind.SALT, event.modulo) is not None:
            return None
        return await self._row(ReferenceKind.SALT, event.modulo, Salt(event.salt))

    async def _withdrawn(self, partner: PartnerData) -> list[ReferenceRow]:
        """Return revocations of the stored certificates of a partner that has none any more."""
        if partner.certificate_pem is not None:
            return []
        box = await self._store.reference(ReferenceKind.PARTNER, partner.partner_id)
        if box is None:
            return []
        place = reference_place(ReferenceKind.PARTNER, partner.partner_id)
        before = decode(await self._sealer.unseal(REFERENCE_PURPOSE, place, box), PartnerData)
        pems = [pem for pem in (before.certificate_pem, before.original_pem) if pem]
        return [
            await self._row(
                ReferenceKind.REVOKED, thumbprint(certificate).hex(), RevokedCertificate(partner.partner_id)
            )
            for certificate in certificates(pems)
        ]


def _fewer(left: int | None, limit: int | None) -> int | None:
    """Return the smaller number of uses; None is without limit."""
    return min((uses for uses in (left, limit) if uses is not None), default=None)
