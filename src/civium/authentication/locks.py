"""Locks that a person puts on auth types (id-authentication section 14.3). Pure.

Codes are stored as ``demo``, ``otp``, ``otp-email``, ``otp-phone``, ``bio-FINGER``; older names are translated once,
on arrival. What a temporary unlock suspends is not among the locked codes that the store returns.
"""

from civium.authentication import errors
from civium.authentication.policy import Factor
from civium.authentication.validation import Channel
from civium.kernel.errors import Rejected

DEMO = "demo"
OTP = "otp"
CHANNEL_CODES = {Channel.PHONE: "otp-phone", Channel.EMAIL: "otp-email"}
_SPOKEN = {Channel.PHONE: "otp-sms", Channel.EMAIL: "otp-email"}
"""What the refusal of an OTP request calls them."""


def code_of(auth_type: str, sub_type: str | None) -> str:
    """Return the stored code of a lock entry: a missing subtype locks the whole type, ``sms`` is ``phone``."""
    kind, _, inline = auth_type.partition("-")
    part = sub_type or inline
    if not part or part == "null":
        return kind
    return CHANNEL_CODES[Channel.PHONE] if (kind, part) == (OTP, "sms") else f"{kind}-{part}"


def refusal_of_factors(factors: frozenset[Factor], locked: frozenset[str]) -> Rejected | None:
    """Return IDA-MLC-019 for the first factor that is locked."""
    if Factor.DEMO in factors and DEMO in locked:
        return errors.LOCKED.of(DEMO)
    if Factor.OTP in factors and (OTP in locked or locked.issuperset(CHANNEL_CODES.values())):
        return errors.LOCKED.of(OTP)
    return None


def refusal_of_channels(channels: frozenset[Channel], locked: frozenset[str]) -> Rejected | None:
    """Return IDA-MLC-019 when OTPs or one of the asked channels are locked."""
    if OTP in locked:
        return errors.LOCKED.of(OTP)
    for channel, code in CHANNEL_CODES.items():
        if channel in channels and code in locked:
            return errors.LOCKED.of(_SPOKEN[channel])
    return None
