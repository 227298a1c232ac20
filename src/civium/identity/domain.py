"""Rules of the register that need no IO: error codes, merging, update counts, lock entries (section 1)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from civium.identity.api import Attributes, PersonStatus
from civium.kernel.errors import IntegrityError, Rejected
from civium.kernel.identifiers import RID, UIN

RID_STORAGE_LENGTH = 39
FIELDS_TO_REPLACE = frozenset({"selectedHandles"})
RETURNED_BIOMETRICS = frozenset({"individualBiometrics"})
LOCKABLE = ("otp-email", "otp-phone", "demo", "bio-FINGER", "bio-IRIS", "bio-FACE", "otp")


def missing(parameter: str) -> Rejected:
    """Return IDR-IDC-001 for a parameter's path."""
    return Rejected("IDR-IDC-001", f"Missing Input Parameter - {parameter}")


def invalid(parameter: str) -> Rejected:
    """Return IDR-IDC-002 for a parameter's path."""
    return Rejected("IDR-IDC-002", f"Invalid Input Parameter - {parameter}")


def not_found() -> Rejected:
    """Return IDR-IDC-007."""
    return Rejected("IDR-IDC-007", "No Record(s) found")


def already_there() -> Rejected:
    """Return IDR-IDC-012."""
    return Rejected("IDR-IDC-012", "Record already exists in DB")


class TamperedRecord(Rejected, IntegrityError):
    """A person's stored row, or a part of it, is not what the register wrote last (IDR-IDS-001)."""

    def __init__(self) -> None:
        super().__init__("IDR-IDS-001", "Identity Element hash does not match")


class TamperedFile(Rejected, IntegrityError):
    """A stored document or biometric file is not what the register wrote (IDR-IDS-002)."""

    def __init__(self) -> None:
        super().__init__("IDR-IDS-002", "Biometric/Document hash does not match")


@dataclass(frozen=True, slots=True)
class Addition:
    """A new person whose UIN the caller chose among issued ones (POST of section 1.3)."""

    rid: RID
    uin: UIN
    identity: Attributes = field(repr=False)
    documents: Mapping[str, bytes] = field(repr=False)
    verified: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """What an update brings: every member except the identifiers may be absent (section 1.5)."""

    rid: RID
    uin: UIN
    status: PersonStatus | None = None
    identity: Attributes | None = field(default=None, repr=False)
    documents: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    verified: tuple[str, ...] = ()


def _by_language(value: object) -> dict[str, dict[str, Any]] | None:
    if not isinstance(value, list) or not value:
        return None
    if not all(isinstance(item, dict) and "language" in item and "value" in item for item in value):
        return None
    return {item["language"]: item for item in value}


def _merged_value(stored: object, incoming: object) -> object:
    old, new = _by_language(stored), _by_language(incoming)
    if old is None or new is None:
        return incoming
    return list((old | new).values())


def merge(stored: Attributes, incoming: Attributes) -> dict[str, Any]:
    """Return the identity after an update (section 1.5, numbers 4 and 5).

    Lists of texts merge by language, everything else is replaced; null and absent keep what is stored.
    """
    result = dict(stored)
    for name, value in incoming.items():
        if value is None:
            continue
        result[name] = value if name in FIELDS_TO_REPLACE else _merged_value(stored.get(name), value)
    return result


def charge(
    counts: Mapping[str, int], limits: Mapping[str, int], stored: Attributes, merged: Attributes
) -> dict[str, int]:
    """Return the update counts after charging each limited attribute that changed; raises Rejected IDR-IDC-013."""
    changed = [name for name in limits if merged.get(name) != stored.get(name)]
    exceeded = [name for name in changed if counts.get(name, 0) >= limits[name]]
    if exceeded:
        raise Rejected("IDR-IDC-013", f"Update count limit for the attributes exceeded:- {','.join(exceeded)}")
    return dict(counts) | {name: counts.get(name, 0) + 1 for name in changed}


def united(stored: Iterable[str], added: Iterable[str]) -> tuple[str, ...]:
    """Return both lists without repetition, in order of first appearance."""
    return tuple(dict.fromkeys([*stored, *added]))


@dataclass(frozen=True, slots=True)
class LockRequest:
    """One requested lock or unlock; ``unlock_seconds`` makes an unlock temporary (section 1.6)."""

    auth_type: str
    auth_sub_type: str | None
    locked: bool
    unlock_seconds: int | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Lock:
    """The latest state of one auth type. Locked until told otherwise, except before ``unlock_expires_at``."""

    auth_type: str
    auth_sub_type: str | None
    locked: bool
    unlock_expires_at: datetime | None
    request_id: str | None

    def remaining_seconds(self, now: datetime) -> int | None:
        """Return the whole seconds that a temporary unlock still lasts, or None without one."""
        if not self.locked or self.unlock_expires_at is None or self.unlock_expires_at <= now:
            return None
        return int((self.unlock_expires_at - now).total_seconds())


def lockable(auth_type: str, auth_sub_type: str | None) -> tuple[str, str | None]:
    """Return type and subtype as configured, found without regard to case; raises Rejected IDR-IDC-002."""
    asked = f"{auth_type}-{auth_sub_type}" if auth_sub_type else auth_type
    for code in LOCKABLE:
        if code.casefold() == asked.casefold():
            kind, _, subtype = code.partition("-")
            return kind, subtype or None
    raise invalid("authTypes")
