"""Opens the sealed files and the vaults of both security contexts, as the settings say."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from civium.kernel.secrets import Secret
from civium.keys.keystore import Floor, Keystore, KeystoreClosed, write_whole
from civium.keys.pkcs11_token import Token
from civium.keys.pkcs11_vault import TokenVault
from civium.keys.root import TOKEN_FILE, claim, root_key
from civium.keys.vault import SoftwareVault, Vault
from civium.platform.settings import KeySettings

CONTEXTS: Final = ("core", "auth")
_FILES: Final = "sealed-files"


@dataclass(frozen=True, slots=True)
class TokenAccess:
    """A PKCS#11 token and its PIN."""

    library: Path
    label: str
    pin: Secret[str]


@dataclass(frozen=True, slots=True)
class Unsealing:
    """What opens the keystores: nothing but ``root.key``, one passphrase, two, or a token."""

    passphrase: Secret[str] | None = None
    second_passphrase: Secret[str] | None = None
    token: TokenAccess | None = None


def unsealing(settings: KeySettings) -> Unsealing:
    """Return what the settings give; raises KeystoreClosed when they contradict themselves."""
    passphrase, second = (
        None if given is None else Secret(given.get_secret_value())
        for given in (settings.passphrase, settings.second_passphrase)
    )
    if any(given is not None and not given.reveal() for given in (passphrase, second)):
        raise KeystoreClosed("a passphrase is set and empty: leave the setting out instead")
    if settings.pkcs11_library is None:
        return Unsealing(passphrase, second)
    if passphrase is not None or second is not None:
        raise KeystoreClosed("a token and a passphrase are set: the keystores are sealed with one of them")
    if settings.pkcs11_pin is None:
        raise KeystoreClosed("the token needs its PIN: set CIVIUM_KEYS__PKCS11_PIN")
    pin = Secret(settings.pkcs11_pin.get_secret_value())
    return Unsealing(token=TokenAccess(settings.pkcs11_library, settings.pkcs11_token, pin))


def open_stores(home: Path, how: Unsealing, closing: ExitStack) -> dict[str, tuple[Keystore, Vault]]:
    """Return each context's sealed files and vault; ``closing`` closes them.

    Raises KeystoreClosed (wrong passphrase or PIN, in use) or IntegrityError (changed or lost files).
    """
    if how.token is not None:
        return _open_in_token(home, how.token, closing)
    root = root_key(home, how.passphrase, how.second_passphrase)
    opened: dict[str, tuple[Keystore, Vault]] = {}
    for context in CONTEXTS:
        store = _open(home, context, root, closing)
        opened[context] = store, SoftwareVault(store)
    return opened


def _open_in_token(home: Path, access: TokenAccess, closing: ExitStack) -> dict[str, tuple[Keystore, Vault]]:
    new = claim(home, TOKEN_FILE)
    token = Token(access.library, access.label, access.pin, home)
    closing.callback(token.close)
    if new:
        write_whole(home / TOKEN_FILE, access.label.encode())
    opened: dict[str, tuple[Keystore, Vault]] = {}
    for context in CONTEXTS:
        vault = TokenVault(token, context)
        if not (home / context).exists():
            vault.make_secret(_FILES)
        store = _open(home, context, Secret(vault.derive(_FILES, b"", "root")), closing, vault)
        opened[context] = store, vault
    return opened


def _open(home: Path, context: str, root: Secret[bytes], closing: ExitStack, floor: Floor | None = None) -> Keystore:
    store = Keystore(home / context, context, root, floor)
    closing.callback(store.close)
    return store
