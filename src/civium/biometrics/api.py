"""What other contexts may ask of biometrics: reading and writing records, judging quality, comparing fingers."""

from collections.abc import Sequence
from typing import Final, Protocol

from civium.biometrics.cbeff import compose as compose_cbeff
from civium.biometrics.cbeff import compose_single, credential_key
from civium.biometrics.cbeff import parse as parse_cbeff
from civium.biometrics.domain import (
    EYE_LABELS,
    FINGER_POSITIONS,
    MANDATORY,
    BiometricRecord,
    CaptureNotes,
    InvalidBiometrics,
    Modality,
    Quality,
    merge,
    missing_mandatory,
)

__all__ = [
    "EYE_LABELS",
    "FINGER_POSITIONS",
    "MANDATORY",
    "MATCH_THRESHOLD",
    "BiometricRecord",
    "CaptureNotes",
    "FingerMatcher",
    "InvalidBiometrics",
    "Modality",
    "Quality",
    "QualityJudge",
    "compose_cbeff",
    "compose_single",
    "credential_key",
    "merge",
    "missing_mandatory",
    "parse_cbeff",
]

MATCH_THRESHOLD: Final = 40
"""Fused Bozorth3 score from which two people are the same (biometrics B3: single impostor fingers reach 43)."""


class FingerMatcher(Protocol):
    """Compares fingers 1:N. Work runs in worker processes; decrypted images never touch disk."""

    async def templates(self, records: Sequence[BiometricRecord]) -> dict[str, bytes]:
        """Return an ISO/IEC 19794-2 template per finger subtype; fingers only (a face is refused)."""
        ...

    async def best_score(self, probe: dict[str, bytes], gallery: Sequence[dict[str, bytes]]) -> Sequence[int]:
        """Return for each gallery person the score of the same subtypes: the second best, or the best less a margin."""
        ...


class QualityJudge(Protocol):
    """Measures captures. Work runs in worker processes; decrypted images never touch disk."""

    async def qualities(self, records: Sequence[BiometricRecord]) -> Sequence[Quality]:
        """Return the quality of each record; an exception has none and is refused (InvalidBiometrics)."""
        ...
