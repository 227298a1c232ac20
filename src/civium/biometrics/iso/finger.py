"""ISO/IEC 19794-4:2011 finger image record (biometrics A3)."""

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from civium.biometrics.iso.records import (
    Capture,
    QualityBlock,
    Reader,
    open_record,
    open_representation,
    representation,
    require,
    take_image,
)

_DEFAULT_CAPTURE: Final = Capture(qualities=(QualityBlock(50, 15, 15),))
_MAGIC: Final = b"FIR\0"
_VERSION: Final = b"020\0"
_IMPRESSIONS: Final = frozenset({*range(16), 24, 28, 29})
_PER_INCH: Final = 1


class Compression(IntEnum):
    """How the image bytes are coded."""

    NONE = 0
    BIT_PACKED = 1
    WSQ = 2
    JPEG = 3
    JPEG2000_LOSSY = 4
    JPEG2000_LOSSLESS = 5
    PNG = 6


@dataclass(frozen=True, slots=True)
class FingerImage:
    """One finger. ``capture_rate`` and ``image_rate`` are (horizontal, vertical) pixels per inch."""

    position: int
    image: bytes = field(repr=False)
    width: int
    height: int
    compression: Compression = Compression.JPEG2000_LOSSLESS
    capture_rate: tuple[int, int] = (500, 500)
    image_rate: tuple[int, int] = (500, 500)
    impression: int = 29
    capture: Capture = _DEFAULT_CAPTURE


def encode(finger: FingerImage) -> bytes:
    """Return the record of one finger, without certification and extended blocks."""
    description = struct.pack(
        ">BBBHHHHBBBHH",
        finger.position,
        0,
        _PER_INCH,
        *finger.capture_rate,
        *finger.image_rate,
        8,
        finger.compression,
        finger.impression,
        finger.width,
        finger.height,
    )
    body = representation(finger.capture, description, finger.image)
    return struct.pack(">4s4sIHBB", _MAGIC, _VERSION, len(body) + 16, 1, 0, 1) + body


def decode(record: bytes) -> FingerImage:
    """Return the finger of a record; raises InvalidBiometrics where it departs from A3 or A6 in a byte."""
    reader = open_record(record, _MAGIC, _VERSION)
    certified, positions = reader.numbers("BB")
    require(certified <= 1, "the certification flag is neither 0 nor 1")
    require(positions == 1, "there is not exactly one finger position")
    capture = open_representation(reader, range(21))
    if certified:
        reader.take(3 * reader.number(1))
    position, number, unit = reader.numbers("BBB")
    require(position <= 10, "the position is not a single finger")
    require(number <= 15, "the representation number is out of range")
    require(unit in (1, 2), "the unit of the sampling rate is unknown")
    rates = tuple(rate if unit == _PER_INCH else round(rate * 2.54) for rate in reader.numbers("HHHH"))
    require(all(490 <= rate <= 1010 for rate in rates), "a sampling rate is out of range")
    require(rates[2] <= rates[0] and rates[3] <= rates[1], "the image is finer than its capture")
    depth, compression, impression, width, height = reader.numbers("BBBHH")
    require(depth == 8, "the bit depth is not 8")
    require(compression <= max(Compression), "the compression is unknown")
    require(impression in _IMPRESSIONS, "the impression type is unknown")
    require(width > 0 and height > 0, "the image has no size")
    image = take_image(reader)
    _skip_extended(reader)
    return FingerImage(
        position,
        image,
        width,
        height,
        Compression(compression),
        capture_rate=(rates[0], rates[1]),
        image_rate=(rates[2], rates[3]),
        impression=impression,
        capture=capture,
    )


def _skip_extended(reader: Reader) -> None:
    """Check that the extended blocks (segmentation, annotation, comments) close exactly; their content is not used."""
    while reader.left:
        kind, length = reader.numbers("HH")
        require(kind > 0 and length >= 4, "an extended block is malformed")
        reader.take(length - 4)
