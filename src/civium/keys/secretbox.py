"""The symmetric masters of a keystore in their versions, and what is derived from them.

Invariant: only derived values leave. A version takes over from the one before, which goes on to open what it sealed
until it is destroyed; what is sealed names its version in its first byte.
"""

import base64
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from threading import Lock
from typing import Final

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from civium.kernel.clock import Clock
from civium.kernel.errors import IntegrityError
from civium.keys.api import DecryptionFailed, KeyProblem
from civium.keys.formats import identifiers
from civium.keys.keystore import KEY_BYTES, Keystore, Record, open_bytes, seal_bytes
from civium.keys.plan import SECRET_VALIDITY
from civium.keys.vault import Vault

IDENTITY_CACHE: Final = "identity-cache"
DATA_KEYS: Final = "data-keys"
KEYED_HASHES: Final = "keyed-hashes"
HYBRID_KEYS: Final = "hybrid-keys"
UIN_SALT: Final = "uin-salt"
PARTNER_SALT: Final = "partner-salt"
IDENTIFIER_SALTS: Final = "identifier-salts"

OWN: Final = (IDENTITY_CACHE, DATA_KEYS, KEYED_HASHES, HYBRID_KEYS)
SHARED: Final = (UIN_SALT, PARTNER_SALT)
"""Salts of the tokens, which are values: both contexts hold the same, sealed in their files."""
ROTATED: Final = tuple(SECRET_VALIDITY)

MAX_VERSIONS: Final = 255
SALTS: Final = 1000
SALT_BYTES: Final = 16
"""Hash salts are numbered 0..999 (section 5.2)."""
_PREFIX: Final = "secret-"
_DESTROYED: Final = "destroyed"


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a secret; ``kept`` is what the vault gave to keep, None once destroyed."""

    number: int
    made_at: datetime
    kept: bytes | None = field(repr=False)


class _Body(msgspec.Struct, frozen=True, array_like=True):
    number: int
    made_at: datetime
    kept: bytes | None


class SecretBox:
    """The named secrets of one keystore."""

    def __init__(self, store: Keystore, vault: Vault, clock: Clock) -> None:
        """Read the secrets; raises IntegrityError when a file was changed."""
        self._store = store
        self._vault = vault
        self._clock = clock
        self._making = Lock()
        self._versions: dict[str, tuple[Version, ...]] = {}
        for record in store.records(_PREFIX):
            if record.reference:
                body = msgspec.msgpack.decode(record.body, type=_Body)
                self._remember(record.application, Version(body.number, body.made_at, body.kept))
        self._derived = lru_cache(maxsize=256)(self._derive)

    def establish(self, names: tuple[str, ...]) -> None:
        """Make the secrets that are missing."""
        with self._making:
            for name in names:
                if name not in self._versions:
                    self._make(name, 1)

    def require(self, names: tuple[str, ...]) -> None:
        """Raise IntegrityError naming the secrets whose files are gone."""
        missing = [name for name in names if name not in self._versions]
        if missing:
            raise IntegrityError(f"the keystore lost its secrets {', '.join(missing)}: restore them from a backup")

    def share(self, names: tuple[str, ...], other: "SecretBox") -> None:
        """Give another keystore the same salts, where it has none yet."""
        for name in names:
            other.adopt(name, self._value(name))

    def adopt(self, name: str, value: bytes) -> None:
        """Keep another keystore's salt, unless there is one already."""
        if name not in self._versions:
            self._keep(name, Version(1, self._clock.now(), value))

    def versions(self, name: str) -> tuple[Version, ...]:
        """Return all versions of a secret, newest first."""
        return self._versions.get(name, ())

    def rotate(self, name: str) -> Version:
        """Make a new version; the ones before only open from now on. Raises KeyProblem for a secret that cannot."""
        if name not in ROTATED:
            raise KeyProblem("KER-KMS-021", "Key Revocation not allowed.")
        with self._making:
            newest = self._newest(name)
            if newest.number == MAX_VERSIONS:
                raise KeyProblem("KER-KMS-021", "Key Revocation not allowed.")
            return self._make(name, newest.number + 1)

    def aged(self) -> tuple[str, ...]:
        """Return the secrets whose newest version is older than its policy allows."""
        now = self._clock.now()
        return tuple(name for name, days in SECRET_VALIDITY.items() if self._newest(name).made_at + days <= now)

    def destroy(self, name: str, number: int) -> None:
        """Erase an older version: what it sealed never opens again.

        Raises KeyProblem: KER-KMS-021 for the newest version, 025 for one that there is not.
        """
        with self._making:
            if name in ROTATED and number == self._newest(name).number:
                raise KeyProblem("KER-KMS-021", "Key Revocation not allowed.")
            for version in self.versions(name):
                if name in ROTATED and version.number == number:
                    self._keep(name, Version(number, version.made_at, None))
                    self._vault.erase_secret(_vault_name(name, number))
                    self._derived.cache_clear()
                    return
        raise KeyProblem("KER-KMS-025", "Key Not found for the thumbprint prepended in encrypted data.")

    def wrap(self, secret: str, label: str, clear: bytes, aad: bytes) -> bytes:
        """Return ``clear`` sealed under the key that ``label`` names below the newest version of ``secret``."""
        number = self._newest(secret).number
        return bytes((number,)) + seal_bytes(self._derived(secret, number, label), clear, aad)

    def unwrap(self, secret: str, label: str, box: bytes, aad: bytes) -> bytes:
        """Open what ``wrap`` made; raises DecryptionFailed."""
        try:
            return open_bytes(self._derived(secret, box[0] if box else 0, label), box[1:], aad)
        except IntegrityError:
            raise DecryptionFailed("the wrapped key does not open") from None

    def is_newest(self, secret: str, box: bytes) -> bool:
        """Tell whether ``wrap`` would seal with the same version now."""
        return box[:1] == bytes((self._newest(secret).number,))

    def ecb_wrapped(self, secret: str, label: str, key: bytes) -> str:
        """Return base64 of a key's two blocks under AES-256-ECB: a form of the wire, without integrity."""
        derived = self._derived(secret, self._newest(secret).number, label)
        encryptor = Cipher(algorithms.AES(derived), modes.ECB()).encryptor()  # noqa: S305
        return base64.b64encode(encryptor.update(key) + encryptor.finalize()).decode()

    def keyed_hash(self, domain: str, value: bytes) -> bytes:
        """Return HMAC-SHA-256 under the domain's key. About 3 microseconds."""
        return hmac.digest(self._derived(KEYED_HASHES, 1, domain), value, "sha256")

    def identifier_salt(self, number: int) -> str:
        """Return the base64 text of hash salt 0..999."""
        salt = hmac.digest(self._derived(IDENTIFIER_SALTS, 1, "hash"), number.to_bytes(2, "big"), "sha256")
        return base64.b64encode(salt[:SALT_BYTES]).decode()

    def token_id(self, id: str, partner_code: str) -> str:
        """Return the pairwise token of section 5.4."""
        return identifiers.token_id(
            id, partner_code, id_salt=self._value(UIN_SALT).hex(), partner_salt=self._value(PARTNER_SALT).hex()
        )

    def _newest(self, name: str) -> Version:
        self.require((name,))
        return self._versions[name][0]

    def _value(self, name: str) -> bytes:
        value = self._newest(name).kept
        assert value is not None
        return value

    def _derive(self, secret: str, number: int, label: str) -> bytes:
        self.require((secret,))
        for version in self._versions[secret]:
            if version.number == number and version.kept is not None:
                return self._vault.derive(_vault_name(secret, number), version.kept, label)
        raise IntegrityError("this version of the secret is not here")

    def _make(self, name: str, number: int) -> Version:
        kept = secrets.token_bytes(KEY_BYTES) if name in SHARED else self._vault.make_secret(_vault_name(name, number))
        version = Version(number, self._clock.now(), kept)
        self._keep(name, version)
        return version

    def _keep(self, name: str, version: Version) -> None:
        body = msgspec.msgpack.encode(_Body(version.number, version.made_at, version.kept))
        file = f"{_PREFIX}{name}" if version.number == 1 else f"{_PREFIX}{name}-{version.number}"
        state = _DESTROYED if version.kept is None else "active"
        self._store.write(Record(file, body, name, str(version.number), state))
        self._remember(name, version)

    def _remember(self, name: str, version: Version) -> None:
        others = (other for other in self.versions(name) if other.number != version.number)
        self._versions[name] = tuple(sorted((version, *others), key=lambda each: each.number, reverse=True))


def _vault_name(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"
