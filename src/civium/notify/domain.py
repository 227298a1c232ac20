"""Templates and what becomes of them: pure rules."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from civium.notify.api import CannotRender

_PLACEHOLDER = re.compile(r"\$([A-Za-z][A-Za-z0-9_]*)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]+")
_ADDRESS = re.compile(r"[^@\s<>()\[\],;:\"\\]{1,64}@[A-Za-z0-9.\-]{1,255}")
_NUMBER = re.compile(r"\+*[0-9]{4,15}")


@dataclass(frozen=True, slots=True)
class TemplateCodes:
    """The master-data codes of one kind of message."""

    sms: str
    subject: str
    content: str


_PACKET_PREFIX: Final = "RPR_"
_NOTICE: Final = "auth"


def template_codes(template: str) -> TemplateCodes:
    """Return the codes of a template; three naming styles are in use on the wire."""
    if template.startswith(_PACKET_PREFIX):
        return TemplateCodes(f"{template}_SMS", f"{template}_EMAIL_SUB", f"{template}_EMAIL")
    if template == _NOTICE:
        return TemplateCodes("auth-sms", "auth-email-subject", "auth-email-content")
    return TemplateCodes(
        f"{template}-sms-template", f"{template}-email-subject-template", f"{template}-email-content-template"
    )


def render(text: str, values: Mapping[str, str], language: str) -> str:
    """Fill the placeholders of ``text`` once; a value's own ``$`` stays. Raises CannotRender for a missing value."""

    def value_of(match: re.Match[str]) -> str:
        name = match.group(1)
        value = values.get(f"{name}_{language}", values.get(name))
        if value is None:
            raise CannotRender(f"no value for ${name}")
        return value

    return _PLACEHOLDER.sub(value_of, text)


def single_line(text: str) -> str:
    """Return ``text`` fit for a header: control characters and line ends become one space."""
    return _CONTROL.sub(" ", text).strip()


def is_mail_address(text: str) -> bool:
    """Tell whether mail can be addressed to ``text`` without changing the message's headers."""
    return _ADDRESS.fullmatch(text) is not None


def is_phone_number(text: str) -> bool:
    """Tell whether ``text`` is a telephone number."""
    return _NUMBER.fullmatch(text) is not None
