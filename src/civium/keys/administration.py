"""The operator's view of both keystores: through the key process while it serves, else by opening them here.

Over a socket keys are listed, rotated and revoked. To destroy a key or take one in, the keystores must be opened with
what unseals them while nothing serves: a stolen web worker can do neither.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from civium.kernel.secrets import Secret
from civium.keys import allowlist
from civium.keys.allowlist import Gate
from civium.keys.api import KeyProblem, KeyRef
from civium.keys.client import InProcess, KeysClient, connect
from civium.keys.operations import Keystores, Operations
from civium.keys.process import admin_socket_path
from civium.platform.settings import Settings

CONTEXTS: Final = ("core", "auth")


def context_of(application: str) -> str:
    """Return the security context that an application's keys are in."""
    return "auth" if application == "IDA" or application.startswith("IDA_") else "core"


@asynccontextmanager
async def through_process(settings: Settings) -> AsyncIterator[Mapping[str, KeysClient]]:
    """Give each context's keys as the serving key process has them."""
    clients = {context: connect(admin_socket_path(settings.home, context)) for context in CONTEXTS}
    try:
        yield clients
    finally:
        for client in clients.values():
            await client.close()


@asynccontextmanager
async def in_process(stores: Keystores) -> AsyncIterator[Mapping[str, KeysClient]]:
    """Give each context's keys of keystores that are open here."""
    clients = {
        context: KeysClient(InProcess(Gate(context, allowlist.ADMIN), operations(stores, context), threads=1))
        for context in CONTEXTS
    }
    try:
        yield clients
    finally:
        for client in clients.values():
            await client.close()


def operations(stores: Keystores, context: str) -> Operations:
    """Return the operations of a security context."""
    return {"core": stores.core, "auth": stores.auth}[context]


def import_p12(stores: Keystores, context: str, ref: KeyRef, data: bytes, password: Secret[str] | None) -> str:
    """Take the key and certificate of a PKCS#12 file in as the key's current generation; return its thumbprint in hex.

    Raises KeyProblem: KER-KMA-004 for a file that does not open or holds no RSA key, and as ``Hierarchy.adopt`` does.
    """
    try:
        loaded = pkcs12.load_pkcs12(data, None if password is None else password.reveal().encode())
    except ValueError:
        raise _no_key() from None
    if not isinstance(loaded.key, rsa.RSAPrivateKey) or loaded.cert is None:
        raise _no_key()
    return operations(stores, context).hierarchy.adopt(ref, loaded.key, loaded.cert.certificate).thumbprint.hex()


def _no_key() -> KeyProblem:
    return KeyProblem("KER-KMA-004", "No such alias: the PKCS#12 file does not open or holds no RSA key")
