"""Starts and stops the whole platform of one home directory: which processes, in which order, on which socket."""

import fcntl
import os
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console

from civium.apps.supervisor import LISTENER, READY, Child, Part, Supervisor, accepts, memory_pss, python_module
from civium.kernel.clock import monotonic
from civium.kernel.errors import CiviumError, Unavailable
from civium.keys.process import socket_path
from civium.platform.postgres import Cluster
from civium.platform.settings import Settings, load

START_SECONDS = 90.0
STOP_SECONDS = 40.0
_MEGABYTE = 1_000_000
_NO_CORE_DUMP = 1
"""Limit of a core dump, in bytes, which all children inherit: a crash must not leave people's data on disk.

One byte rather than none: the kernel hands a dump to a crash handler (``|`` in core_pattern) even when the limit is 0.
"""
_SOCKET_PATH_LIMIT = 107
_FOLDERS = ("log", "objects", "run", "sandbox")


class Once(Child):
    """A process that does one job and ends: it is ready when it ended well."""

    def ready(self) -> bool:
        return self._process is not None and self._process.poll() == 0

    def running(self) -> bool:
        return self._process is not None and self._process.poll() in {None, 0}


@dataclass(frozen=True, slots=True)
class Server:
    """A running platform. ``supervisor`` is None when another process runs it."""

    url: str
    pid: int
    supervisor: Supervisor | None

    def memory_megabytes(self) -> float:
        """Return the summed PSS of all its processes, the database's and this one's included."""
        return memory_pss({self.pid, os.getpid()}) / _MEGABYTE

    def wait(self) -> None:
        """Serve until Ctrl-C; at once when another process runs the platform."""
        if self.supervisor is not None:
            self.supervisor.run()


def settings_of(home_mode: str | None = None) -> Settings:
    """Return the settings of the home directory; ``home_mode`` (sandbox, production) at its first start.

    A home stays what it became: raises CiviumError when another mode is asked for.
    """
    asked = home_mode or os.environ.get("CIVIUM_MODE")
    settings = load(**({"mode": asked} if asked else {}))
    marker = settings.home / "mode"
    if not marker.exists():
        return settings
    kept = marker.read_text().strip()
    if asked is None:
        return load(mode=kept)
    if kept != settings.mode:
        raise CiviumError(
            f"{settings.home} is a {kept} installation and cannot become {settings.mode}: set another CIVIUM_HOME"
        )
    return settings


def run(settings: Settings, console: Console) -> None:
    """Start everything and serve until SIGINT or SIGTERM."""
    with started(settings, console) as server:
        if server.supervisor is None:
            raise CiviumError(f"the platform already runs at {server.url} (process {server.pid})")
        console.print(f"Serving at {server.url} - press Ctrl-C to stop.")
        server.wait()


@contextmanager
def started(settings: Settings, console: Console) -> Iterator[Server]:
    """Start the platform for the duration of the block; take the one that runs already if there is one."""
    if (pid := running(settings)) is not None:
        yield Server(address(settings), pid, None)
        return
    resource.setrlimit(resource.RLIMIT_CORE, (_NO_CORE_DUMP, _NO_CORE_DUMP))
    with _held(settings), _listener(settings) as listener, _terminated_like_interrupted():
        supervisor = Supervisor(_stages(settings, listener), start_seconds=START_SECONDS)
        pid_file = _pid_file(settings)
        address_file = _address_file(settings)
        try:
            with console.status("Starting PostgreSQL, the key process and the web processes ..."):
                supervisor.start()
            address_file.write_text(settings.url)
            pid_file.write_text(str(os.getpid()))
            yield Server(settings.url, os.getpid(), supervisor)
        finally:
            pid_file.unlink(missing_ok=True)
            with console.status("Stopping ..."):
                supervisor.stop()


def start_background(settings: Settings, console: Console) -> None:
    """Start the platform in a process of its own; return when it answers. Raises CiviumError."""
    if running(settings) is not None:
        return
    _prepare_home(settings)
    log = settings.home / "log" / "supervisor.log"
    with log.open("ab") as output:
        log.chmod(0o600)
        before = output.tell()
        process = subprocess.Popen(
            python_module("civium.apps.cli", "serve", "--sandbox"),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "CIVIUM_HOME": str(settings.home)},
            start_new_session=True,
        )
    limit = monotonic() + START_SECONDS
    with console.status("Starting ..."):
        while running(settings) is None:
            if process.poll() is not None or monotonic() > limit:
                said = log.read_bytes()[before:].decode(errors="replace").strip() or f"see {log}"
                raise CiviumError(f"the platform did not start:\n{said}")
            time.sleep(0.1)


def stop_background(settings: Settings) -> bool:
    """Stop the platform of this home, wherever it runs, and tell whether one did."""
    pid = running(settings)
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    limit = monotonic() + STOP_SECONDS
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if monotonic() > limit:
            raise CiviumError(f"process {pid} does not stop: kill -9 {pid}")
        time.sleep(0.05)
    return True


def running(settings: Settings) -> int | None:
    """Return the process id of the running platform of this home, or None."""
    with suppress(FileNotFoundError, ValueError, psutil.NoSuchProcess):
        pid = int(_pid_file(settings).read_text())
        # After a crash of the whole machine or container the note may name any process, this one for example.
        if pid != os.getpid() and "civium" in " ".join(psutil.Process(pid).cmdline()):
            return pid
    return None


@contextmanager
def _held(settings: Settings) -> Iterator[None]:
    """Keep every other process from starting this home, and leave no socket and no mark of readiness behind."""
    _prepare_home(settings)
    run = settings.home / "run"
    with (run / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(f"another process starts or stops the platform of {settings.home}: try again") from None
        shutil.rmtree(run / "metrics", ignore_errors=True)
        (run / "metrics").mkdir(mode=0o700)
        try:
            yield
        finally:
            for pattern in ("*.sock", "*.ready"):
                for left in run.glob(pattern):
                    left.unlink(missing_ok=True)


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM unwind the block as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def address(settings: Settings) -> str:
    """Return where the platform of this home answers: of one that runs, where it was told to when it started."""
    with suppress(FileNotFoundError):
        if running(settings) is not None:
            return _address_file(settings).read_text()
    return settings.url


def _address_file(settings: Settings) -> Path:
    return settings.home / "run" / "civium.url"


def _pid_file(settings: Settings) -> Path:
    return settings.home / "run" / "civium.pid"


def _prepare_home(settings: Settings) -> None:
    longest = settings.home / "run" / "catcher.sock"
    if len(os.fsencode(longest)) > _SOCKET_PATH_LIMIT:
        most = _SOCKET_PATH_LIMIT - len(os.fsencode(longest)) + len(os.fsencode(settings.home))
        raise CiviumError(f"CIVIUM_HOME is too long for Unix sockets: at most {most} bytes, please ({settings.home})")
    # The database's account must pass through when root starts it; nobody else lists what is there.
    settings.home.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    (settings.home / "mode").write_text(settings.mode)
    for folder in _FOLDERS:
        (settings.home / folder).mkdir(mode=0o700, exist_ok=True)


@contextmanager
def _listener(settings: Settings) -> Iterator[socket.socket]:
    host, port = settings.http.host, settings.http.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as problem:
            raise Unavailable(
                f"cannot listen on {host}:{port} ({problem.strerror}): set another port with CIVIUM_HTTP__PORT"
            ) from None
        listener.listen(512)
        listener.set_inheritable(True)
        yield listener


def _stages(settings: Settings, listener: socket.socket) -> list[list[Part]]:
    home = settings.home
    environment = {
        "CIVIUM_HOME": str(home),
        "CIVIUM_MODE": settings.mode,
        "PROMETHEUS_MULTIPROC_DIR": str(home / "run" / "metrics"),
        LISTENER: str(listener.fileno()),
    }

    def ready_when(name: str) -> tuple[Path, dict[str, str]]:
        mark = home / "run" / f"{name}.ready"
        mark.unlink(missing_ok=True)
        return mark, {**environment, READY: str(mark)}

    def application(name: str, module: str, inherit: Sequence[int] = ()) -> Child:
        mark, marked = ready_when(name)
        return Child(
            name, python_module(module), ready=mark.exists, environment=marked, inherit=inherit, log=_log(home, name)
        )

    keys = Child(
        "keys", python_module("civium.apps.keyring"), ready=accepts(socket_path(home, "auth")),
        environment=environment, log=_log(home, "keys"),
    )  # fmt: skip
    foundation: list[Part] = [Cluster(home, settings.database), keys]
    if settings.sandbox:
        command = python_module("civium.apps.catcher", "--home", str(home), "--port", str(settings.mail.port))
        ready = accepts(home / "run" / "catcher.sock")
        foundation.append(Child("catcher", command, ready=ready, environment=environment, log=_log(home, "catcher")))
    bootstrap = Once(
        "bootstrap", python_module("civium.apps.bootstrap"), environment=environment, log=_log(home, "bootstrap")
    )
    web = [
        application(f"web-{number}", "civium.apps.server", [listener.fileno()])
        for number in range(1, settings.http.workers + 1)
    ]
    return [foundation, [bootstrap], [application("worker", "civium.apps.worker"), *web]]


def _log(home: Path, name: str) -> Path:
    return home / "log" / f"{name}.log"
