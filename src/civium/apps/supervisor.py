"""One supervisor for every process of the product: started in order, kept alive, stopped in reverse, never orphaned.

A child is a fresh interpreter, not a fork of this process: it inherits no secret, no lock of a thread and no open
file, and the key process shares no page of memory with a web process. That costs about 50 MB for each process more
than forking after the imports would, within the budget: five processes take some 350 MB of PSS.

Each child leads a session of its own, so that Ctrl-C reaches the supervisor alone and it decides the order. When the
supervisor itself is killed, the kernel kills its children (:mod:`civium.platform.tether`).
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

import psutil
import structlog

from civium.kernel.clock import monotonic
from civium.kernel.errors import CiviumError
from civium.platform.tether import die_with_parent

_log = structlog.get_logger(__name__)

LISTENER = "LISTENER_DESCRIPTOR"
"""Environment variable with the descriptor of the listening socket, for web processes."""
READY = "READY_FILE"
"""Environment variable with the file that a process makes once it works."""

_POLL_SECONDS = 0.05
_FIRST_DELAY = 0.5
_LONGEST_DELAY = 30.0
_STEADY = 5.0
"""How many times as long as its next wait a part must have run so that its waits begin anew."""


class Part(Protocol):
    """Something that is started, watched and stopped: a :class:`Child` or the database cluster."""

    @property
    def name(self) -> str:
        """What logs call it."""
        ...

    @property
    def log(self) -> Path | None:
        """Where its output goes; None when that is ours."""
        ...

    def start(self) -> None:
        """Begin; it need not be ready on return."""
        ...

    def ready(self) -> bool:
        """Tell whether it does its work."""
        ...

    def running(self) -> bool:
        """Tell whether it is alive."""
        ...

    def terminate(self) -> None:
        """Ask it to end, without waiting."""
        ...

    def stop(self) -> None:
        """End it, at the latest after its own deadline by force. May be called twice."""
        ...


class StartFailed(CiviumError):
    """A part did not become ready; everything that was started has been stopped."""


class Child:
    """A process of the product.

    ``ready`` is asked until it holds (None: alive is ready). ``inherit`` are file descriptors that it shares with us,
    such as a listening socket. ``log`` takes its output; without one it writes to ours.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        ready: Callable[[], bool] | None = None,
        environment: Mapping[str, str] | None = None,
        inherit: Sequence[int] = (),
        log: Path | None = None,
        stop_seconds: float = 10.0,
    ) -> None:
        self._name = name
        self._argv = tuple(argv)
        self._ready = ready
        self._environment = environment
        self._inherit = tuple(inherit)
        self._log = log
        self._stop_seconds = stop_seconds
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def log(self) -> Path | None:
        return self._log

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start the process. Call it from the main thread, to which the kernel ties the child's life."""
        with ExitStack() as stack:
            output = None if self._log is None else stack.enter_context(self._log.open("ab"))
            if self._log is not None:
                self._log.chmod(0o600)
            self._process = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=None if self._environment is None else {**os.environ, **self._environment},
                pass_fds=self._inherit,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509 - one system call, no lock taken
            )

    def ready(self) -> bool:
        return self.running() and (self._ready is None or self._ready())

    def running(self) -> bool:
        return self.pid is not None

    def terminate(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(self._stop_seconds)
        # The session holds what the child itself started, whether or not the child still lives.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None


def python_module(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of ours with this interpreter."""
    return [sys.executable, "-m", module, *arguments]


def accepts(address: Path | tuple[str, int]) -> Callable[[], bool]:
    """Return a ready check: a Unix socket or a host and port accepts a connection."""

    def check() -> bool:
        family, target = (socket.AF_UNIX, str(address)) if isinstance(address, Path) else (socket.AF_INET, address)
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            return probe.connect_ex(target) == 0

    return check


@dataclass(slots=True)
class _Watch:
    """What is known of a part's restarts."""

    started: float
    delay: float = _FIRST_DELAY
    again: float | None = None


class Supervisor:
    """Runs the stages in order; the parts of one stage start side by side, the next stage waits until all are ready."""

    def __init__(self, stages: Iterable[Sequence[Part]], *, start_seconds: float = 60.0) -> None:
        self._stages = [tuple(stage) for stage in stages]
        self._start_seconds = start_seconds
        self._started: list[tuple[Part, ...]] = []
        self._watches: dict[str, _Watch] = {}
        self._stopping = threading.Event()

    def start(self) -> None:
        """Start everything; raises StartFailed, after stopping what was started, when a part does not become ready."""
        try:
            for stage in self._stages:
                self._started.append(stage)
                for part in stage:
                    part.start()
                    self._watches[part.name] = _Watch(monotonic())
                self._await_ready(stage)
        except BaseException:
            self.stop()
            raise

    def run(self, *, until: Callable[[], bool] = lambda: False) -> None:
        """Restart what dies, until SIGINT, SIGTERM, :meth:`ask_to_stop` or ``until`` holds; then stop everything."""
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            while not self._stopping.wait(_POLL_SECONDS) and not until():
                for stage in self._started:
                    for part in stage:
                        self._keep_alive(part)
        finally:
            self.stop()
            for number, handler in before.items():
                signal.signal(number, handler)

    def ask_to_stop(self) -> None:
        """Make :meth:`run` stop everything and return."""
        self._stopping.set()

    def stop(self) -> None:
        """Stop in reverse order; each part has its deadline, and no signal cuts it short. May be called twice."""
        self._stopping.set()
        with _undisturbed():
            while self._started:
                stage = self._started.pop()
                for part in stage:
                    part.terminate()
                for part in stage:
                    part.stop()

    def _await_ready(self, stage: Sequence[Part]) -> None:
        deadline = monotonic() + self._start_seconds
        waiting = list(stage)
        while waiting := [part for part in waiting if not part.ready()]:
            for part in waiting:
                if not part.running():
                    raise StartFailed(f"{part.name} ended while it started{_see(part)}")
            if monotonic() > deadline:
                late = waiting[0]
                raise StartFailed(f"{late.name} is not ready after {self._start_seconds:.0f} s{_see(late)}")
            if self._stopping.wait(_POLL_SECONDS):
                raise StartFailed("stopped while starting")

    def _keep_alive(self, part: Part) -> None:
        watch = self._watches[part.name]
        now = monotonic()
        if part.running():
            return
        if watch.again is None:
            if now - watch.started > _STEADY * watch.delay:
                watch.delay = _FIRST_DELAY
            watch.again = now + watch.delay * secrets.SystemRandom().uniform(0.75, 1.25)
            watch.delay = min(watch.delay * 2, _LONGEST_DELAY)
            _log.error("process_died", part=part.name, restart_seconds=round(watch.again - now, 1))
        if now >= watch.again:
            watch.started, watch.again = now, None
            try:
                part.stop()
                part.start()
            except CiviumError as problem:
                _log.error("process_not_restarted", part=part.name, error=str(problem))

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping.set()


def _see(part: Part) -> str:
    return "" if part.log is None else f": see {part.log}"


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore SIGINT and SIGTERM for the block, in the main thread, which alone receives them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def memory_pss(pids: Iterable[int]) -> int:
    """Return the summed proportional set size, in bytes, of these processes and all that descend from them.

    The key process shows its own to root only; for others it counts with its resident set size, which is no smaller.
    """
    tree: set[psutil.Process] = set()
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            tree |= {process, *process.children(recursive=True)}
    total = 0
    for process in tree:
        with suppress(psutil.NoSuchProcess):
            try:
                total += process.memory_full_info().pss
            except psutil.AccessDenied:
                total += process.memory_info().rss
    return total
