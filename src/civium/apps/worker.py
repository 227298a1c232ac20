"""The worker process: delivers events between contexts and runs their background jobs.

It gives way to the processes that answer requests: under more load than the machine carries, messages come later and
answers do not.
"""

import asyncio
import os
import signal

import uvloop

from civium.apps.installation import mark_ready, open_installation, usage_job
from civium.kernel import faults
from civium.kernel.clock import SystemClock
from civium.platform import telemetry
from civium.platform.dispatcher import Dispatcher
from civium.platform.settings import Settings, load
from civium.platform.worker import Worker

NICENESS = 10


async def work(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT; finishes the batches in progress."""
    async with open_installation(settings) as installation:
        dispatchers = [
            Dispatcher(context.pool, context.schema, installation.consumers, context.sealer, SystemClock())
            for context in (installation.core, installation.auth)
        ]
        jobs = [*(job for module in installation.modules for job in module.jobs), usage_job(installation)]
        worker = Worker(installation.core.pool, jobs, dispatchers)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        mark_ready()
        await worker.run()


def main() -> None:
    """Run the worker of the installation that the environment describes."""
    os.nice(NICENESS)
    settings = load()
    telemetry.configure(settings.log_level)
    if settings.sandbox and settings.fault is not None:
        faults.arm(settings.fault)
    uvloop.run(work(settings))


if __name__ == "__main__":
    main()
