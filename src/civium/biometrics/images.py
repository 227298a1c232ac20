"""Pixels of the image records: what goes into a record, and what is read back from one, with limits."""

import io
from typing import Final

from PIL import Image

from civium.biometrics.domain import BiometricRecord, InvalidBiometrics, Modality
from civium.biometrics.iso import face, finger, iris

MAX_PIXELS: Final = 4_000_000
MAX_FINGER_PIXELS: Final = 1_000_000
"""At 500 per inch: two inches square. MINDTCT takes half a minute on four million pixels of noise."""
MIN_SIDE: Final = 64
MATCHING_RATE: Final = 500
_FORMATS: Final = ("JPEG2000", "PNG", "JPEG")


def lossless(image: Image.Image) -> bytes:
    """Return the image as reversible JPEG 2000, what registration stores."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG2000", irreversible=False)
    return buffer.getvalue()


def png(image: Image.Image) -> bytes:
    """Return the image as PNG with hardly any compression: it only passes to the extractor in memory."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def pixels(record: BiometricRecord) -> Image.Image:
    """Return the decoded image of a record: grey for a finger (at 500 pixels per inch) or an iris, RGB for a photo.

    Raises InvalidBiometrics for an exception, a malformed record, a coding that is not decoded here (WSQ, raw), an
    image that is broken, too small, too large, or of another size than its record says. Cost: about 10 ms per finger.
    """
    if record.exception:
        raise InvalidBiometrics("an exception has no image")
    match record.modality:
        case Modality.FINGER:
            held = finger.decode(record.bdb)
            shown = _decode(held.image, held.width, held.height, "L")
            return _at_matching_rate(shown, held.image_rate)
        case Modality.IRIS:
            eye = iris.decode(record.bdb)
            return _decode(eye.image, eye.width, eye.height, "L")
        case Modality.FACE | Modality.EXCEPTION_PHOTO:
            photo = face.decode(record.bdb)
            return _decode(photo.image, photo.width, photo.height, "RGB")


def _decode(data: bytes, width: int, height: int, mode: str) -> Image.Image:
    if width * height > MAX_PIXELS or min(width, height) < MIN_SIDE:
        raise InvalidBiometrics("the image is too large or too small")
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            decoded = image.convert(mode) if image.size == (width, height) else None
    except Exception:  # noqa: BLE001  the decoders raise many types on hostile bytes
        raise InvalidBiometrics("the image cannot be decoded") from None
    if decoded is None:
        raise InvalidBiometrics("the image has another size than its record says")
    return decoded


def _at_matching_rate(image: Image.Image, rate: tuple[int, int]) -> Image.Image:
    """Return the image resampled to 500 pixels per inch: the extractor does not do it (biometrics B1)."""
    if image.width * image.height * MATCHING_RATE**2 > MAX_FINGER_PIXELS * rate[0] * rate[1]:
        raise InvalidBiometrics("the image shows more than one finger")
    if rate == (MATCHING_RATE, MATCHING_RATE):
        return image
    size = (round(image.width * MATCHING_RATE / rate[0]), round(image.height * MATCHING_RATE / rate[1]))
    return image.resize(size, Image.Resampling.LANCZOS)
