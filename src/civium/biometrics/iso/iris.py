"""ISO/IEC 19794-6:2011 iris image record (biometrics A5)."""

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from civium.biometrics.iso.records import (
    Capture,
    QualityBlock,
    open_record,
    open_representation,
    representation,
    require,
    take_image,
)

_DEFAULT_CAPTURE: Final = Capture(qualities=(QualityBlock(80),))
_MAGIC: Final = b"IIR\0"
_VERSION: Final = b"020\0"
_UNDEFINED: Final = 0xFFFF
_IMAGE_TYPES: Final = frozenset({1, 2, 3, 7})
_LOSSLESS: Final = 1 << 6


class Format(IntEnum):
    """How the image bytes are coded."""

    MONO_RAW = 2
    RGB_RAW = 4
    MONO_JPEG = 6
    RGB_JPEG = 8
    MONO_JPEG2000 = 10
    RGB_JPEG2000 = 12
    MONO_PNG = 14
    RGB_PNG = 16


@dataclass(frozen=True, slots=True)
class IrisImage:
    """One eye. ``eye`` is 1 for the right one, 2 for the left one; ``diameter`` the iris's in pixels, 0 unknown."""

    eye: int
    image: bytes = field(repr=False)
    width: int
    height: int
    format: Format = Format.MONO_JPEG2000
    image_type: int = 3
    properties: int = _LOSSLESS
    diameter: int = 0
    capture: Capture = _DEFAULT_CAPTURE


def encode(iris: IrisImage) -> bytes:
    """Return the record of one eye."""
    description = struct.pack(
        ">HBBBBHHBHHH4H2H",
        1,
        iris.eye,
        iris.image_type,
        iris.format,
        iris.properties,
        iris.width,
        iris.height,
        8,
        0,
        _UNDEFINED,
        _UNDEFINED,
        *(0, 0, 0, 0),
        iris.diameter,
        iris.diameter,
    )
    body = representation(iris.capture, description, iris.image)
    return struct.pack(">4s4sIHBB", _MAGIC, _VERSION, len(body) + 16, 1, 0, 1) + body


def decode(record: bytes) -> IrisImage:
    """Return the eye of a record; raises InvalidBiometrics where it departs from A5 or A6 in a byte."""
    reader = open_record(record, _MAGIC, _VERSION)
    certified, eyes = reader.numbers("BB")
    require(certified == 0, "an iris record has no certification block")
    require(eyes <= 1, "more than one eye is represented")
    capture = open_representation(reader, range(2))
    number, eye, image_type, form, properties, width, height, depth = reader.numbers("HBBBBHHB")
    require(number == 1, "the representation number is not 1")
    require(eye <= 2, "the eye label is unknown")
    require(image_type in _IMAGE_TYPES, "the iris image type is unknown")
    require(form in set(Format), "the image format is unknown")
    require(depth == 8, "the bit depth is not 8")
    require(width > 0 and height > 0, "the image has no size")
    fields = reader.numbers("HHH4H2H")
    image = take_image(reader)
    require(reader.left == 0, "bytes follow the image")
    return IrisImage(eye, image, width, height, Format(form), image_type, properties, fields[-1], capture)
