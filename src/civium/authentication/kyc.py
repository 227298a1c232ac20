"""The identity that an e-KYC answer carries (id-authentication section 17.1). Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import msgspec

from civium.authentication.demographics import (
    ATTRIBUTES,
    FULL_ADDRESS,
    FULL_ADDRESS_SEPARATOR,
    NAMES,
    Attribute,
    Rule,
    age_on,
    attribute_of,
    in_language,
    parse_date,
    values_of,
)
from civium.biometrics.api import InvalidBiometrics, Modality, parse_cbeff
from civium.kernel.encoding import b64
from civium.kernel.errors import IntegrityError

PHOTOS = frozenset({"photo", "face"})
FACE = "Face"
"""The biometric attribute that holds the face's CBEFF."""


def stored_attributes(allowed: Iterable[str]) -> frozenset[str]:
    """Return the stored demographic attributes that the allowed KYC attributes need."""
    return frozenset(name for attribute in allowed if attribute not in PHOTOS for name in _attribute(attribute).stored)


def wants_photo(allowed: Iterable[str]) -> bool:
    """Tell whether the allowed attributes include the photo."""
    return not PHOTOS.isdisjoint(allowed)


def identity(
    allowed: Sequence[str], person: Mapping[str, str], face: str | None, languages: Sequence[str], today: date
) -> bytes:
    """Return the JSON of the allowed attributes that exist. ``face`` is the CBEFF of the face."""
    members: dict[str, str] = {}
    for name in allowed:
        if name in PHOTOS:
            if face is not None:
                members[name] = face_record(face)
        else:
            members.update(_members(_attribute(name), person, languages, today))
    return msgspec.json.encode(members)


def _attribute(name: str) -> Attribute:
    """Return the attribute that a policy names, by wire name or stored name."""
    return attribute_of(name if name in ATTRIBUTES else NAMES.get(name, name))


def _members(
    attribute: Attribute, person: Mapping[str, str], languages: Sequence[str], today: date
) -> Iterable[tuple[str, str]]:
    stored = [person[name] for name in attribute.stored if person.get(name)]
    if not stored:
        return
    if attribute.rule is Rule.AGE:
        yield attribute.name, str(age_on(parse_date(stored[0]), today))
        return
    spoken = {language for text in stored for language in values_of(text) if language is not None}
    if not spoken:
        yield attribute.name, _joined(attribute, stored, None)
        return
    for language in languages:
        if language in spoken:
            yield f"{attribute.name}_{language}", _joined(attribute, stored, language)


def _joined(attribute: Attribute, stored: Sequence[str], language: str | None) -> str:
    separator = FULL_ADDRESS_SEPARATOR if attribute is FULL_ADDRESS else " "
    return separator.join(part for text in stored if (part := in_language(text, language)))


def face_record(cbeff: str) -> str:
    """Return the base64 text of the face's BDB; raises IntegrityError when the stored CBEFF has none."""
    try:
        return next(b64(record.bdb) for record in parse_cbeff(cbeff.encode()) if record.modality is Modality.FACE)
    except (InvalidBiometrics, StopIteration):
        raise IntegrityError("the stored face is no CBEFF of a face") from None
