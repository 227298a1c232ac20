"""The sealed software keystore: one directory per security context, one sealed file per secret.

A file is ``magic ‖ u16 length ‖ header ‖ nonce12 ‖ AES-256-GCM(body)``; all that stands before the nonce is
authenticated, and the header names the file's context, name, key and state: a changed, renamed or swapped file does
not open. Files are written whole (temporary file, fsync, rename, fsync of the directory), so that a crash leaves the
old file or the new one.

A sealed index holds the digest of each file: an older copy of a file, a lost one or one too many is an error. An older
copy of the whole directory, index included, does not show here; with a token it does, which counts the index's
changes (:class:`Floor`).

What unseals it is a root key: see :mod:`civium.keys.root`.
"""

import fcntl
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Final, Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from civium.kernel import faults
from civium.kernel.errors import CiviumError, IntegrityError
from civium.kernel.secrets import Secret

MAGIC: Final = b"CIVKEYS1"
NONCE_BYTES: Final = 12
KEY_BYTES: Final = 32
SUFFIX: Final = ".sealed"
CHECK: Final = "check"
INDEX: Final = "index"
UNLISTED: Final = "zk-"
"""Start of the names of records that may be missing from the index."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,80}")


class KeystoreClosed(CiviumError):
    """The keystore cannot be opened: wrong passphrase, root key or PIN, or another process holds it."""


def derive(key: bytes, label: str) -> bytes:
    """Return the 32-byte key that ``label`` names under ``key`` (HKDF-SHA-256)."""
    return HKDF(SHA256(), KEY_BYTES, None, label.encode()).derive(key)


def seal_bytes(key: bytes, clear: bytes, aad: bytes) -> bytes:
    """Return ``nonce12 ‖ ct ‖ tag16`` under AES-256-GCM with a fresh random nonce."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, clear, aad)


def open_bytes(key: bytes, box: bytes, aad: bytes) -> bytes:
    """Open what ``seal_bytes`` made; raises IntegrityError."""
    try:
        return AESGCM(key).decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], aad)
    except (InvalidTag, ValueError):
        raise IntegrityError("sealed key material does not open") from None


class _Header(msgspec.Struct, frozen=True):
    context: str
    name: str
    application: str
    reference: str
    state: str


@dataclass(frozen=True, slots=True)
class Record:
    """The content of one sealed file; ``name`` is its file name without the suffix."""

    name: str
    body: bytes = field(repr=False)
    application: str = ""
    reference: str = ""
    state: str = "active"


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    """Digests of a file: the one that it has, and the one that it is about to have."""

    kept: bytes | None = None
    coming: bytes | None = None

    def admits(self, content: bytes | None) -> bool:
        """Tell whether a file may have this content, or (None) may be absent."""
        if content is None:
            return self.kept is None
        digest = hashlib.sha256(content).digest()
        return any(known is not None and hmac.compare_digest(known, digest) for known in (self.kept, self.coming))


class _Index(msgspec.Struct, frozen=True, array_like=True):
    epoch: int
    files: dict[str, _Entry]


class Floor(Protocol):
    """A counter outside of the directory that only rises: an index that is older than it was put back."""

    def read(self) -> int:
        """Return the count."""
        ...

    def raise_to(self, count: int) -> None:
        """Set the count."""
        ...


class Keystore:
    """The sealed files of one security context. One process at a time: the directory is locked while open."""

    def __init__(self, directory: Path, context: str, root: Secret[bytes], floor: Floor | None = None) -> None:
        """Open the keystore, making it when absent; raises KeystoreClosed or IntegrityError."""
        private_directory(directory)
        self._directory = directory
        self._context = context
        self._key = Secret(derive(root.reveal(), f"keystore {context}"))
        self._floor = floor
        self._writing = Lock()
        self._lock = _locked(directory / "lock")
        for leftover in directory.glob("*.new"):
            leftover.unlink()
        try:
            self._check()
            self._epoch, self._files = self._indexed()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let another process open the keystore."""
        os.close(self._lock)

    def write(self, record: Record, *, listed: bool = True) -> None:
        """Seal a record and write it durably, in place of an earlier one of the same name.

        The index learns of it before and after, so that a crash between leaves no file that it does not know: five
        fsyncs. What is written once only and is missed when lost may stay out of the index (``listed=False``).
        """
        content = self._sealed(record)
        if not listed:
            write_whole(self._path(record.name), content)
            return
        with self._writing:
            digest = hashlib.sha256(content).digest()
            before = self._files.get(record.name, _Entry())
            self._list(record.name, _Entry(before.kept, digest))
            write_whole(self._path(record.name), content)
            self._list(record.name, _Entry(digest))

    def read(self, name: str) -> Record | None:
        """Return the record, or None when there is none; raises IntegrityError when its file was changed."""
        path = self._path(name)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            content = None
        entry = self._files.get(name)
        if entry is not None and not entry.admits(content):
            raise IntegrityError(f"keystore file {path} is lost, or an older one was put in its place")
        return None if content is None else self._open(name, content)

    def records(self, prefix: str) -> Iterator[Record]:
        """Return all records whose name starts with ``prefix``, in the order of their names."""
        for path in sorted(self._directory.glob(f"{prefix}*{SUFFIX}")):
            record = self.read(path.name.removesuffix(SUFFIX))
            if record is not None:
                yield record

    def _sealed(self, record: Record) -> bytes:
        header = msgspec.json.encode(
            _Header(self._context, record.name, record.application, record.reference, record.state)
        )
        front = MAGIC + len(header).to_bytes(2, "big") + header
        return front + seal_bytes(self._key.reveal(), record.body, front)

    def _open(self, name: str, content: bytes) -> Record:
        start = len(MAGIC) + 2
        end = start + int.from_bytes(content[len(MAGIC) : start], "big")
        try:
            body = open_bytes(self._key.reveal(), content[end:], content[:end])
            header = msgspec.json.decode(content[start:end], type=_Header)
        except (IntegrityError, msgspec.MsgspecError):
            header = None
        if header is None or (header.context, header.name) != (self._context, name):
            raise IntegrityError(f"keystore file {self._path(name)} was changed or does not belong there")
        return Record(name, body, header.application, header.reference, header.state)

    def _list(self, name: str, entry: _Entry) -> None:
        self._files[name] = entry
        self._epoch += 1
        index = msgspec.msgpack.encode(_Index(self._epoch, self._files))
        write_whole(self._path(INDEX), self._sealed(Record(INDEX, index)))
        if self._floor is not None:
            self._floor.raise_to(self._epoch)

    def _check(self) -> None:
        if not self._present():
            write_whole(self._path(CHECK), self._sealed(Record(CHECK, b"")))
            return
        try:
            self._open(CHECK, self._path(CHECK).read_bytes())
        except (IntegrityError, FileNotFoundError):
            raise KeystoreClosed(
                f"keystore {self._directory} does not open: "
                f"wrong passphrase, PIN or root.key, or {CHECK}{SUFFIX} was changed"
            ) from None

    def _indexed(self) -> tuple[int, dict[str, _Entry]]:
        """Return the index when each file that it must know is there, and no other."""
        floor = 0 if self._floor is None else self._floor.read()
        try:
            content = self._path(INDEX).read_bytes()
        except FileNotFoundError:
            if self._present() - {CHECK} or floor:
                raise IntegrityError(f"the index of keystore {self._directory} is lost: restore a backup") from None
            return 0, {}
        index = msgspec.msgpack.decode(self._open(INDEX, content).body, type=_Index)
        if index.epoch < floor:
            raise IntegrityError(f"keystore {self._directory} is an older copy: its token has seen later changes")
        present = self._present() - {CHECK, INDEX}
        lost = {name for name, entry in index.files.items() if entry.kept is not None} - present
        strange = {name for name in present - index.files.keys() if not name.startswith(UNLISTED)}
        if lost or strange:
            raise IntegrityError(
                f"keystore {self._directory}: files lost: {sorted(lost)}; files that do not belong: {sorted(strange)}"
            )
        return index.epoch, dict(index.files)

    def _present(self) -> set[str]:
        return {path.name.removesuffix(SUFFIX) for path in self._directory.glob(f"*{SUFFIX}")}

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(f"not the name of a keystore record: {name!r}")
        return self._directory / f"{name}{SUFFIX}"


def private_directory(directory: Path) -> None:
    """Make a directory that only our own user may enter."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_mode & 0o077:
        directory.chmod(0o700)


def _locked(path: Path) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise KeystoreClosed(f"another process holds the keystore {path.parent}") from None
    return lock


def write_whole(path: Path, content: bytes) -> None:
    """Write a file durably: a crash leaves the old one or the new one."""
    new = path.with_name(path.name + ".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    faults.point("keystore.written")
    new.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
