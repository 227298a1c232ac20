"""Open-arrival load: requests leave at scheduled instants, whether or not earlier ones were answered.

A latency counts from the scheduled instant, so that a queue anywhere, this program's included, is in it. The requests
are finished bytes and an answer is only cut out of the stream: about 60 microseconds of CPU for each exchange.
"""

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from types import TracebackType
from typing import Self, cast

import uvloop

from civium.kernel.clock import monotonic

PROCESSES = 2
CONNECTIONS = 24
"""Connections that each process opens before the start; it opens more when all are busy."""
HEAD_START = 1.0
"""Seconds between handing the requests out and the first of them."""
GIVE_UP = 30.0
"""Seconds after the last scheduled request at which an unanswered one has failed."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A request, and the second of the run in which it is due."""

    due: float
    request: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Hit:
    """How a request ended: seconds from its scheduled instant, and the answer (empty: none came)."""

    due: float
    latency: float
    body: bytes = field(repr=False)


def arrivals(count: int, rate: float, seed: int) -> list[float]:
    """Return the instants of a Poisson process of ``rate`` per second: ``count`` of them."""
    draw = random.Random(seed)
    at, instants = 0.0, []
    for _ in range(count):
        at += draw.expovariate(rate)
        instants.append(at)
    return instants


class LoadProcesses:
    """The processes that make the load. A context manager."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._pool = ProcessPoolExecutor(PROCESSES, get_context("spawn"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    def fire(self, shots: Sequence[Shot], start: float) -> list[Hit]:
        """Send every shot in its time after the instant ``start`` of the monotonic clock; return how each ended."""
        parts = [shots[number::PROCESSES] for number in range(PROCESSES)]
        running = [self._pool.submit(_run, *self._address, part, start) for part in parts]
        return sorted((hit for part in running for hit in part.result()), key=lambda hit: hit.due)


def _run(host: str, port: int, shots: Sequence[Shot], start: float) -> list[Hit]:
    return uvloop.run(_fire(host, port, shots, start))


async def _fire(host: str, port: int, shots: Sequence[Shot], start: float) -> list[Hit]:
    idle = deque([await _connect(host, port) for _ in range(CONNECTIONS)])
    tasks = []

    async def one(shot: Shot) -> Hit:
        connection = idle.popleft() if idle else await _connect(host, port)
        try:
            body = await connection.exchange(shot.request)
        except ConnectionError:
            return Hit(shot.due, monotonic() - start - shot.due, b"")
        idle.append(connection)
        return Hit(shot.due, monotonic() - start - shot.due, body)

    for shot in shots:
        if (wait := start + shot.due - monotonic()) > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(one(shot)))
    _, late = await asyncio.wait(tasks, timeout=GIVE_UP)
    for task in late:
        task.cancel()
    hits = [task.result() for task in tasks if task not in late]
    for connection in idle:
        connection.close()
    return hits + [Hit(shot.due, GIVE_UP, b"") for shot, task in zip(shots, tasks, strict=True) if task in late]


class Connection(asyncio.Protocol):
    """A keep-alive HTTP/1.1 connection with one request in flight; answers must carry a content-length."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, _: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the connection ended before the answer"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0 or self._answer is None or self._answer.done():
            return
        _, _, after = bytes(self._received[:end]).lower().partition(b"\r\ncontent-length:")
        size = int(after.partition(b"\r\n")[0])
        if len(self._received) >= end + 4 + size:
            body = bytes(self._received[end + 4 : end + 4 + size])
            self._received.clear()
            self._answer.set_result(body)

    async def exchange(self, request: bytes) -> bytes:
        """Send a request and return the answer's body; raises ConnectionError."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("the connection is closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()


async def _connect(host: str, port: int) -> Connection:
    _, connection = await asyncio.get_running_loop().create_connection(Connection, host, port)
    return connection
