"""Keystores of these tests' own: they destroy masters, which others still need."""

from collections.abc import AsyncIterator, Iterator

import pytest

from authentication_fixtures import *  # noqa: F403
from civium.kernel.clock import SystemClock
from civium.keys import allowlist
from civium.keys.allowlist import Gate
from civium.keys.client import InProcess, KeysClient
from civium.keys.operations import Keystores
from civium.keys.sealing import KeySealer
from identity_fixtures import identity_clock, subject
from keys_fixtures import open_home

__all__ = ["identity_clock", "subject"]


@pytest.fixture
def keystores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keystores]:
    with open_home(tmp_path_factory.mktemp("keystores"), SystemClock()) as opened:
        yield opened


@pytest.fixture
async def keys_core(keystores: Keystores) -> AsyncIterator[KeysClient]:
    client = KeysClient(InProcess(Gate("core", allowlist.CORE), keystores.core, threads=1))
    yield client
    await client.close()


@pytest.fixture
async def keys_auth(keystores: Keystores) -> AsyncIterator[KeysClient]:
    client = KeysClient(InProcess(Gate("auth", allowlist.AUTH), keystores.auth, threads=1))
    yield client
    await client.close()


@pytest.fixture
async def sealer_core(keys_core: KeysClient) -> KeySealer:
    return KeySealer(keys_core)


@pytest.fixture
async def sealer_auth(keys_auth: KeysClient) -> KeySealer:
    return KeySealer(keys_auth)
