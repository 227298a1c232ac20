import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from civium.kernel.clock import FixedClock, SystemClock
from civium.keys import allowlist
from civium.keys.allowlist import Gate
from civium.keys.client import InProcess, KeysClient, connect
from civium.keys.opening import Unsealing
from civium.keys.operations import Keystores
from civium.keys.process import socket_path
from keys_fixtures import open_home
from token_fixtures import *  # noqa: F403
from token_fixtures import make_token

MADE = SystemClock().now()
SERVE = "import sys; from civium.keys.process import main; from civium.platform.settings import load; main(load(), ready=int(sys.argv[1]))"


@pytest.fixture(scope="session")
def made_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete installation's keystores; tests work on copies, since making them takes a second."""
    home = tmp_path_factory.mktemp("made")
    open_home(home, FixedClock(MADE)).close()
    return home


@pytest.fixture
def home(made_home: Path, tmp_path: Path) -> Path:
    shutil.copytree(made_home / "keys", tmp_path / "keys")
    return tmp_path


@pytest.fixture
def fixed_clock() -> FixedClock:
    return FixedClock(MADE)


@pytest.fixture
def stores(home: Path, fixed_clock: FixedClock) -> Iterator[Keystores]:
    with open_home(home, fixed_clock) as opened:
        yield opened


@dataclass
class Server:
    """A real key process over ``home``."""

    home: Path
    fault: str | None = None
    process: subprocess.Popen[bytes] | None = None
    extra: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        ready, told = os.pipe()
        environment = {
            **os.environ,
            "CIVIUM_HOME": str(self.home),
            "CIVIUM_MODE": "sandbox",
            "CIVIUM_KEYS__ZK_POOL_SIZE": "16",
            "CIVIUM_KEYS__THREADS": "2",
            **self.extra,
        }
        if self.fault is not None:
            environment["CIVIUM_FAULT"] = self.fault
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(told)], pass_fds=(told,), env=environment, stdout=subprocess.DEVNULL
        )
        os.close(told)
        with os.fdopen(ready) as pipe:
            self.ready = pipe.readline() == "ready\n"

    def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(20)

    def clients(self) -> tuple[KeysClient, KeysClient]:
        return connect(socket_path(self.home, "core")), connect(socket_path(self.home, "auth"))


@pytest.fixture
def server_over() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def make(home: Path, fault: str | None = None) -> Server:
        servers.append(Server(home, fault))
        return servers[-1]

    yield make
    for server in servers:
        if server.process is not None and server.process.poll() is None:
            server.end(signal.SIGKILL)


@dataclass
class Bound:
    core: KeysClient
    auth: KeysClient


@pytest.fixture(scope="session", params=["in process", "socket", "token"])
async def bound(
    request: pytest.FixtureRequest, made_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Bound]:
    """Both contexts' Keys over each binding."""
    home = tmp_path_factory.mktemp("b")
    shutil.copytree(made_home / "keys", home / "keys")
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "socket":
            server = Server(home)
            server.start()
            stack.callback(server.end, signal.SIGTERM)
            core, auth = server.clients()
        else:
            how = Unsealing()
            if request.param == "token":
                shutil.rmtree(home / "keys")
                request.getfixturevalue("softhsm")
                how = Unsealing(token=make_token("contract"))
            opened = stack.enter_context(open_home(home, FixedClock(MADE), how))
            core = KeysClient(InProcess(Gate("core", allowlist.CORE), opened.core, threads=2))
            auth = KeysClient(InProcess(Gate("auth", allowlist.AUTH), opened.auth, threads=2))
        stack.push_async_callback(core.close)
        stack.push_async_callback(auth.close)
        yield Bound(core, auth)
