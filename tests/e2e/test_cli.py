"""The command line as people use it: real processes, real output."""

import json
import uuid
from pathlib import Path

import pytest

from civium.apps.cli import app
from civium.apps.sandbox.client import User
from civium.apps.sandbox.public_client import PublicClient
from civium.kernel.secrets import Secret
from e2e_cli import civium, of
from platform_fixtures import free_port

COMMANDS = [
    (),
    ("serve",),
    ("demo",),
    ("doctor",),
    ("config",),
    ("reset",),
    ("account",),
    ("account", "user"),
    ("account", "client"),
    ("events",),
    ("events", "list"),
    ("events", "replay"),
    ("keys",),
    *(
        ("keys", name)
        for name in ("init", "ceremony", "list", "rotate", "revoke", "destroy", "import-p12", "rewrap", "usage")
    ),
    ("sandbox",),
    ("sandbox", "up"),
    ("sandbox", "down"),
    ("sandbox", "partner"),
    ("sandbox", "person"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_helps(command, tmp_path):
    said = civium(*command, "--help", home=tmp_path)
    assert said.returncode == 0
    assert "Usage:" in said.stdout
    assert len(said.stdout.splitlines()) > 5


def test_the_listed_commands_are_all_there_are():
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    known |= {group.name for group in app.registered_groups}
    assert known == {command[0] for command in COMMANDS if command}


def test_config_masks_secrets(tmp_path):
    said = civium("config", home=tmp_path, CIVIUM_KEYS__PASSPHRASE="canary-passphrase", CIVIUM_HTTP__PORT="9999")
    shown = json.loads(said.stdout)
    assert shown["http"]["port"] == 9999
    assert set(shown["keys"]["passphrase"]) == {"*"}
    assert "canary-passphrase" not in said.stdout + said.stderr


@pytest.mark.parametrize(
    ("environment", "toml", "told"),
    [
        ({"CIVIUM_HTPP__PORT": "1"}, "", "CIVIUM_HTPP__PORT"),
        ({"CIVIUM_HTTP__PROT": "1"}, "", "CIVIUM_HTTP__PROT"),
        ({"CIVIUM_HTTP__PORT": "many"}, "", "http.port"),
        ({}, "[http]\nprot = 1\n", "http.prot"),
        ({}, "surprise = true\n", "surprise"),
        ({"CIVIUM_FAULT": "x"}, "", "CIVIUM_FAULT"),
        ({"CIVIUM_HTTP__HOST": "0.0.0.0"}, "", "http.tls_certificate"),
        ({"CIVIUM_AUTHENTICATION__OTP_REQUESTS_PER_MINUTE": "1000"}, "", "otp_requests_per_minute"),
        ({"CIVIUM_DATABASE__DURABLE": "false"}, "", "database.durable"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, environment, toml, told):
    (tmp_path / "civium.toml").write_text(toml)
    said = civium("config", home=tmp_path, **environment)
    assert said.returncode == 2
    assert told in said.stderr
    assert "Traceback" not in said.stderr


def test_the_toml_file_is_read_and_the_environment_wins(tmp_path):
    (tmp_path / "civium.toml").write_text("[http]\nport = 1234\nworkers = 3\n")
    shown = json.loads(civium("config", home=tmp_path, CIVIUM_HTTP__PORT="4321").stdout)
    assert (shown["http"]["port"], shown["http"]["workers"]) == (4321, 3)


def test_a_person_is_made_and_printed_as_json(platform):
    said = civium("sandbox", "person", "--json", "--seed", "77", home=platform.home, **of(platform))
    assert said.returncode == 0, said.stderr
    person = json.loads(said.stdout)
    assert list(person) == ["rid", "uin", "vid", "phone", "email", "name", "dateOfBirth"]
    assert (len(person["rid"]), len(person["uin"]), len(person["vid"])) == (29, 10, 16)
    assert set(person["name"]) == {"eng", "ara"}


def test_the_same_fingers_do_not_enter_the_register_twice(platform):
    first = civium("sandbox", "person", "--json", "--seed", "78", home=platform.home, **of(platform))
    again = civium("sandbox", "person", "--json", "--seed", "78", home=platform.home, **of(platform))
    assert first.returncode == 0, first.stderr
    assert again.returncode == 1
    assert "registration" in again.stderr
    assert "Traceback" not in again.stderr


def test_a_partner_gets_all_that_its_client_needs(platform, person, tmp_path):
    folder = tmp_path / "shop"
    said = civium("sandbox", "partner", "shop", "--out", str(folder), home=platform.home, **of(platform))
    assert said.returncode == 0, said.stderr
    assert {file.name for file in folder.iterdir()} == {
        "README.md", "config.toml", "ida-partner.pem", "partner.p12", "partner.p12.password",
    }  # fmt: skip
    assert all(file.stat().st_mode & 0o077 == 0 for file in folder.iterdir())
    name = [{"language": "eng", "value": person.applicant.names["eng"]}]
    client = PublicClient(Path(".venv-client/bin/python").absolute(), folder)
    answer = client.call("auth", person.vid, "3000000001", demographics={"name": name}, consent=True)
    assert answer["response"]["authStatus"] is True
    again = civium("sandbox", "partner", "shop", "--out", str(folder), home=platform.home, **of(platform))
    assert again.returncode == 1
    assert "PMS_" in again.stderr


def test_an_administrator_is_made_and_can_log_in(platform):
    words = ["account", "user", "first.admin", "--role", "GLOBAL_ADMIN", "--role", "PARTNER_ADMIN"]
    short = civium(*words, home=platform.home, stdin="short\nshort\n", **of(platform))
    assert (short.returncode, "12 characters" in short.stderr) == (1, True)
    said = civium(*words, home=platform.home, stdin="a long password\na long password\n", **of(platform))
    assert said.returncode == 0, said.stderr
    assert "a long password" not in said.stdout + said.stderr
    with platform.client() as client:
        client.login_user(User("first.admin", "admin", "mosip-admin-client"), Secret("a long password"))
        assert client.get("/v1/partnermanager/partners")["partners"]
    wrong = civium(*words[:3], "--role", "KING", home=platform.home, stdin="x\nx\n", **of(platform))
    assert wrong.returncode == 2


def test_no_event_was_given_up_and_an_unknown_one_is_said_so(platform):
    assert civium("events", "list", home=platform.home, **of(platform)).returncode == 0
    unknown = civium("events", "replay", str(uuid.uuid4()), "audit", home=platform.home, **of(platform))
    assert (unknown.returncode, "no such dead letter" in unknown.stderr) == (1, True)


def test_doctor_finds_a_healthy_platform(platform):
    said = civium("doctor", home=platform.home, **of(platform))
    assert said.returncode == 0, said.stdout
    for part in ("web", "clock", "database", "events", "object store", "mail", "audit", "KERNEL:SIGN", "IDA:PARTNER"):
        assert part in said.stdout


def test_doctor_says_what_to_do_when_nothing_runs(tmp_path):
    said = civium("doctor", home=tmp_path)
    assert said.returncode == 1
    assert "civium serve" in said.stdout


def test_reset_asks_and_refuses_while_the_platform_runs(platform):
    said = civium("reset", home=platform.home, stdin="y\n", **of(platform))
    assert said.returncode == 1
    assert "stop it first" in said.stderr
    assert platform.answers()


def test_reset_wipes_after_a_yes_only(tmp_path):
    (tmp_path / "objects").mkdir()
    (tmp_path / "mode").write_text("sandbox")
    assert civium("reset", home=tmp_path, stdin="n\n").returncode == 1
    assert (tmp_path / "objects").exists()
    assert civium("reset", home=tmp_path, stdin="y\n").returncode == 0
    assert not tmp_path.exists()


def test_a_taken_port_is_said_plainly(platform, tmp_path):
    said = civium("serve", "--sandbox", home=tmp_path, **of(platform))
    assert said.returncode == 1
    assert "CIVIUM_HTTP__PORT" in said.stderr


def test_a_sandbox_never_becomes_production(tmp_path):
    (tmp_path / "mode").write_text("sandbox")
    said = civium("serve", home=tmp_path, CIVIUM_MODE="production")
    assert said.returncode == 1
    assert "another CIVIUM_HOME" in said.stderr


def test_the_sandbox_goes_up_and_down_and_continues_with_its_data(tmp_path):
    tmp_path.chmod(0o711)
    environment = {"CIVIUM_HTTP__PORT": str(free_port())}
    up = civium("sandbox", "up", home=tmp_path, **environment)
    assert up.returncode == 0, up.stderr
    made = civium("sandbox", "partner", "kept", "--out", str(tmp_path / "kept"), home=tmp_path, **environment)
    assert made.returncode == 0, made.stderr
    assert civium("sandbox", "down", home=tmp_path, **environment).returncode == 0
    assert civium("sandbox", "up", home=tmp_path, **environment).returncode == 0
    again = civium("sandbox", "partner", "kept", "--out", str(tmp_path / "kept"), home=tmp_path, **environment)
    assert "PMS_" in again.stderr
    assert civium("sandbox", "down", home=tmp_path, **environment).returncode == 0
