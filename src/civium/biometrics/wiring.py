"""Builds the context."""

from civium.biometrics.matching import NbisFingerMatcher
from civium.biometrics.workers import WorkerPool


def build(workers: int) -> NbisFingerMatcher:
    """Return the matcher over at most ``workers`` processes, none of which runs before the first call.

    The caller closes it (``await matcher.close()``) on the event loop that used it.
    """
    return NbisFingerMatcher(WorkerPool(workers))
