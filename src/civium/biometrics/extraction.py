"""The native engine: MINDTCT minutiae, Bozorth3 scores, NFIQ 2. It runs in worker processes; threads do not scale.

nbis is imported on first use: the processes that only read CBEFF do not pay its memory.
"""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

from civium.biometrics import images
from civium.biometrics.domain import FINGER_POSITIONS, BiometricRecord, InvalidBiometrics, Modality
from civium.biometrics.iso import minutiae

if TYPE_CHECKING:
    import nbis


@cache
def _engine(*, nfiq2: bool) -> "nbis.NbisExtractor":
    import nbis  # noqa: PLC0415  lazy on purpose: 100 MB

    settings = nbis.NbisExtractorSettings(
        min_quality=0.0,
        get_center=False,
        check_fingerprint=False,
        compute_nfiq2=nfiq2,
        ppi=float(images.MATCHING_RATE),
    )
    return nbis.new_nbis_extractor(settings)


SINGLE_FINGER_MARGIN: Final = 20
"""What a single finger must score above the threshold: of 7,140 impostor pairs the best scored 43."""


def template(record: BiometricRecord) -> bytes:
    """Return the ISO/IEC 19794-2:2005 template of a finger. Cost: about 60 ms.

    Raises InvalidBiometrics for any other modality and for an image that cannot be read.
    """
    if record.modality is not Modality.FINGER:
        raise InvalidBiometrics("only fingers are matched")
    import nbis  # noqa: PLC0415

    try:
        found = _engine(nfiq2=False).extract_minutiae(images.png(images.pixels(record)))
    except nbis.NbisError:
        raise InvalidBiometrics("no minutiae can be extracted") from None
    return minutiae.from_nbis(found.to_iso_19794_2_2005(), FINGER_POSITIONS[record.subtype], record.quality)


def best_scores(probe: dict[str, bytes], gallery: Sequence[dict[str, bytes]]) -> list[int]:
    """Return each person's fused Bozorth3 score over equal subtypes, 0 without one. About 2 ms per comparison."""
    engine = _engine(nfiq2=False)
    fingers = {subtype: engine.load_iso_19794_2_2005(minutiae.to_nbis(found)) for subtype, found in probe.items()}
    return [
        fuse(
            [
                fingers[subtype].compare(engine.load_iso_19794_2_2005(minutiae.to_nbis(found)))
                for subtype, found in person.items()
                if subtype in fingers
            ]
        )
        for person in gallery
    ]


def fuse(scores: Sequence[int]) -> int:
    """Return one score for a person: two fingers that match, or one that matches by :data:`SINGLE_FINGER_MARGIN` more.

    The best of ten fingers reaches a threshold by chance ten times as often as one finger does; a second finger that
    agrees makes the error vanish again.
    """
    best, second = ([*sorted(scores, reverse=True), 0, 0])[:2]
    return max(second, best - SINGLE_FINGER_MARGIN, 0)


def nfiq2_score(png: bytes) -> int | None:
    """Return the NFIQ 2 score, or None where it cannot be computed (blank or blurred images)."""
    import nbis  # noqa: PLC0415

    try:
        return int(_engine(nfiq2=True).extract_minutiae(png).quality().score)
    except nbis.NbisError:
        return None
