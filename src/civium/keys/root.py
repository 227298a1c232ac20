"""What unseals the keystores under a home: the root key, and who must be there to have it.

One of four, chosen by the settings and fixed at the first start:

- the file ``root.key`` beside the keystores, which protects only as well as the file system does;
- one passphrase (Argon2id);
- two passphrases of two custodians, neither of which tells anything without the other (dual control);
- a secret in a PKCS#11 token (:mod:`civium.keys.pkcs11_vault`).
"""

import hmac
import secrets
from pathlib import Path
from typing import Final

import structlog
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from civium.kernel.secrets import Secret
from civium.keys.keystore import KEY_BYTES, KeystoreClosed, derive, private_directory, write_whole

ARGON2_KIB: Final = 64 * 1024
ARGON2_PASSES: Final = 3
ARGON2_LANES: Final = 4
SALT_BYTES: Final = 16

KEY_FILE: Final = "root.key"
SALT_FILE: Final = "root.salt"
DUAL_FILE: Final = "root.dual"
TOKEN_FILE: Final = "root.token"  # noqa: S105 - the name of a file

_KINDS: Final = {
    KEY_FILE: "with root.key: set neither a passphrase nor a token",
    SALT_FILE: "with a passphrase: set CIVIUM_KEYS__PASSPHRASE, and it alone",
    DUAL_FILE: "with two passphrases: set CIVIUM_KEYS__PASSPHRASE and CIVIUM_KEYS__SECOND_PASSPHRASE",
    TOKEN_FILE: "with a PKCS#11 token: set CIVIUM_KEYS__PKCS11_LIBRARY, _TOKEN and _PIN",
}
_log = structlog.get_logger(__name__)


def kind(home: Path) -> str | None:
    """Return the name of the file that tells what unseals the keystores under ``home``; None before the first start."""
    return next((name for name in _KINDS if (home / name).exists()), None)


def claim(home: Path, wanted: str) -> bool:
    """Check that the keystores are, or may become, of the kind ``wanted``; tell whether they are new.

    Raises KeystoreClosed when they were made with another kind of root key.
    """
    private_directory(home)
    found = kind(home)
    if found not in {None, wanted}:
        raise KeystoreClosed(f"the keystores under {home} are sealed {_KINDS[found or wanted]}")
    return found is None


def root_key(home: Path, passphrase: Secret[str] | None, second: Secret[str] | None = None) -> Secret[bytes]:
    """Return the root key of the keystores under ``home``, making it at the first start.

    Raises KeystoreClosed when the keystores were made with another kind of root key. Costs about 0.1 s for each
    passphrase (Argon2id, 64 MiB).
    """
    if passphrase is None:
        if second is not None:
            raise KeystoreClosed("the second passphrase is set without the first: set CIVIUM_KEYS__PASSPHRASE")
        return _from_file(home)
    if second is None:
        salt = _salt(home, SALT_FILE, SALT_BYTES)
        return Secret(_stretch(passphrase, salt))
    if hmac.compare_digest(passphrase.reveal().encode(), second.reveal().encode()):
        raise KeystoreClosed("dual control needs two different passphrases, each known to one custodian")
    salts = _salt(home, DUAL_FILE, 2 * SALT_BYTES)
    halves = _stretch(passphrase, salts[:SALT_BYTES]) + _stretch(second, salts[SALT_BYTES:])
    return Secret(derive(halves, "root of two custodians"))


def _from_file(home: Path) -> Secret[bytes]:
    path = home / KEY_FILE
    if claim(home, KEY_FILE):
        write_whole(path, secrets.token_bytes(KEY_BYTES))
        _log.warning("root_key_made", file=str(path), advice="set keys.passphrase, or guard and back up the file")
    return Secret(path.read_bytes())


def _salt(home: Path, name: str, size: int) -> bytes:
    if claim(home, name):
        write_whole(home / name, secrets.token_bytes(size))
    salt = (home / name).read_bytes()
    if len(salt) != size:
        raise KeystoreClosed(f"{home / name} was changed: restore it from a backup")
    return salt


def _stretch(passphrase: Secret[str], salt: bytes) -> bytes:
    kdf = Argon2id(salt=salt, length=KEY_BYTES, iterations=ARGON2_PASSES, lanes=ARGON2_LANES, memory_cost=ARGON2_KIB)
    return kdf.derive(passphrase.reveal().encode())
