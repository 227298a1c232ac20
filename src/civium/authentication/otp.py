"""One-time passwords: when one may be sent, when one is right, how contacts are masked (section 11). Pure.

An OTP is bound to identifier, transaction and partner and usable once. Wrong tries count across OTPs: a new OTP gives
no new tries. Only a keyed hash of identifier, transaction and OTP is kept.
"""

import hmac
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from civium.authentication import errors
from civium.authentication.store import OtpRequestRow, OtpRow
from civium.kernel.errors import Rejected
from civium.kernel.secrets import OTP
from civium.platform.settings import AuthenticationSettings

OTP_HASH = "authentication/otp"
_SEPARATOR = b"#KEY_SPLITTER#"
FROZEN_FOR = "30 seconds"
"""What IDA-OTA-013 says: the wire's words, though the value counts minutes (section 8.2)."""

_EMAIL_SHOWN = 3
"""Every how many characters of an address's local part one is shown."""
_IDENTIFIER_HIDDEN = 8


class Status(StrEnum):
    """Life of an OTP, by the wire's words."""

    ACTIVE = "active"
    USED = "used"
    FROZEN = "frozen"
    UNFROZEN = "unfrozen"


@dataclass(frozen=True, slots=True)
class Attempt:
    """An OTP as presented. ``mac`` is the keyed hash of what was presented."""

    mac: bytes = field(repr=False)
    id_type: str
    partner_id: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an attempt comes to: the state to store (None: unchanged) and the refusal (None: right)."""

    state: OtpRow | None
    refusal: Rejected | None


def material(identifier: str, transaction_id: str, otp: OTP) -> bytes:
    """Return the bytes whose keyed hash is kept."""
    return _SEPARATOR.join((identifier.encode(), transaction_id.encode(), otp.reveal().encode()))


def judge(
    attempt: Attempt,
    requested: OtpRequestRow | None,
    state: OtpRow | None,
    now: datetime,
    settings: AuthenticationSettings,
) -> Verdict:
    """Run the steps of section 11.2."""
    if unbound := _unbound(attempt, requested):  # 1
        return Verdict(None, unbound)
    if state is None or state.status not in {Status.ACTIVE, Status.FROZEN}:  # 2
        return Verdict(None, errors.OTP_NONE.of())
    if is_frozen(state, now, settings):  # 3
        return Verdict(None, frozen(settings))
    if state.status == Status.FROZEN:
        return Verdict(_next(state, Status.UNFROZEN, failures=0), errors.OTP_NONE.of())
    if hmac.compare_digest(attempt.mac, state.mac):  # 4
        return _right(state, now)
    return _wrong(state, now, settings)  # 5


def _unbound(attempt: Attempt, requested: OtpRequestRow | None) -> Rejected | None:
    if requested is None:
        return errors.OTP_OTHER_TRANSACTION.of()
    if requested.id_type != attempt.id_type:
        return errors.OTP_OTHER_ID_TYPE.of()
    return None if requested.partner_id == attempt.partner_id else errors.OTP_OTHER_PARTNER.of()


def _right(state: OtpRow, now: datetime) -> Verdict:
    if now > state.expires_at:
        return Verdict(None, errors.OTP_EXPIRED.of())
    return Verdict(_next(state, Status.USED, failures=0), None)


def _wrong(state: OtpRow, now: datetime, settings: AuthenticationSettings) -> Verdict:
    failures = state.failures + 1
    if failures >= settings.otp_attempts:
        return Verdict(_next(state, Status.FROZEN, failures=failures, frozen_at=now), frozen(settings))
    return Verdict(_next(state, Status.ACTIVE, failures=failures), errors.OTP_WRONG.of())


def _next(state: OtpRow, status: Status, *, failures: int, frozen_at: datetime | None = None) -> OtpRow:
    return replace(state, version=state.version + 1, status=status.value, failures=failures, frozen_at=frozen_at)


def is_frozen(state: OtpRow | None, now: datetime, settings: AuthenticationSettings) -> bool:
    """Tell whether too many wrong tries still keep OTPs from being sent and tried."""
    return (
        state is not None
        and state.status == Status.FROZEN
        and state.frozen_at is not None
        and now < state.frozen_at + timedelta(minutes=settings.otp_freeze_minutes)
    )


def frozen(settings: AuthenticationSettings) -> Rejected:
    """Return the refusal while frozen."""
    return errors.OTP_FROZEN.of(FROZEN_FOR, settings.otp_attempts)


def issued(mac: bytes, previous: OtpRow | None, now: datetime, settings: AuthenticationSettings) -> OtpRow:
    """Return the state after a new OTP was sent; it replaces an older one. Earlier wrong tries go on counting."""
    return OtpRow(
        version=previous.version + 1 if previous else 1,
        mac=mac,
        status=Status.ACTIVE.value,
        expires_at=now + timedelta(seconds=settings.otp_expiry_seconds),
        failures=previous.failures if previous and previous.status != Status.FROZEN else 0,
        frozen_at=None,
    )


def mask_phone(phone: str) -> str:
    """Return the number with X over its first half and one digit more."""
    hidden = min(len(phone), len(phone) // 2 + 1)
    return "X" * hidden + phone[hidden:]


def mask_email(email: str) -> str:
    """Return the address with X over its local part, every third character left."""
    local, at, domain = email.rpartition("@")
    shown = (letter if (place + 1) % _EMAIL_SHOWN == 0 else "X" for place, letter in enumerate(local))
    return "".join(shown) + at + domain


def mask_identifier(identifier: str) -> str:
    """Return the identifier with X over its first characters (``notification.uin.masking.charcount``)."""
    hidden = min(len(identifier), _IDENTIFIER_HIDDEN)
    return "X" * hidden + identifier[hidden:]
