"""The pool keys of the zero-knowledge scheme at rest (keys-and-crypto section 4.5; section 13 no. 9: never ECB here).

The core makes the pool, one sealed file; authentication keeps each key that came with a credential, a small sealed
file each. Both are sealed a second time under the context's IDENTITY_CACHE secret.
"""

import hmac
import secrets
from threading import Lock
from typing import Final

from civium.kernel.errors import IntegrityError
from civium.kernel.secrets import Secret
from civium.keys.api import DecryptionFailed, KeyProblem
from civium.keys.keystore import KEY_BYTES, Keystore, Record
from civium.keys.secretbox import IDENTITY_CACHE, SecretBox

POOL: Final = "zk-pool"
_LABEL: Final = "zk"


class ZkPool:
    """The pool keys that a context has, by index. Reads after the first are a dictionary look-up."""

    def __init__(self, store: Keystore, box: SecretBox) -> None:
        self._store = store
        self._box = box
        self._keys: dict[int, Secret[bytes]] = {}
        self._size = 0
        self._writing = Lock()

    def establish(self, size: int, *, present: bool) -> None:
        """Read the pool, making or enlarging it to ``size`` keys.

        ``present`` says that there must be one. Raises IntegrityError when it was lost or changed.
        """
        record = self._store.read(POOL)
        if record is None and present:
            raise IntegrityError("the keystore lost its pool of zero-knowledge keys: restore it from a backup")
        keys = b"" if record is None else self._box.unwrap(IDENTITY_CACHE, _LABEL, record.body, POOL.encode())
        missing = size * KEY_BYTES - len(keys)
        if missing > 0:
            keys += secrets.token_bytes(missing)
            self._write(POOL, keys)
        self._size = len(keys) // KEY_BYTES
        for index in range(self._size):
            self._keys[index] = Secret(keys[index * KEY_BYTES : (index + 1) * KEY_BYTES])

    def rewrap(self) -> None:
        """Seal everything under the newest IDENTITY_CACHE secret. One fsync for each key that was installed."""
        with self._writing:
            for record in self._store.records("zk-"):
                if not self._box.is_newest(IDENTITY_CACHE, record.body):
                    self._write(
                        record.name, self._box.unwrap(IDENTITY_CACHE, _LABEL, record.body, record.name.encode())
                    )

    def choose(self) -> tuple[int, Secret[bytes]]:
        """Return a random pool key and its index; raises KeyProblem when this context has no pool."""
        if not self._size:
            raise KeyProblem("KER-ZKC-001", "Failed to Encrypt/Decrypt Random Key.")
        index = secrets.randbelow(self._size)
        return index, self._keys[index]

    def key(self, index: int) -> Secret[bytes]:
        """Return the pool key at ``index``; raises DecryptionFailed when there is none."""
        found = self._keys.get(index)
        if found is None:
            name = _name(index)
            record = self._store.read(name)
            if record is None:
                raise DecryptionFailed("the pool key is not here")
            found = Secret(self._box.unwrap(IDENTITY_CACHE, _LABEL, record.body, name.encode()))
            self._keys[index] = found
        return found

    def wire_wrapped(self, key: bytes) -> str:
        """Return base64 of a pool key under IDENTITY_CACHE as it travels: AES-256-ECB, which only the wire has."""
        return self._box.ecb_wrapped(IDENTITY_CACHE, "zk wire", key)

    def install(self, index: int, key: bytes) -> None:
        """Keep a pool key durably. One fsync, only when it is new.

        Raises KeyProblem for another key at a taken index: what was sealed with the first would never open again.
        """
        with self._writing:
            try:
                present = self.key(index)
            except DecryptionFailed:
                name = _name(index)
                self._write(name, key)
                self._keys[index] = Secret(key)
                return
        if not hmac.compare_digest(present.reveal(), key):
            raise KeyProblem("KER-ZKC-006", "Invalid encrypted random Key.")

    def _write(self, name: str, keys: bytes) -> None:
        sealed = self._box.wrap(IDENTITY_CACHE, _LABEL, keys, name.encode())
        self._store.write(Record(name, sealed), listed=name == POOL)


def _name(index: int) -> str:
    return f"zk-{index}"
