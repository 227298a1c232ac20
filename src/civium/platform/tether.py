"""Ties a child process to its parent, so that none outlives a parent that was killed."""

import ctypes
import os
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_prctl = getattr(ctypes.CDLL(None), "prctl", None)


def die_with_parent(last_signal: signal.Signals) -> Callable[[], None]:
    """Return what a child runs before it does anything else: the kernel sends it ``last_signal`` when we are gone.

    Linux only; elsewhere nothing happens. The kernel watches the thread that made the child, so children are made by
    a thread that lives as long as they shall, which is the main thread. Call this in the parent; the result runs
    after ``fork`` (and after a change of user, which would clear the wish).
    """
    parent = os.getpid()

    def tie() -> None:
        tie_to_parent(last_signal)
        if _prctl is not None and os.getppid() != parent:
            os._exit(1)

    return tie


def tie_to_parent(last_signal: signal.Signals) -> None:
    """Have the kernel send ``last_signal`` to this very process when the thread that made it is gone.

    A parent that was gone before shows in another way, such as the end of a pipe.
    """
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, int(last_signal), 0, 0, 0)
