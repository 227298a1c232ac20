"""Files of a keystore that were put back, lost or added are noticed, though each of them is genuine."""

import shutil

import pytest

from civium.kernel.errors import IntegrityError
from civium.kernel.secrets import Secret
from civium.keys import keystore
from civium.keys.api import packet_key
from civium.keys.keystore import Keystore, Record
from civium.keys.secretbox import DATA_KEYS
from keys_fixtures import open_home

PACKET = packet_key("10001", "10001")
ROOT = Secret(b"r" * 32)

pytestmark = pytest.mark.tamper


def _file(home, stores):
    generation = stores.core.hierarchy.current(PACKET)
    return home / "keys/core" / f"key-{generation.alias}.sealed", generation


def test_a_destroyed_key_does_not_come_back_with_its_old_file(stores, home, fixed_clock):
    path, first = _file(home, stores)
    before = path.read_bytes()
    stores.core.hierarchy.retire(PACKET)
    stores.core.hierarchy.destroy(PACKET, first.thumbprint)
    stores.close()
    path.write_bytes(before)
    with pytest.raises(IntegrityError, match=path.name):
        open_home(home, fixed_clock)


def test_a_retired_key_is_not_active_again_with_its_old_file(stores, home, fixed_clock):
    path, _ = _file(home, stores)
    before = path.read_bytes()
    stores.core.hierarchy.retire(PACKET)
    stores.close()
    path.write_bytes(before)
    with pytest.raises(IntegrityError, match=path.name):
        open_home(home, fixed_clock)


@pytest.mark.parametrize("prefix", ["key-", "secret-", "complete", "zk-pool", "index"])
def test_a_lost_file_is_noticed(home, fixed_clock, prefix):
    next((home / "keys/core").glob(f"{prefix}*.sealed")).unlink()
    with pytest.raises(IntegrityError, match="lost"):
        open_home(home, fixed_clock)


def test_a_genuine_file_of_before_does_not_belong(stores, home, fixed_clock):
    path, _ = _file(home, stores)
    kept = path.read_bytes()
    index = home / "keys/core/index.sealed"
    path.unlink()
    stores.close()
    with pytest.raises(IntegrityError, match="lost"):
        open_home(home, fixed_clock)
    path.write_bytes(kept)
    open_home(home, fixed_clock).close()
    shutil.copy(path, path.with_name("key-00000000-0000-0000-0000-000000000000.sealed"))
    with pytest.raises(IntegrityError, match="do not belong"):
        open_home(home, fixed_clock)
    assert index.exists()


def test_an_older_index_does_not_fit_newer_files(stores, home, fixed_clock):
    index = home / "keys/core/index.sealed"
    before = index.read_bytes()
    stores.core.secrets.rotate(DATA_KEYS)
    stores.close()
    index.write_bytes(before)
    with pytest.raises(IntegrityError, match="do not belong"):
        open_home(home, fixed_clock)


@pytest.mark.parametrize("crash_at", [1, 2, 3])
def test_a_crash_between_file_and_index_is_no_tampering(tmp_path, monkeypatch, crash_at):
    store = Keystore(tmp_path, "core", ROOT)
    store.write(Record("secret-a", b"old"))
    write, done = keystore.write_whole, []

    def dying(path, content):
        done.append(path)
        if len(done) == crash_at:
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(keystore, "write_whole", dying)
    for record in (Record("secret-a", b"new"), Record("secret-b", b"first")):
        done.clear()
        with pytest.raises(KeyboardInterrupt):
            store.write(record)
    store.close()
    monkeypatch.undo()
    again = Keystore(tmp_path, "core", ROOT)
    found = again.read("secret-a")
    assert found is not None
    assert found.body == (b"new" if crash_at == 3 else b"old")
    other = again.read("secret-b")
    assert (None if other is None else other.body) == (b"first" if crash_at == 3 else None)
    again.write(Record("secret-b", b"second"))
    again.close()
    last = Keystore(tmp_path, "core", ROOT)
    assert last.read("secret-b").body == b"second"
    last.close()
