"""Works a received packet through to its UIN: examine, compare, have the register mint, finish.

Two commits of its own: the packet's place in the order of comparison (after the examination), and the end. Between
them the register commits the person. A worker that dies anywhere loses its lease; the next one starts the
packet anew, and every step gives the same result again: places are kept, the register knows the RID.
"""

import hmac
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import msgspec
import structlog

from civium.audit.api import AuditRecorded
from civium.biometrics.api import MATCH_THRESHOLD, FingerMatcher, InvalidBiometrics
from civium.identity.api import NewPerson, Register
from civium.kernel import faults
from civium.kernel.clock import Clock, iso_millis
from civium.kernel.encoding import sha256
from civium.kernel.errors import IntegrityError, Rejected, RejectedMany
from civium.kernel.identifiers import RID, CentreId, MachineId
from civium.keys.api import Keys, client_crypto, packet_key
from civium.masterdata.api import NEW_PACKET, Centre, IdentityMapping, Machine, MasterData, Operator
from civium.notify.api import NotificationRequested
from civium.packets.api import InvalidPacket, PacketClaim, PacketView, open_packet
from civium.platform.database import Database, Transaction
from civium.platform.objects import ObjectStore
from civium.platform.outbox import Outbox
from civium.platform.rewrapping import BoxColumn
from civium.platform.sealing import Place, Sealer
from civium.registration import domain, stages
from civium.registration.domain import Finding, Status, TransactionType
from civium.registration.service import RID_PURPOSE, rid_place
from civium.registration.stages import Case
from civium.registration.store import Enlisted, Lease, LeaseLost, Store, SyncRow

_log = structlog.get_logger(__name__)

LEASE = timedelta(minutes=5)
"""How long one packet, or one page of its comparison, may take; after it, another worker takes over.

At once, when this one dies.
"""
GALLERY_PAGE = 256
"""Candidates that are open in memory at once."""
FINGERS_PURPOSE = "registration/fingers"
_DEMOGRAPHIC_DOMAIN = "registration/demographic"
_BIOMETRICS = "individualBiometrics"
_UIN = "UIN"
_RETRIED_BY_REGISTER = frozenset({"IDR-IDC-001", "IDR-IDC-004"})
_TEMPLATE = "RPR_UIN_GEN"
_ACTOR = "system"


class _Ends(Exception):
    """Processing ends here with these findings."""

    def __init__(self, findings: Sequence[Finding], matched: Sequence[uuid.UUID] = ()) -> None:
        super().__init__()
        self.findings = findings
        self.matched = matched


@dataclass(frozen=True, slots=True)
class _Examined:
    """A packet that passed the examination."""

    view: PacketView
    mapping: IdentityMapping
    probe: dict[str, bytes] = field(repr=False)
    place: Enlisted


class Pipeline:
    """Processes packets one at a time; run as many as there are cores, in any number of processes."""

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        keys: Keys,
        objects: ObjectStore,
        outbox: Outbox,
        master_data: MasterData,
        register: Register,
        matcher: FingerMatcher,
        clock: Clock,
    ) -> None:
        self._database = database
        self._store = Store(database)
        self._sealer = sealer
        self._keys = keys
        self._objects = objects
        self._outbox = outbox
        self._master_data = master_data
        self._register = register
        self._matcher = matcher
        self._clock = clock

    async def run(self) -> int:
        """Process the packet that waits longest; returns how many there were: 1 or 0.

        Cost of an enrolment: four session keys, 12 statements and two events in two transactions, the register's own,
        and a comparison with the fingers of every earlier registration (about 2 ms of one core per common finger).
        """
        lease = await self._store.lease(self._clock.now(), LEASE)
        if lease is None:
            return 0
        try:
            await self._process(lease)
        except LeaseLost:
            _log.warning("lease_lost", workflow=str(lease.workflow_id))
        return 1

    async def _process(self, lease: Lease) -> None:
        step = TransactionType.UPLOAD_PACKET
        try:
            examined = await self._examine(lease)
            faults.point("registration.process.validated")
            step = TransactionType.BIOGRAPHIC_VERIFICATION
            await self._compare(lease, examined)
            step = TransactionType.UIN_GENERATOR
            await self._mint(examined.view)
            faults.point("registration.process.minted")
            await self._finish(lease, examined)
        except _Ends as end:
            await self._end(lease, end.findings, end.matched)
        except LeaseLost:
            raise
        except Exception as problem:  # noqa: BLE001 - what is not a finding is tried again (section 4.7)
            _log.warning("packet_interrupted", workflow=str(lease.workflow_id), error=type(problem).__name__)
            await self._interrupt(lease, step)

    # --- examine

    async def _examine(self, lease: Lease) -> _Examined:
        """Open the packet, run the stages, and give the packet its place in the order of comparison."""
        view = await self._open(lease)
        mapping = await self._master_data.identity_mapping()
        case = await self._case(view, lease, mapping)
        findings = [domain.IN_SECURE_ZONE, domain.STORED, *stages.examine(case)]
        if findings[-1].ends is not None:
            raise _Ends(findings)
        try:
            probe = await self._matcher.templates(stages.fingers(case.records or ()))
        except InvalidBiometrics:
            raise _Ends([*findings, domain.BIOMETRICS_UNREADABLE]) from None
        box = await self._sealer.seal(FINGERS_PURPOSE, _fingers_place(lease.workflow_id), msgspec.msgpack.encode(probe))
        digests = [
            await self._sealer.keyed_hash(_DEMOGRAPHIC_DOMAIN, text.encode())
            for text in _demographic_texts(view, mapping)
        ]
        async with self._database.transaction() as transaction:
            await self._store.fence(transaction, lease)
            place = await self._store.enlist(transaction, lease.workflow_id, box, digests)
            await self._store.record(transaction, lease.workflow_id, findings, Status.PROCESSING, self._clock.now())
        return _Examined(view, mapping, probe, place)

    async def _open(self, lease: Lease) -> PacketView:
        rid = await self._rid(lease.sync)
        sealed = await self._objects.get(lease.object_name)
        if not hmac.compare_digest(sha256(sealed), lease.checksum):
            raise _Ends([domain.IN_SECURE_ZONE, domain.CHECKSUM_DIFFERS])
        machine = await self._machine(rid.machine)
        if machine is None:
            raise _Ends([domain.IN_SECURE_ZONE, domain.STORED, domain.MACHINE_UNKNOWN])
        try:
            return await open_packet(
                sealed,
                PacketClaim(rid, lease.process, lease.sync.reference),
                keys=self._keys,
                key=packet_key(rid.centre, rid.machine),
                machine_key=client_crypto.parse_public_key(machine.sign_public_key),
            )
        except InvalidPacket as problem:
            finding = stages.refusal(problem)
            stored = [] if finding.type is domain.STORED.type else [domain.STORED]
            raise _Ends([domain.IN_SECURE_ZONE, *stored, finding]) from None

    async def _rid(self, sync: SyncRow) -> RID:
        place = rid_place(sync.packet_hash, sync.version)
        return RID((await self._sealer.unseal(RID_PURPOSE, place, sync.rid_box)).decode())

    async def _case(self, view: PacketView, lease: Lease, mapping: IdentityMapping) -> Case:
        identity = {name: value for name, value in view.identity.items() if name != _UIN}
        return Case(
            view=view,
            records=stages.parse_records(view.biometrics.get(mapping.attribute(_BIOMETRICS))),
            schema_codes=await self._schema_codes(identity),
            supervisor_status=lease.sync.supervisor_status,
            centre=await self._centre(view.claim.rid.centre),
            machine=await self._machine(view.claim.rid.machine),
            officer=await self._operator(view.meta.operation("officerId")),
            supervisor=await self._operator(view.meta.operation("supervisorId")),
            now=self._clock.now(),
        )

    async def _schema_codes(self, identity: dict[str, Any]) -> frozenset[str]:
        try:
            await self._master_data.validate_identity(identity, required=NEW_PACKET)
        except RejectedMany as problems:
            return frozenset(problem.code for problem in problems.rejections)
        except Rejected as problem:
            return frozenset({problem.code})
        return frozenset()

    async def _centre(self, centre: CentreId) -> Centre | None:
        try:
            return await self._master_data.centre(centre)
        except Rejected:
            return None

    async def _machine(self, machine: MachineId) -> Machine | None:
        try:
            return await self._master_data.machine(machine)
        except Rejected:
            return None

    async def _operator(self, user_id: str | None) -> Operator | None:
        try:
            return None if user_id is None else await self._master_data.operator(user_id)
        except Rejected:
            return None

    # --- compare

    async def _compare(self, lease: Lease, examined: _Examined) -> None:
        """Compare with every earlier registration (section 6.1, 6.2); ends the processing at a possible duplicate.

        Same demographic data alone is no duplicate when the fingers tell two persons apart. Where no finger can be
        compared, a human decides.
        """
        same = examined.place.same_demographics
        hits: list[uuid.UUID] = []
        undecided: list[uuid.UUID] = []
        async for workflow_id, score in self._scores(lease, examined):
            if score is None and workflow_id in same:
                undecided.append(workflow_id)
            elif score is not None and score >= MATCH_THRESHOLD:
                hits.append(workflow_id)
        demographic_hits = [workflow_id for workflow_id in hits if workflow_id in same]
        if demographic_hits:
            raise _Ends([domain.DEMOGRAPHICS_AND_FINGERS_MATCH, domain.AWAITS_ADJUDICATION], hits)
        if undecided:
            raise _Ends([domain.DEMOGRAPHICS_MATCH, domain.AWAITS_ADJUDICATION], [*undecided, *hits])
        if hits:
            raise _Ends([domain.DEMOGRAPHICS_UNIQUE, domain.FINGERS_MATCH, domain.AWAITS_ADJUDICATION], hits)
        if not examined.probe:
            raise _Ends([domain.DEMOGRAPHICS_UNIQUE, domain.AWAITS_VERIFICATION])

    async def _scores(self, lease: Lease, examined: _Examined) -> AsyncIterator[tuple[uuid.UUID, int | None]]:
        """Yield each earlier registration with the best score of a common finger; None where there is none.

        Renews the lease with each full page: a large register takes longer than one lease. Raises LeaseLost.
        """
        after = 0
        while page := await self._store.candidates(after=after, before=examined.place.seq, count=GALLERY_PAGE):
            after = page[-1].seq
            gallery = [
                msgspec.msgpack.decode(
                    await self._sealer.unseal(
                        FINGERS_PURPOSE, _fingers_place(candidate.workflow_id), candidate.fingers_box
                    ),
                    type=dict[str, bytes],
                )
                for candidate in page
            ]
            scores = await self._matcher.best_score(examined.probe, gallery) if examined.probe else [0] * len(page)
            for candidate, fingers, score in zip(page, gallery, scores, strict=True):
                yield candidate.workflow_id, score if fingers.keys() & examined.probe.keys() else None
            if len(page) == GALLERY_PAGE:
                await self._store.renew(lease, self._clock.now() + LEASE)

    # --- mint and finish

    async def _mint(self, view: PacketView) -> None:
        """Have the register create the person: its own transaction, idempotent by RID."""
        person = NewPerson(
            rid=view.claim.rid,
            identity={name: value for name, value in view.identity.items() if name != _UIN},
            documents={name: document.content for name, document in view.documents.items()},
            biometrics=view.biometrics,
        )
        try:
            await self._register.create(person, actor=_ACTOR)
        except Rejected as problem:
            if problem.code in _RETRIED_BY_REGISTER:
                raise
            raise _Ends([domain.DEMOGRAPHICS_UNIQUE, domain.FINGERS_UNIQUE, domain.UIN_REFUSED]) from None
        except RejectedMany:
            raise _Ends([domain.DEMOGRAPHICS_UNIQUE, domain.FINGERS_UNIQUE, domain.UIN_REFUSED]) from None

    async def _finish(self, lease: Lease, examined: _Examined) -> None:
        findings = (
            domain.DEMOGRAPHICS_UNIQUE,
            domain.FINGERS_UNIQUE,
            domain.UIN_MINTED,
            domain.EXTRACTED,
            domain.FINALIZED,
        )
        async with self._database.transaction() as transaction:
            await self._store.fence(transaction, lease)
            await self._store.record(transaction, lease.workflow_id, findings, Status.PROCESSED, self._clock.now())
            await self._store.unqueue(transaction, lease.workflow_id)
            notice = _notice(examined.view, examined.mapping, lease.sync.language)
            if notice is not None:
                await self._outbox.publish(transaction, notice, key=str(lease.workflow_id))
            await self._audit(transaction, lease, "registration.packet.processed", findings[-1])
            faults.point("registration.process.before-commit")

    async def _end(self, lease: Lease, findings: Sequence[Finding], matched: Sequence[uuid.UUID]) -> None:
        """Write the end of a packet that gets no UIN now. It stays in the store and can be restarted.

        A person whom an earlier attempt made stays among those that later registrations are compared with.
        """
        last, now = findings[-1], self._clock.now()
        status = last.ends or Status.FAILED
        is_person = await self._is_person(lease)
        async with self._database.transaction() as transaction:
            await self._store.fence(transaction, lease)
            await self._store.record(transaction, lease.workflow_id, findings, status, now)
            await self._store.unqueue(transaction, lease.workflow_id)
            if not is_person:
                await self._store.strike(transaction, lease.workflow_id)
            if matched:
                await self._store.ask_adjudication(transaction, lease.workflow_id, matched, findings[-2].type, now)
            await self._audit(transaction, lease, f"registration.packet.{status.lower()}", last)

    async def _is_person(self, lease: Lease) -> bool:
        """Tell whether the registration became a person; yes when what says so was changed."""
        try:
            return await self._register.has_registration(await self._rid(lease.sync))
        except IntegrityError:
            return True

    async def _interrupt(self, lease: Lease, step: TransactionType) -> None:
        """Put a packet back, or give it up after too many attempts."""
        if lease.failures + 1 >= domain.MAX_FAILURES:
            await self._end(lease, [domain.GIVEN_UP], ())
            return
        now = self._clock.now()
        async with self._database.transaction() as transaction:
            await self._store.fence(transaction, lease)
            finding = domain.interrupted(step)
            await self._store.record(transaction, lease.workflow_id, [finding], Status.REPROCESS, now)
            await self._store.retry(transaction, lease, now + domain.retry_delay(lease.failures + 1))

    async def _audit(self, transaction: Transaction, lease: Lease, action: str, last: Finding) -> None:
        event = AuditRecorded(
            context="registration",
            action=action,
            actor=_ACTOR,
            purpose="registration",
            outcome="success" if last.ends is None else "failure",
            subject=str(lease.workflow_id),
            code=last.code,
            at=iso_millis(self._clock.now()),
        )
        await self._outbox.publish(transaction, event, key=str(lease.workflow_id))


def _fingers_place(workflow_id: uuid.UUID) -> Place:
    return Place("registration.candidate", str(workflow_id), "fingers_box")


SEALED_FINGERS: Final = BoxColumn(
    "registration.candidate",
    "workflow_id",
    "fingers_box",
    FINGERS_PURPOSE,
    lambda row: _fingers_place(row["rewrap_key"]),
)


def _demographic_texts(view: PacketView, mapping: IdentityMapping) -> Iterator[str]:
    """Yield, per language of the name, what two registrations of one person have in common (section 6.1)."""
    born = view.identity.get(mapping.attribute("dob"))
    genders = _by_language(view.identity.get(mapping.attribute("gender")))
    names: dict[str, str] = {}
    for attribute in mapping.attributes("name"):
        for language, text in _by_language(view.identity.get(attribute)).items():
            names[language] = names.get(language, "") + text
    for language, name in names.items():
        yield "\n".join((language, _plain(name), str(born), _plain(genders.get(language, ""))))


def _plain(text: str) -> str:
    """Return a name as it is compared: upper case, one blank between words."""
    return " ".join(text.upper().split())


def _by_language(value: object) -> dict[str, str]:
    """Return the texts of a multilingual attribute; a plain text counts for no language in particular."""
    if isinstance(value, str):
        return {"": value}
    if not isinstance(value, list):
        return {}
    return {entry["language"]: entry["value"] for entry in value}


def _notice(view: PacketView, mapping: IdentityMapping, language: str) -> NotificationRequested | None:
    """Return the message to the person: RID and name, never the UIN. None without an address."""
    email, phone = (_text(view.identity.get(mapping.attribute(name))) for name in ("email", "phone"))
    if email is None and phone is None:
        return None
    names = _by_language(view.identity.get(mapping.attribute("name")))
    chosen = names.get(language) or next(iter(names.values()), "")
    values = {"RID": view.claim.rid.reveal(), "name": chosen}
    values |= {f"fullName_{code}": name for code, name in names.items()}
    return NotificationRequested(template=_TEMPLATE, languages=(language,), email=email, phone=phone, values=values)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
