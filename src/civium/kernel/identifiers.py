"""Identifiers of people and registrations, with their check digits and filters.

Source: id-repository-and-commons section 6. UIN, VID and RID are :class:`Sensitive`: they never show in a log or an
error. Verhoeff's scheme catches every single-digit error and every swap of neighbours.
"""

import re
import secrets
from datetime import datetime
from enum import StrEnum
from typing import NewType, Self

from civium.kernel.secrets import Sensitive

PartnerId = NewType("PartnerId", str)
PolicyId = NewType("PolicyId", str)
CentreId = NewType("CentreId", str)
MachineId = NewType("MachineId", str)
Language = NewType("Language", str)

UIN_LENGTH = 10
VID_LENGTH = 16
RID_LENGTH = 29

_MULTIPLY = tuple(
    tuple(int(digit) for digit in row)
    for row in (
        "0123456789",
        "1234067895",
        "2340178956",
        "3401289567",
        "4012395678",
        "5987604321",
        "6598710432",
        "7659821043",
        "8765932104",
        "9876543210",
    )
)
_PERMUTE = tuple(
    tuple(int(digit) for digit in row)
    for row in (
        "0123456789",
        "1576283094",
        "5803796142",
        "8916043527",
        "9453126870",
        "4286573901",
        "2793806415",
        "7046913258",
    )
)
_INVERSE = (0, 4, 3, 2, 1, 5, 6, 7, 8, 9)


def verhoeff_digit(body: str) -> str:
    """Return the check digit of a string of decimal digits."""
    checksum = 0
    for position, digit in enumerate(reversed(body), start=1):
        checksum = _MULTIPLY[checksum][_PERMUTE[position % 8][int(digit)]]
    return str(_INVERSE[checksum])


def verhoeff_valid(number: str) -> bool:
    """Tell whether the last digit of ``number`` is its check digit."""
    checksum = 0
    for position, digit in enumerate(reversed(number)):
        checksum = _MULTIPLY[checksum][_PERMUTE[position % 8][int(digit)]]
    return checksum == 0


class IdentifierProblem(StrEnum):
    """Why a text is no UIN, VID or RID."""

    EMPTY = "empty"
    NOT_NUMERIC = "not numeric"
    LENGTH = "length"
    CHECKSUM = "checksum"
    FORM = "form"


class InvalidIdentifier(ValueError):
    """A text is not an identifier of the kind asked for; the message never repeats the text."""

    def __init__(self, kind: str, problem: IdentifierProblem) -> None:
        super().__init__(f"not a valid {kind}: {problem.value}")
        self.kind = kind
        self.problem = problem


def _check_digits(kind: str, text: str, length: int) -> None:
    if not text:
        raise InvalidIdentifier(kind, IdentifierProblem.EMPTY)
    if not (text.isascii() and text.isdigit()):
        raise InvalidIdentifier(kind, IdentifierProblem.NOT_NUMERIC)
    if len(text) != length:
        raise InvalidIdentifier(kind, IdentifierProblem.LENGTH)


class UIN(Sensitive[str]):
    """Unique identification number: 9 random digits and a Verhoeff check digit. Never shown around."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the UIN in ``text``; raises InvalidIdentifier."""
        _check_digits("UIN", text, UIN_LENGTH)
        if text[0] in "01":
            raise InvalidIdentifier("UIN", IdentifierProblem.FORM)
        if not verhoeff_valid(text):
            raise InvalidIdentifier("UIN", IdentifierProblem.CHECKSUM)
        return cls(text)


class VID(Sensitive[str]):
    """Virtual ID: 15 random digits and a Verhoeff check digit; revocable, what a person shows instead of the UIN."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the VID in ``text``; raises InvalidIdentifier."""
        _check_digits("VID", text, VID_LENGTH)
        if text[0] in "01":
            raise InvalidIdentifier("VID", IdentifierProblem.FORM)
        if not verhoeff_valid(text):
            raise InvalidIdentifier("VID", IdentifierProblem.CHECKSUM)
        return cls(text)


class RID(Sensitive[str]):
    """Registration ID: centre (5), machine (5), sequence (5) and UTC time (14 digits)."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the RID in ``text``; raises InvalidIdentifier."""
        _check_digits("RID", text, RID_LENGTH)
        try:
            datetime.strptime(text[15:], "%Y%m%d%H%M%S")  # noqa: DTZ007 - only the form is checked
        except ValueError:
            raise InvalidIdentifier("RID", IdentifierProblem.FORM) from None
        return cls(text)

    @classmethod
    def compose(cls, centre: CentreId, machine: MachineId, sequence: int, at: datetime) -> Self:
        """Return the RID of a registration made at ``at`` (UTC)."""
        return cls.parse(f"{centre}{machine}{sequence:05d}{at:%Y%m%d%H%M%S}")

    @property
    def centre(self) -> CentreId:
        """The registration centre."""
        return CentreId(self.reveal()[:5])

    @property
    def machine(self) -> MachineId:
        """The registration machine."""
        return MachineId(self.reveal()[5:10])


_ASCENDING = "0123456789"
_CYCLIC = _ASCENDING * 2
_RESTRICTED = ("786", "666")
_REPEAT = re.compile(r"(\d)\d?\1")
_REPEATED_BLOCK = re.compile(r"(\d{2,}).*?\1")
_EVEN_RUN = re.compile(r"[2468]{3}")
_CYCLIC_NUMBER = "142857"


def _has_sequence(number: str, line: str) -> bool:
    windows = (number[i : i + 3] for i in range(len(number) - 2))
    return any(window in line or window in line[::-1] for window in windows)


def _common_filters_pass(number: str) -> bool:
    return not (
        number[0] in "01"
        or _REPEAT.search(number)
        or _REPEATED_BLOCK.search(number)
        or any(restricted in number for restricted in _RESTRICTED)
    )


def uin_filters_pass(number: str) -> bool:
    """Tell whether a 10-digit number is free of the patterns that people guess or mistype (section 6.3)."""
    return (
        _common_filters_pass(number)
        and not _has_sequence(number, _CYCLIC)
        and not _EVEN_RUN.search(number)
        and number[:5] != number[5:]
        and number[:5] != number[:4:-1]
        and _CYCLIC_NUMBER not in number
    )


def vid_filters_pass(number: str) -> bool:
    """Tell whether a 16-digit number passes the VID filters (section 6.4)."""
    return _common_filters_pass(number) and not _has_sequence(number, _ASCENDING)


def random_uin() -> UIN:
    """Draw a UIN uniformly from all that pass the filters. Uniqueness is the register's business."""
    while True:
        body = f"{secrets.randbelow(10**9):09d}"
        number = body + verhoeff_digit(body)
        if uin_filters_pass(number):
            return UIN(number)


def random_vid() -> VID:
    """Draw a VID uniformly from all that pass the filters. Uniqueness is the register's business."""
    while True:
        body = f"{secrets.randbelow(10**15):015d}"
        number = body + verhoeff_digit(body)
        if vid_filters_pass(number):
            return VID(number)
