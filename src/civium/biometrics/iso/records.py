"""What the three image records share: a strict reader, the general header, the capture description."""

import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from civium.biometrics.domain import InvalidBiometrics

QUALITY_FAILED: Final = 255


class Reader:
    """Takes big-endian fields off a record; reading past its end is an InvalidBiometrics."""

    def __init__(self, record: bytes) -> None:
        self._record = record
        self._offset = 0

    @property
    def left(self) -> int:
        """Return how many bytes are not read yet."""
        return len(self._record) - self._offset

    def take(self, count: int) -> bytes:
        """Return the next ``count`` bytes."""
        if count > self.left:
            raise InvalidBiometrics("the record ends early")
        self._offset += count
        return self._record[self._offset - count : self._offset]

    def number(self, size: int) -> int:
        """Return the next ``size`` bytes as an unsigned number."""
        return int.from_bytes(self.take(size), "big")

    def numbers(self, layout: str) -> tuple[int, ...]:
        """Return the fields of a :mod:`struct` layout without its byte order sign."""
        return struct.unpack(f">{layout}", self.take(struct.calcsize(f">{layout}")))


@dataclass(frozen=True, slots=True)
class QualityBlock:
    """A score (0..100, or 255 for "failed") with the registered vendor and algorithm that gave it."""

    score: int
    vendor: int = 0
    algorithm: int = 0


@dataclass(frozen=True, slots=True)
class Capture:
    """When and with what a representation was captured. ``at`` counts milliseconds; None is "unknown"."""

    at: datetime | None = None
    technology: int = 0
    vendor: int = 0
    device: int = 0
    qualities: tuple[QualityBlock, ...] = ()


def require(holds: bool, rule: str) -> None:
    """Raise InvalidBiometrics with the name of a rule that does not hold."""
    if not holds:
        raise InvalidBiometrics(rule)


def open_record(record: bytes, magic: bytes, version: bytes) -> Reader:
    """Check format, version, total length and that there is one representation; return the reader behind them."""
    reader = Reader(record)
    require(reader.take(4) == magic, "the format identifier is wrong")
    require(reader.take(4) == version, "the format version is wrong")
    require(reader.number(4) == len(record), "the record length is not the actual length")
    require(reader.number(2) == 1, "there is not exactly one representation")
    return reader


def open_representation(reader: Reader, technologies: range) -> Capture:
    """Check the representation's length (all that is left) and return its capture description."""
    left = reader.left
    require(reader.number(4) == left, "the representation length is not the actual length")
    at = _date(reader.numbers("HBBBBBH"))
    technology, vendor, device, count = reader.numbers("BHHB")
    require(technology in technologies, "the capture technology is unknown")
    blocks = tuple(QualityBlock(*reader.numbers("BHH")) for _ in range(count))
    require(all(b.score <= 100 or b.score == QUALITY_FAILED for b in blocks), "a quality score is out of range")
    return Capture(at, technology, vendor, device, blocks)


def take_image(reader: Reader) -> bytes:
    """Return the image behind its four-byte length; an empty image is refused."""
    image = reader.take(reader.number(4))
    require(bool(image), "the image is empty")
    return image


def representation(capture: Capture, description: bytes, image: bytes) -> bytes:
    """Return a representation: its length, the capture, the description of the image, the image."""
    body = b"".join(
        (_date_bytes(capture.at), _capture_bytes(capture), description, struct.pack(">I", len(image)), image)
    )
    return struct.pack(">I", len(body) + 4) + body


def _capture_bytes(capture: Capture) -> bytes:
    head = struct.pack(">BHHB", capture.technology, capture.vendor, capture.device, len(capture.qualities))
    return head + b"".join(struct.pack(">BHH", b.score, b.vendor, b.algorithm) for b in capture.qualities)


def _date_bytes(at: datetime | None) -> bytes:
    if at is None:
        return b"\xff" * 9
    utc = at.astimezone(UTC)
    return struct.pack(
        ">HBBBBBH", utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second, utc.microsecond // 1000
    )


def _date(fields: tuple[int, ...]) -> datetime | None:
    """Return the instant; None when any part is unknown (all bits set)."""
    year, month, day, hour, minute, second, millis = fields
    if 0xFFFF in (year, millis) or 0xFF in (month, day, hour, minute, second):
        return None
    try:
        return datetime(year, month, day, hour, minute, second, millis * 1000, tzinfo=UTC)
    except ValueError:
        raise InvalidBiometrics("the capture date is not a date") from None
