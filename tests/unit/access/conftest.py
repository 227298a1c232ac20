import pytest

from civium.access import wiring
from civium.platform.settings import Settings


@pytest.fixture
def build(db, sealer_core, keys_core, outbox_core, clock, tmp_path):
    """Builds one more process's view of access."""

    def again(mode="production", clock=clock, **changes):
        service, _ = wiring.build(
            db.core("access"),
            sealer_core,
            keys_core,
            outbox_core,
            clock,
            Settings(home=tmp_path, mode=mode, **changes),
        )
        return service

    return again


@pytest.fixture
def access(build):
    return build()
