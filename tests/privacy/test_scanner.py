"""The scanner finds a planted leak of each kind in a tree like that of a platform, and nothing where nothing is."""

import base64
import gzip
import hashlib
import io
import json
import os
import random
import struct
import zipfile
import zlib

import pytest

from privacy.scanner import Canary, Scanner

pytestmark = pytest.mark.canary

NAME, ARABIC, UIN, LONG, KEY, OTP = (
    "Quillfeather",
    "زمرداوي",
    "9273615048",
    "12345678901234567890123456789",
    bytes(range(7, 39)),
    "604817",
)
CANARIES = (
    Canary("name", NAME, digests=True),
    Canary("arabic", ARABIC),
    Canary("uin", UIN, digests=True),
    Canary("rid", LONG),
    Canary("key", KEY),
    Canary("otp", OTP, digests=True, alone=False),
)


@pytest.fixture(scope="module")
def scanner() -> Scanner:
    return Scanner(CANARIES)


@pytest.fixture
def tree(tmp_path):
    """Random bytes, text, compressed files and links, none of which holds anything."""
    noise = random.Random(4)
    (tmp_path / "data" / "base").mkdir(parents=True)
    (tmp_path / "log").mkdir()
    (tmp_path / "data" / "base" / "16384").write_bytes(noise.randbytes(300_000))
    (tmp_path / "data" / "zeros").write_bytes(bytes(100_000))
    lines = "".join(
        json.dumps({"event": "request", "n": noise.random(), "k": noise.randbytes(40).hex()}) + "\n" for _ in range(500)
    )
    (tmp_path / "log" / "web.log").write_text(lines)
    (tmp_path / "log" / "old.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "log" / "link").symlink_to("web.log")
    return tmp_path


def zipped(content: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("ID.json", content)
    return buffer.getvalue()


def surrounded(content: bytes) -> bytes:
    return b'{"a":"' + os.urandom(40).hex().encode() + content + b'","b":1}' * 50


def escaped(text: str, form: str) -> bytes:
    return "".join(f"\\u{ord(letter):{form}}" for letter in text).encode()


def base64_at(offset: int, content: bytes) -> bytes:
    return base64.b64encode(b"abc"[:offset] + content + b"trailing")


def digest(algorithm: str, text: str) -> bytes:
    return hashlib.new(algorithm, text.encode()).digest()


LEAKS = {
    "clear": ("name", NAME.encode()),
    "clear, lower case": ("name", NAME.lower().encode()),
    "clear, upper case": ("name", NAME.upper().encode()),
    "clear number": ("uin", UIN.encode()),
    "clear Arabic": ("arabic", ARABIC.encode()),
    "raw key": ("key", KEY),
    "UTF-16LE": ("name", NAME.encode("utf-16-le")),
    "UTF-16BE": ("uin", UIN.encode("utf-16-be")),
    "Arabic UTF-16LE": ("arabic", ARABIC.encode("utf-16-le")),
    "JSON": ("arabic", json.dumps({"name": ARABIC}).encode()),
    "JSON escapes": ("arabic", escaped(ARABIC, "04x")),
    "JSON ESCAPES": ("arabic", escaped(ARABIC, "04X")),
    "JSON escapes of ASCII": ("name", escaped(NAME, "04x")),
    "URL": ("arabic", b"%D8%B2%D9%85%D8%B1%D8%AF%D8%A7%D9%88%D9%8A"),
    "hex": ("name", NAME.encode().hex().encode()),
    "HEX": ("name", NAME.encode().hex().upper().encode()),
    "hex of a number": ("uin", UIN.encode().hex().encode()),
    "hex of UTF-16": ("uin", UIN.encode("utf-16-le").hex().encode()),
    "hex of a key": ("key", KEY.hex().encode()),
    **{f"base64 at {offset}": ("name", base64_at(offset, NAME.encode())) for offset in range(3)},
    **{f"base64 of a key at {offset}": ("key", base64_at(offset, KEY)) for offset in range(3)},
    "base64url": ("arabic", base64.urlsafe_b64encode(ARABIC.encode())),
    "base64url of a key": ("key", base64.urlsafe_b64encode(b"\xfb\xff" + KEY)),
    "PEM": ("key", base64.encodebytes(os.urandom(41) + KEY + os.urandom(90))),
    "gzip": ("name", gzip.compress(surrounded(NAME.encode()))),
    "gzip, cut": ("name", gzip.compress(surrounded(NAME.encode()) + os.urandom(3000))[:-2000]),
    "zlib": ("uin", zlib.compress(surrounded(UIN.encode()))),
    "zlib, fast": ("uin", zlib.compress(surrounded(UIN.encode()), 1)),
    "zip": ("name", zipped(surrounded(NAME.encode()))),
    "zip, stored": ("name", zipped(surrounded(NAME.encode()), zipfile.ZIP_STORED)),
    "zip in zip": ("name", zipped(zipped(surrounded(NAME.encode())))),
    "gzip in hex": ("name", gzip.compress(surrounded(NAME.encode())).hex().encode()),
    "zip in base64 in zip": ("name", zipped(base64.b64encode(zipped(surrounded(NAME.encode()))))),
    "short, hex": ("otp", OTP.encode().hex().encode()),
    "short, UTF-16LE": ("otp", OTP.encode("utf-16-le")),
    "short, digest": ("otp", hashlib.sha256(OTP.encode()).digest()),
    "int64 LE": ("uin", struct.pack("<q", int(UIN))),
    "int64 BE": ("uin", struct.pack(">q", int(UIN))),
    "numeric column": ("uin", struct.pack("<3h", 92, 7361, 5048)),
    "numeric column, long": ("rid", struct.pack("<8h", 1, 2345, 6789, 123, 4567, 8901, 2345, 6789)),
    **{
        f"{algorithm}, {how}": (canary, encode(digest(algorithm, text)))
        for algorithm in ("md5", "sha1", "sha256", "sha512")
        for canary, text in (("uin", UIN), ("name", NAME))
        for how, encode in {
            "raw": bytes,
            "hex": lambda value: value.hex().encode(),
            "HEX": lambda value: value.hex().upper().encode(),
            "base64": base64.b64encode,
            "base64url": base64.urlsafe_b64encode,
        }.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", LEAKS)
def test_a_leak_of_each_kind_is_found(scanner, tree, kind):
    canary, leak = LEAKS[kind]
    victim = tree / "data" / "base" / "16384"
    content = bytearray(victim.read_bytes())
    place = 100_000 + random.Random(kind).randrange(100_000)
    content[place : place + len(leak)] = leak
    victim.write_bytes(content)
    hits = scanner.scan(tree)
    assert {hit.canary for hit in hits} == {canary}
    assert all(hit.place.startswith(str(victim)) for hit in hits)


def test_a_clean_tree_has_none(scanner, tree):
    assert scanner.scan(tree) == set()


@pytest.mark.parametrize("where", [-len(NAME), -5, -1, 0])
def test_a_leak_across_the_border_of_a_chunk_is_found(scanner, where):
    content = bytearray(random.Random(5).randbytes(2 << 20))
    content[(1 << 20) + where : (1 << 20) + where + len(NAME)] = NAME.encode()
    assert {hit.canary for hit in scanner.scan_bytes(bytes(content), "x")} == {"name"}


@pytest.mark.parametrize("position", [0, -1])
def test_a_leak_at_either_end_is_found(scanner, position):
    noise = os.urandom(5000)
    content = NAME.encode() + noise if position == 0 else noise + NAME.encode()
    assert scanner.scan_bytes(content, "x")
    assert scanner.scan_bytes(NAME.encode(), "x")


def test_a_leak_in_a_name_is_found(scanner, tree):
    (tree / "data" / f"packet-{UIN}").mkdir()
    (tree / "data" / f"packet-{UIN.encode().hex()}.bin").touch()
    (tree / "log" / "there").symlink_to(tree / "data" / f"packet-{UIN}")
    (tree / "log" / hashlib.sha256(UIN.encode()).hexdigest()).touch()
    places = {hit.place for hit in scanner.scan(tree) if hit.canary == "uin" and hit.place.endswith("(name)")}
    assert len(places) == 4


def test_a_short_value_in_clear_may_be_chance(scanner):
    assert not scanner.scan_bytes(b"x" + OTP.encode() + b"x", "x")


def test_digests_of_what_has_none_are_not_looked_for(scanner):
    assert not scanner.scan_bytes(hashlib.sha256(LONG.encode()).digest(), "x")


def test_what_is_too_short_is_refused():
    with pytest.raises(ValueError, match="too short"):
        Scanner([Canary("otp", "1234")])


def test_a_missing_root_is_an_error(scanner, tmp_path):
    with pytest.raises(FileNotFoundError):
        scanner.scan(tmp_path / "gone")
