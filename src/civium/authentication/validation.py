"""Bean validation: are the members well formed? (id-authentication section 7.3). Pure.

Groups run in order; a group runs only when no error was found before it; inside a group all errors are collected.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from civium.authentication import errors
from civium.authentication.demographics import DOB_TYPES, FULL_ADDRESS, Claim, Rule
from civium.authentication.policy import Factor
from civium.authentication.wire import AuthBlock, RequestBody
from civium.kernel.clock import parse_instant
from civium.kernel.errors import Rejected, RejectedMany
from civium.kernel.identifiers import UIN, VID, IdentifierProblem, InvalidIdentifier
from civium.kernel.secrets import Sensitive
from civium.platform.settings import AuthenticationSettings

VERSION_FORM = re.compile(r"\d\.\d(\.\d)?", re.ASCII)
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:\d\d)", re.ASCII)
_TRANSACTION_ID = re.compile(r"[A-Za-z0-9]{10}")
_OTP = re.compile(r"[0-9]{6}")
_LANGUAGE = re.compile(r"[a-z]{3}")
_AGE = re.compile(r"[1-9][0-9]{0,2}")
_PHONE_HANDLE = re.compile(r"\+91[1-9][0-9]{7,9}@phone")

ALLOWED_FACTORS = frozenset({Factor.DEMO, Factor.OTP})
"""What this service can match. Anything else is IDA-MLC-011."""


class IdType(StrEnum):
    """Kinds of identifiers that a person may present."""

    UIN = "UIN"
    VID = "VID"
    HANDLE = "HANDLE"


class Handle(Sensitive[str]):
    """An identifier that the person chose."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Individual:
    """The identifier that a person presents."""

    type: IdType
    identifier: UIN | VID | Handle

    @property
    def alias(self) -> str:
        """What errors call it: a handle counts as UIN (section 7.4)."""
        return IdType.VID if self.type is IdType.VID else IdType.UIN


class Channel(StrEnum):
    """Where an OTP may be sent."""

    EMAIL = "email"
    PHONE = "phone"


@dataclass(frozen=True, slots=True)
class Rules:
    """What validation compares with."""

    settings: AuthenticationSettings
    languages: tuple[str, ...]
    now: datetime


Errors = Iterator[Rejected]


def check_authentication(
    body: RequestBody, block: AuthBlock, claims: tuple[Claim, ...], factors: frozenset[Factor], rules: Rules
) -> Individual:
    """Check an auth or kyc request; returns whom it is about. Raises RejectedMany."""
    settings = rules.settings
    _run(
        lambda: iter(() if body.consent_obtained else (errors.NO_CONSENT.of(),)),  # 1
        lambda: _times(body, block, rules),  # 2
        lambda: _listed(body.domain_uri, "domainUri", settings.allowed_domain_uris),  # 3
        lambda: _listed(body.env, "env", settings.allowed_environments),  # 4
        lambda: _transaction_id(body),  # 5
        lambda: _factors(factors),  # 6; 7 is about biometrics
        lambda: _individual_errors(body),  # 8
        lambda: _demographics(claims, rules.languages),  # 9
        lambda: _otp(block),  # 10
    )
    return _individual(body)


def check_otp_request(body: RequestBody, rules: Rules) -> tuple[Individual, frozenset[Channel]]:
    """Check an otp request; returns whom it is about and the channels. Raises RejectedMany."""
    _run(
        lambda: _instant(body.request_time, "requestTime", rules),
        lambda: _transaction_id(body),
        lambda: _individual_errors(body),
        lambda: _channels(body),
    )
    return _individual(body), frozenset(Channel(name.lower()) for name in body.otp_channel or () if name)


def _run(*groups: Callable[[], Errors]) -> None:
    for group in groups:
        if found := list(group()):
            raise RejectedMany(found)


def _times(body: RequestBody, block: AuthBlock, rules: Rules) -> Errors:
    yield from _instant(body.request_time, "requestTime", rules)
    yield from _instant(block.timestamp, "request/timestamp", rules)


def _instant(text: str | None, name: str, rules: Rules) -> Errors:
    if not text:
        yield errors.MISSING.of(name)
        return
    at = _parsed(text)
    if at is None:
        yield errors.INVALID.of(name)
        return
    adjustment = timedelta(seconds=rules.settings.request_adjustment_seconds)
    oldest = rules.now - timedelta(seconds=rules.settings.request_age_seconds) - adjustment
    if not oldest <= at <= rules.now + adjustment:
        yield errors.OUTSIDE_WINDOW.of(rules.settings.request_age_seconds)


def _parsed(text: str) -> datetime | None:
    try:
        return parse_instant(text) if _INSTANT.fullmatch(text) else None
    except ValueError:
        return None


def _listed(value: str | None, name: str, allowed: tuple[str, ...]) -> Errors:
    if value is not None and value.lower() not in {entry.lower() for entry in allowed}:
        yield errors.INVALID.of(f"request/{name}")


def _transaction_id(body: RequestBody) -> Errors:
    if not body.transaction_id:
        yield errors.MISSING.of("transactionID")
    elif not _TRANSACTION_ID.fullmatch(body.transaction_id):
        yield errors.INVALID.of("transactionID")


def _factors(present: frozenset[Factor]) -> Errors:
    if not present:
        yield errors.NO_FACTOR.of()
    for factor in sorted(present - ALLOWED_FACTORS):
        yield errors.UNSUPPORTED_FACTOR.of(factor.value)


def _individual_errors(body: RequestBody) -> Errors:
    try:
        _individual(body)
    except Rejected as problem:
        yield problem


def _individual(body: RequestBody) -> Individual:
    text, kind = (body.individual_id or "").strip(), body.individual_id_type
    if not text:
        raise errors.MISSING.of("individualId")
    if kind is None or not kind.strip():
        return _derived(text)
    if kind not in set(IdType):
        raise errors.ID_TYPE_NOT_CONFIGURED.of(kind[:16])
    try:
        return Individual(IdType(kind), _PARSERS[IdType(kind)](text))
    except InvalidIdentifier:
        refusals = {IdType.UIN: errors.INVALID_UIN, IdType.VID: errors.INVALID_VID}
        code = refusals.get(IdType(kind))
        raise (code.of() if code else errors.INVALID.of("individualId")) from None


def _handle(text: str) -> Handle:
    if not _PHONE_HANDLE.fullmatch(text):
        raise InvalidIdentifier("handle", IdentifierProblem.FORM)
    return Handle(text)


_PARSERS: dict[IdType, Callable[[str], UIN | VID | Handle]] = {
    IdType.UIN: UIN.parse,
    IdType.VID: VID.parse,
    IdType.HANDLE: _handle,
}


def _derived(text: str) -> Individual:
    for kind, parse in _PARSERS.items():
        try:
            return Individual(kind, parse(text))
        except InvalidIdentifier:
            continue
    raise errors.INVALID.of("individualId")


def _demographics(claims: tuple[Claim, ...], languages: tuple[str, ...]) -> Errors:
    for claim in claims:
        yield from _claim(claim, languages)
    given = {claim.attribute.name for claim in claims}
    if FULL_ADDRESS.name in given and given & {"addressLine1", "addressLine2", "addressLine3"}:
        yield errors.MISSING_ATTRIBUTE.of(FULL_ADDRESS.name)


def _claim(claim: Claim, languages: tuple[str, ...]) -> Errors:
    attribute = claim.attribute
    if not (claim.value and claim.value.strip()):
        yield errors.MISSING_ATTRIBUTE.of(attribute.name)
        return
    if attribute.by_language:
        if not claim.language:
            yield errors.MISSING.of("LanguageCode")
        elif not _LANGUAGE.fullmatch(claim.language):
            yield errors.INVALID.of("LanguageCode")
        elif claim.language not in languages:
            yield errors.UNSUPPORTED_LANGUAGE.of(claim.language)
    if attribute.name == "dobType" and claim.value not in DOB_TYPES:
        yield errors.INVALID.of("request/demographics/dobType")
    if attribute.rule is Rule.AGE and not _AGE.fullmatch(claim.value):
        yield errors.INVALID.of("request/demographics/age")


def _otp(block: AuthBlock) -> Errors:
    if block.otp and block.otp.strip() and not _OTP.fullmatch(block.otp):
        yield errors.INVALID.of("OTP")


def _channels(body: RequestBody) -> Errors:
    given = [name for name in body.otp_channel or () if name and name.strip()]
    if not given:
        yield errors.OTP_NO_CHANNEL.of()
    for name in given:
        if name.lower() not in set(Channel):
            yield errors.INVALID.of(f"otpChannel - {name[:16]}")
