"""A pool of biometric worker processes, started when first needed, replaced when they die, hang or grow old.

Each is an interpreter of its own that imports :mod:`civium.biometrics.worker` only, so that it stays small and one
crash in native code costs one request, not the server.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import Final, TypeVar, cast

import msgspec

from civium.biometrics.domain import InvalidBiometrics
from civium.biometrics.worker import FRAME, Compared, Extracted, Measured, Refused, Request
from civium.kernel.errors import Unavailable

_LARGEST_REPLY: Final = 1 << 20
_FAREWELL: Final = 5.0

R = TypeVar("R", Extracted, Compared, Measured)


class WorkerPool:
    """Passes requests to at most ``workers`` processes; further callers wait."""

    def __init__(self, workers: int, *, requests_per_worker: int = 2000, patience: float = 30.0) -> None:
        self._slots = asyncio.Semaphore(workers)
        self._requests_per_worker = requests_per_worker
        self._patience = patience
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._closed = False

    @property
    def process_ids(self) -> list[int]:
        """Return the ids of the processes that run now."""
        return [worker.process_id for worker in self._all]

    async def ask_all(self, requests: Sequence[Request], kind: type[R]) -> list[R]:
        """Return the replies in the order of the requests, or raise the first failure once all have ended."""
        replies = await asyncio.gather(*(self.ask(request, kind) for request in requests), return_exceptions=True)
        for reply in replies:
            if isinstance(reply, BaseException):
                raise reply
        return cast("list[R]", replies)

    async def ask(self, request: Request, kind: type[R]) -> R:
        """Return the reply to a request, which is of the type ``kind``.

        Raises InvalidBiometrics when the worker refuses the input, or when it kills two workers in a row; Unavailable
        when no answer comes within ``patience`` seconds (that worker is killed) or the pool is closed.
        """
        payload = msgspec.msgpack.encode(request)
        async with self._slots:
            try:
                reply = await self._attempt(payload, kind)
            except (EOFError, ConnectionError):
                try:
                    reply = await self._attempt(payload, kind)
                except (EOFError, ConnectionError):
                    raise InvalidBiometrics("the biometric engine fails on this input") from None
        if isinstance(reply, Refused):
            raise InvalidBiometrics(reply.rule)
        return reply

    async def close(self) -> None:
        """Stop every worker; requests in progress end as Unavailable or InvalidBiometrics."""
        self._closed = True
        self._idle.clear()
        await asyncio.gather(*(self._retire(worker) for worker in list(self._all)))

    async def _attempt(self, payload: bytes, kind: type[R]) -> R | Refused:
        if self._closed:
            raise Unavailable("the biometric workers are stopped")
        worker = self._idle.pop() if self._idle else await self._hire()
        try:
            async with asyncio.timeout(self._patience):
                reply = await worker.exchange(payload, kind)
        except TimeoutError:
            await self._dismiss(worker)
            raise Unavailable("a biometric worker did not answer in time") from None
        except BaseException:  # also a cancelled caller: the worker is out of step now
            await self._dismiss(worker)
            raise
        if worker.served < self._requests_per_worker and not self._closed:
            self._idle.append(worker)
        else:
            await self._retire(worker)
        return reply

    async def _hire(self) -> "_Worker":
        worker = await _Worker.start()
        self._all.add(worker)
        return worker

    async def _dismiss(self, worker: "_Worker") -> None:
        self._all.discard(worker)
        await worker.kill()

    async def _retire(self, worker: "_Worker") -> None:
        self._all.discard(worker)
        await worker.stop()


class _Worker:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._requests = process.stdin
        self._replies = process.stdout
        self.served = 0

    @classmethod
    async def start(cls) -> "_Worker":
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-I", "-B", "-m", "civium.biometrics.worker"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        return cls(process)

    @property
    def process_id(self) -> int:
        return self._process.pid

    async def exchange(self, payload: bytes, kind: type[R]) -> R | Refused:
        """Return the reply; raises EOFError or ConnectionError when the process is gone."""
        self._requests.write(FRAME.pack(len(payload)) + payload)
        await self._requests.drain()
        (length,) = FRAME.unpack(await self._replies.readexactly(FRAME.size))
        if length > _LARGEST_REPLY:
            raise ConnectionError("the biometric worker is out of step")
        reply = msgspec.msgpack.decode(await self._replies.readexactly(length), type=kind | Refused)
        self.served += 1
        return cast("R | Refused", reply)

    async def stop(self) -> None:
        """End the process by ending its input; kill it when that does not help."""
        self._requests.close()
        try:
            async with asyncio.timeout(_FAREWELL):
                await self._process.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        self._requests.close()
        await self._process.wait()
