"""The words of biometrics: what a record is, which subtypes exist, what makes a set complete."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final


class Modality(StrEnum):
    """CBEFF types as the wire spells them."""

    FINGER = "Finger"
    IRIS = "Iris"
    FACE = "Face"
    EXCEPTION_PHOTO = "ExceptionPhoto"


class InvalidBiometrics(ValueError):
    """A CBEFF, ISO record or image is malformed. The message names the rule, never the data."""


FINGER_POSITIONS: Final = {
    "Right Thumb": 1,
    "Right IndexFinger": 2,
    "Right MiddleFinger": 3,
    "Right RingFinger": 4,
    "Right LittleFinger": 5,
    "Left Thumb": 6,
    "Left IndexFinger": 7,
    "Left MiddleFinger": 8,
    "Left RingFinger": 9,
    "Left LittleFinger": 10,
}
"""Finger subtypes in the order of ISO/IEC 19794 finger positions, with those positions."""

EYE_LABELS: Final = {"Right": 1, "Left": 2}
"""Iris subtypes with the eye labels of ISO/IEC 19794-6."""

SUBTYPES: Final[dict[Modality, frozenset[str]]] = {
    Modality.FINGER: frozenset(FINGER_POSITIONS),
    Modality.IRIS: frozenset(EYE_LABELS),
    Modality.FACE: frozenset({""}),
    Modality.EXCEPTION_PHOTO: frozenset({""}),
}

MANDATORY: Final = (
    *((Modality.FINGER, subtype) for subtype in FINGER_POSITIONS),
    *((Modality.IRIS, subtype) for subtype in EYE_LABELS),
    (Modality.EXCEPTION_PHOTO, ""),
)
"""What a packet must carry or except (registration.md §4.3): ten fingers, two irises, the exception photo."""


@dataclass(frozen=True, slots=True)
class CaptureNotes:
    """What the registration client notes beside a capture (the ``others`` entries of biometrics A1).

    ``payload`` is the device's JSON with its bioValue replaced by ``<bioValue>``.
    """

    retries: int = 1
    sdk_score: float = 0.0
    force_captured: bool = False
    payload: str = field(default="", repr=False)
    spec_version: str = ""


@dataclass(frozen=True, slots=True)
class BiometricRecord:
    """One BIR: a modality, its subtype words (``Left IndexFinger``, ``Right``; empty for a face) and the BDB.

    ``bdb`` is the ISO/IEC 19794 record; empty for an exception. ``signature`` is the device's detached JWS
    (element SB), ``notes`` what the client wrote beside the capture; both absent in old clients' packets.
    ``created`` is the record's own date, if it is known.
    """

    modality: Modality
    subtype: str
    bdb: bytes = field(repr=False)
    quality: int = 0
    exception: bool = False
    signature: bytes = field(default=b"", repr=False)
    notes: CaptureNotes | None = None
    created: datetime | None = None

    @property
    def key(self) -> tuple[Modality, str]:
        """Return what identifies the record within one person."""
        return self.modality, self.subtype


@dataclass(frozen=True, slots=True)
class Quality:
    """A quality from 0 to 100; ``reason`` says why it could not be measured (the score is then 0)."""

    score: int
    reason: str | None = None


def missing_mandatory(records: Iterable[BiometricRecord]) -> list[tuple[Modality, str]]:
    """Return the mandatory (modality, subtype) pairs that are neither present nor excepted."""
    present = {record.key for record in records}
    return [pair for pair in MANDATORY if pair not in present]


def merge(stored: Iterable[BiometricRecord], incoming: Iterable[BiometricRecord]) -> list[BiometricRecord]:
    """Return the stored records with each incoming one replacing its namesake or added (biometrics A1).

    Raises InvalidBiometrics when one of the two sets names a (modality, subtype) twice.
    """
    return list((_by_key(stored) | _by_key(incoming)).values())


def _by_key(records: Iterable[BiometricRecord]) -> dict[tuple[Modality, str], BiometricRecord]:
    keyed: dict[tuple[Modality, str], BiometricRecord] = {}
    for record in records:
        if record.key in keyed:
            raise InvalidBiometrics("a biometric occurs twice in one document")
        keyed[record.key] = record
    return keyed
