"""The sealed software keystore: one directory per security context, one sealed file per secret.

A file is ``magic ‖ u16 length ‖ header ‖ nonce12 ‖ AES-256-GCM(body)``; all that stands before the nonce is
authenticated, and the header names the file's context, name, key and state: a changed, renamed or swapped file does
not open. Files are written whole (temporary file, fsync, rename, fsync of the directory), so that a crash leaves the
old file or the new one.

What unseals it is a root key: derived from a passphrase (Argon2id), or the file ``root.key`` beside the keystores,
which protects only as well as the file system does.
"""

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from civium.kernel import faults
from civium.kernel.errors import CiviumError, IntegrityError
from civium.kernel.secrets import Secret

MAGIC: Final = b"CIVKEYS1"
NONCE_BYTES: Final = 12
KEY_BYTES: Final = 32
SUFFIX: Final = ".sealed"
CHECK: Final = "check"

ARGON2_KIB: Final = 64 * 1024
ARGON2_PASSES: Final = 3
ARGON2_LANES: Final = 4

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,80}")
_log = structlog.get_logger(__name__)


class KeystoreClosed(CiviumError):
    """The keystore cannot be opened: wrong passphrase or root key, or another process holds it."""


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


def root_key(home: Path, passphrase: Secret[str] | None) -> Secret[bytes]:
    """Return the root key of the keystores under ``home``, making it at the first start.

    Raises KeystoreClosed when the keystores were made with the other kind of root key. Costs about 0.1 s with a
    passphrase (Argon2id, 64 MiB).
    """
    _private_directory(home)
    key_file, salt_file = home / "root.key", home / "root.salt"
    if passphrase is None:
        if salt_file.exists():
            raise KeystoreClosed("the keystores are sealed with a passphrase: set CIVIUM_KEYS__PASSPHRASE")
        if not key_file.exists():
            _write_whole(key_file, secrets.token_bytes(KEY_BYTES))
            _log.warning(
                "root_key_made", file=str(key_file), advice="set keys.passphrase, or guard and back up the file"
            )
        return Secret(key_file.read_bytes())
    if key_file.exists():
        raise KeystoreClosed(f"the keystores are sealed with {key_file}, not with a passphrase")
    if not salt_file.exists():
        _write_whole(salt_file, secrets.token_bytes(16))
    kdf = Argon2id(
        salt=salt_file.read_bytes(),
        length=KEY_BYTES,
        iterations=ARGON2_PASSES,
        lanes=ARGON2_LANES,
        memory_cost=ARGON2_KIB,
    )
    return Secret(kdf.derive(passphrase.reveal().encode()))


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


class Keystore:
    """The sealed files of one security context. One process at a time: the directory is locked while open."""

    def __init__(self, directory: Path, context: str, root: Secret[bytes]) -> None:
        """Open the keystore, making it when absent; raises KeystoreClosed or IntegrityError."""
        _private_directory(directory)
        self._directory = directory
        self._context = context
        self._key = Secret(derive(root.reveal(), f"keystore {context}"))
        self._lock = _locked(directory / "lock")
        for leftover in directory.glob("*.new"):
            leftover.unlink()
        try:
            self._check()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let another process open the keystore."""
        os.close(self._lock)

    def write(self, record: Record) -> None:
        """Seal a record and write it durably, in place of an earlier one of the same name."""
        header = msgspec.json.encode(
            _Header(self._context, record.name, record.application, record.reference, record.state)
        )
        front = MAGIC + len(header).to_bytes(2, "big") + header
        _write_whole(self._path(record.name), front + seal_bytes(self._key.reveal(), record.body, front))

    def read(self, name: str) -> Record | None:
        """Return the record, or None when there is none; raises IntegrityError when its file was changed."""
        path = self._path(name)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return self._open(name, content)
        except (IntegrityError, msgspec.MsgspecError):
            raise IntegrityError(f"keystore file {path} was changed or does not belong there") from None

    def records(self, prefix: str) -> Iterator[Record]:
        """Return all records whose name starts with ``prefix``, in the order of their names."""
        for path in sorted(self._directory.glob(f"{prefix}*{SUFFIX}")):
            record = self.read(path.name.removesuffix(SUFFIX))
            if record is not None:
                yield record

    def _open(self, name: str, content: bytes) -> Record:
        start = len(MAGIC) + 2
        end = start + int.from_bytes(content[len(MAGIC) : start], "big")
        body = open_bytes(self._key.reveal(), content[end:], content[:end])
        header = msgspec.json.decode(content[start:end], type=_Header)
        if (header.context, header.name) != (self._context, name):
            raise IntegrityError("the file was moved")
        return Record(name, body, header.application, header.reference, header.state)

    def _check(self) -> None:
        if any(self._directory.glob(f"*{SUFFIX}")):
            try:
                found = self.read(CHECK)
            except IntegrityError:
                found = None
            if found is None:
                raise KeystoreClosed(
                    f"keystore {self._directory} does not open: "
                    f"wrong passphrase or root.key, or {CHECK}{SUFFIX} was changed"
                )
        else:
            self.write(Record(CHECK, b""))

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(f"not the name of a keystore record: {name!r}")
        return self._directory / f"{name}{SUFFIX}"


def _private_directory(directory: Path) -> None:
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


def _write_whole(path: Path, content: bytes) -> None:
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
