"""The whole platform as a stranger starts it: `civium serve --sandbox`, real processes, real durability."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

from civium.apps.sandbox.applicant import Applicant, make_applicant
from civium.apps.sandbox.client import Platform
from civium.apps.sandbox.public_client import PublicClient
from civium.apps.sandbox.registration import Registered, enrol
from civium.apps.sandbox.relying_party import RelyingParty, make_relying_party, write_client_files

START_SECONDS = 90.0
CLIENT_PYTHON = Path(__file__).parents[1] / ".venv-client" / "bin" / "python"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class RunningPlatform:
    """One installation of its own, started as a process tree; :meth:`start` again continues with its data."""

    home: Path
    port: int = field(default_factory=free_port)
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, **environment: str) -> None:
        """Start and wait until it answers."""
        log = (self.home / "serve.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "civium.apps.cli", "serve", "--sandbox"],
            env={
                **os.environ,
                "CIVIUM_HOME": str(self.home),
                "CIVIUM_HTTP__PORT": str(self.port),
                "CIVIUM_DATABASE__CONTEXT_ROLES": "true",
                "CIVIUM_ACCESS__FAILURES_PER_ADDRESS": "1000000",
                **self.environment,
                **environment,
            },
            stdout=log,
            stderr=log,
        )
        log.close()
        limit = time.monotonic() + START_SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"the platform did not start: {(self.home / 'serve.log').read_text()[-2000:]}")
            time.sleep(0.1)

    def answers(self) -> bool:
        # The process id file appears when every process is ready, so an early answer is not taken for it.
        if not (self.home / "run" / "civium.pid").exists():
            return False
        try:
            return httpx.get(f"{self.url}/actuator/health", timeout=2.0).status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        """Stop cleanly; every process is gone afterwards."""
        if self.process is None:
            return
        tree = self.tree()
        self.process.terminate()
        self.process.wait(60)
        self.process = None
        _, alive = psutil.wait_procs(tree, timeout=10)
        assert not alive, f"orphans: {alive}"

    def tree(self) -> list[psutil.Process]:
        """Return the supervisor and all that descend from it."""
        assert self.process is not None
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def client(self) -> Platform:
        """Return a new session."""
        return Platform(self.url)


@pytest.fixture(scope="session")
def platform() -> Iterator[RunningPlatform]:
    """A running platform, shared by all tests that do not restart or harm it."""
    with tempfile.TemporaryDirectory(prefix="civium-platform-") as folder:
        Path(folder).chmod(0o711)
        running = RunningPlatform(Path(folder))
        running.start()
        try:
            yield running
        finally:
            running.stop()


@pytest.fixture(scope="session")
def applicant() -> Applicant:
    """A made-up adult, not enrolled yet."""
    return make_applicant(20261124)


@pytest.fixture(scope="session")
def person(platform: RunningPlatform, applicant: Applicant) -> Registered:
    """That adult, in the register."""
    with platform.client() as client:
        return enrol(client, platform.home, applicant)


@pytest.fixture(scope="session")
def relying_party(platform: RunningPlatform) -> RelyingParty:
    """A registered relying party with OTP, demographics and e-KYC in its policy."""
    with platform.client() as client:
        return make_relying_party(client, "test-clinic")


@pytest.fixture(scope="session")
def public_client(relying_party: RelyingParty, tmp_path_factory: pytest.TempPathFactory) -> PublicClient:
    """The unmodified public client, configured for that relying party."""
    folder = tmp_path_factory.mktemp("relying-party")
    write_client_files(relying_party, folder)
    return PublicClient(CLIENT_PYTHON, folder)
