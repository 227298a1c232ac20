"""Run the house rules over the product: ``python -m tools.lint``."""

import sys
from pathlib import Path
from typing import Final

from tools.lint.boundaries import boundary
from tools.lint.clock import clock
from tools.lint.comparisons import secret_compare
from tools.lint.leaks import leak
from tools.lint.logs import log
from tools.lint.pins import pin
from tools.lint.routes import route
from tools.lint.sizes import size
from tools.lint.source import Finding, Rule, Source, check
from tools.lint.sql import sql
from tools.lint.transactions import open_transaction

RULES: Final[tuple[Rule, ...]] = (boundary, clock, log, open_transaction, route, secret_compare, sql)
WHOLE: Final = (leak, pin, size)
ROOT: Final = Path(__file__).resolve().parents[2]


def lint(root: Path = ROOT) -> list[Finding]:
    """Return the findings in the product's files under ``root``, and in the repository as a whole."""
    files = sorted((root / "src" / "civium").rglob("*.py"))
    findings = [each for path in files for each in check(Source.read(root, path), RULES)]
    return findings + [each for rule in WHOLE for each in rule(root)]


if __name__ == "__main__":
    found = lint()
    for each in found:
        print(each)
    sys.exit(bool(found))
