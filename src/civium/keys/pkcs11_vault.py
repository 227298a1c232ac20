"""Masters in a PKCS#11 token: no private key and no symmetric master ever leaves it.

RSA masters and symmetric masters are objects of the token, sensitive and not extractable, found by CKA_ID and kept
open. A base key is made in the token, wrapped there by a dedicated AES key (CKM_AES_KEY_WRAP_PAD), kept wrapped in
the sealed files and unwrapped into the token at its first use: its clear form is in no process's memory either.

Tokens do not all know OAEP with SHA-256 (SoftHSM refuses it): the token does raw RSA and the padding is taken off
here, in time that does not depend on the content, with one error for whatever is wrong.
"""

import hashlib
import hmac
import uuid
from collections import OrderedDict
from typing import Final, NoReturn

import pkcs11
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding as paddings
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from pkcs11 import MGF, Attribute, KeyType, Mechanism, ObjectClass, exceptions
from pkcs11.constants import DEFAULT
from pkcs11.types import DecryptMixin, SignMixin, UnwrapMixin, WrapMixin

from civium.kernel.errors import IntegrityError
from civium.keys.formats.primitives import KEY_SIZE, WRAPPED_SIZE
from civium.keys.pkcs11_token import Token
from civium.keys.vault import KEY_BITS, HeldKey

HASH_BYTES: Final = 32
DIGEST_INFO: Final = bytes.fromhex("3031300d060960864801650304020105000420")
"""DER before a SHA-256 digest in a PKCS#1 v1.5 signature."""
LOADED_BASE_KEYS: Final = 4096
"""Base keys unwrapped in the token at a time."""
KEK: Final = "base-key-kek"
EPOCH: Final = "epoch"
_HIDDEN: Final = {Attribute.PRIVATE: True, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
_MASTER: Final = {**_HIDDEN, Attribute.SIGN: True, Attribute.DECRYPT: False, Attribute.UNWRAP: False}
_BASE: Final = {**_HIDDEN, Attribute.SIGN: True, Attribute.DECRYPT: True, Attribute.UNWRAP: False}
_NO_PUBLIC_USES: Final = {Attribute.ENCRYPT: DEFAULT, Attribute.VERIFY: DEFAULT, Attribute.WRAP: DEFAULT}
_PSS: Final = (Mechanism.SHA256, MGF.SHA256, HASH_BYTES)


class TokenVault:
    """One security context's masters in a token."""

    def __init__(self, token: Token, context: str) -> None:
        self._token = token
        self._context = context
        self._login = 0
        self._open: OrderedDict[bytes, pkcs11.Key] = OrderedDict()

    def make_secret(self, name: str) -> bytes:
        def make(session: pkcs11.Session) -> None:
            if self._find(session, ObjectClass.SECRET_KEY, self._id(name)) is None:
                session.generate_key(
                    KeyType.GENERIC_SECRET,
                    KEY_SIZE * 8,
                    id=self._id(name),
                    label=f"civium {self._context} {name}",
                    store=True,
                    template={**_HIDDEN, Attribute.SIGN: True},
                )

        self._token.run(make)
        return b""

    def derive(self, name: str, kept: bytes, label: str) -> bytes:  # noqa: ARG002 - nothing is kept outside
        """Return the key of SP 800-108 in counter mode with HMAC-SHA-256, computed in the token."""
        message = (1).to_bytes(4, "big") + label.encode() + b"\0" + (KEY_SIZE * 8).to_bytes(4, "big")
        return self._token.run(
            lambda session: bytes(
                self._signing(session, ObjectClass.SECRET_KEY, self._id(name)).sign(
                    message, mechanism=Mechanism.SHA256_HMAC
                )
            )
        )

    def erase_secret(self, name: str) -> None:
        self._erase(ObjectClass.SECRET_KEY, self._id(name))

    def make_key(self, alias: str, *, master: bool) -> HeldKey:
        key_id = uuid.UUID(alias).bytes

        def make(session: pkcs11.Session) -> tuple[rsa.RSAPublicKey, bytes]:
            template = _MASTER if master else {**_BASE, Attribute.EXTRACTABLE: True}
            public, private = session.generate_keypair(
                KeyType.RSA,
                KEY_BITS,
                id=key_id,
                label=f"civium {self._context}",
                store=False,
                private_template={**template, Attribute.TOKEN: master},
            )
            if master:
                return _public(public), b""
            wrapped = bytes(self._kek(session)[0].wrap_key(private, mechanism=Mechanism.AES_KEY_WRAP_PAD))
            private.destroy()
            return _public(public), wrapped

        public, kept = self._token.run(make)
        return HeldKey(self.load_key(alias, kept, public, master=master), kept)

    def adopt_key(self, alias: str, private: rsa.RSAPrivateKey, *, master: bool) -> HeldKey:
        key_id = uuid.UUID(alias).bytes
        template = {
            **(_MASTER if master else {**_BASE, Attribute.EXTRACTABLE: True}),
            **_components(private),
            Attribute.CLASS: ObjectClass.PRIVATE_KEY,
            Attribute.KEY_TYPE: KeyType.RSA,
            Attribute.TOKEN: master,
            Attribute.ID: key_id,
            Attribute.LABEL: f"civium {self._context}",
        }

        def take(session: pkcs11.Session) -> bytes:
            made = session.create_object(template)
            if master:
                return b""
            assert isinstance(made, pkcs11.PrivateKey)
            wrapped = bytes(self._kek(session)[0].wrap_key(made, mechanism=Mechanism.AES_KEY_WRAP_PAD))
            made.destroy()
            return wrapped

        kept = self._token.run(take)
        return HeldKey(self.load_key(alias, kept, private.public_key(), master=master), kept)

    def load_key(self, alias: str, kept: bytes, public: rsa.RSAPublicKey, *, master: bool) -> rsa.RSAPrivateKey:
        return _TokenKey(self, uuid.UUID(alias).bytes, public, None if master else kept)

    def erase_key(self, alias: str) -> None:
        self._erase(ObjectClass.PRIVATE_KEY, uuid.UUID(alias).bytes)

    def read(self) -> int:
        """Return how often the context's index changed, as the token remembers."""

        def find(session: pkcs11.Session) -> int:
            found = [int.from_bytes(each[Attribute.VALUE], "big") for each in self._epochs(session)]
            return max(found, default=0)

        return self._token.run(find)

    def raise_to(self, count: int) -> None:
        """Remember how often the index changed. The new count is there before the old one goes."""

        def remember(session: pkcs11.Session) -> None:
            before = self._epochs(session)
            session.create_object(
                {
                    Attribute.CLASS: ObjectClass.DATA,
                    Attribute.TOKEN: True,
                    Attribute.PRIVATE: True,
                    Attribute.LABEL: self._epoch_label,
                    Attribute.VALUE: count.to_bytes(8, "big"),
                }
            )
            for each in before:
                each.destroy()

        self._token.run(remember)

    def sign(
        self, key_id: bytes, kept: bytes | None, message: bytes, mechanism: Mechanism, parameter: object = None
    ) -> bytes:
        """Sign with a master, or (for a certificate request) with the base key that ``kept`` is the wrapped form of."""

        def sign(session: pkcs11.Session) -> bytes:
            if kept is not None:
                self._base_key(session, key_id, kept)
            key = self._signing(session, ObjectClass.PRIVATE_KEY, key_id)
            return bytes(key.sign(message, mechanism=mechanism, mechanism_param=parameter))

        return self._token.run(sign)

    def raw(self, key_id: bytes, kept: bytes, sealed: bytes) -> bytes:
        """Return RSA of ``sealed`` with a base key, padding and all. Raises ValueError."""

        def decrypt(session: pkcs11.Session) -> bytes:
            opened = self._base_key(session, key_id, kept).decrypt(sealed, mechanism=Mechanism.RSA_X_509)
            assert isinstance(opened, bytes)
            return opened

        try:
            return self._token.run(decrypt)
        except exceptions.PKCS11Error:
            raise ValueError("decryption failed") from None

    @property
    def _epoch_label(self) -> str:
        return f"civium {self._context} {EPOCH}"

    def _epochs(self, session: pkcs11.Session) -> list[pkcs11.Object]:
        return list(session.get_objects({Attribute.CLASS: ObjectClass.DATA, Attribute.LABEL: self._epoch_label}))

    def _id(self, name: str) -> bytes:
        return hashlib.sha256(f"civium/{self._context}/{name}".encode()).digest()[:16]

    def _find(self, session: pkcs11.Session, kind: ObjectClass, key_id: bytes) -> pkcs11.Key | None:
        """Return an object of the token. Handles of an earlier login are forgotten."""
        if self._login != self._token.login:
            self._open.clear()
            self._login = self._token.login
        held = self._open.get(key_id)
        if held is None:
            for found in session.get_objects({Attribute.CLASS: kind, Attribute.ID: key_id}):
                assert isinstance(found, pkcs11.Key)
                held = self._open[key_id] = found
        return held

    def _signing(self, session: pkcs11.Session, kind: ObjectClass, key_id: bytes) -> SignMixin:
        found = self._find(session, kind, key_id)
        if found is None:
            raise IntegrityError("the token lost a key of this keystore: restore the token's backup")
        assert isinstance(found, SignMixin)
        return found

    def _base_key(self, session: pkcs11.Session, key_id: bytes, kept: bytes) -> DecryptMixin:
        held = self._find(session, ObjectClass.PRIVATE_KEY, key_id)
        if held is None:
            held = self._open[key_id] = self._kek(session)[1].unwrap_key(
                ObjectClass.PRIVATE_KEY,
                KeyType.RSA,
                kept,
                id=key_id,
                mechanism=Mechanism.AES_KEY_WRAP_PAD,
                template={**_BASE, **_NO_PUBLIC_USES, Attribute.TOKEN: False},
            )
            if len(self._open) > LOADED_BASE_KEYS:
                _, oldest = self._open.popitem(last=False)
                if not oldest[Attribute.TOKEN]:
                    oldest.destroy()
        self._open.move_to_end(key_id)
        assert isinstance(held, DecryptMixin)
        return held

    def _kek(self, session: pkcs11.Session) -> tuple[WrapMixin, UnwrapMixin]:
        key_id = self._id(KEK)
        held = self._find(session, ObjectClass.SECRET_KEY, key_id)
        if held is None:
            held = self._open[key_id] = session.generate_key(
                KeyType.AES,
                KEY_SIZE * 8,
                id=key_id,
                label=f"civium {self._context} {KEK}",
                store=True,
                template={
                    **_HIDDEN,
                    Attribute.ENCRYPT: False,
                    Attribute.DECRYPT: False,
                    Attribute.SIGN: False,
                    Attribute.VERIFY: False,
                    Attribute.WRAP: True,
                    Attribute.UNWRAP: True,
                },
            )
        assert isinstance(held, WrapMixin)
        assert isinstance(held, UnwrapMixin)
        return held, held

    def _erase(self, kind: ObjectClass, key_id: bytes) -> None:
        def erase(session: pkcs11.Session) -> None:
            self._open.pop(key_id, None)
            for found in list(session.get_objects({Attribute.CLASS: kind, Attribute.ID: key_id})):
                found.destroy()

        self._token.run(erase)


class _TokenKey(rsa.RSAPrivateKey):
    """A private key in a token as `cryptography` knows one. Signs with PKCS#1 v1.5 or PSS, SHA-256; opens OAEP."""

    def __init__(self, vault: TokenVault, key_id: bytes, public: rsa.RSAPublicKey, kept: bytes | None) -> None:
        self._vault = vault
        self._key_id = key_id
        self._public = public
        self._kept = kept

    def sign(
        self,
        data: bytes | bytearray | memoryview,
        padding: paddings.AsymmetricPadding,
        algorithm: object,
    ) -> bytes:
        if isinstance(algorithm, Prehashed) and algorithm.digest_size == HASH_BYTES:
            digest = bytes(data)
        elif isinstance(algorithm, hashes.SHA256):
            digest = hashlib.sha256(data).digest()
        else:
            raise UnsupportedAlgorithm("keys in a token sign SHA-256")
        match padding:
            case paddings.PKCS1v15():
                return self._vault.sign(self._key_id, self._kept, DIGEST_INFO + digest, Mechanism.RSA_PKCS)
            case paddings.PSS():
                return self._vault.sign(self._key_id, self._kept, digest, Mechanism.RSA_PKCS_PSS, _PSS)
            case _:
                raise UnsupportedAlgorithm("keys in a token sign with PKCS#1 v1.5 or PSS")

    def decrypt(self, ciphertext: bytes | bytearray | memoryview, padding: paddings.AsymmetricPadding) -> bytes:
        """Open a 32-byte key under OAEP with SHA-256; raises ValueError, the same for whatever is wrong."""
        if not isinstance(padding, paddings.OAEP) or not isinstance(padding.algorithm, hashes.SHA256):
            raise UnsupportedAlgorithm("keys in a token open OAEP with SHA-256")
        if self._kept is None:
            raise UnsupportedAlgorithm("a master does not decrypt")
        return unpad_key(self._vault.raw(self._key_id, self._kept, bytes(ciphertext)))

    def public_key(self) -> rsa.RSAPublicKey:
        return self._public

    @property
    def key_size(self) -> int:
        return self._public.key_size

    def private_numbers(self) -> NoReturn:
        raise UnsupportedAlgorithm("the key never leaves its token")

    def private_bytes(self, encoding: object, format: object, encryption_algorithm: object) -> NoReturn:  # noqa: ARG002
        raise UnsupportedAlgorithm("the key never leaves its token")

    def __copy__(self) -> rsa.RSAPrivateKey:
        return self

    def __deepcopy__(self, memo: object) -> rsa.RSAPrivateKey:
        return self


def unpad_key(padded: bytes) -> bytes:
    """Return the 32-byte key in an OAEP block (SHA-256, MGF1 with SHA-256, empty label); raises ValueError.

    A block of a 32-byte key has its separator at one place, so everything but the key is compared at once, whatever
    differs: neither the error nor the time tells what.
    """
    if len(padded) != WRAPPED_SIZE:
        raise ValueError("decryption failed")
    masked_seed, masked = padded[1 : 1 + HASH_BYTES], padded[1 + HASH_BYTES :]
    seed = _xor(masked_seed, _mgf1(masked, HASH_BYTES))
    block = padded[:1] + _xor(masked, _mgf1(seed, len(masked)))
    zeros = len(block) - 1 - HASH_BYTES - 1 - KEY_SIZE
    expected = b"\0" + hashlib.sha256(b"").digest() + bytes(zeros) + b"\1"
    if not hmac.compare_digest(block[:-KEY_SIZE], expected):
        raise ValueError("decryption failed")
    return block[-KEY_SIZE:]


def _mgf1(seed: bytes, size: int) -> bytes:
    blocks = range(-(-size // HASH_BYTES))
    return b"".join(hashlib.sha256(seed + number.to_bytes(4, "big")).digest() for number in blocks)[:size]


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _public(key: pkcs11.PublicKey) -> rsa.RSAPublicKey:
    modulus = int.from_bytes(key[Attribute.MODULUS], "big")
    return rsa.RSAPublicNumbers(int.from_bytes(key[Attribute.PUBLIC_EXPONENT], "big"), modulus).public_key()


def _components(private: rsa.RSAPrivateKey) -> dict[Attribute, bytes]:
    numbers = private.private_numbers()
    public = numbers.public_numbers
    return {
        attribute: number.to_bytes((number.bit_length() + 7) // 8, "big")
        for attribute, number in (
            (Attribute.MODULUS, public.n),
            (Attribute.PUBLIC_EXPONENT, public.e),
            (Attribute.PRIVATE_EXPONENT, numbers.d),
            (Attribute.PRIME_1, numbers.p),
            (Attribute.PRIME_2, numbers.q),
            (Attribute.EXPONENT_1, numbers.dmp1),
            (Attribute.EXPONENT_2, numbers.dmq1),
            (Attribute.COEFFICIENT, numbers.iqmp),
        )
    }
