"""Finds planted values in whatever a platform leaves behind, in each form in which a leak could hide.

A form of a value (a *pattern*) is what would stand in the bytes: the text in an encoding, its hex or base64, a digest
of it. Patterns are found in one pass over the data: every 6-byte window is hashed into a bit table of the patterns'
most telling windows; only windows that hit the table are compared. Cost: about 50 ns per byte in all, for any number of
patterns. What looks compressed, or like a run of hex or base64, is opened and scanned as well, up to three levels deep.
"""

import base64
import binascii
import hashlib
import itertools
import json
import os
import re
import stat
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np

GRAM = 6
"""Bytes of a window; a shorter pattern cannot be told from chance."""
LEVELS = 3
DIGESTS = ("md5", "sha1", "sha256", "sha512")
_TABLE_BITS = 22
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_CHUNK = 1 << 20
_PIECE = 256
_LONGEST_OUTPUT = 32 << 20

_SHORTEST_RUN = 32
_HEX_RUN = re.compile(rb"[0-9a-f]{32,}|[0-9A-F]{32,}")
_LETTERS = np.zeros(256, np.bool_)
_LETTERS[list(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_\r\n")] = True


@dataclass(frozen=True, slots=True)
class Canary:
    """A value that must stand nowhere. A text is found in lower and upper case, too.

    ``digests``: its bare digests must not stand anywhere, either. ``alone`` is false for a value so short that its
    plain text occurs by chance: it is found only encoded or digested, and in contexts that are canaries themselves.
    """

    name: str
    value: str | bytes
    digests: bool = False
    alone: bool = True


class Hit(NamedTuple):
    """A canary was found in this form at this place (a path, then what was opened to see it)."""

    canary: str
    form: str
    place: str


class Scanner:
    """Looks for canaries. Making one costs about a millisecond per canary."""

    def __init__(self, canaries: Iterable[Canary]) -> None:
        """Work out every pattern; raises ValueError for a value that is too short to be recognised."""
        self._meanings: dict[bytes, dict[str, str]] = defaultdict(dict)
        for canary in canaries:
            for form, pattern in forms(canary):
                if not canary.alone and pattern.decode("latin-1") == canary.value:
                    continue
                if len(pattern) < GRAM:
                    raise ValueError(f"{canary.name} as {form} is too short to be recognised")
                self._meanings[pattern].setdefault(canary.name, form)
        self._windows: dict[bytes, list[tuple[int, bytes]]] = defaultdict(list)
        for pattern in self._meanings:
            start = max(range(len(pattern) - GRAM + 1), key=lambda at: len(set(pattern[at : at + GRAM])))
            self._windows[pattern[start : start + GRAM]].append((start, pattern))
        self._table = np.zeros(1 << _TABLE_BITS, np.bool_)
        for window in self._windows:
            self._table[_slots(np.frombuffer(window + b"\0\0", "<u8"))] = True

    def scan(self, *roots: Path) -> set[Hit]:
        """Scan files and folders: contents, names, and where links point. Missing roots are an error."""
        hits: set[Hit] = set()
        for root in roots:
            for path in _paths(root):
                place = str(path)
                name = path.name if path != root else ""
                mode = path.lstat().st_mode
                if stat.S_ISLNK(mode):
                    name += "\n" + os.readlink(path)  # noqa: PTH115 - the text, not a path
                hits |= self.scan_bytes(os.fsencode(name), f"{place} (name)")
                if stat.S_ISREG(mode):
                    hits |= self.scan_bytes(path.read_bytes(), place)
        return hits

    def scan_bytes(self, data: bytes, place: str) -> set[Hit]:
        """Scan a stream of bytes."""
        return set(self._scan(data, place, LEVELS))

    def _scan(self, data: bytes, place: str, levels: int) -> Iterator[Hit]:
        if len(data) < GRAM:
            return
        for pattern in self._found(data):
            for canary, form in self._meanings[pattern].items():
                yield Hit(canary, form, place)
        if levels:
            for how, inner in _opened(data):
                yield from self._scan(inner, f"{place} ({how})", levels - 1)

    def _found(self, data: bytes) -> set[bytes]:
        found: set[bytes] = set()
        padded = data + bytes(8)
        for begin in range(0, len(data), _CHUNK):
            count = min(_CHUNK, len(data) - begin)
            grams = np.ndarray(count, "<u8", padded, begin, (1,))
            for place in np.flatnonzero(self._table[_slots(grams)]):
                at = begin + int(place)
                for start, pattern in self._windows.get(data[at : at + GRAM], ()):
                    if at >= start and data.startswith(pattern, at - start):
                        found.add(pattern)
        return found


def _slots(grams: np.ndarray) -> np.ndarray:
    return ((grams << np.uint64(64 - 8 * GRAM)) * _SPREAD) >> np.uint64(64 - _TABLE_BITS)


def _paths(root: Path) -> Iterator[Path]:
    root.lstat()
    yield root
    if root.is_dir() and not root.is_symlink():
        yield from sorted(root.rglob("*"))


def forms(canary: Canary) -> Iterator[tuple[str, bytes]]:
    """Yield every form of a canary's value with the bytes that give it away."""
    if isinstance(canary.value, bytes):
        yield from _binary("raw", canary.value)
        raw = {"": canary.value}
    else:
        value = canary.value
        spellings = {"": value, "lower case ": value.lower(), "upper case ": value.upper()}
        raw = {name: text.encode() for name, text in spellings.items() if name == "" or text != value}
        for name, octets in raw.items():
            yield from _text(name, octets.decode())
        if value.isascii() and value.isdigit():
            yield from _number(value)
    if canary.digests:
        for name, octets in raw.items():
            for algorithm in DIGESTS:
                yield from _binary(f"{algorithm} of {name}value", hashlib.new(algorithm, octets).digest())


def _binary(name: str, value: bytes) -> Iterator[tuple[str, bytes]]:
    yield name, value
    yield f"{name}, hex", value.hex().encode()
    yield f"{name}, HEX", value.hex().upper().encode()
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + value)
        core = encoded[(0, 2, 3)[offset] : (offset + len(value)) * 8 // 6]
        yield f"{name}, base64+{offset}", core
        yield f"{name}, base64url+{offset}", core.translate(bytes.maketrans(b"+/", b"-_"))


def _text(name: str, text: str) -> Iterator[tuple[str, bytes]]:
    yield from _binary(f"{name}UTF-8", text.encode())
    yield from _binary(f"{name}UTF-16LE", text.encode("utf-16-le"))
    yield from _binary(f"{name}UTF-16BE", text.encode("utf-16-be"))
    units = re.findall("....", text.encode("utf-16-be").hex())
    yield f"{name}JSON escapes", "".join(f"\\u{unit}" for unit in units).encode()
    yield f"{name}JSON ESCAPES", "".join(f"\\u{unit.upper()}" for unit in units).encode()
    mixed = json.dumps(text)[1:-1]
    yield f"{name}JSON", mixed.encode()
    yield f"{name}JSON, upper", re.sub(r"(?<=\\u)[0-9a-f]{4}", lambda found: found[0].upper(), mixed).encode()
    yield f"{name}URL", quote(text, safe="").encode()
    yield f"{name}URL, lower", re.sub("%..", lambda found: found[0].lower(), quote(text, safe="")).encode()


def _number(digits: str) -> Iterator[tuple[str, bytes]]:
    number = int(digits)
    if 2**32 <= number < 2**63:
        yield "int64 LE", number.to_bytes(8, "little")
        yield "int64 BE", number.to_bytes(8, "big")
    groups = re.findall("....", digits.zfill(-(-len(digits) // 4) * 4))
    numeric = b"".join(int(group).to_bytes(2, "little") for group in groups).rstrip(b"\0")
    if len(numeric) >= GRAM:
        yield "numeric", numeric


def _opened(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield what is inside, with how and where it was found."""
    octets = np.frombuffer(data, np.uint8)
    pairs = octets[:-1].astype(np.uint16) << np.uint16(8) | octets[1:]
    for at in map(int, np.flatnonzero(_MAGIC[pairs])):
        for kind, start, inflated in _COMPRESSED:
            if data.startswith(start, at) and len(inner := inflated(data, at)) >= GRAM:
                yield f"{kind} at {at}", inner
    outside = np.concatenate(([-1], np.flatnonzero(~_LETTERS[octets]), [len(data)]))
    for gap in map(int, np.flatnonzero(np.diff(outside) > _SHORTEST_RUN)):
        begin, run = int(outside[gap]) + 1, data[outside[gap] + 1 : outside[gap + 1]]
        for found in _HEX_RUN.finditer(run):
            yield f"hex at {begin + found.start()}", binascii.unhexlify(found[0][: len(found[0]) // 2 * 2])
        text = run.translate(bytes.maketrans(b"-_", b"+/"), b"\r\n")
        # What stands before the first letter may belong to the alphabet too (the dashes of PEM).
        for shift in range(4):
            whole = (len(text) - shift) // 4 * 4
            yield f"base64 at {begin}+{shift}", binascii.a2b_base64(text[shift : shift + whole])


def _inflated(data: bytes, at: int, window: int) -> bytes:
    """Return what comes out of a stream until it ends or breaks, to the last byte: a leak may be cut."""
    out, broken_at = _inflate(data, window, range(at, len(data), _PIECE))
    if broken_at is None:
        return out
    return _inflate(data, window, [*range(at, broken_at, _PIECE), *range(broken_at, broken_at + _PIECE)])[0]


def _inflate(data: bytes, window: int, starts: Sequence[int]) -> tuple[bytes, int | None]:
    """Feed the pieces that begin at ``starts``; return the output, and where the piece begins that breaks the stream."""
    stream, out = zlib.decompressobj(window), bytearray()
    ends = itertools.chain(itertools.islice(starts, 1, None), [starts[-1] + _PIECE])
    for begin, end in zip(starts, ends, strict=True):
        try:
            out += stream.decompress(data[begin:end], _LONGEST_OUTPUT)
        except zlib.error:
            return bytes(out), begin
        if stream.eof or len(out) > _LONGEST_OUTPUT:
            break
    return bytes(out), None


def _member(data: bytes, at: int) -> bytes:
    """Return the content of a deflated zip member; a stored one is seen as it is."""
    header = data[at : at + 30]
    if len(header) < 30 or header[8:10] != b"\x08\x00":
        return b""
    begin = at + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    return _inflated(data, begin, -15) if begin < len(data) else b""


_COMPRESSED: tuple[tuple[str, bytes, Callable[[bytes, int], bytes]], ...] = (
    ("gzip", b"\x1f\x8b\x08", lambda data, at: _inflated(data, at, 31)),
    *(("zlib", bytes((0x78, level)), lambda data, at: _inflated(data, at, 15)) for level in (0x01, 0x5E, 0x9C, 0xDA)),
    ("zip", b"PK\x03\x04", _member),
)
_MAGIC = np.zeros(1 << 16, np.bool_)
_MAGIC[[int.from_bytes(start[:2]) for _, start, _ in _COMPRESSED]] = True
