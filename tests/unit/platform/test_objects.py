"""The file store: whole or not at all, and never outside its directory."""

import asyncio
import signal
import sys

import pytest

from civium.platform.objects import FileObjectStore, ObjectNotFound


@pytest.fixture
def store(tmp_path):
    return FileObjectStore(tmp_path / "objects")


async def test_a_blob_comes_back_and_is_replaced_whole(store):
    await store.put("packets/ab/cd", b"first")
    await store.put("packets/ab/cd", b"second")
    assert await store.get("packets/ab/cd") == b"second"


async def test_a_missing_blob_is_an_error_of_its_own(store):
    await store.put("packets/ab/cd", b"")
    for name in ("packets/none", "packets/ab", "packets/ab/cd/ef"):
        with pytest.raises(ObjectNotFound):
            await store.get(name)


async def test_deleting_twice_is_no_error(store):
    await store.put("packets/ab", b"x")
    await store.delete("packets/ab")
    await store.delete("packets/ab")
    with pytest.raises(ObjectNotFound):
        await store.get("packets/ab")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "packets",
        "packets/",
        "/etc/passwd",
        "packets/../../etc/passwd",
        "packets/..",
        "packets/./x",
        "packets//x",
        "packets/a b",
        "packets/a\x00b",
        "packets/a\n",
        "packets/.hidden",
        "packets/a\\b",
        "packets/" + "a" * 129,
        "a/" * 8 + "a",
    ],
)
async def test_a_name_that_could_lead_elsewhere_is_refused(store, name):
    for act in (store.put(name, b""), store.get(name), store.delete(name)):
        with pytest.raises(ValueError, match="object name"):
            await act


async def test_a_failed_write_leaves_the_old_blob_and_no_rest(store, tmp_path, monkeypatch):
    await store.put("packets/ab", b"old")

    def full(_descriptor):
        raise OSError(28, "no space")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        await store.put("packets/ab", b"new")
    assert await store.get("packets/ab") == b"old"
    assert [path.name for path in (tmp_path / "objects").rglob("*") if path.is_file()] == ["ab"]


_KILLED_WRITER = """
import asyncio, pathlib, sys
from civium.kernel import faults
from civium.platform.objects import FileObjectStore
faults.arm("objects.unfinished")
asyncio.run(FileObjectStore(pathlib.Path(sys.argv[1])).put("packets/ab", b"new"))
"""


async def test_what_a_killed_writer_left_is_no_object_and_is_removed(store, tmp_path):
    await store.put("packets/ab", b"old")
    writer = await asyncio.create_subprocess_exec(sys.executable, "-c", _KILLED_WRITER, tmp_path / "objects")
    assert await writer.wait() == -signal.SIGKILL
    assert await store.get("packets/ab") == b"old"
    (rest,) = (tmp_path / "objects" / ".unfinished").iterdir()
    assert rest.read_bytes() == b"new"
    store.discard_unfinished()
    assert not rest.exists()
    await store.put("packets/ab", b"new")
    assert await store.get("packets/ab") == b"new"


async def test_nobody_else_may_read(store, tmp_path):
    await store.put("packets/ab", b"x")
    for path in (tmp_path / "objects").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0
