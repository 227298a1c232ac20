"""The demo person's journey, as the start page shows it: what happened when, and what each party saw.

It holds no identifier and no value of the person: only the names of steps, parties and attributes.
"""

from pathlib import Path

import msgspec

FILE = Path("sandbox") / "journey.json"


class Step(msgspec.Struct, frozen=True):
    """One step. ``name`` and ``party`` are keys of the catalogue; ``seconds`` since the start of the journey."""

    name: str
    party: str
    seconds: float
    learned: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()


class Journey(msgspec.Struct, frozen=True):
    """A finished journey, with the figures that the demo measured."""

    steps: tuple[Step, ...]
    seconds: float
    memory_megabytes: float


def save(home: Path, journey: Journey) -> None:
    """Keep the journey for the start page."""
    path = home / FILE
    temporary = path.with_suffix(".new")
    temporary.write_bytes(msgspec.json.encode(journey))
    temporary.replace(path)


def load(home: Path) -> Journey | None:
    """Return the last journey, or None before the first one."""
    try:
        return msgspec.json.decode((home / FILE).read_bytes(), type=Journey)
    except FileNotFoundError:
        return None
