"""Hashes, salts, tokens and key names (keys-and-crypto sections 2, 5 and 6.1). Pure functions of their inputs.

The salted forms exist for foreign readers only; inside, identifiers are kept as keyed hashes.
"""

import hashlib
from datetime import date

from civium.kernel.encoding import b64u, sha256, sha256_hex_upper, unb64

TOKEN_LENGTH = 36


def id_hash(id: str, salt: str) -> str:
    """Return upper-hex SHA-256 of the id and the TEXT of its salt (``id_hash``, and ``uin_hash`` after its prefix)."""
    return sha256_hex_upper(id.encode() + salt.encode())


def decoded_id_hash(id: str, salt: str) -> str:
    """Return upper-hex SHA-256 of the id and the DECODED salt: VID service and handles. Raises ValueError."""
    return sha256_hex_upper(id.encode() + unb64(salt))


def modulo(id: str) -> int:
    """Return the last three decimal digits, the salt's number in the identity and VID services."""
    return int(id[-3:])


def hash_modulo(id: str) -> int:
    """Return the salt's number in authentication, handles and credential events: from the hash of the id."""
    return int(sha256_hex_upper(id.encode())[-3:], 16) % 1000


def token_id(id: str, partner_code: str, *, id_salt: str, partner_salt: str) -> str:
    """Return the 36-digit pairwise token (single hash, section 5.4)."""
    hashed_id = sha256_hex_upper((id + id_salt).encode())
    digest = sha256_hex_upper((partner_salt + partner_code + hashed_id).encode())
    return str(int.from_bytes(digest.encode(), "big"))[:TOKEN_LENGTH]


def uni_ident(application_id: str, reference_id: str, generated_on: date) -> str:
    """Return the name of a key generation: upper-hex SHA-1 of ids and day."""
    return _sha1_hex(f"{application_id}_{reference_id}_{generated_on:%m-%d-%Y}")


def foreign_uni_ident(application_id: str, reference_id: str, thumbprint: bytes) -> str:
    """Return the name of another domain's certificate: upper-hex SHA-1 of ids and thumbprint."""
    return _sha1_hex(f"{application_id}_{reference_id}_{thumbprint.hex().upper()}")


def _sha1_hex(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest().upper()  # noqa: S324 - a name, not a protection


def key_id(uni_ident: str) -> str:
    """Return the JWS ``kid`` of a key generation."""
    return b64u(sha256(bytes.fromhex(uni_ident)))
