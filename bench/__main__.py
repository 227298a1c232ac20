"""Run the areas that are named, or all: ``python -m bench [area ...]``."""

import signal
import sys
from importlib import import_module

from rich.console import Console

from bench.figures import RESULTS, Figure, show, write

AREAS = ("auth", "keys")
"""Modules of this package with ``run(console) -> Iterator[Figure]``."""


def main(names: list[str]) -> int:
    # So that what an area has started is stopped when this process is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    console = Console()
    if unknown := set(names) - set(AREAS):
        console.print(f"no area {', '.join(sorted(unknown))}; there are: {', '.join(AREAS)}", style="red")
        return 2
    figures: list[Figure] = []
    for name in names or AREAS:
        figures += import_module(f"bench.{name}").run(console)
    write(figures)
    show(figures, console)
    console.print(f"Written to {RESULTS}.", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
