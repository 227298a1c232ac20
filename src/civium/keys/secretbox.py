"""The symmetric secrets of a keystore, and what is derived from them.

Invariant: only derived values leave; the secrets themselves stay in this object and in their sealed files.
"""

import base64
import hmac
import secrets
from functools import lru_cache
from typing import Final

from civium.kernel.errors import IntegrityError
from civium.kernel.secrets import Secret
from civium.keys.api import DecryptionFailed
from civium.keys.formats import identifiers
from civium.keys.keystore import KEY_BYTES, Keystore, Record, derive, open_bytes, seal_bytes

BASE_KEY_KEK: Final = "base-key-kek"
IDENTITY_CACHE: Final = "identity-cache"
DATA_KEYS: Final = "data-keys"
KEYED_HASHES: Final = "keyed-hashes"
UIN_SALT: Final = "uin-salt"
PARTNER_SALT: Final = "partner-salt"
IDENTIFIER_SALTS: Final = "identifier-salts"

OWN: Final = (BASE_KEY_KEK, IDENTITY_CACHE, DATA_KEYS, KEYED_HASHES)
SHARED: Final = (UIN_SALT, PARTNER_SALT)

SALTS: Final = 1000
SALT_BYTES: Final = 16
"""Hash salts are numbered 0..999 (section 5.2)."""


class SecretBox:
    """The named 32-byte secrets of one keystore."""

    def __init__(self, store: Keystore) -> None:
        """Read the secrets; raises IntegrityError when a file was changed."""
        self._store = store
        self._secrets = {
            record.name.removeprefix("secret-"): Secret(record.body) for record in store.records("secret-")
        }
        self._derived = lru_cache(maxsize=256)(self._derive)

    def establish(self, names: tuple[str, ...]) -> None:
        """Make the secrets that are missing."""
        for name in names:
            if name not in self._secrets:
                self._keep(name, secrets.token_bytes(KEY_BYTES))

    def require(self, names: tuple[str, ...]) -> None:
        """Raise IntegrityError naming the secrets whose files are gone."""
        missing = [name for name in names if name not in self._secrets]
        if missing:
            raise IntegrityError(f"the keystore lost its secrets {', '.join(missing)}: restore them from a backup")

    def share(self, names: tuple[str, ...], other: "SecretBox") -> None:
        """Give another keystore the same secrets, where it has none yet."""
        for name in names:
            other.adopt(name, self._secrets[name])

    def adopt(self, name: str, secret: Secret[bytes]) -> None:
        """Keep another keystore's secret, unless there is one already."""
        if name not in self._secrets:
            self._keep(name, secret.reveal())

    def wrap(self, secret: str, label: str, clear: bytes, aad: bytes) -> bytes:
        """Return ``clear`` sealed under the key that ``label`` names below ``secret``."""
        return seal_bytes(self._derived(secret, label), clear, aad)

    def unwrap(self, secret: str, label: str, box: bytes, aad: bytes) -> bytes:
        """Open what ``wrap`` made; raises DecryptionFailed."""
        key = self._derived(secret, label)
        try:
            return open_bytes(key, box, aad)
        except IntegrityError:
            raise DecryptionFailed("the wrapped key does not open") from None

    def keyed_hash(self, domain: str, value: bytes) -> bytes:
        """Return HMAC-SHA-256 under the domain's key. About 3 microseconds."""
        return hmac.digest(self._derived(KEYED_HASHES, domain), value, "sha256")

    def identifier_salt(self, number: int) -> str:
        """Return the base64 text of hash salt 0..999."""
        salt = hmac.digest(self._derived(IDENTIFIER_SALTS, "hash"), number.to_bytes(2, "big"), "sha256")
        return base64.b64encode(salt[:SALT_BYTES]).decode()

    def token_id(self, id: str, partner_code: str) -> str:
        """Return the pairwise token of section 5.4."""
        return identifiers.token_id(
            id, partner_code, id_salt=self._salt_text(UIN_SALT), partner_salt=self._salt_text(PARTNER_SALT)
        )

    def _salt_text(self, name: str) -> str:
        return self._secrets[name].reveal().hex()

    def _derive(self, secret: str, label: str) -> bytes:
        self.require((secret,))
        return derive(self._secrets[secret].reveal(), f"{secret}/{label}")

    def _keep(self, name: str, value: bytes) -> None:
        self._store.write(Record(f"secret-{name}", value))
        self._secrets[name] = Secret(value)
