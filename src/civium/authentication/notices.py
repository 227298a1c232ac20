"""Messages to the person: the OTP, and the notice that somebody authenticated in their name (section 11.1)."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from civium.authentication.demographics import in_language, values_of
from civium.authentication.otp import mask_identifier
from civium.authentication.policy import Factor
from civium.authentication.validation import Channel, Individual
from civium.kernel.secrets import OTP
from civium.notify.api import NotificationRequested

PHONE, EMAIL, NAME, BIRTH = "phone", "email", "fullName", "dateOfBirth"
CONTACT = frozenset({PHONE, EMAIL, NAME})
"""The attributes that every message needs."""

_FACTOR_WORDS = {Factor.OTP: "OTP", Factor.DEMO: "Demographic"}
_CHANNEL_ATTRIBUTES = {Channel.PHONE: PHONE, Channel.EMAIL: EMAIL}


def contact(person: Mapping[str, str], channel: Channel) -> str | None:
    """Return the person's address on a channel."""
    return in_language(person.get(_CHANNEL_ATTRIBUTES[channel]), None)


def otp_message(
    person: Mapping[str, str],
    individual: Individual,
    otp: OTP,
    *,
    channels: frozenset[Channel],
    valid_minutes: int,
    at: datetime,
    languages: Sequence[str],
) -> NotificationRequested:
    """Return the message that carries an OTP to the channels."""
    return NotificationRequested(
        template="ida-auth-otp",
        languages=tuple(languages),
        email=contact(person, Channel.EMAIL) if Channel.EMAIL in channels else None,
        phone=contact(person, Channel.PHONE) if Channel.PHONE in channels else None,
        values={
            **_common(person, individual, at),
            "otp": otp.reveal(),
            "validTime": str(valid_minutes),
        },
    )


def authentication_notice(
    person: Mapping[str, str],
    individual: Individual,
    factors: frozenset[Factor],
    *,
    succeeded: bool,
    at: datetime,
    languages: Sequence[str],
) -> NotificationRequested | None:
    """Return the notice of an authentication; None for a person without any address."""
    email, phone = contact(person, Channel.EMAIL), contact(person, Channel.PHONE)
    if email is None and phone is None:
        return None
    return NotificationRequested(
        template="auth",
        languages=tuple(languages),
        email=email,
        phone=phone,
        values={
            **_common(person, individual, at),
            "authType": ", ".join(words for factor, words in _FACTOR_WORDS.items() if factor in factors),
            "status": "Passed" if succeeded else "Failed",
        },
    )


def _common(person: Mapping[str, str], individual: Individual, at: datetime) -> dict[str, str]:
    names = values_of(person.get(NAME))
    first = next(iter(names.values()), "")
    return {
        "name": first,
        **{f"name_{language}": name for language, name in names.items() if language},
        "idvid": mask_identifier(individual.identifier.reveal()),
        "idvidType": individual.type.value,
        "date": f"{at:%d-%m-%Y}",
        "time": f"{at:%H:%M:%S}",
    }
