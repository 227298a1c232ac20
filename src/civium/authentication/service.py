"""The use cases: authenticate, e-KYC, send an OTP (id-authentication section 7.4 and 11).

Invariants: an answer is released only after its record is committed; a use of a limited identifier, an OTP attempt
and the record of the answer are one write; a request that was answered is never answered again.
"""

import asyncio
import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from prometheus_client import Counter

from civium.audit.api import AuditRecorded
from civium.authentication import demographics, errors, kyc, locks, notices, otp, partner_gate, validation
from civium.authentication.api import Call, Usage
from civium.authentication.filters import Filters, Opened
from civium.authentication.partner_gate import RelyingParty
from civium.authentication.person import People, Person
from civium.authentication.policy import Factor, TokenType
from civium.authentication.snapshot import Snapshot, SnapshotHolder
from civium.authentication.store import (
    AuthenticationStore,
    AuthRecord,
    Changed,
    Consumption,
    Found,
    OtpRow,
    Replayed,
)
from civium.authentication.validation import Channel, IdType, Individual, Rules
from civium.authentication.wire import FAILED, Answer, AuthAnswer, KycAnswer, OtpAnswer, RequestBody, read_body, write
from civium.kernel import faults
from civium.kernel.clock import Clock, iso_millis
from civium.kernel.encoding import sha256
from civium.kernel.errors import Rejected, RejectedMany, Unavailable
from civium.kernel.secrets import OTP
from civium.keys.api import Keys, hash_modulo, id_hash, session
from civium.platform.outbox import Event, SealedOutbox
from civium.platform.sealing import Sealer
from civium.platform.settings import Settings

_log = structlog.get_logger(__name__)

ATTEMPTS = 8
"""How often a request is judged anew when the person's state or the partners' data changed under it."""
FLOOD_WINDOW = timedelta(minutes=1)
OTP_DIGITS = 6
TOKEN_DIGITS = 36
CHILD_AGE = 5
"""Below this age in years a person does not authenticate with an OTP (``ida.child-auth-filter``)."""

ANSWERED = Counter("civium_authentications_total", "Authentications answered", ["usage", "outcome"])

_TYPE_CODES = {Factor.OTP: ("OTP-AUTH", "OTP Authentication"), Factor.DEMO: ("DEMO-AUTH", "Demo Authentication")}
_KYC_CODE = "EKYC-AUTH"
_OTP_REQUEST_CODE = "OTP-REQUEST"


class _Outdated(Exception):
    """The database knows newer relying parties than the snapshot that judged the request."""


@dataclass(frozen=True, slots=True)
class _Case:
    """A request that passed every check that needs no person."""

    usage: Usage
    opened: Opened
    party: RelyingParty
    individual: Individual
    identity: bytes = field(repr=False)
    otp_mac: bytes = field(repr=False)
    """The keyed hash of the OTP that was presented, of an empty one if none was."""
    replay_key: bytes = field(repr=False)
    transaction_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a request comes to: the answer and everything that is written with it."""

    errors: tuple[Rejected, ...] = ()
    answer: Answer | None = None
    token_hash: bytes | None = field(default=None, repr=False)
    otp: OtpRow | None = None
    consumption: Consumption | None = None
    messages: tuple[Event, ...] = field(default=(), repr=False)


class AuthenticationService:
    """Implements `api.Authentication`."""

    def __init__(
        self,
        store: AuthenticationStore,
        snapshots: SnapshotHolder,
        people: People,
        sealer: Sealer,
        keys: Keys,
        outbox: SealedOutbox,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._people = people
        self._sealer = sealer
        self._keys = keys
        self._outbox = outbox
        self._clock = clock
        self._languages = settings.languages
        self._settings = settings.authentication
        self._max_depth = settings.http.max_json_depth
        self._filters = Filters(
            keys,
            clock,
            accept_empty_authorization=settings.authentication.accept_empty_authorization,
            max_depth=settings.http.max_json_depth,
        )

    async def answer(self, usage: Usage, call: Call) -> bytes:
        try:
            body = read_body(call.body, self._max_depth)
        except Rejected as problem:
            return self.refusal(usage, [problem])
        try:
            for _ in range(ATTEMPTS):
                snapshot = await self._snapshots.current()
                try:
                    return await self._answer(usage, call, body, snapshot)
                except _Outdated:
                    await self._snapshots.refreshed()
        except Replayed:
            return self.refusal(usage, _pair(errors.INVALID.of("transactionID")), body.transaction_id)
        except (RejectedMany, Rejected) as problem:
            found = problem.rejections if isinstance(problem, RejectedMany) else [problem]
            return self.refusal(usage, found, body.transaction_id)
        raise Unavailable("the state kept changing")

    def refusal(self, usage: Usage, found: Sequence[Rejected], transaction_id: str | None = None) -> bytes:
        """Return the answer that carries errors only."""
        ANSWERED.labels(usage.name, found[-1].code).inc()
        return write(
            usage,
            transaction_id=transaction_id,
            at=iso_millis(self._clock.now()),
            response=FAILED[usage],
            errors=list(found),
        )

    async def _answer(self, usage: Usage, call: Call, body: RequestBody, snapshot: Snapshot) -> bytes:
        at = self._clock.now()
        opened, party = await self._admitted(usage, call, body, snapshot)
        rules = Rules(self._settings, self._languages, at)
        channels: frozenset[Channel] = frozenset()
        if usage is Usage.OTP:
            individual, channels = validation.check_otp_request(body, rules)
        else:
            individual = validation.check_authentication(body, opened.block, opened.claims, opened.factors, rules)
        transaction_id = body.transaction_id or ""
        identity, otp_mac = await asyncio.gather(
            self._identity(individual, snapshot),
            self._otp_mac(individual, transaction_id, OTP(opened.block.otp or "")),
        )
        case = _Case(
            usage=usage,
            opened=opened,
            party=party,
            individual=individual,
            identity=identity,
            otp_mac=otp_mac,
            replay_key=_replay_key(party, transaction_id, call.body),
            transaction_id=transaction_id,
            at=at,
        )
        for _ in range(ATTEMPTS):
            found = await self._find(case, snapshot)
            faults.point("authentication.found")
            outcome = await (self._send_otp(case, found, channels) if usage is Usage.OTP else self._match(case, found))
            faults.point("authentication.decided")
            try:
                return await self._commit(case, outcome)
            except Changed:
                continue
        raise Unavailable("the person's state kept changing")

    async def _admitted(
        self, usage: Usage, call: Call, body: RequestBody, snapshot: Snapshot
    ) -> tuple[Opened, RelyingParty]:
        """Run the filter stage. A refusal on grounds of partner data counts only if that data is up to date."""
        try:
            opened = await self._filters.open(usage, call, body, snapshot)
            return opened, partner_gate.admit(usage, opened, snapshot, self._clock.now())
        except Rejected as problem:
            if problem.code.startswith("IDA-MPA-") and await self._snapshots.refreshed() is not snapshot:
                raise _Outdated from None
            raise RejectedMany(_pair(problem)) from None

    async def _identity(self, individual: Individual, snapshot: Snapshot) -> bytes:
        identifier = individual.identifier.reveal()
        salt = snapshot.salts.get(hash_modulo(identifier), "")
        return await self._people.identity_of(id_hash(identifier, salt))

    async def _find(self, case: _Case, snapshot: Snapshot) -> Found:
        found = await self._store.find(
            case.identity,
            replay_key=case.replay_key,
            transaction_id=case.transaction_id,
            at=case.at,
            biometrics=case.usage is Usage.KYC and kyc.wants_photo(case.party.policy.rules.kyc_attributes),
            recent_since=case.at - FLOOD_WINDOW,
        )
        if not self._snapshots.confirm(snapshot, found.snapshot_version):
            raise _Outdated
        if found.replayed:
            raise Replayed("the request was answered before")
        return found

    # Authentication and e-KYC

    async def _match(self, case: _Case, found: Found) -> _Outcome:
        """Run the business stage (section 7.4): one call decrypts the attributes that this request needs, no other."""
        person = await self._known(case, found)  # 1, 2
        if isinstance(person, Rejected):
            return _Outcome((person,), token_hash=found.token_hash)
        consumption = await self._people.consumed(person) if case.individual.type is IdType.VID else None  # 3
        rules = case.party.policy.rules
        kyc_names = kyc.stored_attributes(rules.kyc_attributes) if case.usage is Usage.KYC else frozenset()
        wanted = demographics.needed(case.opened.claims) | kyc_names | notices.CONTACT | {notices.BIRTH}
        clear, token = await asyncio.gather(
            self._decrypted(case, await self._people.demographics(person), wanted), self._token(case, person)
        )
        verdict = otp.Verdict(None, None)
        refused = self._filtered(case, found, clear)  # 4
        if not refused and Factor.OTP in case.opened.factors:  # 5
            verdict = self._judge_otp(case, found)
            refused = (verdict.refusal,) if verdict.refusal else ()
        if not refused and Factor.DEMO in case.opened.factors:
            refused = tuple(self._mismatches(case, clear))
        answer = None if refused else await self._success(case, person, clear, token)
        notice = notices.authentication_notice(
            clear,
            case.individual,
            case.opened.factors,
            succeeded=not refused,
            at=case.at,
            languages=self._languages,
        )
        return _Outcome(
            errors=refused,
            answer=answer,
            token_hash=person.row.token_hash,
            otp=verdict.state,
            consumption=consumption,
            messages=(notice,) if notice else (),
        )

    async def _known(self, case: _Case, found: Found) -> Person | Rejected:
        if found.identity is None:
            return errors.ID_UNKNOWN.of(case.individual.alias)
        person = await self._people.open(found.identity)
        if person.head.expires_at is not None and person.head.expires_at <= case.at:
            return errors.VID_EXPIRED.of() if case.individual.type is IdType.VID else errors.UIN_BLOCKED.of()
        return person

    async def _decrypted(self, case: _Case, sealed: Mapping[str, str], wanted: frozenset[str]) -> Mapping[str, str]:
        chosen = {name: value for name, value in sealed.items() if name in wanted}
        return await self._keys.zk_decrypt(case.individual.identifier.reveal(), chosen) if chosen else {}

    def _filtered(self, case: _Case, found: Found, clear: Mapping[str, str]) -> tuple[Rejected, ...]:
        born = demographics.stored_date(clear.get(notices.BIRTH))
        if (
            Factor.OTP in case.opened.factors
            and born is not None
            and demographics.age_on(born, case.at.date()) < CHILD_AGE
        ):
            return (errors.UNSUPPORTED_FOR_CHILD.of(Factor.OTP.value),)
        locked = locks.refusal_of_factors(case.opened.factors, found.locked)
        return (locked,) if locked else ()

    def _judge_otp(self, case: _Case, found: Found) -> otp.Verdict:
        attempt = otp.Attempt(
            mac=case.otp_mac,
            id_type=case.individual.type.value,
            partner_id=case.party.partner.id,
        )
        return otp.judge(attempt, found.otp_request, found.otp, case.at, self._settings)

    async def _otp_mac(self, individual: Individual, transaction_id: str, given: OTP) -> bytes:
        material = otp.material(individual.identifier.reveal(), transaction_id, given)
        return await self._sealer.keyed_hash(otp.OTP_HASH, material)

    @staticmethod
    def _mismatches(case: _Case, clear: Mapping[str, str]) -> list[Rejected]:
        try:
            return demographics.mismatches(case.opened.claims, clear, case.at.date())
        except Rejected as problem:
            return [problem]

    async def _success(self, case: _Case, person: Person, clear: Mapping[str, str], token: str) -> Answer:
        if case.usage is Usage.AUTH:
            return AuthAnswer(auth_status=True, auth_token=token)
        certificate = case.party.partner.certificate
        if certificate is None:
            raise errors.KYC_NOT_ENCRYPTED.of()
        rules = case.party.policy.rules
        biometrics = await self._people.biometrics(person)
        face = await self._decrypted(case, biometrics, frozenset({kyc.FACE}))
        identity = kyc.identity(
            rules.kyc_attributes, clear, face.get(kyc.FACE), rules.languages(self._languages), case.at.date()
        )
        sealed = session.seal_kyc(certificate, identity)
        return KycAnswer(
            kyc_status=True,
            auth_token=token,
            thumbprint=sealed.thumbprint,
            identity=sealed.identity,
            session_key=sealed.session_key,
        )

    async def _token(self, case: _Case, person: Person) -> str:
        match case.party.policy.rules.token_type:
            case TokenType.PARTNER:
                return await self._keys.token_id(person.token, case.party.partner.id)
            case TokenType.POLICY:
                return await self._keys.token_id(person.token, case.party.policy.id)
        lowest = 10 ** (TOKEN_DIGITS - 1)
        return str(lowest + secrets.randbelow(9 * lowest))

    # OTP requests

    async def _send_otp(self, case: _Case, found: Found, channels: frozenset[Channel]) -> _Outcome:
        """Run the steps of section 11.1; nothing happens before every refusal is ruled out."""
        person = await self._known(case, found)  # 1
        if isinstance(person, Rejected):
            return _Outcome((person,), token_hash=found.token_hash)
        token_hash = person.row.token_hash
        if locked := locks.refusal_of_channels(channels, found.locked):  # 2
            return _Outcome((locked,), token_hash=token_hash)
        if found.recent_otp_requests >= self._settings.otp_requests_per_minute:  # 3
            return _Outcome((errors.OTP_FLOOD.of(),), token_hash=token_hash)
        clear = await self._decrypted(case, await self._people.demographics(person), notices.CONTACT)  # 4
        phone = notices.contact(clear, Channel.PHONE) if Channel.PHONE in channels else None
        email = notices.contact(clear, Channel.EMAIL) if Channel.EMAIL in channels else None
        if phone is None and email is None:
            return _Outcome((errors.OTP_NOT_SENT.of(_UNREACHABLE[channels]),), token_hash=token_hash)
        if otp.is_frozen(found.otp, case.at, self._settings):  # 5
            return _Outcome((otp.frozen(self._settings),), token_hash=token_hash)
        fresh = OTP(f"{secrets.randbelow(10**OTP_DIGITS):0{OTP_DIGITS}d}")  # 6
        state = otp.issued(
            await self._otp_mac(case.individual, case.transaction_id, fresh), found.otp, case.at, self._settings
        )  # 7
        message = notices.otp_message(  # 8
            clear,
            case.individual,
            fresh,
            channels=channels,
            valid_minutes=self._settings.otp_expiry_seconds // 60,
            at=case.at,
            languages=self._languages,
        )
        return _Outcome(  # 9: the record is written with the rest
            answer=OtpAnswer(
                masked_mobile=otp.mask_phone(phone) if phone else None,
                masked_email=otp.mask_email(email) if email else None,
            ),
            token_hash=token_hash,
            otp=state,
            messages=(message,),
        )

    # What is kept

    async def _commit(self, case: _Case, outcome: _Outcome) -> bytes:
        """Write everything in one statement, then return the answer."""
        codes, comment = _history(case, succeeded=not outcome.errors)
        now = self._clock.now()
        record = AuthRecord(
            id=uuid.uuid4(),
            requested_at=case.at,
            responded_at=now,
            transaction_id=case.transaction_id,
            type_codes=codes,
            succeeded=not outcome.errors,
            comment=comment,
            id_type=case.individual.type.value,
            identity=case.identity,
            token_hash=outcome.token_hash,
            partner_id=case.party.partner.id,
        )
        audit = AuditRecorded(
            context="authentication",
            action=f"authentication.{case.usage.name.lower()}",
            actor=case.party.partner.id,
            purpose="authentication",
            outcome="failure" if outcome.errors else "success",
            subject=case.identity.hex(),
            code=outcome.errors[0].code if outcome.errors else None,
            at=iso_millis(now),
        )
        await self._store.record(
            record,
            replay_key=case.replay_key,
            otp=outcome.otp,
            consumption=outcome.consumption,
            outbox=[await self._outbox.prepare(event, key=str(record.id)) for event in (audit, *outcome.messages)],
        )
        faults.point("authentication.committed")
        ANSWERED.labels(case.usage.name, outcome.errors[0].code if outcome.errors else "success").inc()
        return write(
            case.usage,
            transaction_id=case.transaction_id,
            at=iso_millis(now),
            response=FAILED[case.usage] if outcome.errors else outcome.answer,
            errors=list(outcome.errors),
        )


_UNREACHABLE = {
    frozenset({Channel.PHONE}): ". Phone Number is not found in identity data.",
    frozenset({Channel.EMAIL}): ". Email ID is not found in identity data.",
    frozenset(Channel): ". Both Phone Number and Email ID are not found in identity data.",
}


def _pair(problem: Rejected) -> list[Rejected]:
    """Return the errors of a failure in the filter stage: always IDA-MLC-007 first (section 2.3)."""
    general = errors.NOT_PROCESSED.of()
    return [general] if problem.code == general.code else [general, problem]


def _replay_key(party: RelyingParty, transaction_id: str, body: bytes) -> bytes:
    return sha256(b"\x00".join((party.partner.id.encode(), transaction_id.encode(), sha256(body))))


def _history(case: _Case, *, succeeded: bool) -> tuple[str, str]:
    """Return the history's type codes and comment (section 13)."""
    word = "Success" if succeeded else "Failed"
    if case.usage is Usage.OTP:
        return _OTP_REQUEST_CODE, f"OTP Request {word}"
    entries = [entry for factor, entry in _TYPE_CODES.items() if factor in case.opened.factors]
    if case.usage is Usage.KYC:
        entries.insert(0, (_KYC_CODE, "eKYC Authentication"))
    return ",".join(code for code, _ in entries), ";".join(f"{text} {word}" for _, text in entries)
