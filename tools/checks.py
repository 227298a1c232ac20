"""Everything that can be said about the sources without running them: ``python -m tools.checks``.

One line for each check, then the output of those that failed. Needs no network. ``AUDIT=1`` also asks for known
vulnerabilities of the pinned packages; where that cannot be asked, it is reported as skipped and does not fail.
"""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from civium.kernel.clock import monotonic

ROOT: Final = Path(__file__).resolve().parents[1]
BIN: Final = Path(sys.executable).parent
LIMIT_SECONDS: Final = 300
_SPELLED: Final = (
    "src", "tests", "tools", "bench", "docs", "pyproject.toml", "Makefile",
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Check:
    """A program whose exit status 0 means that all is well."""

    name: str
    argv: Sequence[str]
    skip_if: str = ""
    """What its output matches when the check could not be made; empty for a check that always can."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a check ended."""

    check: Check
    passed: bool
    skipped: bool
    seconds: float
    output: str

    def __str__(self) -> str:
        mark = "-" if self.skipped else "✓" if self.passed else "✗"
        return f"{mark} {self.check.name:<20} {self.seconds:5.1f} s{'  skipped: no network' if self.skipped else ''}"


def tool(name: str, *arguments: str) -> list[str]:
    """Return the command line of a program of this environment."""
    return [str(BIN / name), *arguments]


CHECKS: Final = (  # the longest first
    Check("types", tool("mypy")),
    Check("house rules", [sys.executable, "-m", "tools.lint"]),
    Check("spelling", tool("codespell", *_SPELLED)),
    Check("import contracts", tool("lint-imports", "--no-cache")),
    Check("lint", tool("ruff", "check", ".")),
    Check("format", tool("ruff", "format", "--check", ".")),
)
AUDIT: Final = Check(
    "known vulnerabilities",
    tool("pip-audit", "--disable-pip", "--progress-spinner=off", "--timeout=5", "-r", "requirements.txt"),
    skip_if=r"(?s)(?!.*Found \d+ known).*(ConnectionError|could not be audited)",
)


def run(check: Check) -> Result:
    """Run one check in a process of its own."""
    began = monotonic()
    try:
        done = subprocess.run(
            check.argv, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False,
            env={**os.environ, "NO_COLOR": "1"},
        )  # fmt: skip
        status, output = done.returncode, done.stdout + done.stderr
    except (OSError, subprocess.TimeoutExpired) as problem:
        status, output = 1, f"{problem}\n"
    skipped = bool(check.skip_if) and re.match(check.skip_if, output) is not None
    return Result(check, status == 0, skipped, monotonic() - began, output)


def run_all(checks: Sequence[Check]) -> list[Result]:
    """Run the checks on all cores and print how each ended, as it ends."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = []
        for done in as_completed([pool.submit(run, check) for check in checks]):
            results.append(done.result())
            print(results[-1], flush=True)
    return results


def main() -> int:
    """Run everything; return the exit status."""
    checks = (*CHECKS, AUDIT) if os.environ.get("AUDIT") == "1" else CHECKS
    failed = [result for result in run_all(checks) if not (result.passed or result.skipped)]
    for result in failed:
        print(f"\n── {result.check.name}\n{result.output.rstrip()}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
