"""What a policy may say, checked member by member (portals-and-partners section 4.8)."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from civium.kernel.errors import Rejected, RejectedMany
from civium.partners.domain import PolicyType

AUTH_TYPES = frozenset(
    {
        "otp", "otp-request", "demo", "bio", "pin", "pwd", "kyc", "kycauth", "kycexchange", "kbt", "keybinding", "wla",
        "vciexchange",
    }
)  # fmt: skip
TOKEN_TYPES = frozenset({"random", "partner", "policy"})


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _AuthType(_Strict):
    authType: str  # noqa: N815 - members have the wire's names
    authSubType: str | None = None  # noqa: N815
    mandatory: bool


class _Attribute(_Strict):
    attributeName: str  # noqa: N815
    encrypted: bool | None = None


class _Auth(_Strict):
    authTokenType: str  # noqa: N815
    allowedAuthTypes: list[_AuthType] = Field(min_length=1)  # noqa: N815
    allowedKycAttributes: list[_Attribute]  # noqa: N815
    kycLanguages: list[str] | None = None  # noqa: N815


class _Misp(_Strict):
    allowAuthRequestDelegation: bool  # noqa: N815
    allowKycRequestDelegation: bool  # noqa: N815
    allowKeyBindingDelegation: bool  # noqa: N815
    trustBindedAuthVerificationToken: bool | None = None  # noqa: N815
    allowVciRequestDelegation: bool | None = None  # noqa: N815


class _Share(_Strict):
    typeOfShare: Literal["Data Share", "direct"]  # noqa: N815
    validForInMinutes: str  # noqa: N815
    transactionsAllowed: str  # noqa: N815
    encryptionType: str  # noqa: N815
    shareDomain: str  # noqa: N815
    source: str
    protocol: str | None = None


class _DataShare(_Strict):
    dataSharePolicies: _Share  # noqa: N815
    shareableAttributes: list[dict[str, Any]]  # noqa: N815


_SHAPES: dict[PolicyType, type[BaseModel]] = {
    PolicyType.AUTH: _Auth,
    PolicyType.DATA_SHARE: _DataShare,
    PolicyType.CREDENTIAL_ISSUANCE: _DataShare,
    PolicyType.MISP: _Misp,
}


def policy_type(text: str) -> PolicyType:
    """Return the policy type with this name in any case; raises Rejected PMS_POL_023."""
    for kind in PolicyType:
        if kind.value.lower() == text.lower():
            return kind
    raise Rejected("PMS_POL_023", "Given policy type is not allowed")


def check_policy(kind: PolicyType, body: dict[str, Any]) -> None:
    """Raise Rejected or RejectedMany (PMS_PV_005, _006, PMS_POL_006, _022) unless ``body`` fits its type."""
    try:
        policy = _SHAPES[kind].model_validate(body)
    except ValidationError as problem:
        raise RejectedMany([_rejection(error["type"], error["loc"]) for error in problem.errors()]) from None
    if isinstance(policy, _Auth):
        if policy.authTokenType.lower() not in TOKEN_TYPES:
            raise Rejected("PMS_POL_022", "Given auth token type is not allowed")
        if any(allowed.authType.lower() not in AUTH_TYPES for allowed in policy.allowedAuthTypes):
            raise Rejected("PMS_POL_006", "Unsupported Authentication Type in the Policy File")


def _rejection(kind: str, place: tuple[int | str, ...]) -> Rejected:
    name = "/".join(str(part) for part in place)
    if kind == "missing":
        return Rejected("PMS_PV_006", f"Missing input parameter - {name} in policy data")
    return Rejected("PMS_PV_005", f"Invalid input parameter - {name} in policy data")
