"""ISO/IEC 19794-2:2005 finger minutiae record, and its passage to the layout that nbis reads and writes.

nbis calls its layout by the same name, but leaves out the view's header and the extended data length: a standard record
gives it no minutiae at all, silently (biometrics B1). Only the standard form is stored or sent.
"""

import struct
from typing import Final

from civium.biometrics.domain import InvalidBiometrics
from civium.biometrics.iso.records import Reader, require

_MAGIC: Final = b"FMR\0 20\0"
_HEADER: Final = 24
_MINUTIA: Final = 6
_PIXELS_PER_CM: Final = 197
"""500 pixels per inch."""


def from_nbis(template: bytes, position: int, quality: int) -> bytes:
    """Return the standard record of an nbis template of one finger."""
    if len(template) < _HEADER + 2 or template[:8] != _MAGIC:
        raise InvalidBiometrics("the extractor gave no template")
    width, height = struct.unpack_from(">HH", template, 14)
    count = template[_HEADER + 1]
    minutiae = template[_HEADER + 2 :]
    require(len(minutiae) == count * _MINUTIA, "the extractor's template has a wrong length")
    total = _HEADER + 4 + len(minutiae) + 2
    head = struct.pack(">8sIHHHHHBB", _MAGIC, total, 0, width, height, _PIXELS_PER_CM, _PIXELS_PER_CM, 1, 0)
    return head + struct.pack(">BBBB", position, 0, quality, count) + minutiae + b"\0\0"


def to_nbis(record: bytes) -> bytes:
    """Return the nbis form of a standard record with one view; raises InvalidBiometrics for any other bytes."""
    reader = Reader(record)
    require(reader.take(8) == _MAGIC, "not a finger minutiae record of 2005")
    require(reader.number(4) == len(record), "the record length is not the actual length")
    _, width, height, across, down, views, _ = reader.numbers("HHHHHBB")
    require(views == 1, "there is not exactly one view")
    require(across == down == _PIXELS_PER_CM, "the template is not at 500 pixels per inch")
    position, _, _, count = reader.numbers("BBBB")
    require(position <= 10, "the position is not a single finger")
    minutiae = reader.take(count * _MINUTIA)
    require(reader.number(2) == reader.left, "the extended data length is not the actual length")
    total = _HEADER + 2 + len(minutiae)
    return struct.pack(">8sIHHHHHBBBB", _MAGIC, total, 0, width, height, 0, 0, 0, 0, 0, count) + minutiae
