"""ISO/IEC 19794-5:2011 face image record (biometrics A4)."""

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

_DEFAULT_CAPTURE: Final = Capture(technology=5, qualities=(QualityBlock(40, 1, 1),))
_MAGIC: Final = b"FAC\0"
_VERSION: Final = b"030\0"
_TECHNOLOGIES: Final = range(256)
_KNOWN_TECHNOLOGIES: Final = frozenset({*range(7), *range(128, 256)})
_FACE_TYPES: Final = frozenset({0, 1, 2, 3, 128, 129, 130})
_RGB24: Final = 1


class ImageData(IntEnum):
    """How the image bytes are coded."""

    JPEG = 0
    JPEG2000_LOSSY = 1
    JPEG2000_LOSSLESS = 2
    PNG = 3


@dataclass(frozen=True, slots=True)
class FaceImage:
    """One face, or a photo of an exception. Nothing about the person's looks is written: all of it is "unknown"."""

    image: bytes = field(repr=False)
    width: int
    height: int
    data: ImageData = ImageData.JPEG2000_LOSSLESS
    face_type: int = 1
    colour_space: int = _RGB24
    capture: Capture = _DEFAULT_CAPTURE


def encode(face: FaceImage) -> bytes:
    """Return the record of one face without landmarks."""
    # landmarks, gender, eyes, hair, height, properties, expression, pose, pose uncertainty
    facial = struct.pack(">HBBBB3xHBBBBBB", 0, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0)
    description = struct.pack(
        ">BBHHBHBB", face.face_type, face.data, face.width, face.height, 0, 0, 0, face.colour_space
    )
    body = representation(face.capture, facial + description, face.image)
    return struct.pack(">4s4sIHBH", _MAGIC, _VERSION, len(body) + 17, 1, 0, 0) + body


def decode(record: bytes) -> FaceImage:
    """Return the face of a record; raises InvalidBiometrics where it departs from A4 or A6. 3D data is not read."""
    reader = open_record(record, _MAGIC, _VERSION)
    certified, temporal = reader.numbers("BH")
    require(certified == 0, "a face record has no certification block")
    require(temporal == 0, "the temporal semantics are not those of one image")
    capture = open_representation(reader, _TECHNOLOGIES)
    require(capture.technology in _KNOWN_TECHNOLOGIES, "the capture technology is unknown")
    landmarks = reader.number(2)
    reader.take(15)
    reader.take(8 * landmarks)
    face_type, data, width, height, _, _, _, colour_space = reader.numbers("BBHHBHBB")
    require(face_type in _FACE_TYPES, "the face image type is unknown")
    require(data <= max(ImageData), "the image data type is unknown")
    require(width > 0 and height > 0, "the image has no size")
    return FaceImage(take_image(reader), width, height, ImageData(data), face_type, colour_space, capture)
