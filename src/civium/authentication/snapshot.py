"""Relying parties as one process knows them: an immutable snapshot, prepared once, never older than allowed.

Invariants: a request is judged by one snapshot. Every authentication's read returns the version that the database
has, so a change (a revoked licence, a new key) holds from the next request on, in every process, without a message.
A snapshot that nobody confirmed for ``partner_snapshot_max_age_seconds`` is read again before use; if the database
does not answer, requests are denied.
"""

import asyncio
import hmac
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import TypeVar

import msgspec
import structlog
from cryptography import x509

from civium.authentication.policy import AuthPolicy
from civium.authentication.store import AuthenticationStore, ReferenceKind, ReferenceRow, reference_place
from civium.kernel.clock import monotonic
from civium.keys.api import thumbprint, verify_path
from civium.partners.api import ApiKeyData, MispLicenceData, PartnerData, PolicyData
from civium.platform.outbox import decode
from civium.platform.sealing import Sealer

_log = structlog.get_logger(__name__)

R = TypeVar("R")
P = TypeVar("P")

REFERENCE_PURPOSE = "authentication/reference"
ACTIVE = "ACTIVE"
SIGNING_DOMAIN = "AUTH"
TRUST_CACHE = 4096
"""Signer certificates whose path is remembered; beyond it the memory starts anew."""


@dataclass(frozen=True, slots=True)
class Window:
    """Commencement and expiry, both inclusive of their instant."""

    commence: datetime
    expire: datetime

    def begun(self, at: datetime) -> bool:
        """Tell whether the window has opened."""
        return self.commence <= at

    def over(self, at: datetime) -> bool:
        """Tell whether the window has closed."""
        return at > self.expire

    def covers(self, at: datetime) -> bool:
        """Tell whether ``at`` lies in the window."""
        return self.begun(at) and not self.over(at)


@dataclass(frozen=True, slots=True)
class Partner:
    """A relying party or MISP. ``fingerprints`` are of the certificates that it may sign with."""

    id: str
    name: str
    active: bool
    certificate: x509.Certificate | None
    fingerprints: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy as agreed with a relying party."""

    id: str
    active: bool
    window: Window
    rules: AuthPolicy


@dataclass(frozen=True, slots=True)
class ApiKey:
    """The mapping of a relying party to a policy, found by its key."""

    partner_id: str
    policy_id: str
    active: bool
    window: Window


@dataclass(frozen=True, slots=True)
class Licence:
    """A MISP's licence, found by its key."""

    misp_id: str
    active: bool
    window: Window


@dataclass(slots=True)
class Trust:
    """Which signers' certificates lead to a root of the domain; each path is built once while nothing expires."""

    anchors: tuple[x509.Certificate, ...]
    revoked: frozenset[bytes]
    _until: dict[bytes, datetime] = field(default_factory=dict)

    def check(self, certificate: x509.Certificate, fingerprint: bytes, at: datetime) -> None:
        """Raise keys.api.SignatureInvalid unless the certificate is trusted at ``at``. About 100 microseconds cold."""
        until = self._until.get(fingerprint)
        if until is not None and at <= until:
            return
        path = verify_path(certificate, self.anchors, at, revoked=self.revoked)
        if len(self._until) >= TRUST_CACHE:
            self._until.clear()
        self._until[fingerprint] = min(step.not_valid_after_utc for step in path)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that the filters need to know, at one version."""

    version: int
    trust: Trust
    partners: Mapping[str, Partner]
    policies: Mapping[str, Policy]
    api_keys: Mapping[bytes, ApiKey] = field(repr=False)
    licences: Mapping[bytes, Licence] = field(repr=False)
    salts: Mapping[int, str] = field(repr=False)
    _digest_key: bytes = field(repr=False)

    def api_key(self, key: str) -> ApiKey | None:
        """Return the mapping of an API key."""
        return self.api_keys.get(_digest(self._digest_key, key))

    def licence(self, key: str) -> Licence | None:
        """Return the licence of a licence key."""
        return self.licences.get(_digest(self._digest_key, key))


def _digest(key: bytes, secret: str) -> bytes:
    return hmac.digest(key, secret.encode(), sha256)


class Salt(msgspec.Struct, frozen=True):
    """The hash salt of one modulo, as credential events bring it."""

    text: str


class Anchors(msgspec.Struct, frozen=True):
    """The trust anchors of a domain."""

    pems: tuple[str, ...]


class RevokedCertificate(msgspec.Struct, frozen=True):
    """A partner's certificate that was withdrawn."""

    partner_id: str


class SnapshotHolder:
    """Keeps the current snapshot of this process."""

    def __init__(self, store: AuthenticationStore, sealer: Sealer, max_age_seconds: float) -> None:
        self._store = store
        self._sealer = sealer
        self._max_age = max_age_seconds
        self._snapshot: Snapshot | None = None
        self._confirmed_at = 0.0
        self._lock = asyncio.Lock()

    async def current(self) -> Snapshot:
        """Return a snapshot that is fresh enough; raises when it must load and cannot.

        No IO while authentications confirm it.
        """
        if self._snapshot is not None and monotonic() - self._confirmed_at <= self._max_age:
            return self._snapshot
        return await self.refreshed()

    def confirm(self, snapshot: Snapshot, version: int) -> bool:
        """Note that the database is at ``version``; False when ``snapshot`` is not that version."""
        if snapshot.version != version:
            return False
        if self._snapshot is snapshot:
            self._confirmed_at = monotonic()
        return True

    async def refreshed(self) -> Snapshot:
        """Return the snapshot of the database's present version. One small read, unless the version differs."""
        async with self._lock:
            asked_at = monotonic()
            version = await self._store.version()
            if self._snapshot is None or self._snapshot.version != version:
                self._snapshot = await self._load()
            self._confirmed_at = asked_at
            return self._snapshot

    async def _load(self) -> Snapshot:
        """Read everything: one statement, and about 20 microseconds for each record."""
        version, rows = await self._store.references()
        clear: dict[ReferenceKind, dict[str, bytes]] = {kind: {} for kind in ReferenceKind}
        for row in rows:
            clear[row.kind][row.key] = await self._open(row)
        return _assemble(version, clear)

    async def _open(self, row: ReferenceRow) -> bytes:
        return await self._sealer.unseal(REFERENCE_PURPOSE, reference_place(row.kind, row.key), row.box)


def _assemble(version: int, clear: Mapping[ReferenceKind, Mapping[str, bytes]]) -> Snapshot:
    key = secrets.token_bytes(32)
    api_keys = [decode(text, ApiKeyData) for text in clear[ReferenceKind.API_KEY].values()]
    licences = [decode(text, MispLicenceData) for text in clear[ReferenceKind.LICENCE].values()]
    partners = [decode(text, PartnerData) for text in clear[ReferenceKind.PARTNER].values()]
    policies = [decode(text, PolicyData) for text in clear[ReferenceKind.POLICY].values()]
    anchors = clear[ReferenceKind.ANCHORS].get(SIGNING_DOMAIN)
    return Snapshot(
        version=version,
        trust=Trust(
            anchors=certificates(msgspec.json.decode(anchors, type=Anchors).pems) if anchors else (),
            revoked=frozenset(bytes.fromhex(fingerprint) for fingerprint in clear[ReferenceKind.REVOKED]),
        ),
        partners={partner.id: partner for partner in _prepared(partners, _partner)},
        policies={policy.id: policy for policy in _prepared(policies, _policy)},
        api_keys=dict(_prepared(api_keys, lambda data: _api_key(key, data))),
        licences=dict(_prepared(licences, lambda data: _licence(key, data))),
        salts={
            int(modulo): msgspec.json.decode(text, type=Salt).text for modulo, text in clear[ReferenceKind.SALT].items()
        },
        _digest_key=key,
    )


def _prepared(records: Iterable[R], prepare: Callable[[R], P]) -> Iterator[P]:
    """Yield what each record becomes. One that cannot be read is left out, which denies, and stops no other."""
    for record in records:
        try:
            yield prepare(record)
        except (ValueError, msgspec.MsgspecError):
            _log.exception("reference_record_unusable", error=type(record).__name__)


def certificates(pems: Sequence[str]) -> tuple[x509.Certificate, ...]:
    """Return the parsed certificates."""
    return tuple(x509.load_pem_x509_certificate(pem.encode()) for pem in pems)


def _partner(data: PartnerData) -> Partner:
    own = certificates([pem for pem in (data.certificate_pem, data.original_pem) if pem])
    return Partner(
        id=data.partner_id,
        name=data.name,
        active=data.status == ACTIVE,
        certificate=own[0] if data.certificate_pem else None,
        fingerprints=frozenset(thumbprint(certificate) for certificate in own),
    )


def _policy(data: PolicyData) -> Policy:
    return Policy(
        data.policy_id,
        data.status == ACTIVE,
        _window(data.commence_on, data.expires_on),
        AuthPolicy.parse(data.policy),
    )


def _api_key(key: bytes, data: ApiKeyData) -> tuple[bytes, ApiKey]:
    window = _window(data.commence_on, data.expires_on)
    return _digest(key, data.api_key), ApiKey(data.partner_id, data.policy_id, data.status == ACTIVE, window)


def _licence(key: bytes, data: MispLicenceData) -> tuple[bytes, Licence]:
    window = _window(data.commence_on, data.expires_on)
    return _digest(key, data.licence_key), Licence(data.misp_id, data.status == ACTIVE, window)


def _window(commence: str, expire: str) -> Window:
    return Window(instant(commence), instant(expire))


def instant(text: str) -> datetime:
    """Parse an event's time: ISO 8601, UTC when it names no zone (section 15.2)."""
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
