"""Migrations: order, drift, isolation of the contexts' roles."""

import asyncpg
import pytest

from civium.platform.migrations import MigrationError, find_migrations, migrate
from civium.platform.postgres import AUTH, CORE, OWNER


def write(root, context, name, body="SELECT 1;"):
    folder = root / context / "migrations"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"-- migrate:up\n{body}\n-- migrate:down\n")
    return path


async def test_every_context_is_migrated_once(db):
    assert await migrate(db.dsn(OWNER)) == []


async def test_only_missing_files_are_applied(db, tmp_path):
    write(tmp_path, "zoo", "9001_zoo_first.sql", "CREATE SCHEMA zoo; CREATE TABLE zoo.a (x int);")
    assert await migrate(db.dsn(OWNER), root=tmp_path) == ["9001_zoo_first.sql"]
    write(tmp_path, "zoo", "9002_zoo_second.sql", "CREATE TABLE zoo.b (x int);")
    assert await migrate(db.dsn(OWNER), root=tmp_path) == ["9002_zoo_second.sql"]
    assert await db.as_owner("SELECT * FROM zoo.b") == []


async def test_a_changed_applied_file_is_refused_by_name(db, tmp_path):
    path = write(tmp_path, "zoo", "9001_zoo_first.sql")
    await migrate(db.dsn(OWNER), root=tmp_path)
    path.write_text(path.read_text() + "-- a harmless remark\n")
    with pytest.raises(MigrationError, match="9001_zoo_first"):
        await migrate(db.dsn(OWNER), root=tmp_path)


async def test_a_late_file_of_the_same_context_is_refused(db, tmp_path):
    write(tmp_path, "zoo", "9002_zoo_second.sql")
    await migrate(db.dsn(OWNER), root=tmp_path)
    write(tmp_path, "zoo", "9001_zoo_first.sql")
    with pytest.raises(MigrationError, match="9001_zoo_first"):
        await migrate(db.dsn(OWNER), root=tmp_path)


async def test_a_failing_file_leaves_nothing(db, tmp_path):
    path = write(tmp_path, "zoo", "9001_zoo_first.sql", "CREATE SCHEMA zoo; SELECT nonsense;")
    with pytest.raises(MigrationError, match="nonsense"):
        await migrate(db.dsn(OWNER), root=tmp_path)
    assert await db.as_owner("SELECT 1 FROM pg_namespace WHERE nspname = 'zoo'") == []
    path.write_text("-- migrate:up\nCREATE SCHEMA zoo;\n-- migrate:down\n")
    assert await migrate(db.dsn(OWNER), root=tmp_path) == ["9001_zoo_first.sql"]


def test_two_files_of_one_number_are_refused(tmp_path):
    write(tmp_path, "zoo", "9001_zoo_first.sql")
    write(tmp_path, "park", "9001_park_first.sql")
    with pytest.raises(MigrationError, match="9001"):
        find_migrations(tmp_path)


def test_an_ill_named_file_is_refused(tmp_path):
    write(tmp_path, "zoo", "first.sql")
    with pytest.raises(MigrationError, match="first"):
        find_migrations(tmp_path)


async def test_without_compression_nothing_is_stored_compressed(db, tmp_path):
    write(tmp_path, "zoo", "9001_zoo_first.sql", "CREATE SCHEMA zoo; CREATE TABLE zoo.a (x text, y bytea, z jsonb);")
    await migrate(db.dsn(OWNER), root=tmp_path, compression=False)
    await db.as_owner("INSERT INTO zoo.a (x) VALUES (repeat('canary', 10000))")
    assert await db.as_owner("SELECT 1 FROM zoo.a WHERE pg_column_size(x) >= 60000")


async def test_the_login_roles_may_not_create_or_migrate(db):
    for role in (CORE, AUTH):
        connection = await asyncpg.connect(db.dsn(role).reveal())
        try:
            for forbidden in ("CREATE SCHEMA mine", "CREATE TABLE outbox_core.mine (x int)", "CREATE ROLE mine"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(forbidden)
        finally:
            await connection.close()


async def test_authentication_cannot_read_the_core_outbox(db):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await db.auth_pool.fetch("SELECT * FROM outbox_core.outbox")


async def test_a_context_may_write_but_not_read_the_outbox(db):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await db.core("identity").fetch("SELECT payload FROM outbox_core.outbox")


async def test_what_stood_before_a_failing_file_is_kept_and_guarded(db, tmp_path):
    first = write(tmp_path, "zoo", "9001_zoo_first.sql", "CREATE SCHEMA zoo;")
    write(tmp_path, "zoo", "9002_zoo_second.sql", "SELECT nonsense;")
    with pytest.raises(MigrationError, match="nonsense"):
        await migrate(db.dsn(OWNER), root=tmp_path)
    first.write_text(first.read_text() + "-- a remark\n")
    with pytest.raises(MigrationError, match="9001_zoo_first"):
        await migrate(db.dsn(OWNER), root=tmp_path)
