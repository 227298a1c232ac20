"""The fixture `world`: import it in a conftest or a test module."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from authentication_world import World
from civium.platform.settings import Settings


@pytest.fixture
def ida_settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
async def world(
    db: Any, keys_core: Any, keys_auth: Any, sealer_auth: Any, ida_settings: Settings
) -> AsyncIterator[World]:
    made = World(db, keys_core, keys_auth, sealer_auth, ida_settings)
    await made.start()
    await made.settle()
    yield made
    await made.http.aclose()
