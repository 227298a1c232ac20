"""Named places where a crash can be provoked, so that recovery is testable at exact points.

Inert unless the process was started with ``CIVIUM_FAULT=<name>[@<file>],...`` and the application armed fault points,
which it does in sandbox mode only. Inert, a point costs one look-up in an empty dictionary.
"""

import os
import signal
from pathlib import Path

_armed: dict[str, Path | None] = {}


def arm(specification: str) -> None:
    """Arm the faults ``name`` or ``name@file``, separated by commas.

    With a file, the fault strikes only when the file exists, and removes it: once, in one process.
    """
    for each in specification.split(","):
        name, _, trigger = each.partition("@")
        _armed[name] = Path(trigger) if trigger else None


def point(name: str) -> None:
    """Kill this process at once (SIGKILL) when the fault ``name`` is armed; else do nothing."""
    if name not in _armed:
        return
    trigger = _armed[name]
    if trigger is not None:
        try:
            trigger.unlink()
        except FileNotFoundError:
            return
    os.kill(os.getpid(), signal.SIGKILL)
