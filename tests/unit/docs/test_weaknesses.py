"""The table of weaknesses is complete, and each test that it names exists."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "security" / "weaknesses.md").read_text().splitlines()
    if re.match(r"\| \d+ \|", line)
]
PROOF = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_each_point_has_its_row() -> None:
    assert [int(row[0]) for row in ROWS] == list(range(1, 43))
    assert {row[2] for row in ROWS} <= {"mended", "part", "not applicable", "open"}
    assert all(row[1] and row[3] for row in ROWS)


def test_what_is_mended_has_a_test() -> None:
    assert [row[0] for row in ROWS if row[2] in {"mended", "part"} and not PROOF.search(row[4])] == []


def test_every_test_that_is_named_exists() -> None:
    named = {proof for row in ROWS for proof in PROOF.findall(row[4])}
    assert len(named) > 50
    missing = [
        f"{file}::{test}"
        for file, test in sorted(named)
        if not (ROOT / file).is_file() or f"def {test}(" not in (ROOT / file).read_text()
    ]
    assert missing == []
