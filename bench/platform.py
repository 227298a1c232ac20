"""A fresh sandbox platform of its own: started, watched from outside, stopped and removed."""

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from civium.apps.sandbox.applicant import ENGLISH, make_identity
from civium.apps.sandbox.client import Platform
from civium.apps.sandbox.registration import CENTRE, MACHINE
from civium.apps.supervisor import memory_pss
from civium.kernel.clock import SystemClock, monotonic
from civium.platform.postgres import AUTH, Cluster

HOST = "127.0.0.1"
ADDING_THREADS = 6
_PARTS = {"civium.apps.server": "web processes", "civium.apps.keyring": "key process", "civium.apps.worker": "worker",
          "civium.apps.catcher": "mail catcher", "postgres": "PostgreSQL"}  # fmt: skip
_OTP = re.compile(r"(?<!\d)\d{6}(?!\d)")


@dataclass(frozen=True, slots=True)
class Person:
    """A synthetic person in the register."""

    uin: str
    email: str
    name: str


@dataclass(frozen=True, slots=True)
class RunningPlatform:
    """A platform with its home and port. Figures about it are taken from the operating system and the database."""

    home: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return int((self.home / "run" / "civium.pid").read_text())

    def memory_megabytes(self) -> float:
        """Return the summed PSS of all its processes."""
        return memory_pss({self.pid}) / 1e6

    def cpu_seconds(self) -> Mapping[str, float]:
        """Return the CPU seconds that each part has used so far."""
        used = dict.fromkeys(_PARTS.values(), 0.0)
        for process in psutil.Process(self.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                command = " ".join(process.cmdline()) or process.name()
                part = next((part for mark, part in _PARTS.items() if mark in command), None)
                if part is not None:
                    times = process.cpu_times()
                    used[part] += times.user + times.system
        return used

    def undelivered(self) -> int:
        """Return how many events of authentication (audit records, notices) are not delivered yet."""
        return int(self._ask("SELECT count(*) FROM outbox_auth.outbox"))

    def authenticatable(self) -> int:
        """Return how many identifiers authentication knows."""
        return int(self._ask("SELECT count(*) FROM authentication.identity_cache"))

    def _ask(self, query: str) -> Any:
        async def ask() -> Any:
            connection = await asyncpg.connect(Cluster(self.home).dsn(AUTH).reveal())
            try:
                return await connection.fetchval(query)
            finally:
                await connection.close()

        return asyncio.run(ask())

    def settle(self, *, seconds: float = 120.0) -> float:
        """Wait until every event is delivered; return how long that took, to a tenth of a second."""
        began = monotonic()
        while self.undelivered():
            if monotonic() - began > seconds:
                raise TimeoutError(f"events are still undelivered after {seconds:.0f} s")
            time.sleep(0.1)
        return monotonic() - began

    def one_time_passwords(self, since: str) -> dict[str, str]:
        """Return the newest OTP that the mail catcher took after ``since`` (ISO 8601), by address."""
        with Platform(self.url) as client:
            found: dict[str, str] = {}
            for message in client.plain("/sandbox/outbox"):
                if message["at"] > since and (otp := _OTP.search(message["body"])):
                    found.setdefault(message["to"], otp[0])
            return found


@contextmanager
def running(**environment: str) -> Iterator[RunningPlatform]:
    """Start a platform with an empty home and ``environment``; stop and remove it afterwards."""
    home = Path(tempfile.mkdtemp(prefix="civium-bench-"))
    home.chmod(0o711)
    port = _free_port()
    whole = {**os.environ, "CIVIUM_HOME": str(home), "CIVIUM_HTTP__PORT": str(port), **environment}

    def command(word: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "civium.apps.cli", "sandbox", word], env=whole, check=True, stdout=subprocess.DEVNULL
        )

    try:
        command("up")
        yield RunningPlatform(home, port)
    finally:
        command("down")
        shutil.rmtree(home, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


_LOG_IN = threading.Lock()


def add_people(platform: RunningPlatform, count: int, *, added: Callable[[], None]) -> list[Person]:
    """Add synthetic people without biometrics through the identity API; return when they can be authenticated."""
    with ThreadPoolExecutor(ADDING_THREADS) as threads:
        parts = [range(number, count, ADDING_THREADS) for number in range(ADDING_THREADS)]
        running = [threads.submit(_add, platform.url, part, added) for part in parts]
        people = [person for part in running for person in part.result()]
    while platform.authenticatable() < count:
        time.sleep(0.2)
    return people


def _add(url: str, seeds: range, added: Callable[[], None]) -> list[Person]:
    people = []
    clock = SystemClock()
    with Platform(url) as client:
        # One at a time: attempts of one name that run side by side count as guesses until they prove right.
        with _LOG_IN:
            client.login_client("regproc", "mosip-regproc-client")
        for seed in seeds:
            identity = make_identity(seed)
            uin = client.get("/v1/idgenerator/uin")["uin"]
            request = {
                "registrationId": f"{CENTRE}{MACHINE}{seed:05d}{clock.now():%Y%m%d%H%M%S}",
                "uin": uin,
                "identity": {**identity, "UIN": uin},
            }
            client.call("POST", "/idrepository/v1/identity/", request, id="mosip.id.create", version="v1")
            name = next(item["value"] for item in identity["fullName"] if item["language"] == ENGLISH)
            people.append(Person(uin, identity["email"], name))
            added()
    return people
