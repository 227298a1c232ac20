"""What each security context's socket may ask for, and the gate that holds it.

What is not listed is refused. The rates are far above honest use on one machine; they bound what a stolen web worker
can unseal before it is noticed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

import structlog

from civium.kernel.clock import monotonic
from civium.kernel.errors import Unavailable
from civium.keys.api import KeyProblem
from civium.keys.protocol import AnyCall, Call, Citation
from civium.keys.usage import ABOUT_USAGE, Ledger

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Grant:
    """Permission for one operation on the keys that the patterns match, ``rate`` times a second."""

    operation: str
    application: str
    reference: str
    rate: int

    def covers(self, application: str, reference: str) -> bool:
        """Whether the key is one of this grant's."""
        return fnmatchcase(application, self.application) and fnmatchcase(reference, self.reference)


_COMMON: Final = (
    Grant("TokenId", "TOKEN", "", 5_000),
    Grant("MakeDataKey", "DATA", "*", 5_000),
    Grant("UnwrapDataKey", "DATA", "*", 10_000),
    Grant("RenewDataKey", "DATA", "*", 10_000),
    Grant("KeyedHash", "HASH", "*", 20_000),
    Grant("TakeUsage", "USAGE", "", 10),
    Grant("ReportUsage", "USAGE", "", 200),
)

CORE: Final = (
    Grant("GetCertificate", "*", "*", 5_000),
    Grant("GetCertificates", "*", "*", 5_000),
    Grant("InstallCertificate", "PARTNER", "*", 100),
    Grant("Unwrap", "REGISTRATION", "*_*", 5_000),
    Grant("Unwrap", "PRE_REGISTRATION", "?*", 1_000),
    Grant("Unwrap", "ID_REPO", "?*", 1_000),
    Grant("Unwrap", "RESIDENT", "?*", 1_000),
    Grant("Sign", "KERNEL", "SIGN", 10_000),
    Grant("Sign", "ACCESS", "", 2_000),
    # ROOT and PMS certify, ACCESS makes tokens: no endpoint signs data with them.
    *(
        Grant("SignData", application, reference, 5_000)
        for application, reference in (
            ("KERNEL", "SIGN"),
            ("PRE_REGISTRATION", ""),
            ("REGISTRATION", ""),
            ("REGISTRATION_PROCESSOR", ""),
            ("ID_REPO", ""),
            ("RESIDENT", ""),
            ("ADMIN_SERVICES", ""),
            ("DIGITAL_CARD", ""),
            ("COMPLIANCE_TOOLKIT", ""),
        )
    ),
    Grant("Unwrap", "DIGITAL_CARD", "?*", 1_000),
    Grant("Unwrap", "COMPLIANCE_TOOLKIT", "?*", 1_000),
    Grant("MakeMaster", "*", "*", 10),
    Grant("MakeRequest", "*", "*", 20),
    Grant("Certify", "*", "*", 20),
    Grant("Retire", "*", "?*", 20),
    Grant("RenewSymmetric", "KERNEL", "IDENTITY_CACHE", 5),
    Grant("IssuePartner", "PMS", "", 20),
    Grant("ZkFresh", "ZK", "POOL", 5_000),
    Grant("ZkDerive", "ZK", "DERIVE", 1_000),
    Grant("IdentifierSalt", "SALT", "", 10_000),
    *_COMMON,
)

AUTH: Final = (
    Grant("GetCertificate", "IDA", "*", 5_000),
    Grant("GetCertificate", "IDA_*", "", 5_000),
    Grant("GetCertificate", "ROOT", "", 100),
    Grant("GetCertificates", "IDA", "*", 5_000),
    Grant("GetCertificates", "IDA_*", "", 5_000),
    Grant("GetCertificates", "ROOT", "", 100),
    Grant("Unwrap", "IDA", "PARTNER", 10_000),
    Grant("Unwrap", "IDA", "INTERNAL", 5_000),
    Grant("Unwrap", "IDA", "IDA-FIR", 10_000),
    Grant("Unwrap", "IDA", "mpartner-default-auth", 5_000),
    Grant("Sign", "IDA", "SIGN", 10_000),
    Grant("Sign", "IDA_KYC_EXCHANGE", "", 5_000),
    Grant("Sign", "IDA_KEY_BINDING", "", 5_000),
    Grant("Sign", "IDA_VCI_EXCHANGE", "", 5_000),
    Grant("ZkDerive", "ZK", "DERIVE", 10_000),
    Grant("ZkInstall", "ZK", "INSTALL", 5_000),
    Grant("ZkReEncrypt", "ZK", "RE-ENCRYPT", 50),
    *_COMMON,
)


ADMIN: Final = (
    Grant("ListKeys", "LIST", "", 10),
    Grant("TotalUsage", "USAGE", "", 10),
    Grant("Rotate", "*", "*", 10),
    Grant("RotateSecret", "SECRET", "*", 10),
    Grant("Retire", "*", "?*", 10),
)
"""What the operator's commands ask for while the platform runs. Nothing here destroys a key or takes one in."""


class _Bucket:
    """A token bucket that holds one second's worth of calls."""

    __slots__ = ("_at", "_grant", "_left")

    def __init__(self, grant: Grant, now: float) -> None:
        self._grant = grant
        self._left = float(grant.rate)
        self._at = now

    def covers(self, application: str, reference: str) -> bool:
        return self._grant.covers(application, reference)

    def take(self, now: float) -> bool:
        rate = self._grant.rate
        self._left = min(rate, self._left + (now - self._at) * rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Gate:
    """Holds one socket's allow-list and its rates, and counts what passes. About 3 microseconds per call."""

    def __init__(
        self,
        context: str,
        grants: Iterable[Grant],
        *,
        ledger: Ledger | None = None,
        time: Callable[[], float] = monotonic,
    ) -> None:
        self._context = context
        self._time = time
        self._buckets: dict[str, list[_Bucket]] = {}
        for grant in grants:
            self._buckets.setdefault(grant.operation, []).append(_Bucket(grant, time()))
        self.ledger = ledger or Ledger()

    def admit(self, call: AnyCall, citation: Citation) -> None:
        """Let a call pass and count it. Raises KeyProblem when it is not listed, Unavailable above its rate."""
        key = application, reference = call.key()
        for bucket in self._buckets.get(call.operation, ()):
            if bucket.covers(application, reference):
                if not bucket.take(self._time()):
                    self._refused(call, "rate")
                    raise Unavailable(f"{call.operation} is asked for too often")
                if not isinstance(call, ABOUT_USAGE):
                    self.ledger.count(call.operation, key, citation)
                return
        self._refused(call, "not listed")
        raise _refusal(call)

    def _refused(self, call: Call, reason: str) -> None:
        _log.warning("key_call_refused", context=self._context, operation=call.operation, reason=reason)


def _refusal(call: Call) -> KeyProblem:
    match call.operation:
        case "Unwrap":
            return KeyProblem(
                "KER-CRY-012",
                "Not Allowed to preform decryption for the provided application id and with authentication token",
            )
        case "Sign" | "SignData":
            return KeyProblem("KER-JWS-108", "Signing data not allowed for the authenticated token.")
        case _:
            return KeyProblem("KER-KMS-010", "Reference Id Not Supported for the Application ID.")
