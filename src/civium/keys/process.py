"""The key process: serves each security context on a socket of its own, and is the only process that holds keys.

Its memory is closed to other processes of the same user, it leaves no core dump, and it answers only callers of its
own user.
"""

import asyncio
import ctypes
import os
import resource
import signal
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec
import structlog
import uvloop

from civium.kernel import faults
from civium.kernel.clock import SystemClock
from civium.kernel.errors import CiviumError, IntegrityError, Unavailable
from civium.keys import allowlist
from civium.keys.allowlist import Gate
from civium.keys.api import DecryptionFailed, KeyProblem
from civium.keys.opening import unsealing
from civium.keys.operations import Keystores, Operations
from civium.keys.protocol import Failure, FrameProtocol, Reply, Request
from civium.keys.usage import ABOUT_USAGE
from civium.platform.settings import Settings

MAX_IN_FLIGHT: Final = 1024
"""Calls of one connection that wait for a thread before its reading pauses."""
REFRESH_SECONDS: Final = 3600
PR_SET_DUMPABLE: Final = 4
_MAX_SOCKET_PATH: Final = 107
_CREDENTIALS: Final = struct.Struct("3i")

_log = structlog.get_logger(__name__)


def socket_path(home: Path, context: str) -> Path:
    """Return the socket of a security context (``core`` or ``auth``)."""
    return home / "run" / f"keys-{context}.sock"


def admin_socket_path(home: Path, context: str) -> Path:
    """Return the socket of the operator's commands for a security context."""
    return socket_path(home, f"{context}-admin")


def main(settings: Settings, *, ready: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT. Writes one line to the descriptor ``ready`` once the sockets accept.

    Raises KeystoreClosed or IntegrityError when the keystores do not open.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE)")
    os.umask(0o077)
    if settings.sandbox and settings.fault is not None:
        faults.arm(settings.fault)
    with open_keystores(settings) as keystores:
        uvloop.run(_serve(settings, keystores, ready))


def open_keystores(settings: Settings) -> Keystores:
    """Open the installation's keystores, making them at the first start."""
    return Keystores(
        settings.home / "keys",
        unsealing(settings.keys),
        zk_pool_size=settings.keys.zk_pool_size,
        clock=SystemClock(),
    )


async def _serve(settings: Settings, keystores: Keystores, ready: int | None) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with ThreadPoolExecutor(settings.keys.threads, "keys") as threads:
        servers = []
        for context, grants, operations in (
            ("core", allowlist.CORE, keystores.core),
            ("auth", allowlist.AUTH, keystores.auth),
        ):
            gate = Gate(context, grants)
            admin = Gate(f"{context}-admin", allowlist.ADMIN, ledger=gate.ledger)
            servers.append(await _listen(socket_path(settings.home, context), gate, operations, threads))
            servers.append(await _listen(admin_socket_path(settings.home, context), admin, operations, threads))
        if ready is not None:
            os.write(ready, b"ready\n")
        while not stop.is_set():
            try:
                await asyncio.wait_for(stop.wait(), REFRESH_SECONDS)
            except TimeoutError:
                await loop.run_in_executor(threads, keystores.keep_fresh)
        for server in servers:
            server.close()


async def _listen(
    path: Path, gate: Gate, operations: Operations, threads: ThreadPoolExecutor
) -> asyncio.AbstractServer:
    """Serve one security context on ``path``."""
    return await asyncio.get_running_loop().create_unix_server(
        lambda: _Connection(gate, operations, threads), sock=_bound(path)
    )


def _bound(path: Path) -> socket.socket:
    """Return a socket on ``path`` that only our own user may open, in place of one that a killed process left."""
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH:
        raise CiviumError(f"{path} is too long for a Unix socket: choose a shorter home")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(os.fsencode(path))
    path.chmod(0o600)
    return bound


class _Connection(FrameProtocol):
    """One caller's connection; calls are answered in the order in which they finish."""

    def __init__(self, gate: Gate, operations: Operations, threads: ThreadPoolExecutor) -> None:
        super().__init__()
        self._gate = gate
        self._operations = operations
        self._threads = threads
        self._waiting = 0
        self._decoder = msgspec.msgpack.Decoder(Request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection only when its peer runs as our own user."""
        super().connection_made(transport)
        peer = transport.get_extra_info("socket")
        _, uid, _ = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        if uid != os.getuid():
            _log.warning("key_peer_refused", uid=uid)
            self.abort()

    def frame_received(self, frame: bytes) -> None:
        """Answer a call: at once when it is quick, else from a thread. A frame that is no call ends the connection."""
        try:
            request = self._decoder.decode(frame)
        except msgspec.MsgspecError:
            _log.warning("key_frame_refused", size=len(frame))
            self.abort()
            return
        call = request.call
        if not self._operations.slow(call):
            self._answer(request.id, lambda: self._perform(request))
            return
        try:
            self._gate.admit(call, request.citation)
        except CiviumError as problem:
            self._fail(request.id, problem)
            return
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, self._operations.perform, call)
        self._waiting += 1
        if self._waiting == MAX_IN_FLIGHT and self.transport is not None:
            self.transport.pause_reading()
        work.add_done_callback(lambda done: self._finished(request.id, done))

    def _perform(self, request: Request) -> object:
        call = request.call
        self._gate.admit(call, request.citation)
        return self._gate.ledger.answer(call) if isinstance(call, ABOUT_USAGE) else self._operations.perform(call)

    def _finished(self, id: int, work: "asyncio.Future[object]") -> None:
        if self._waiting == MAX_IN_FLIGHT and self.transport is not None:
            self.transport.resume_reading()
        self._waiting -= 1
        self._answer(id, work.result)

    def _answer(self, id: int, result: Callable[[], object]) -> None:
        try:
            encoded = msgspec.msgpack.encode(result())
        except Exception as problem:  # noqa: BLE001 - whatever fails, the caller gets a reply and the process lives
            self._fail(id, problem)
        else:
            self.send(Reply(id, None, msgspec.Raw(encoded)))

    def _fail(self, id: int, problem: Exception) -> None:
        self.send(Reply(id, _failure(problem), msgspec.Raw(b"\xc0")))


def _failure(problem: Exception) -> Failure:
    match problem:
        case KeyProblem():
            return Failure("problem", problem.code, problem.message)
        case DecryptionFailed():
            return Failure("decryption", message=str(problem))
        case IntegrityError():
            _log.error("keystore_changed", exc_info=problem)
            return Failure("integrity", message="the keystore was changed")
        case Unavailable():
            return Failure("unavailable", message=str(problem))
        case _:
            _log.error("key_call_failed", error=type(problem).__name__)
            return Failure("internal")
