"""The canary scan: nothing that was entrusted to the platform stands anywhere in what it leaves on disk.

The whole line runs with recognisable values, right and wrong, on a platform with the durability of production; web
processes are killed on the way. What is then scanned: the database's files and a dump of it, the object store, the
home directory with its logs, temporary files, and what stood somewhere for a moment only.
"""

import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from civium.apps.sandbox.registration import load_machine_key
from civium.kernel.clock import SystemClock
from civium.kernel.secrets import Secret
from civium.keys.opening import Unsealing
from civium.keys.operations import Keystores
from civium.platform.postgres import BOOTSTRAP, LOGIN_ROLES, Cluster, find_binaries
from civium.platform.settings import KeySettings
from platform_fixtures import RunningPlatform
from privacy.planting import Garden, Line, some_passphrase
from privacy.scanner import Hit, Scanner
from privacy.watching import Watcher

pytestmark = pytest.mark.canary

POOL_KEYS_PLANTED = 50


@dataclass(frozen=True, slots=True)
class Findings:
    """What the scan found, and what it must find: the files in which a secret has its place."""

    hits: set[Hit]
    homes_of_secrets: dict[Path, str]
    core_limits: dict[str, list[str]]
    rows_seen: int
    canaries: int


@pytest.fixture(scope="module")
def findings() -> Iterator[Findings]:
    root = Path(tempfile.mkdtemp(prefix="civium-canary-"))
    before = resource.getrlimit(resource.RLIMIT_CORE)
    # Whoever starts the platform may have allowed core dumps.
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        root.chmod(0o711)
        yield run_and_scan(root)
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
        shutil.rmtree(root, ignore_errors=True)


def run_and_scan(root: Path) -> Findings:
    home, temporary, outside, kept, dump = (root / name for name in ("home", "tmp", "outside", "kept", "dump.sql"))
    home.mkdir(mode=0o711)
    temporary.mkdir()
    temporary.chmod(0o1777)
    garden = Garden(seed=int.from_bytes(os.urandom(8)))
    passphrase = garden.plant("passphrase", some_passphrase(), digests=True)
    cluster = Cluster(home)
    platform = RunningPlatform(
        home,
        environment={
            "TMPDIR": str(temporary),
            "CIVIUM_DATABASE__COMPRESSION": "false",
            "CIVIUM_KEYS__PASSPHRASE": passphrase,
            "CIVIUM_LOG_LEVEL": "DEBUG",
        },
    )
    platform.start()
    try:
        core_limits = {
            f"{process.pid} {' '.join(process.cmdline())}": core_limit(process) for process in platform.tree()
        }
        watcher = Watcher((home / "objects", temporary), cluster.dsn(BOOTSTRAP).reveal(), kept)
        watcher.start()
        line = Line(garden, platform, outside)
        person = line.enrolled()
        party = line.partner()
        temporary_vid = line.reads(person)
        kill(platform, signal.SIGKILL)
        line.authentication(person, temporary_vid, party)
        kill(platform, signal.SIGABRT)
        line.changes(person)
        line.nonsense(person)
        line.failing_packets(person)
        rows_seen = watcher.stop()
        dump_database(cluster, dump)
    finally:
        platform.stop()
    homes_of_secrets = plant_secrets_at_rest(garden, home, passphrase)
    roots = [home, temporary, kept, dump]
    if not cluster.data.is_relative_to(home):
        roots.append(cluster.data)
    hits = Scanner(garden.canaries).scan(*roots)
    return Findings(hits, homes_of_secrets, core_limits, rows_seen, len(garden.canaries))


def core_limit(process: psutil.Process) -> list[str]:
    """Return the soft and the hard limit."""
    limits = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
    return next(line for line in limits if line.startswith("Max core file size")).split()[4:6]


def kill(platform: RunningPlatform, number: signal.Signals) -> None:
    """Kill a web process at once and wait until another has taken its place."""
    web = [process for process in platform.tree() if "civium.apps.server" in process.cmdline()]
    web[0].send_signal(number)
    psutil.wait_procs(web[:1], timeout=10)
    limit = time.monotonic() + 30
    while True:
        now = [process for process in platform.tree() if "civium.apps.server" in process.cmdline()]
        if len(now) == len(web) and platform.answers():
            return
        assert time.monotonic() < limit, "the killed process was not replaced"
        time.sleep(0.1)


def dump_database(cluster: Cluster, path: Path) -> None:
    program = find_binaries(None) / "pg_dump"
    subprocess.run([program, "--dbname", cluster.dsn(BOOTSTRAP).reveal(), "--file", path], check=True)


def plant_secrets_at_rest(garden: Garden, home: Path, passphrase: str) -> dict[Path, str]:
    """Plant the keys and passwords that the platform made; return in which file which of them may stand."""
    machine = home / "sandbox" / "machine.pem"
    garden.private_key("machine key", load_machine_key(home))
    places = {machine: "machine key"}
    for role in LOGIN_ROLES:
        file = home / "run" / "roles" / role
        name = f"password of {role}"
        garden.plant(name, file.read_text().strip(), digests=True)
        places[file] = name
    size = KeySettings().zk_pool_size
    with Keystores(home / "keys", Unsealing(Secret(passphrase)), zk_pool_size=size, clock=SystemClock()) as keystores:
        for context, operations in (("core", keystores.core), ("auth", keystores.auth)):
            for ref, generations in operations.hierarchy._generations.items():
                for generation in generations:
                    if generation.private is not None:
                        garden.private_key(f"{context} key {ref.application_id} {ref.reference_id}", generation.private)
            for record in operations._store.records("secret-"):
                garden.plant(f"{context} {record.name}", record.body, digests=True)
            for index in list(operations.pool._keys)[:POOL_KEYS_PLANTED]:
                garden.plant(f"{context} pool key {index}", operations.pool.key(index).reveal())
    return places


def allowed(findings: Findings, hit: Hit) -> bool:
    path = Path(hit.place.partition(" (")[0])
    name = findings.homes_of_secrets.get(path)
    return name is not None and hit.canary.partition(",")[0] == name


def test_nothing_entrusted_to_the_platform_stands_anywhere(findings):
    leaks = sorted(hit for hit in findings.hits if not allowed(findings, hit))
    assert not leaks, "\n".join(f"{hit.canary} as {hit.form} in {hit.place}" for hit in leaks[:60])


def test_the_scan_finds_each_secret_where_it_has_its_place(findings):
    for path, name in findings.homes_of_secrets.items():
        assert any(hit.place.startswith(str(path)) and hit.canary.startswith(name) for hit in findings.hits), path


def test_the_line_was_long_enough_to_prove_something(findings):
    assert findings.canaries > 250
    assert findings.rows_seen > 20


def test_no_process_may_leave_a_core_dump(findings):
    assert len(findings.core_limits) > 5
    # The key process closes its memory altogether.
    expected = {command: ["0", "0"] if "keyring" in command else ["1", "1"] for command in findings.core_limits}
    assert findings.core_limits == expected
    assert not list(Path.cwd().glob("core*"))
