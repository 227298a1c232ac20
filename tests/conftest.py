"""A real PostgreSQL for every test: one server per worker process, one fresh database per test."""

import asyncio
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from civium.kernel.clock import SystemClock
from civium.kernel.secrets import Secret
from civium.platform.database import Database, open_pool
from civium.platform.migrations import migrate
from civium.platform.outbox import SealedOutbox
from civium.platform.postgres import AUTH, BOOTSTRAP, CORE, OWNER, Cluster, context_role
from civium.platform.sealing import Sealer
from civium.platform.settings import DatabaseSettings
from keys_fixtures import *  # noqa: F403
from platform_fixtures import *  # noqa: F403


class TestDatabase:
    """One test's own migrated database."""

    __test__ = False

    def __init__(self, cluster: Cluster, name: str, core: asyncpg.Pool, auth: asyncpg.Pool) -> None:
        self.name = name
        self.core_pool = core
        self.auth_pool = auth
        self._cluster = cluster

    def core(self, context: str) -> Database:
        """Return the database as a core context sees it, under the context's role."""
        return Database(self.core_pool, context_role(context))

    def auth(self, context: str = "authentication") -> Database:
        """Return the database as a context of authentication sees it, under the context's role."""
        return Database(self.auth_pool, context_role(context))

    def dsn(self, role: str) -> Secret[str]:
        """Return the connection string of a login role to this database."""
        return self._cluster.dsn(role, self.name)

    async def outbox_rows(self, schema: str = "outbox_core") -> list[asyncpg.Record]:
        """Return the events not yet delivered, oldest first."""
        pool = self.core_pool if schema == "outbox_core" else self.auth_pool
        return await pool.fetch(f"SELECT * FROM {schema}.outbox ORDER BY seq")

    async def as_owner(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Run a statement as the owner of every table: for tests that tamper or look behind the curtain."""
        connection = await asyncpg.connect(self.dsn(OWNER).reveal())
        try:
            return await connection.fetch(statement, *arguments)
        finally:
            await connection.close()


@pytest.fixture(scope="session")
def fast_directory() -> str | None:
    """A directory in memory if there is a roomy one: copying a database there takes 10 ms instead of 400."""
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() and shutil.disk_usage(shared).free > 2**30 else None


@pytest.fixture(scope="session")
def cluster(fast_directory: str | None) -> Iterator[Cluster]:
    """A running server without durability, for this worker process."""
    home = Path(tempfile.mkdtemp(prefix="civium-test-", dir=fast_directory))
    home.chmod(0o711)
    server = Cluster(home, DatabaseSettings(durable=False))
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def template(cluster: Cluster) -> str:
    """The name of a migrated database that tests are copied from."""
    asyncio.run(migrate(cluster.dsn(OWNER)))
    return "civium"


@pytest.fixture
async def db(cluster: Cluster, template: str) -> AsyncIterator[TestDatabase]:
    """A fresh migrated database, dropped after the test."""
    name = f"t{uuid.uuid4().hex}"
    admin = await asyncpg.connect(cluster.dsn(BOOTSTRAP, "postgres").reveal())
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {OWNER} STRATEGY FILE_COPY")
        try:
            async with AsyncExitStack() as stack:
                core = await open_pool(cluster.dsn(CORE, name).reveal(), size=8)
                stack.push_async_callback(core.close)
                auth = await open_pool(cluster.dsn(AUTH, name).reveal(), size=8)
                stack.push_async_callback(auth.close)
                yield TestDatabase(cluster, name, core, auth)
        finally:
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest.fixture
def clock() -> SystemClock:
    return SystemClock()


@pytest.fixture
def outbox_core(sealer_core: Sealer, clock: SystemClock) -> SealedOutbox:
    return SealedOutbox("outbox_core", sealer_core, clock)


@pytest.fixture
def outbox_auth(sealer_auth: Sealer, clock: SystemClock) -> SealedOutbox:
    return SealedOutbox("outbox_auth", sealer_auth, clock)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of the shared running platform on one worker, so that it is started once."""
    for item in items:
        if "platform" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("platform"))
