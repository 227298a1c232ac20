"""The worker: batches, wake-ups, back-off, a stop that finishes what runs."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from civium.kernel.clock import monotonic
from civium.platform.jobs import Job
from civium.platform.worker import Worker


@pytest.fixture
def working(db):
    @asynccontextmanager
    async def run(*jobs):
        worker = Worker(db.core_pool, jobs)
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            async with asyncio.timeout(5):
                await task

    return run


async def until(condition):
    deadline = monotonic() + 5
    while not condition():
        assert monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.01)


async def test_a_job_is_called_again_at_once_while_there_is_work(working):
    left = [3, 2, 1]

    async def run():
        return left.pop() if left else 0

    async with working(Job("a", run, interval=60)):
        await until(lambda: not left)


async def test_a_notification_wakes_an_idle_job(db, working):
    calls = []

    async def run():
        calls.append(1)
        return 0

    async with working(Job("a", run, interval=60, channel="work_a")):
        await until(lambda: len(calls) == 1)
        await asyncio.sleep(0.1)
        await db.core("identity").execute("SELECT pg_notify('work_a', '')")
        await until(lambda: len(calls) == 2)


async def test_the_interval_wakes_a_job_without_channel(working):
    calls = []

    async def run():
        calls.append(1)
        return 0

    async with working(Job("a", run, interval=0.02)):
        await until(lambda: len(calls) > 3)


async def test_a_failing_job_is_retried_and_hinders_no_other(working):
    tries, calls = [], []

    async def fail():
        tries.append(monotonic())
        if len(tries) == 1:
            raise RuntimeError
        return 0

    async def run():
        calls.append(1)
        return 0

    async with working(Job("bad", fail, interval=60), Job("good", run, interval=0.02)):
        await until(lambda: len(tries) == 2)
    assert tries[1] - tries[0] >= 0.5
    assert len(calls) > 5


async def test_stop_lets_the_batch_in_progress_finish(working):
    started, finished = [], []

    async def run():
        started.append(1)
        await asyncio.sleep(0.2)
        finished.append(1)
        return 1

    async with working(Job("a", run, interval=60)):
        await until(lambda: started)
    assert len(finished) == len(started)
