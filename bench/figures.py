"""What a measurement says, as a table and as ``bench/results/latest.json``."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results" / "latest.json"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. None where a member does not apply."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    """What the machine could do at best, in the same unit and from the same run."""
    ratio: float | None = None
    """``value / limit``."""
    p50_ms: float | None = None
    p99_ms: float | None = None
    rss_mb: float | None = None
    """Summed proportional set size of every process of the platform, in 10^6 bytes."""
    people: int | None = None


def write(figures: Sequence[Figure], path: Path = RESULTS) -> None:
    """Replace the results file."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([_rounded(figure) for figure in figures], indent=1) + "\n")


def _rounded(figure: Figure) -> dict[str, object]:
    return {name: float(f"{item:.4g}") if isinstance(item, float) else item for name, item in asdict(figure).items()}


def show(figures: Sequence[Figure], console: Console) -> None:
    """Print the table."""
    table = Table(title="Benchmarks", title_justify="left")
    table.add_column("figure", min_width=44)
    for heading in ("value", "unit", "limit", "ratio", "p50 ms", "p99 ms", "PSS MB", "people"):
        table.add_column(heading, justify="left" if heading == "unit" else "right", no_wrap=True)
    for figure in figures:
        table.add_row(
            figure.name,
            _text(figure.value),
            figure.unit,
            _text(figure.limit),
            "" if figure.ratio is None else f"{figure.ratio:.0%}",
            _text(figure.p50_ms),
            _text(figure.p99_ms),
            _text(figure.rss_mb),
            _text(figure.people),
        )
    console.print(table)


def _text(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
