"""Rule ``leak``: no credential in the sources. Tests are free to hold made-up ones."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tools.lint.sizes import written_files
from tools.lint.source import ESCAPE, Finding

PRIVATE_KEY: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s*(\\n|\n|$)")
ASSIGNED: Final = re.compile(
    r"""(?ix) \b (?P<name>\w*(?:password|passphrase|secret|api_?key|licen[cs]e_?key)) \s* [:=] \s*
    (?P<quote>["']) (?P<value>[^"'\s{}%$<>]{4,}) (?P=quote)"""
)
HEX: Final = re.compile(r"\b(?=[0-9a-f]*[a-f])(?=[0-9a-f]*[0-9])[0-9a-f]{40,}\b")
BASE64: Final = re.compile(r"(?<![\w/+])[A-Za-z0-9+/_-]{40,}={0,2}(?![\w/+])")
RANDOM_BITS: Final = 4.2
"""Bits a character from which a long word is taken for a random one; English and paths stay below 4."""


def leak(root: Path) -> Iterator[Finding]:
    """Find what looks like a key, token or password outside the tests."""
    top = [path for path in root.glob("*") if path.suffix in {".md", ".toml", ".in"} or path.name == "Makefile"]
    for path in [*written_files(root), *sorted(top)]:
        name = path.relative_to(root).as_posix()
        if not name.startswith("tests/"):
            yield from in_text(name, path.read_text(errors="replace"))


def in_text(name: str, text: str) -> Iterator[Finding]:
    """Find the same in one text, line by line."""
    for number, line in enumerate(text.splitlines(), start=1):
        escape = ESCAPE.search(line)
        if escape and escape["rule"] == "leak" and escape["reason"]:
            continue
        for what in _suspicions(line):
            yield Finding(name, number, "leak", what)


def _suspicions(line: str) -> Iterator[str]:
    if PRIVATE_KEY.search(line):
        yield "a private key"
    if (found := ASSIGNED.search(line)) and _plain(found["value"]) != _plain(found["name"]):
        yield "a password or key as a literal"
    if HEX.search(line) or any(_random(found[0]) for found in BASE64.finditer(line)):
        yield "a long random-looking token"


def _plain(word: str) -> str:
    return re.sub("[-_]", "", word).lower()


def _random(word: str) -> bool:
    if not (re.search(r"\d", word) and re.search(r"[a-z]", word) and re.search(r"[A-Z]", word)):
        return False
    counts = Counter(word).values()
    return -sum(n / len(word) * math.log2(n / len(word)) for n in counts) > RANDOM_BITS
