"""Homes and signals as strangers meet them: odd paths, two starts at once, a killed supervisor, the README's example."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from platform_fixtures import CLIENT_PYTHON, RunningPlatform, free_port


def civium(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CIVIUM_")}
    return subprocess.run(
        [sys.executable, "-m", "civium.apps.cli", *arguments],
        env={**inherited, "CIVIUM_HOME": str(home), "COLUMNS": "200", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_example_of_a_partner_runs_as_it_is_written(platform, person, tmp_path):
    folder = tmp_path / "reader"
    made = civium(
        "sandbox", "partner", "reader", "--out", str(folder), home=platform.home, CIVIUM_HTTP__PORT=str(platform.port)
    )
    assert made.returncode == 0, made.stderr
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    in_docs = re.findall(r"```python\n(.*?)```", Path("docs/relying-party.md").read_text(), re.DOTALL)
    assert [code] == [example.replace("http://127.0.0.1:8080", platform.url) for example in in_docs]
    code = code.replace("the vid that was printed", person.vid.reveal())
    with platform.client() as client:
        before = len(client.messages(person.applicant.email))
        reader = subprocess.Popen(
            [CLIENT_PYTHON, "-c", code], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        limit = time.monotonic() + 20
        found = None
        while found is None and time.monotonic() < limit:
            fresh = client.messages(person.applicant.email)
            fresh = fresh[: len(fresh) - before]
            found = next(filter(None, (re.search(r"(?<!\d)\d{6}(?!\d)", message["body"]) for message in fresh)), None)
            time.sleep(0.1)
        assert found is not None
        said, _ = reader.communicate(found[0] + "\n", timeout=30)
    assert person.applicant.names["eng"] in said


def test_the_command_line_finds_the_platform_on_the_port_that_it_was_started_with(platform):
    said = civium("doctor", home=platform.home)
    assert said.returncode == 0, said.stdout + said.stderr
    assert platform.url in said.stdout


def test_a_terminal_without_unicode_is_no_reason_to_fail(tmp_path):
    said = civium("doctor", home=tmp_path, PYTHONIOENCODING="ascii")
    assert (said.returncode, said.stderr) == (1, "")
    assert "does not run" in said.stdout


@pytest.mark.parametrize(
    ("home", "told"), [(Path("/proc/civium"), "/proc/civium"), (Path("/tmp", "l" * 120), "too long")]
)
def test_a_home_that_cannot_be_is_said_in_one_line(home, told):
    said = civium("sandbox", "up", home=home)
    assert (said.returncode, len(said.stderr.splitlines())) == (1, 1)
    assert told in said.stderr
    assert not home.exists()


def test_one_home_is_started_once_and_a_killed_supervisor_leaves_nothing_running(tmp_path):
    home = tmp_path / "it's a home"
    home.mkdir()
    for folder in (tmp_path, home):
        folder.chmod(0o711)
    running = RunningPlatform(home)
    running.start()
    try:
        (home / "run" / "civium.pid").rename(home / "run" / "hidden")
        second = civium("serve", "--sandbox", home=home, CIVIUM_HTTP__PORT=str(free_port()))
        assert (second.returncode, "another process" in second.stderr) == (1, True)
        assert httpx.get(f"{running.url}/actuator/health").status_code == 200
        (home / "run" / "hidden").rename(home / "run" / "civium.pid")
        tree = running.tree()
        assert running.process is not None
        running.process.send_signal(signal.SIGKILL)
        running.process.wait(10)
        _, alive = psutil.wait_procs(tree[1:], timeout=15)
        assert not alive
        running.start()
    finally:
        running.stop()
    assert not [path for path in home.rglob("*") if path.is_socket()]
