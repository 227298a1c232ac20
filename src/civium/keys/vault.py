"""Where the masters of a security context live: the one interface behind which software and PKCS#11 keystores stand.

A vault holds what never leaves: symmetric masters, of which only derived keys come out, and RSA private keys, which
come out as objects that sign and decrypt. What it must find again it gives to the keystore to keep (``kept``): sealed
key material in software, nothing or a wrapped key with a token.
"""

import secrets
from dataclasses import dataclass, field
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from civium.keys.keystore import KEY_BYTES, Keystore, Record, derive, open_bytes, seal_bytes

PUBLIC_EXPONENT: Final = 65537
KEY_BITS: Final = 2048
BASE_KEY_KEK: Final = "base-key-kek"


@dataclass(frozen=True, slots=True)
class HeldKey:
    """An RSA private key in a vault, and what the keystore keeps of it. ``kept`` opens nothing outside of the vault."""

    private: rsa.RSAPrivateKey
    kept: bytes = field(repr=False)


class Vault(Protocol):
    """The masters of one security context. Thread-safe.

    ``alias`` is a key's UUID. A master signs only, a base key decrypts only, and base keys are wrapped by a key of
    their own (keys-and-crypto section 13 no. 8).
    """

    def make_secret(self, name: str) -> bytes:
        """Make a symmetric master and return what the keystore must keep; one that is there already is taken."""
        ...

    def derive(self, name: str, kept: bytes, label: str) -> bytes:
        """Return the 32-byte key that ``label`` names below a symmetric master."""
        ...

    def erase_secret(self, name: str) -> None:
        """Forget a symmetric master."""
        ...

    def make_key(self, alias: str, *, master: bool) -> HeldKey:
        """Make an RSA-2048 key. About 0.1 s."""
        ...

    def adopt_key(self, alias: str, private: rsa.RSAPrivateKey, *, master: bool) -> HeldKey:
        """Take in a key that was made elsewhere."""
        ...

    def load_key(self, alias: str, kept: bytes, public: rsa.RSAPublicKey, *, master: bool) -> rsa.RSAPrivateKey:
        """Return a key that was made or taken in before; raises IntegrityError when ``kept`` was changed."""
        ...

    def erase_key(self, alias: str) -> None:
        """Forget an RSA key."""
        ...


class SoftwareVault:
    """Masters in this process's memory; at rest in the sealed files."""

    def __init__(self, store: Keystore) -> None:
        """Read or make the key that wraps base keys."""
        name = f"secret-{BASE_KEY_KEK}"
        record = store.read(name)
        if record is None:
            record = Record(name, secrets.token_bytes(KEY_BYTES), BASE_KEY_KEK)
            store.write(record)
        self._kek = derive(record.body, f"{BASE_KEY_KEK}/rsa")

    def make_secret(self, name: str) -> bytes:  # noqa: ARG002 - a token names its objects
        return secrets.token_bytes(KEY_BYTES)

    def derive(self, name: str, kept: bytes, label: str) -> bytes:
        return derive(kept, f"{name}/{label}")

    def erase_secret(self, name: str) -> None:
        """Do nothing: the sealed file was all there is."""

    def make_key(self, alias: str, *, master: bool) -> HeldKey:
        return self.adopt_key(alias, rsa.generate_private_key(PUBLIC_EXPONENT, KEY_BITS), master=master)

    def adopt_key(self, alias: str, private: rsa.RSAPrivateKey, *, master: bool) -> HeldKey:
        pkcs8 = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return HeldKey(private, pkcs8 if master else seal_bytes(self._kek, pkcs8, alias.encode()))

    def load_key(self, alias: str, kept: bytes, public: rsa.RSAPublicKey, *, master: bool) -> rsa.RSAPrivateKey:
        pkcs8 = kept if master else open_bytes(self._kek, kept, alias.encode())
        # The checks that are skipped cost 50 ms; the file was authenticated, and we wrote it.
        loaded = load_der_private_key(pkcs8, None, unsafe_skip_rsa_key_validation=True)
        assert isinstance(loaded, rsa.RSAPrivateKey)
        assert loaded.public_key() == public
        return loaded

    def erase_key(self, alias: str) -> None:
        """Do nothing: the sealed file was all there is."""
