"""What other contexts may ask of biometrics: reading records, judging quality, comparing fingers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Modality(StrEnum):
    """CBEFF types as the wire spells them."""

    FINGER = "Finger"
    IRIS = "Iris"
    FACE = "Face"
    EXCEPTION_PHOTO = "ExceptionPhoto"


@dataclass(frozen=True, slots=True)
class BiometricRecord:
    """One BIR: a modality, its subtype words (``Left IndexFinger``, ``Right``; empty for a face) and the BDB.

    ``bdb`` is the ISO/IEC 19794 record; empty for an exception.
    """

    modality: Modality
    subtype: str
    bdb: bytes = field(repr=False)
    quality: int = 0
    exception: bool = False


class InvalidBiometrics(ValueError):
    """A CBEFF, ISO record or image is malformed. The message names the rule, never the data."""


class FingerMatcher(Protocol):
    """Compares fingers 1:N. Work runs in worker processes; decrypted images never touch disk."""

    async def templates(self, records: Sequence[BiometricRecord]) -> dict[str, bytes]:
        """Return an ISO/IEC 19794-2 template per finger subtype; fingers only (a face is refused)."""
        ...

    async def best_score(self, probe: dict[str, bytes], gallery: Sequence[dict[str, bytes]]) -> Sequence[int]:
        """Return for each gallery person the best Bozorth3 score over the same subtypes."""
        ...


MATCH_THRESHOLD = 40
"""Bozorth3 score from which two fingers are the same (biometrics B3: impostors stayed at 32 or below)."""
