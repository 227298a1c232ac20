"""Both security contexts' keys, in process, made once for the whole session: the hierarchy costs seconds."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from civium.kernel.clock import Clock, SystemClock
from civium.keys import allowlist
from civium.keys.allowlist import Gate
from civium.keys.client import InProcess, KeysClient
from civium.keys.opening import Unsealing
from civium.keys.operations import Keystores
from civium.keys.sealing import KeySealer


def open_home(home: Path, clock: Clock, how: Unsealing | None = None) -> Keystores:
    """Open the keystores of an installation whose home is ``home``."""
    return Keystores(home / "keys", how or Unsealing(), zk_pool_size=16, clock=clock)


@pytest.fixture(scope="session")
def keystores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keystores]:
    with open_home(tmp_path_factory.mktemp("keystores"), SystemClock()) as opened:
        yield opened


@pytest.fixture(scope="session")
async def keys_core(keystores: Keystores) -> AsyncIterator[KeysClient]:
    client = KeysClient(InProcess(Gate("core", allowlist.CORE), keystores.core, threads=2))
    yield client
    await client.close()


@pytest.fixture(scope="session")
async def keys_auth(keystores: Keystores) -> AsyncIterator[KeysClient]:
    client = KeysClient(InProcess(Gate("auth", allowlist.AUTH), keystores.auth, threads=2))
    yield client
    await client.close()


@pytest.fixture(scope="session")
async def sealer_core(keys_core: KeysClient) -> KeySealer:
    return KeySealer(keys_core)


@pytest.fixture(scope="session")
async def sealer_auth(keys_auth: KeysClient) -> KeySealer:
    return KeySealer(keys_auth)
