"""Client crypto: keys of registration machines, in a TPM or in a file (keys-and-crypto section 4.8)."""

import secrets
from dataclasses import dataclass, field
from enum import StrEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from civium.kernel.encoding import unb64
from civium.keys.errors import DecryptionFailed, KeyProblem, SignatureInvalid
from civium.keys.formats.primitives import (
    AAD_SIZE,
    NONCE_SIZE,
    TAG_SIZE,
    WRAPPED_SIZE,
    gcm_decrypt,
    gcm_encrypt,
    new_key,
)

_TPM_RSA = 0x0001
_TPM_HASHES: dict[int, type[hashes.HashAlgorithm]] = {0x0004: hashes.SHA1, 0x000B: hashes.SHA256}
_TPM_NULL = 0x0010
_TPM_RSASSA = 0x0014
_TPM_OAEP = 0x0017
_DEFAULT_EXPONENT = 65537
_OLD_IV_SIZE, _OLD_AAD_SIZE = 16, 12


class ClientType(StrEnum):
    """Where a machine keeps its private key."""

    TPM = "TPM"
    LOCAL = "LOCAL"
    ANDROID = "ANDROID"


@dataclass(frozen=True, slots=True)
class MachineKey:
    """The public key of a machine. ``index`` is its ``keyIndex`` / ``signKeyIndex``."""

    client_type: ClientType
    public_key: rsa.RSAPublicKey
    index: str
    oaep: padding.OAEP


def key_index(encoded_key: bytes) -> str:
    """Return lower-hex SHA-256 of a public key as the machine encodes it, bytes parted by colons."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(encoded_key)
    return digest.finalize().hex(":")


def parse_public_key(encoded: bytes, client_type: ClientType | None = None) -> MachineKey:
    """Return the key in TPMT_PUBLIC or SubjectPublicKeyInfo form.

    Without ``client_type`` what parses as TPMT_PUBLIC is a TPM's, anything else LOCAL. Raises KeyProblem
    (KER-CRY-002) for other bytes and for keys other than RSA-2048.
    """
    if client_type in (None, ClientType.TPM):
        try:
            return _tpm_key(encoded)
        except _NotTpmPublic as problem:
            if client_type is ClientType.TPM:
                raise _invalid_key() from problem
    mgf_hash = hashes.SHA1() if client_type is ClientType.ANDROID else hashes.SHA256()  # noqa: S303 - as the client
    oaep = padding.OAEP(mgf=padding.MGF1(mgf_hash), algorithm=hashes.SHA256(), label=None)
    return MachineKey(client_type or ClientType.LOCAL, _subject_public_key(encoded), key_index(encoded), oaep)


def _invalid_key() -> KeyProblem:
    return KeyProblem("KER-CRY-002", "public key is invalid")


def _subject_public_key(encoded: bytes) -> rsa.RSAPublicKey:
    try:
        key = serialization.load_der_public_key(encoded)
    except Exception as problem:
        raise _invalid_key() from problem
    if not isinstance(key, rsa.RSAPublicKey):
        raise _invalid_key()
    return _checked(key)


def _checked(key: rsa.RSAPublicKey) -> rsa.RSAPublicKey:
    if key.key_size != WRAPPED_SIZE * 8:
        raise _invalid_key()
    return key


class _NotTpmPublic(Exception):
    """Bytes are no TPMT_PUBLIC structure of an RSA key."""


class _Reader:
    """Big-endian fields of a TPM structure."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    def take(self, size: int) -> bytes:
        if len(self._rest) < size:
            raise _NotTpmPublic
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def integer(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def sized(self) -> bytes:
        return self.take(self.integer(2))

    def end(self) -> None:
        if self._rest:
            raise _NotTpmPublic


def _tpm_key(encoded: bytes) -> MachineKey:
    reader = _Reader(encoded)
    if reader.integer(2) != _TPM_RSA:
        raise _NotTpmPublic
    name_hash = _TPM_HASHES.get(reader.integer(2))
    if name_hash is None:
        raise _NotTpmPublic
    reader.integer(4)  # objectAttributes
    reader.sized()  # authPolicy
    if reader.integer(2) != _TPM_NULL:  # symmetric: only storage parents have one
        raise _NotTpmPublic
    scheme = reader.integer(2)
    if scheme in (_TPM_RSASSA, _TPM_OAEP):
        reader.integer(2)  # hashAlg
    elif scheme != _TPM_NULL:
        raise _NotTpmPublic
    reader.integer(2)  # keyBits: the modulus decides
    exponent = reader.integer(4) or _DEFAULT_EXPONENT
    modulus = int.from_bytes(reader.sized(), "big")
    reader.end()
    try:
        key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError as problem:
        raise _NotTpmPublic from problem
    # The TPM ends the label, an empty text, with a zero byte.
    oaep = padding.OAEP(mgf=padding.MGF1(name_hash()), algorithm=name_hash(), label=b"\x00")
    return MachineKey(ClientType.TPM, _checked(key), key_index(encoded), oaep)


def verify(key: MachineKey, data: bytes, signature: str) -> None:
    """Check a machine's RS256 signature, base64 of either alphabet; raises SignatureInvalid."""
    try:
        key.public_key.verify(unb64(signature), data, padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, ValueError):
        raise SignatureInvalid("the machine's signature does not hold") from None


def encrypt(key: MachineKey, clear: bytes) -> bytes:
    """Return ``encKey256 ‖ iv12 ‖ aad32 ‖ ct ‖ tag``, which only the machine opens."""
    session_key, iv, aad = new_key(), secrets.token_bytes(NONCE_SIZE), secrets.token_bytes(AAD_SIZE)
    return key.public_key.encrypt(session_key, key.oaep) + iv + aad + gcm_encrypt(session_key, iv, clear, aad)


@dataclass(frozen=True, slots=True)
class SealedForMachine:
    """What was encrypted to a machine, taken apart."""

    wrapped_key: bytes
    rest: bytes = field(repr=False)


def split(sealed: bytes) -> SealedForMachine:
    """Return the parts; raises DecryptionFailed for bytes that are too few."""
    if len(sealed) < WRAPPED_SIZE + _OLD_IV_SIZE + _OLD_AAD_SIZE + TAG_SIZE:
        raise DecryptionFailed("the data is too short")
    return SealedForMachine(sealed[:WRAPPED_SIZE], sealed[WRAPPED_SIZE:])


def open_data(session_key: bytes, sealed: SealedForMachine) -> bytes:
    """Return the clear data, of ``iv12 ‖ aad32 ‖ ct ‖ tag`` or the older ``iv16 ‖ aad12 ‖ ct ‖ tag``.

    Raises DecryptionFailed. The sizes differ, so data of one form never opens as the other.
    """
    try:
        return _open(session_key, sealed.rest, NONCE_SIZE, AAD_SIZE)
    except DecryptionFailed:
        return _open(session_key, sealed.rest, _OLD_IV_SIZE, _OLD_AAD_SIZE)


def _open(session_key: bytes, rest: bytes, iv_size: int, aad_size: int) -> bytes:
    data_at = iv_size + aad_size
    return gcm_decrypt(session_key, rest[:iv_size], rest[data_at:], rest[iv_size:data_at])
