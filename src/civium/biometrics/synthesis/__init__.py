"""The biometrics of people who do not exist, the same for the same seed. Nothing here comes from a real person."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from civium.biometrics import images, quality
from civium.biometrics.domain import EYE_LABELS, FINGER_POSITIONS, BiometricRecord, CaptureNotes, Modality
from civium.biometrics.iso import face, finger, iris
from civium.biometrics.iso.records import Capture, QualityBlock
from civium.biometrics.synthesis import eyes, fingers, photos

__all__ = ["second_impression", "synthetic_biometrics"]

_CAPTURE, _FINGER, _IRIS, _LOOKS = range(4)
"""Streams of randomness: each part of a person has its own, so that one can be drawn without the others."""

_NIST: Final = 15
_SPEC_VERSION: Final = "1.0"


def synthetic_biometrics(seed: int) -> list[BiometricRecord]:
    """Return ten fingers, two irises, a face and an exception photo, each an ISO record of lossless JPEG 2000.

    The fingers carry their true NFIQ 2 score. Cost: about 3 s of one core, most of it growing ridges and NFIQ 2.
    """
    return second_impression(seed, session=0)


def second_impression(
    seed: int, session: int = 1, subtypes: Sequence[str] = tuple(FINGER_POSITIONS)
) -> list[BiometricRecord]:
    """Return the same person captured in another session, with only the named fingers (all by default)."""
    capture = np.random.default_rng([seed, _CAPTURE, session])
    looks = [seed, _LOOKS]
    return [
        *(
            _finger(
                subtype,
                fingers.press(capture, fingers.grow(np.random.default_rng([seed, _FINGER, FINGER_POSITIONS[subtype]]))),
            )
            for subtype in subtypes
        ),
        *(
            _iris(subtype, eyes.photograph(capture, eyes.grow(np.random.default_rng([seed, _IRIS, label]))))
            for subtype, label in EYE_LABELS.items()
        ),
        _photo(Modality.FACE, photos.draw_face(np.random.default_rng(looks))),
        _photo(Modality.EXCEPTION_PHOTO, photos.draw_hands(np.random.default_rng(looks))),
    ]


def _finger(subtype: str, impression: NDArray[np.uint8]) -> BiometricRecord:
    image = Image.fromarray(impression)
    score = quality.nfiq2(image).score
    bdb = finger.encode(
        finger.FingerImage(
            FINGER_POSITIONS[subtype],
            images.lossless(image),
            image.width,
            image.height,
            impression=0,
            capture=Capture(qualities=(QualityBlock(score, _NIST, _NIST),)),
        )
    )
    return _captured(Modality.FINGER, subtype, bdb, score)


def _iris(subtype: str, photograph: NDArray[np.uint8]) -> BiometricRecord:
    image = Image.fromarray(photograph)
    score = quality.clarity(image).score
    bdb = iris.encode(
        iris.IrisImage(
            EYE_LABELS[subtype],
            images.lossless(image),
            image.width,
            image.height,
            diameter=2 * eyes.IRIS_RADIUS,
            capture=Capture(qualities=(QualityBlock(score),)),
        )
    )
    return _captured(Modality.IRIS, subtype, bdb, score)


def _photo(modality: Modality, image: Image.Image) -> BiometricRecord:
    score = quality.clarity(image).score
    photo = face.FaceImage(images.lossless(image), image.width, image.height)
    return _captured(modality, "", face.encode(photo), score)


def _captured(modality: Modality, subtype: str, bdb: bytes, score: int) -> BiometricRecord:
    return BiometricRecord(modality, subtype, bdb, score, notes=CaptureNotes(spec_version=_SPEC_VERSION))
