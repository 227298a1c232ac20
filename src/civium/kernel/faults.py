"""Named places where a crash can be provoked, so that recovery is testable at exact points.

Inert unless the process was started with ``CIVIUM_FAULT=<name>`` and the application armed fault points, which it
does in sandbox mode only.
"""

import os
import signal
from pathlib import Path

_armed: dict[str, Path | None] = {}


def arm(specification: str) -> None:
    """Arm the fault ``name`` or ``name@file``: with a file, the fault strikes only once, when the file exists."""
    name, _, trigger = specification.partition("@")
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
