"""`civium keys` as an operator uses it: beside a stopped installation, and beside one that serves."""

import json
from datetime import timedelta

import asyncpg
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from civium.kernel.clock import SystemClock
from civium.keys.formats import certificates
from civium.keys.formats.primitives import thumbprint
from civium.platform.postgres import OWNER, Cluster
from civium.platform.settings import DatabaseSettings
from e2e_cli import civium, of
from token_fixtures import *  # noqa: F403
from token_fixtures import LIBRARY, PIN

COMMANDS = ("init", "ceremony", "list", "rotate", "revoke", "destroy", "import-p12", "usage", "rewrap")
POOL = {"CIVIUM_KEYS__ZK_POOL_SIZE": "4"}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The home of an installation that has keys under a passphrase and is not running."""
    home = tmp_path_factory.mktemp("stopped")
    environment = {**POOL, "CIVIUM_KEYS__PASSPHRASE": "canary words of the passphrase"}

    def run(*arguments, stdin="", **more):
        return civium("keys", *arguments, home=home, stdin=stdin, **{**environment, **more})

    made = run("init")
    assert made.returncode == 0, made.stderr
    return run


def listed(run):
    return json.loads(run("list", "--json").stdout)


def generations(run, key):
    return [row for row in listed(run) if row["key"] == key]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_helps(command, tmp_path):
    said = civium("keys", command, "--help", home=tmp_path)
    assert said.returncode == 0
    assert "Usage:" in said.stdout


def test_keys_rotate_twice_a_day_and_old_ones_are_destroyed(stopped):
    key = "IDA/IDA-FIR"
    (first,) = generations(stopped, key)
    for _ in range(2):
        assert stopped("rotate", "IDA", "IDA-FIR").returncode == 0
    states = [row["state"] for row in generations(stopped, key)]
    assert sorted(states) == ["active", "decrypt-only", "decrypt-only"]
    current = next(row for row in generations(stopped, key) if row["state"] == "active")
    refused = stopped("destroy", "IDA", "IDA-FIR", current["thumbprint"], "--yes")
    assert refused.returncode == 1
    assert "KER-KMS-021" in refused.stderr
    assert stopped("destroy", "IDA", "IDA-FIR", first["thumbprint"], stdin="n\n").returncode == 1
    assert stopped("destroy", "IDA", "IDA-FIR", first["thumbprint"], "--yes").returncode == 0
    states = {row["thumbprint"]: row["state"] for row in generations(stopped, key)}
    assert states[first["thumbprint"]] == "destroyed"


def test_symmetric_masters_rotate_and_are_destroyed(stopped):
    assert "version 2" in stopped("rotate", "SECRET", "data-keys", "--context", "auth").stdout
    rows = [row for row in generations(stopped, "data-keys") if row["context"] == "auth"]
    assert [row["state"] for row in rows] == ["active", "decrypt-only"]
    refused = stopped("destroy", "SECRET", "data-keys", "2", "--context", "auth", "--yes")
    assert "KER-KMS-021" in refused.stderr
    assert stopped("destroy", "SECRET", "data-keys", "1", "--context", "auth", "--yes").returncode == 0
    assert stopped("rotate", "SECRET", "keyed-hashes").returncode == 1


def test_a_revoked_key_is_followed_by_another_at_its_next_use(stopped):
    stopped("rotate", "REGISTRATION", "10001_10001")
    assert stopped("revoke", "REGISTRATION", "10001_10001").returncode == 0
    assert {row["state"] for row in generations(stopped, "REGISTRATION/10001_10001")} == {"decrypt-only"}
    for bad in (("REGISTRATION", ""), ("KERNEL", "SIGN")):
        assert stopped("revoke", *bad).returncode != 0


def test_a_pkcs12_key_becomes_the_current_one(stopped, tmp_path):
    private = rsa.generate_private_key(65537, 2048)
    now = SystemClock().now()
    name = certificates.module_name("REGISTRATION", "imported")
    certificate = certificates.issue(
        certificates.BASE, name, private.public_key(), issuer=name, signing_key=private,
        not_before=now - timedelta(days=1), not_after=now + timedelta(days=400),
    )  # fmt: skip
    file = tmp_path / "key.p12"
    file.write_bytes(
        pkcs12.serialize_key_and_certificates(
            b"k", private, certificate, None, serialization.BestAvailableEncryption(b"canary-password")
        )
    )
    wrong = stopped("import-p12", str(file), "REGISTRATION", "imported", stdin="not-this\n")
    assert wrong.returncode == 1
    assert "does not open" in wrong.stderr
    good = stopped("import-p12", str(file), "REGISTRATION", "imported", stdin="canary-password\n")
    assert good.returncode == 0, good.stderr
    assert "canary-password" not in good.stdout + good.stderr
    (row,) = generations(stopped, "REGISTRATION/imported")
    assert (row["state"], row["thumbprint"]) == ("active", thumbprint(certificate).hex())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("rotate", "NOBODY", "x"), "KER-KMS-002"),
        (("rotate", "REGISTRATION", "../x"), "KER-KMS-010"),
        (("destroy", "IDA", "IDA-FIR", "zz", "--yes"), "64 hexadecimal digits"),
        (("destroy", "IDA", "IDA-FIR", "00" * 32, "--yes"), "KER-KMS-025"),
        (("rotate", "IDA", "IDA-FIR", "--context", "other"), "core or auth"),
        (("usage",), "not running"),
        (("rewrap",), "not running"),
        (("init",), "already"),
        (("ceremony", "--participant", "a", "--participant", "b"), "already"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(stopped, arguments, said):
    refused = stopped(*arguments, stdin="x\nx\n")
    assert refused.returncode != 0
    assert said in refused.stderr.replace("\n", " ")
    assert "Traceback" not in refused.stderr
    assert "canary" not in refused.stderr + refused.stdout


def test_the_ceremony_prints_fingerprints_and_leaves_a_record(tmp_path):
    words = {
        **POOL,
        "CIVIUM_KEYS__PASSPHRASE": "canary of the first custodian",
        "CIVIUM_KEYS__SECOND_PASSPHRASE": "canary of the second custodian",
    }
    people = ("--participant", "Amina", "--participant", "Björn")
    done = civium("keys", "ceremony", *people, home=tmp_path, **words)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "keys/ceremony.json").read_text())
    assert record["participants"] == ["Amina", "Björn"]
    root = next(each for each in record["fingerprints"] if each["applicationId"] == "ROOT")
    assert root["sha256"] in done.stdout
    assert "canary" not in done.stdout + done.stderr
    alone = civium(
        "keys",
        "list",
        home=tmp_path,
        stdin="wrong wrong wrong\n",
        **{**words, "CIVIUM_KEYS__SECOND_PASSPHRASE": "not the second"},
    )
    assert alone.returncode == 1
    assert "does not open" in alone.stderr.replace("\n", " ")


def test_a_token_is_made_and_used(softhsm, tmp_path):
    environment = {**POOL, "CIVIUM_KEYS__PKCS11_PIN": PIN}
    arguments = ("keys", "init", "--pkcs11", str(LIBRARY), "--token", "made-by-command")
    done = civium(*arguments, home=tmp_path, stdin="officer-pin\n", timeout=180, **environment)
    assert done.returncode == 0, done.stderr
    settings = {
        **environment,
        "CIVIUM_KEYS__PKCS11_LIBRARY": str(LIBRARY),
        "CIVIUM_KEYS__PKCS11_TOKEN": "made-by-command",
    }
    rows = json.loads(civium("keys", "list", "--json", home=tmp_path, **settings).stdout)
    assert any(row["key"] == "ROOT" for row in rows)
    wrong = civium("keys", "list", home=tmp_path, **{**settings, "CIVIUM_KEYS__PKCS11_PIN": "0000-wrong"})
    assert wrong.returncode == 1
    assert "tried once" in wrong.stderr.replace("\n", " ")
    assert "0000-wrong" not in wrong.stderr
    again = civium("keys", "list", home=tmp_path, **settings)
    assert "not tried again" in again.stderr.replace("\n", " ")


def serving(platform, *arguments, **environment):
    return civium("keys", *arguments, home=platform.home, **of(platform), **environment)


def test_keys_rotate_while_the_platform_serves(platform, person):
    before = generations(lambda *a: serving(platform, *a), "KERNEL/SIGN")
    assert serving(platform, "rotate", "KERNEL", "SIGN").returncode == 0
    after = generations(lambda *a: serving(platform, *a), "KERNEL/SIGN")
    assert len(after) == len(before) + 1
    for refused in (("destroy", "KERNEL", "SIGN", before[0]["thumbprint"], "--yes"), ("import-p12", "x", "IDA")):
        said = serving(platform, *refused)
        assert said.returncode == 1
        assert "stop the platform first" in said.stderr.replace("\n", " ")


def test_uses_are_shown_and_none_is_without_a_transaction(platform, person):
    rows = json.loads(serving(platform, "usage", "--json").stdout)
    unwraps = [row for row in rows if row["operation"] == "Unwrap" and row["key"].startswith("REGISTRATION/")]
    assert unwraps
    assert all(int(row["uses"]) >= int(row["transactions"]) > 0 for row in unwraps)
    opened = [row for row in rows if row["operation"] in {"Unwrap", "UnwrapDataKey", "Unseal", "Sign", "ZkDerive"}]
    assert [row for row in opened if row["uncited"] != "0"] == []


async def test_uses_reach_the_audit_trail(platform, person):
    connection = await asyncpg.connect(Cluster(platform.home, DatabaseSettings()).dsn(OWNER).reveal())
    try:
        acts = [
            json.loads(row["content"])
            for row in await connection.fetch("SELECT content FROM audit.record WHERE content LIKE '%keys.used.%'")
        ]
    finally:
        await connection.close()
    acts = [act for act in acts if act["action"].startswith("keys.used.") and act["code"] is not None]
    assert any(act["action"] == "keys.used.Unwrap" and "key=REGISTRATION/" in act["code"] for act in acts)
    assert any(act["action"] == "keys.used.Sign" and act["actor"] == "core" for act in acts)
    assert not any("key=DATA/outbox" in act["code"] for act in acts)


def test_everything_is_sealed_anew_while_the_platform_serves(platform, person):
    for context in ("core", "auth"):
        assert serving(platform, "rotate", "SECRET", "data-keys", "--context", context).returncode == 0
    done = serving(platform, "rewrap")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 5
    assert platform.answers()
    again = serving(platform, "rewrap")
    assert int(again.stdout.split()[0]) < int(done.stdout.split()[0])
