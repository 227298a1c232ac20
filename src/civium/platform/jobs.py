"""Background work that a context gives to the worker process."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Job:
    """A loop of the worker.

    ``run`` does one batch and returns how many items it did. After 0 the worker waits for a notification on
    ``channel`` (PostgreSQL LISTEN) or ``interval`` seconds, whichever is first; else it calls again at once. An
    exception is logged and retried with back-off; ``run`` itself must leave nothing half-written.
    """

    name: str
    run: Callable[[], Awaitable[int]]
    interval: float
    channel: str | None = None
