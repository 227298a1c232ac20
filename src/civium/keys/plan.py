"""Which keys each security context has, and how long they live (keys-and-crypto sections 1.2 and 2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from civium.keys.api import (
    ACCESS_TOKENS,
    IDA_CRED_SERVICE,
    IDA_FIR,
    IDA_INTERNAL,
    IDA_PARTNER,
    IDA_PARTNER_ID,
    IDA_SIGN,
    KERNEL_SIGN,
    PMS,
    KeyRef,
)

ROOT: Final = KeyRef("ROOT")
SIGN: Final = "SIGN"
NO_BASE_KEYS: Final = frozenset({"ROOT", "KERNEL", "PARTNER"})


@dataclass(frozen=True, slots=True)
class Policy:
    """How long a key's certificate is valid, and how long before its end the next one takes over."""

    validity: timedelta
    pre_expiry: timedelta


def _days(validity: int, pre_expiry: int) -> Policy:
    return Policy(timedelta(days=validity), timedelta(days=pre_expiry))


SECRET_VALIDITY: Final[Mapping[str, timedelta]] = {
    "data-keys": timedelta(days=365),
    "identity-cache": timedelta(days=1825),
}
"""How long a version of a symmetric master seals; older ones go on to open."""

BASE: Final = _days(730, 30)
MODULE: Final = _days(1095, 60)


@dataclass(frozen=True, slots=True)
class Plan:
    """The keys of one security context: RSA masters in the order of their making, then base keys."""

    context: str
    masters: tuple[KeyRef, ...]
    base_keys: tuple[KeyRef, ...]
    policies: Mapping[str, Policy]
    sign: KeyRef


CORE: Final = Plan(
    context="core",
    masters=(
        ROOT,
        KERNEL_SIGN,
        KeyRef("PRE_REGISTRATION"),
        KeyRef("REGISTRATION"),
        KeyRef("REGISTRATION_PROCESSOR"),
        KeyRef("ID_REPO"),
        KeyRef("RESIDENT"),
        PMS,
        KeyRef("ADMIN_SERVICES"),
        ACCESS_TOKENS,
    ),
    base_keys=(),
    policies={
        "ROOT": _days(2920, 1125),
        "KERNEL": MODULE,
        "PRE_REGISTRATION": MODULE,
        "REGISTRATION": MODULE,
        "REGISTRATION_PROCESSOR": MODULE,
        "ID_REPO": MODULE,
        "RESIDENT": MODULE,
        "PMS": _days(1460, 395),
        "ADMIN_SERVICES": MODULE,
        "DIGITAL_CARD": MODULE,
        "COMPLIANCE_TOOLKIT": MODULE,
        "ACCESS": MODULE,
    },
    sign=KERNEL_SIGN,
)

AUTH: Final = Plan(
    context="auth",
    masters=(
        ROOT,
        KeyRef("IDA"),
        IDA_SIGN,
        KeyRef("IDA_KYC_EXCHANGE"),
        KeyRef("IDA_KEY_BINDING"),
        KeyRef("IDA_VCI_EXCHANGE"),
    ),
    base_keys=(IDA_INTERNAL, IDA_PARTNER, IDA_FIR, IDA_CRED_SERVICE, KeyRef("IDA", IDA_PARTNER_ID)),
    policies={
        "ROOT": _days(1826, 90),
        "IDA": MODULE,
        "IDA_KYC_EXCHANGE": MODULE,
        "IDA_KEY_BINDING": MODULE,
        "IDA_VCI_EXCHANGE": MODULE,
    },
    sign=IDA_SIGN,
)
