"""Who may use which application's private keys: ``access_allowed``, denied by default (section 13 no. 4).

A role opens an endpoint; this table then opens single applications to single callers. Encrypting and verifying need
public keys only and are not asked here.
"""

from collections.abc import Collection, Mapping
from typing import Final

from civium.keys.api import KERNEL_SIGN, KeyProblem, KeyRef
from civium.platform.http import Caller

CLIENT_CRYPTO: Final = KeyRef("RESIDENT", "CLIENT_CRYPTO")
"""What encrypts to this service in the manner of a machine's key (section 4.8)."""
IDENTITY_CACHE: Final = KeyRef("KERNEL", "IDENTITY_CACHE")
IDA_IDENTITY_CACHE: Final = KeyRef("IDA", "IDENTITY_CACHE")


def _clients(*names: str) -> frozenset[str]:
    return frozenset(f"service-account-mosip-{name}-client" for name in names)


DEFAULT: Final[Mapping[str, frozenset[str]]] = {
    "ADMIN_SERVICES": _clients("admin"),
    "COMPLIANCE_TOOLKIT": _clients("toolkit"),
    "DIGITAL_CARD": _clients("digitalcard"),
    "IDA:IDENTITY_CACHE": _clients("ida"),
    "ID_REPO": _clients("idrepo"),
    "KERNEL:IDENTITY_CACHE": _clients("creser", "idrepo"),
    "KERNEL:SIGN": _clients(
        "admin", "creser", "datsha", "digitalcard", "hotlist", "idrepo", "pms", "prereg", "regproc", "resident",
        "syncdata",
    ),
    "PMS": _clients("pms"),
    "PRE_REGISTRATION": _clients("prereg"),
    "REGISTRATION": _clients("regproc", "syncdata"),
    "REGISTRATION_PROCESSOR": _clients("regproc"),
    "RESIDENT": _clients("resident"),
    "RESIDENT:CLIENT_CRYPTO": _clients("regproc", "resident", "syncdata"),
}  # fmt: skip
"""Callers by application, or by ``application:reference``, which then alone counts for this reference."""

RESPONSE_SIGNERS: Final = _clients("hotlist", "idrepo", "pms", "prereg", "regproc", "resident", "syncdata")
"""Callers that sign the answers of services (``response-signature``) and files for machines."""

TEST_RIG: Final = "service-account-mosip-testrig-client"
"""In a sandbox it may use every application."""


class ApplicationAccess:
    """The table, as one installation has it. A look-up is two dictionary reads."""

    def __init__(self, changes: Mapping[str, Collection[str]], *, sandbox: bool) -> None:
        """``changes`` replace entries of the default table, or add some."""
        extra = {TEST_RIG} if sandbox else set()
        table = {**DEFAULT, **changes}
        self._allowed = {name: frozenset(callers) | extra for name, callers in table.items()}
        self._response_signers = RESPONSE_SIGNERS | extra

    def allows(self, caller: Caller, ref: KeyRef) -> bool:
        """Tell whether the caller may use the private key."""
        named = f"{ref.application_id}:{ref.reference_id}"
        return caller.subject in self._allowed.get(named, self._allowed.get(ref.application_id, frozenset()))

    def check_decrypt(self, caller: Caller, ref: KeyRef) -> None:
        """Raise KeyProblem (KER-CRY-012) unless the caller may decrypt with the key."""
        if not self.allows(caller, ref):
            raise KeyProblem(
                "KER-CRY-012",
                "Not Allowed to preform decryption for the provided application id and with authentication token",
            )

    def check_sign(self, caller: Caller, ref: KeyRef) -> None:
        """Raise KeyProblem (KER-JWS-108) unless the caller may sign with the key."""
        if not self.allows(caller, ref):
            raise _no_signing()

    def check_payload(self, caller: Caller, ref: KeyRef, *, reserved: bool) -> None:
        """Raise KeyProblem (KER-JWS-108) unless the caller may sign a payload of this purpose.

        ``reserved`` payloads are those that machines obey when KERNEL:SIGN signed them (`payloads`).
        """
        self.check_sign(caller, ref)
        if reserved and ref == KERNEL_SIGN and caller.subject not in self._response_signers:
            raise _no_signing()

    def check_certify(self, caller: Caller) -> None:
        """Raise KeyProblem (KER-PCM-016) unless the caller may have partners' certificates signed."""
        if not self.allows(caller, KeyRef("PMS")):
            raise KeyProblem("KER-PCM-016", "Sign Certificate not allowed for the authenticated token.")


def _no_signing() -> KeyProblem:
    return KeyProblem("KER-JWS-108", "Signing data not allowed for the authenticated token.")
