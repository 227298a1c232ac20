"""Argon2id as the platform hashes passwords (keys-and-crypto section 4.15)."""

import secrets
from typing import Final

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

PASSES: Final = 10
MEMORY_KIB: Final = 64 * 1024
LANES: Final = 2
HASH_SIZE: Final = 32
SALT_SIZE: Final = 16
MIN_SALT_SIZE: Final = 8


def new_salt() -> bytes:
    """Return a fresh random salt."""
    return secrets.token_bytes(SALT_SIZE)


def argon2_hash(text: str, salt: bytes) -> bytes:
    """Return the 32-byte hash. Takes 64 MiB and about 0.4 s: keep it off the event loop, and bound how many run.

    Raises ValueError for a salt of fewer than 8 bytes.
    """
    kdf = Argon2id(salt=salt, length=HASH_SIZE, iterations=PASSES, lanes=LANES, memory_cost=MEMORY_KIB)
    return kdf.derive(text.encode())
