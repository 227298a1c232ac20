"""Runs the contexts' background work in one process: their jobs and the dispatchers of the outboxes."""

import asyncio
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING

import structlog

from civium.platform.dispatcher import Dispatcher
from civium.platform.jobs import Job
from civium.platform.listener import Listener
from civium.platform.telemetry import correlation

if TYPE_CHECKING:
    import asyncpg

_log = structlog.get_logger(__name__)

_FIRST_DELAY = 0.5
_LONGEST_DELAY = 60.0


class Worker:
    """Jobs and dispatchers until told to stop. ``pool`` is of any login role; one connection of it listens."""

    def __init__(
        self, pool: "asyncpg.Pool[asyncpg.Record]", jobs: Iterable[Job], dispatchers: Iterable[Dispatcher] = ()
    ) -> None:
        self._jobs = tuple(jobs)
        self._dispatchers = tuple(dispatchers)
        self._listener = Listener(pool)
        self._wakeups = [
            asyncio.Event() if job.channel is None else self._listener.subscribe(job.channel) for job in self._jobs
        ]
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Work until :meth:`stop`; then finish the batches in progress. A failing job never ends the others."""
        async with self._listener, asyncio.TaskGroup() as tasks:
            for job, wakeup in zip(self._jobs, self._wakeups, strict=True):
                tasks.create_task(self._repeat(job, wakeup))
            for dispatcher in self._dispatchers:
                tasks.create_task(dispatcher.run())

    def stop(self) -> None:
        """Ask :meth:`run` to return after the batches in progress."""
        self._stopping.set()
        for wakeup in self._wakeups:
            wakeup.set()
        for dispatcher in self._dispatchers:
            dispatcher.stop()

    async def _repeat(self, job: Job, wakeup: asyncio.Event) -> None:
        delay = _FIRST_DELAY
        while not self._stopping.is_set():
            wakeup.clear()
            correlation.set(f"job-{job.name}-{uuid.uuid4()}")
            try:
                done = await job.run()
            except Exception as problem:  # noqa: BLE001 - a job is retried whatever it raises
                _log.warning("job_failed", job=job.name, error=type(problem).__name__, retry_seconds=delay)
                await self._listener.wait(self._stopping, delay)
                delay = min(delay * 2, _LONGEST_DELAY)
                continue
            delay = _FIRST_DELAY
            if done == 0 and not self._stopping.is_set():
                await self._listener.wait(wakeup, job.interval)
