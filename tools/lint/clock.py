"""Rule ``clock``: only ``kernel/clock.py`` reads the system's clock; everything else is given a Clock.

Not decidable here: a clock reached through an object (``loop.time()``), and PostgreSQL's ``now()``.
"""

import ast
from collections.abc import Iterator
from typing import Final

from tools.lint.source import Finding, Source, finding

HOME: Final = "src/civium/kernel/clock.py"
_TIME = (
    "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "gmtime", "localtime",
    "clock_gettime", "clock_gettime_ns", "ctime",
)  # fmt: skip
READS: Final = frozenset(
    {
        *(f"time.{name}" for name in _TIME),
        *(f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")),
        "datetime.date.today",
        "uuid.uuid1",
    }
)


def clock(source: Source) -> Iterator[Finding]:
    """Find reads of the system's clock, called or handed on."""
    if source.path == HOME:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Name | ast.Attribute) and (what := source.meaning(node)) in READS:
            yield finding(source, node, "clock", f"{what}: take a Clock, or kernel.clock.monotonic for durations")
