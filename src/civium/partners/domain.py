"""Rules of partner management without IO (portals-and-partners sections 4.1, 4.3, 4.7, 4.8)."""

import re
import secrets
import string
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from civium.kernel.errors import Rejected

POLICY_VALIDITY = timedelta(days=180)
KEY_VALIDITY = timedelta(days=3650)
LICENCE_KEY_LENGTH = 50
API_KEY_DIGITS = 32
ID_DIGITS = 12
MAX_PARTNER_ID = 36
MAX_CONTACT_NUMBER = 16
_EMAIL = re.compile(r"^[^@\s]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}$")


class PartnerType(StrEnum):
    """Kinds of partner; matched without regard to case."""

    ABIS = "Abis_Partner"
    AUTH = "Auth_Partner"
    BINDING = "Binding_Partner"
    CREDENTIAL = "Credential_Partner"
    DEVICE_PROVIDER = "Device_Provider"
    FTM_PROVIDER = "FTM_Provider"
    INTERNAL = "Internal_Partner"
    MANUAL_ADJUDICATION = "Manual_Adjudication"
    MISP = "MISP_Partner"
    ONLINE_VERIFICATION = "Online_Verification_Partner"
    PARTNER_ADMIN = "Partner_Admin"
    PRINT = "Print_Partner"
    SDK = "SDK_Partner"

    @property
    def needs_policy_group(self) -> bool:
        """Whether such a partner registers under a policy group (seed ``is_policy_required``)."""
        return self not in {
            PartnerType.DEVICE_PROVIDER,
            PartnerType.FTM_PROVIDER,
            PartnerType.MISP,
            PartnerType.SDK,
            PartnerType.PARTNER_ADMIN,
        }

    @classmethod
    def named(cls, text: str) -> "PartnerType":
        """Return the type with this name in any case; raises Rejected PMS_PRT_010."""
        for kind in cls:
            if kind.value.lower() == text.lower():
                return kind
        raise Rejected("PMS_PRT_010", "Partner type does not exist.")


class PolicyType(StrEnum):
    """Kinds of policy."""

    AUTH = "Auth"
    DATA_SHARE = "DataShare"
    CREDENTIAL_ISSUANCE = "CredentialIssuance"
    MISP = "MISP"


@dataclass(frozen=True, slots=True)
class PolicyGroup:
    """A group of policies for one kind of business."""

    id: str
    name: str
    description: str
    active: bool
    created_by: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy; ``body`` is the JSON of id-authentication section 16 or data sharing."""

    id: str
    group_id: str
    type: PolicyType
    name: str
    description: str
    version: str
    body: dict[str, Any]
    status: str
    commence_on: datetime
    expires_on: datetime
    created_by: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Contact:
    """How to reach a partner; sealed at rest."""

    address: str = field(repr=False)
    contact_number: str = field(repr=False)
    email: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Partner:
    """A partner's row without its contact data."""

    id: str
    type: PartnerType
    organisation: str
    group_id: str | None
    status: str
    active: bool
    certificate_id: str | None
    signed_pem: str | None
    original_pem: str | None
    created_by: str

    @property
    def usable(self) -> bool:
        """Approved (a certificate was taken in) and not deactivated."""
        return self.active and self.status == "approved"


@dataclass(frozen=True, slots=True)
class Mapping:
    """A partner's request for a policy."""

    key: str
    partner_id: str
    policy_id: str
    status: str


def check_contact(partner_id: str, contact: Contact) -> None:
    """Raise Rejected unless a registration's texts have the right shape, in the reference's order."""
    if len(contact.contact_number) > MAX_CONTACT_NUMBER:
        raise Rejected("PMS_PRT_013", f"Contact number length is more than {MAX_CONTACT_NUMBER}")
    if not _EMAIL.match(contact.email):
        raise Rejected("PMS_PRT_012", "Email Id is not valid.")
    if " " in partner_id or not partner_id:
        raise Rejected("PMS_PRT_066", f"Partner id must not be empty or have spaces; max length {MAX_PARTNER_ID}")
    if len(partner_id) > MAX_PARTNER_ID:
        raise Rejected("PMS_PRT_052", f"Partner id length is more than {MAX_PARTNER_ID}")


def random_digits(count: int) -> str:
    """Return ``count`` random decimal digits, the first not 0."""
    return str(secrets.randbelow(9) + 1) + "".join(str(secrets.randbelow(10)) for _ in range(count - 1))


def random_licence_key() -> str:
    """Return a MISP licence key."""
    alphabet = string.ascii_letters + string.digits
    return "".join(secrets.choice(alphabet) for _ in range(LICENCE_KEY_LENGTH))
