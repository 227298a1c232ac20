"""The supervisor: order, readiness, restarts, deadlines, no orphans whatever dies."""

import asyncio
import itertools
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import asyncpg
import psutil
import pytest

from civium.apps.supervisor import Child, StartFailed, Supervisor, accepts, memory_pss, python_module
from civium.platform.postgres import CORE, Cluster
from civium.platform.settings import DatabaseSettings

_CHILD = """
import os, signal, sys, time
name, folder = sys.argv[1:3]
log = lambda word: open(f"{folder}/log", "a").write(f"{word} {name}\\n")
def end(*_):
    log("end")
    sys.exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN if "deaf" in sys.argv else end)
if "grandchild" in sys.argv:
    import subprocess
    print(subprocess.Popen(["sleep", "60"]).pid, file=open(f"{folder}/grandchild", "w"))
time.sleep(0.1)
log("begin")
open(f"{folder}/{name}.ready", "w").write(str(os.getpid()))
time.sleep(60)
"""


@pytest.fixture
def child(tmp_path):
    def make(name, *words, stop_seconds=5.0):
        ready = tmp_path / f"{name}.ready"
        argv = [sys.executable, "-c", _CHILD, name, str(tmp_path), *words]
        return Child(name, argv, ready=ready.exists, stop_seconds=stop_seconds)

    return make


def log(folder):
    return (folder / "log").read_text().split("\n")[:-1]


def alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def test_stages_start_in_order_and_stop_in_reverse(tmp_path, child):
    supervisor = Supervisor([[child("a")], [child("b")], [child("c")]])
    supervisor.start()
    supervisor.stop()
    supervisor.stop()
    assert log(tmp_path) == ["begin a", "begin b", "begin c", "end c", "end b", "end a"]


def test_a_child_that_does_not_become_ready_stops_all(tmp_path, child):
    first, broken = child("a"), Child("b", [sys.executable, "-c", "raise SystemExit(1)"], ready=lambda: False)
    with pytest.raises(StartFailed, match="b ended"):
        Supervisor([[first], [broken]]).start()
    assert not first.running()
    first, slow = child("a"), Child("b", ["sleep", "60"], ready=lambda: False)
    with pytest.raises(StartFailed, match="b is not ready"):
        Supervisor([[first], [slow]], start_seconds=0.5).start()
    assert not first.running()
    assert not slow.running()


@pytest.mark.kill
def test_a_child_that_dies_is_restarted_and_the_others_stay(tmp_path, child):
    steady, victim = child("a"), child("b")
    supervisor = Supervisor([[steady, victim]])
    supervisor.start()
    before, other = victim.pid, steady.pid
    os.kill(before, signal.SIGKILL)
    began = time.monotonic()
    supervisor.run(until=lambda: victim.pid not in {None, before} or time.monotonic() - began > 10)
    assert not alive(other)
    assert time.monotonic() - began < 5
    assert not alive(before)


def test_a_child_that_keeps_dying_is_restarted_ever_more_slowly(tmp_path):
    program = f"import time; print(time.monotonic(), file=open('{tmp_path}/starts', 'a')); time.sleep(0.2)"
    supervisor = Supervisor([[Child("a", [sys.executable, "-c", program])]])
    supervisor.start()

    def starts():
        file = tmp_path / "starts"
        return [float(line) for line in file.read_text().split()] if file.exists() else []

    supervisor.run(until=lambda: len(starts()) == 4)
    gaps = [later - earlier for earlier, later in itertools.pairwise(starts())]
    assert gaps[0] < gaps[1] < gaps[2]


@pytest.mark.kill
def test_the_database_is_a_part_that_comes_back_under_the_same_passwords():
    with tempfile.TemporaryDirectory(prefix="civium-sup-") as directory:
        Path(directory).chmod(0o711)
        cluster = Cluster(Path(directory), DatabaseSettings(durable=False))
        supervisor = Supervisor([[cluster]])
        supervisor.start()
        before, dsn = cluster.pid, cluster.dsn(CORE)
        os.kill(before, signal.SIGKILL)
        began = time.monotonic()

        def back():
            return (cluster.ready() and cluster.pid != before) or time.monotonic() - began > 20

        answers = []

        async def ask():
            connection = await asyncpg.connect(dsn.reveal())
            answers.append(await connection.fetchval("SELECT 1"))
            await connection.close()

        def asked():
            if not back():
                return False
            asyncio.run(ask())
            return True

        supervisor.run(until=asked)
        assert answers == [1]
        assert not cluster.running()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_cleanly(tmp_path, child, number):
    supervisor = Supervisor([[child("a")], [child("b")]])
    supervisor.start()
    threading.Timer(0.3, os.kill, (os.getpid(), number)).start()
    supervisor.run()
    assert log(tmp_path) == ["begin a", "begin b", "end b", "end a"]


def test_a_child_deaf_to_signals_is_killed_after_its_deadline(child):
    deaf = child("a", "deaf", stop_seconds=0.3)
    supervisor = Supervisor([[deaf]])
    supervisor.start()
    pid, began = deaf.pid, time.monotonic()
    supervisor.stop()
    assert 0.3 <= time.monotonic() - began < 3
    assert not alive(pid)


def test_what_a_child_started_ends_with_it(tmp_path, child):
    supervisor = Supervisor([[child("a", "grandchild")]])
    supervisor.start()
    pid = int((tmp_path / "grandchild").read_text())
    assert alive(pid)
    supervisor.stop()
    until(lambda: not alive(pid))


@pytest.mark.kill
def test_a_killed_supervisor_leaves_no_orphans(tmp_path):
    program = textwrap.dedent("""
        import sys
        from civium.apps.supervisor import Child, Supervisor
        children = [Child(str(n), ["sleep", "60"]) for n in range(3)]
        supervisor = Supervisor([children])
        supervisor.start()
        print(*(child.pid for child in children), flush=True)
        supervisor.run()
    """)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        pids = [int(word) for word in process.stdout.readline().split()]
        assert len(pids) == 3
        assert all(alive(pid) for pid in pids)
        process.kill()
    until(lambda: not any(alive(pid) for pid in pids))


def test_the_output_goes_to_a_private_log(tmp_path):
    file = tmp_path / "out.log"
    child = Child("a", python_module("this"), log=file)
    child.start()
    until(lambda: not child.running())
    child.stop()
    assert "Zen of Python" in file.read_text()
    assert file.stat().st_mode & 0o077 == 0


def test_accepts_tells_an_open_port_from_a_closed_one(tmp_path):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        address = listening.getsockname()
        assert not accepts(address)()
        listening.listen()
        assert accepts(address)()
    assert not accepts(tmp_path / "none.sock")()


def test_memory_counts_the_whole_tree(child):
    parent = child("a", "grandchild")
    supervisor = Supervisor([[parent]])
    supervisor.start()
    try:
        descendants = psutil.Process(parent.pid).children(recursive=True)
        alone = psutil.Process(parent.pid).memory_full_info().pss
        assert len(descendants) == 1
        assert 0 < alone < memory_pss([parent.pid, descendants[0].pid]) < alone * 3
    finally:
        supervisor.stop()
    assert memory_pss([2**22 - 1]) == 0


def test_signals_do_not_cut_a_stop_short(tmp_path):
    program = f"""
import os, signal, sys, threading
from pathlib import Path
from civium.apps.supervisor import Child, Supervisor
script = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: time.sleep(1) or exit()); print(1, flush=True); time.sleep(60)"
slow = Child("slow", [sys.executable, "-c", script], log=Path({str(tmp_path / "slow.log")!r}),
             ready=lambda: Path({str(tmp_path / "slow.log")!r}).stat().st_size > 0)
supervisor = Supervisor([[slow]])
supervisor.start()
for number in (signal.SIGINT, signal.SIGTERM):
    threading.Timer(0.2, os.kill, (os.getpid(), number)).start()
supervisor.stop()
print("stopped", slow.pid)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, "stopped None\n"), done.stderr


def test_a_failed_start_names_the_log(tmp_path):
    log = tmp_path / "b.log"
    broken = Child("b", [sys.executable, "-c", "raise SystemExit(1)"], ready=lambda: False, log=log)
    with pytest.raises(StartFailed, match=str(log)):
        Supervisor([[broken]]).start()
