"""Comparing demographic attributes, and reading stored ones (id-authentication section 9). Pure.

The live contract is exact token matching; every attribute that is given must match.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import Enum
from types import MappingProxyType

import msgspec

from civium.authentication import errors
from civium.authentication.wire import DemographicValue, LanguageValue
from civium.kernel.errors import Rejected

DATE_PATTERN = "%Y/%m/%d"
_DATE = re.compile(r"\d{4}/\d\d/\d\d", re.ASCII)
ADDRESS_WORDS = "address line item(s)"
DOB_TYPES = frozenset("VDA")
FULL_ADDRESS_SEPARATOR = ","


class Rule(Enum):
    """How an attribute is compared."""

    NAME = "name"
    ADDRESS = "address"
    TOKENS = "tokens"
    DATE = "date"
    AGE = "age"


@dataclass(frozen=True, slots=True)
class Attribute:
    """A member of ``demographics``: the stored attributes behind it, and how it is compared."""

    name: str
    stored: tuple[str, ...]
    rule: Rule = Rule.TOKENS
    by_language: bool = False
    spoken: str = ""
    """Its name in messages, when it is not ``name``."""

    @property
    def words(self) -> str:
        """What messages call it."""
        return self.spoken or self.name


def _address(name: str, *stored: str, by_language: bool = True) -> Attribute:
    rule = Rule.ADDRESS if by_language else Rule.TOKENS
    return Attribute(name, stored or (name,), rule, by_language, ADDRESS_WORDS)


FULL_ADDRESS = _address(
    "fullAddress", "addressLine1", "addressLine2", "addressLine3", "city", "region", "province", "postalCode"
)
ATTRIBUTES: Mapping[str, Attribute] = MappingProxyType(
    {
        attribute.name: attribute
        for attribute in (
            Attribute("name", ("fullName",), Rule.NAME, by_language=True),
            Attribute("dob", ("dateOfBirth",), Rule.DATE),
            Attribute("dobType", ("dobType",)),
            Attribute("age", ("dateOfBirth",), Rule.AGE),
            Attribute("gender", ("gender",), by_language=True),
            Attribute("phoneNumber", ("phone",)),
            Attribute("emailId", ("email",)),
            _address("addressLine1"),
            _address("addressLine2"),
            _address("addressLine3"),
            _address("location1", "city"),
            _address("location2", "region"),
            _address("location3", "province"),
            _address("postalCode", by_language=False),
            FULL_ADDRESS,
        )
    }
)
"""The members with a fixed meaning (section 9.1)."""

_MAPPED: Mapping[str, str] = MappingProxyType({"location4": "zone", "preferredLanguage": "preferredLang"})
"""Further keys of the identity mapping (section 9.5)."""
NAMES: Mapping[str, str] = MappingProxyType(
    {
        **{stored: name for name, stored in _MAPPED.items()},
        **{
            attribute.stored[0]: attribute.name
            for attribute in reversed(tuple(ATTRIBUTES.values()))
            if len(attribute.stored) == 1 and attribute.rule is not Rule.AGE
        },
    }
)
"""A stored attribute's name on the wire: the reverse of the mapping (``fullName`` is ``name``)."""


def attribute_of(name: str, *, by_language: bool = False) -> Attribute:
    """Return the attribute of a member; a name without a mapping is the stored attribute of that name."""
    return ATTRIBUTES.get(name) or Attribute(name, (_MAPPED.get(name, name),), by_language=by_language)


@dataclass(frozen=True, slots=True)
class Claim:
    """One value that the request claims for an attribute."""

    attribute: Attribute
    language: str | None
    value: str | None = field(repr=False)


def claims_of(demographics: Mapping[str, DemographicValue] | None) -> tuple[Claim, ...]:
    """Return every claim; members of ``metadata`` count like members of ``demographics``. Null and [] claim nothing."""
    claims: list[Claim] = []
    for name, value in (demographics or {}).items():
        if isinstance(value, dict):
            if name == "metadata":
                claims += claims_of(value)
            continue
        attribute = attribute_of(name, by_language=isinstance(value, list))
        match value:
            case None:
                continue
            case list():
                claims += (Claim(attribute, item.language, item.value) for item in value)
            case _:
                claims.append(Claim(attribute, None, str(value)))
    return tuple(claims)


def needed(claims: Iterable[Claim]) -> frozenset[str]:
    """Return the stored attributes that comparing ``claims`` needs."""
    return frozenset(name for claim in claims for name in claim.attribute.stored)


Values = Mapping[str | None, str]
"""The stored values of an attribute by language; under None when it has no languages."""

_languages = msgspec.json.Decoder(list[LanguageValue])


def values_of(stored: str | None) -> Values:
    """Return the values of a stored attribute: a JSON list of language and value, or the text itself."""
    if not stored:
        return {}
    if stored.startswith("["):
        try:
            return {item.language: item.value or "" for item in _languages.decode(stored.encode())}
        except msgspec.DecodeError:
            pass
    return {None: stored}


def in_language(stored: str | None, language: str | None) -> str | None:
    """Return the value in that language, or the language-free one; None when there is neither."""
    values = values_of(stored)
    return values.get(language, values.get(None)) or None


def mismatches(claims: Iterable[Claim], person: Mapping[str, str], today: date) -> list[Rejected]:
    """Compare every claim with the stored attributes in ``person``; returns the errors, empty when all match.

    Raises IDA-MLC-009 for a date of birth that is no date.
    """
    found: dict[tuple[str, str | None], Rejected] = {}
    for claim in claims:
        problem = _compare(claim, person, today)
        if problem is not None:
            found.setdefault((problem.code + claim.attribute.words, claim.language), problem)
    return list(found.values())


def _compare(claim: Claim, person: Mapping[str, str], today: date) -> Rejected | None:
    attribute = claim.attribute
    separator = FULL_ADDRESS_SEPARATOR if attribute is FULL_ADDRESS else " "
    parts = (in_language(person.get(name), claim.language) for name in attribute.stored)
    stored = separator.join(part for part in parts if part)
    spoken = claim.language if attribute.by_language else None
    if not stored:
        if spoken is None:
            return errors.NOT_STORED.of(attribute.words)
        return errors.NOT_STORED_IN_LANGUAGE.of(attribute.words, spoken)
    if _matches(attribute.rule, claim.value or "", stored, claim.language, today):
        return None
    return (
        errors.MISMATCH.of(attribute.words)
        if spoken is None
        else errors.MISMATCH_IN_LANGUAGE.of(attribute.words, spoken)
    )


def _matches(rule: Rule, given: str, stored: str, language: str | None, today: date) -> bool:
    match rule:
        case Rule.DATE:
            return parse_date(given) == stored_date(stored)
        case Rule.AGE:
            born = stored_date(stored)
            return born is not None and int(given) <= age_on(born, today)
        case Rule.NAME | Rule.ADDRESS:
            return same_tokens(normalise(given, rule, language), normalise(stored, rule, language))
    return same_tokens(given, stored)


def same_tokens(given: str, stored: str) -> bool:
    """Tell whether both have as many words and each stored word was given; order and letter case do not matter."""
    given_words, stored_words = given.lower().split(), stored.lower().split()
    return len(given_words) == len(stored_words) and set(stored_words) <= set(given_words)


def parse_date(text: str) -> date:
    """Return the date in ``yyyy/MM/dd``; raises IDA-MLC-009 ``request/demographics/dob``."""
    parsed = stored_date(text) if _DATE.fullmatch(text) else None
    if parsed is None:
        raise errors.INVALID.of("request/demographics/dob")
    return parsed


def stored_date(text: str | None) -> date | None:
    """Return a stored day; None for none, or for one in another form."""
    try:
        return datetime.strptime(text or "", DATE_PATTERN).date()  # noqa: DTZ007
    except ValueError:
        return None


def age_on(born: date, today: date) -> int:
    """Return the full years between the days."""
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def _words(replacements: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    pairs = (pair.split("=") for pair in replacements.split())
    return tuple((re.compile(rf"\b{word}\b", re.IGNORECASE), short) for word, short in pairs)


_ADDRESS_ENG = (
    (re.compile(r"\b[csdwh]/o\b", re.IGNORECASE), ""),
    (re.compile(r"\b(?:mrs|mr|dr)\b\.?", re.IGNORECASE), ""),
    (re.compile(r"\bno\b\.?", re.IGNORECASE), ""),
    *_words("apartment=apt street=st road=rd main=mn cross=crs opposite=opp market=mkt"),
    (re.compile(r"(\d)(?:st|nd|rd|th)\b", re.IGNORECASE), r"\1"),
)
_COMMON = (
    (re.compile(r"[.,\-*()\[\]`'/\\#\"]"), " "),
    (re.compile(r"\s+"), " "),
)


def normalise(text: str, rule: Rule, language: str | None) -> str:
    """Apply the rules of section 9.3 in order: those of the attribute's language, then the common ones."""
    special = _ADDRESS_ENG if rule is Rule.ADDRESS and language == "eng" else ()
    for pattern, replacement in (*special, *_COMMON):
        text = pattern.sub(replacement, text)
    return text
