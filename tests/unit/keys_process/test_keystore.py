import shutil
import stat

import pytest

from civium.kernel.clock import FixedClock
from civium.kernel.errors import CiviumError, IntegrityError
from civium.kernel.secrets import Secret
from civium.keys.api import IDA_PARTNER, KERNEL_SIGN
from civium.keys.keystore import Keystore, KeystoreClosed, Record
from civium.keys.opening import Unsealing
from civium.keys.operations import Keystores
from civium.keys.root import root_key
from keys_fixtures import open_home

ROOT = Secret(b"r" * 32)


def test_a_restart_keeps_every_key(home, fixed_clock):
    def everything(stores):
        contexts = (stores.core, stores.auth)
        return (
            [
                (ref, operations.hierarchy.generations(ref)[0].key_id)
                for operations in contexts
                for ref in (KERNEL_SIGN, IDA_PARTNER)
                if operations.hierarchy.generations(ref)
            ],
            [operations.secrets.keyed_hash("uin", b"1") for operations in contexts],
            [operations.secrets.token_id("1", "p") for operations in contexts],
            [stores.core.pool.key(index).reveal() for index in range(16)],
            stores.core.secrets.identifier_salt(7),
        )

    with open_home(home, fixed_clock) as stores:
        before = everything(stores)
    with open_home(home, fixed_clock) as stores:
        assert everything(stores) == before


def test_files_are_private(home):
    for path in (home / "keys").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_two_installations_share_no_secret(tmp_path, made_home, fixed_clock):
    with (
        Keystores(tmp_path / "k", Unsealing(), zk_pool_size=1, clock=fixed_clock) as one,
        open_home(made_home, fixed_clock) as two,
    ):
        assert one.core.secrets.token_id("1", "p") != two.core.secrets.token_id("1", "p")
        assert one.core.secrets.keyed_hash("d", b"1") != two.core.secrets.keyed_hash("d", b"1")


def test_the_passphrase_opens_and_a_wrong_one_says_so(tmp_path):
    Keystore(tmp_path / "core", "core", root_key(tmp_path, Secret("right"))).close()
    store = Keystore(tmp_path / "core", "core", root_key(tmp_path, Secret("right")))
    store.close()
    with pytest.raises(KeystoreClosed, match="wrong passphrase") as refused:
        Keystore(tmp_path / "core", "core", root_key(tmp_path, Secret("wrong")))
    assert "right" not in str(refused.value)
    with pytest.raises(KeystoreClosed, match="CIVIUM_KEYS__PASSPHRASE"):
        root_key(tmp_path, None)


def test_a_key_file_is_not_silently_replaced_by_a_passphrase(tmp_path):
    root_key(tmp_path, None)
    with pytest.raises(KeystoreClosed, match=r"root\.key"):
        root_key(tmp_path, Secret("new"))


def test_only_one_process_opens_a_keystore(tmp_path):
    store = Keystore(tmp_path, "core", ROOT)
    with pytest.raises(KeystoreClosed, match="another process"):
        Keystore(tmp_path, "core", ROOT)
    store.close()
    Keystore(tmp_path, "core", ROOT).close()


@pytest.mark.tamper
def test_every_changed_file_is_detected(home, fixed_clock):
    files = [path for path in (home / "keys").rglob("*") if path.is_file() and path.name != "lock"]
    assert len(files) > 25
    for path in files:
        good = path.read_bytes()
        for bad in (
            *(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in (0, 9, len(good) // 2, len(good) - 1)),
            good[:-1],
            b"",
        ):
            path.write_bytes(bad)
            with pytest.raises((IntegrityError, KeystoreClosed)):
                open_home(home, fixed_clock)
        path.write_bytes(good)
    open_home(home, fixed_clock).close()


@pytest.mark.tamper
def test_files_that_changed_places_are_detected(home, fixed_clock):
    one, two, *_ = sorted((home / "keys" / "core").glob("key-*.sealed"))
    shutil.copy(one, two)
    with pytest.raises(IntegrityError, match=two.name):
        open_home(home, fixed_clock)


@pytest.mark.tamper
def test_a_file_of_the_other_context_does_not_open(home, fixed_clock):
    shutil.copy(home / "keys/core/secret-keyed-hashes.sealed", home / "keys/auth/secret-keyed-hashes.sealed")
    with pytest.raises(IntegrityError):
        open_home(home, fixed_clock)


@pytest.mark.parametrize(
    "lost",
    [
        "core/secret-keyed-hashes",
        "core/secret-base-key-kek",
        "auth/secret-base-key-kek",
        "auth/secret-uin-salt",
        "core/zk-pool",
        "core/check",
    ],
)
def test_a_lost_secret_is_never_made_anew(home, fixed_clock, lost):
    (home / "keys" / f"{lost}.sealed").unlink()
    with pytest.raises((IntegrityError, KeystoreClosed)):
        open_home(home, fixed_clock)


def test_a_larger_pool_keeps_the_keys_that_were(home, fixed_clock):
    with open_home(home, fixed_clock) as stores:
        before = [stores.core.pool.key(index) for index in range(16)]
    with Keystores(home / "keys", Unsealing(), zk_pool_size=20, clock=fixed_clock) as stores:
        assert [stores.core.pool.key(index) for index in range(16)] == before
        assert len({stores.core.pool.key(index).reveal() for index in range(20)}) == 20


def test_a_crash_before_the_rename_leaves_the_old_record(tmp_path):
    store = Keystore(tmp_path, "core", ROOT)
    store.write(Record("secret-a", b"old"))
    store.close()
    (tmp_path / "secret-a.sealed.new").write_bytes(b"half of a fi")
    store = Keystore(tmp_path, "core", ROOT)
    found = store.read("secret-a")
    store.close()
    assert found is not None
    assert found.body == b"old"
    assert not list(tmp_path.glob("*.new"))


@pytest.mark.parametrize("name", ["", "../x", "a/b", "A", "x" * 99])
def test_names_cannot_leave_the_directory(tmp_path, name):
    store = Keystore(tmp_path, "core", ROOT)
    with pytest.raises(ValueError):
        store.write(Record(name, b""))
    store.close()


def test_nothing_shows_key_material(stores):
    pool_key = stores.core.pool.key(0)
    generation = stores.core.hierarchy.generations(KERNEL_SIGN)[0]
    assert "PrivateKey" not in repr(generation)
    for shown in (repr(pool_key), repr(Record("secret-a", pool_key.reveal())), repr(stores.core.secrets)):
        assert repr(pool_key.reveal())[2:12] not in shown
    assert issubclass(KeystoreClosed, CiviumError)


def test_no_clear_key_lies_on_the_disk(home, fixed_clock: FixedClock):
    with open_home(home, fixed_clock) as stores:
        clear = [
            stores.core.pool.key(0).reveal(),
            stores.core.hierarchy.generations(KERNEL_SIGN)[0].private.private_numbers().p.to_bytes(128, "big"),
        ]
    content = b"".join(path.read_bytes() for path in (home / "keys").rglob("*") if path.is_file())
    assert not any(secret in content for secret in clear)
