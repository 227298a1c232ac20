"""All SQL of master data."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from civium.kernel.clock import iso_millis
from civium.kernel.identifiers import CentreId, Language, MachineId
from civium.masterdata.api import Centre, IdentityMapping, IdSchema, Machine, Operator
from civium.masterdata.domain import parse_mapping
from civium.masterdata.schema import typed_schema
from civium.platform.database import Database, Transaction


@dataclass(frozen=True, slots=True)
class ShippedData:
    """The reference data that come with the platform, as read from the seed files."""

    schema_id: str
    schema_version: float
    schema_title: str
    schema_description: str
    schema_text: str
    effective_from: datetime
    mapping_text: str
    centres: Sequence[Centre]
    list_items: Sequence[tuple[str, str, str, str, int]]
    """List, code, language, name, position."""
    templates: Mapping[tuple[str, Language], str]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All reference data at one change version."""

    version: int
    schemas: tuple[IdSchema, ...] = field(repr=False)
    """Newest first."""
    mapping: IdentityMapping = field(repr=False)
    centres: Mapping[CentreId, Centre] = field(repr=False)
    machines: Mapping[MachineId, Machine] = field(repr=False)
    operators: Mapping[str, Operator] = field(repr=False)
    templates: Mapping[tuple[str, Language], str] = field(repr=False)


class Store:
    """Rows of the schema ``masterdata``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def version(self) -> int:
        """Return the change version. One round trip."""
        version: int = await self._database.fetch_value("SELECT version FROM masterdata.change")
        return version

    async def seed(self, data: ShippedData) -> None:
        """Write the shipped data if the database has none; concurrent callers wait for the first."""
        async with self._database.transaction() as transaction:
            if await transaction.fetch_value("SELECT version FROM masterdata.change FOR UPDATE") != 0:
                return
            await transaction.execute(
                "INSERT INTO masterdata.id_schema (id, version, title, description, schema_text, effective_from)"
                " VALUES ($1, $2, $3, $4, $5, $6)",
                data.schema_id,
                data.schema_version,
                data.schema_title,
                data.schema_description,
                data.schema_text,
                data.effective_from,
            )
            await transaction.execute(
                "INSERT INTO masterdata.identity_mapping (mapping_text) VALUES ($1)", data.mapping_text
            )
            await transaction.execute_many(
                "INSERT INTO masterdata.list_item (list, code, language, name, position) VALUES ($1, $2, $3, $4, $5)",
                data.list_items,
            )
            await transaction.execute_many(
                "INSERT INTO masterdata.centre (id) VALUES ($1)", [(centre.id,) for centre in data.centres]
            )
            await transaction.execute_many(
                "INSERT INTO masterdata.centre_name (centre, language, name) VALUES ($1, $2, $3)",
                [(centre.id, language, name) for centre in data.centres for language, name in centre.names.items()],
            )
            await transaction.execute_many(
                "INSERT INTO masterdata.template (code, language, template_text) VALUES ($1, $2, $3)",
                [(code, language, text) for (code, language), text in data.templates.items()],
            )
            await _changed(transaction)

    async def load(self) -> Snapshot:
        """Read everything. The version is read first, so that a change meanwhile leads to another load."""
        async with self._database.transaction() as transaction:
            version: int = await transaction.fetch_value("SELECT version FROM masterdata.change")
            schemas = await transaction.fetch(
                "SELECT id, version, title, description, schema_text AS text, effective_from"
                " FROM masterdata.id_schema ORDER BY version DESC"
            )
            mapping = await transaction.fetch_value("SELECT mapping_text FROM masterdata.identity_mapping")
            centres = await transaction.fetch("SELECT id, active FROM masterdata.centre")
            names: dict[str, dict[Language, str]] = defaultdict(dict)
            for row in await transaction.fetch("SELECT centre, language, name FROM masterdata.centre_name"):
                names[row["centre"]][row["language"]] = row["name"]
            machines = await transaction.fetch(
                "SELECT id, name, centre, public_key, sign_public_key, key_index, sign_key_index, active"
                " FROM masterdata.machine"
            )
            operators = await transaction.fetch("SELECT user_id, centre, role, active FROM masterdata.operator")
            templates = await transaction.fetch("SELECT code, language, template_text FROM masterdata.template")
        return Snapshot(
            version=version,
            schemas=tuple(
                typed_schema(**{**row, "effective_from": iso_millis(row["effective_from"])}) for row in schemas
            ),
            mapping=parse_mapping(mapping),
            centres={row["id"]: Centre(row["id"], names[row["id"]], row["active"]) for row in centres},
            machines={row["id"]: Machine(**row) for row in machines},
            operators={row["user_id"]: Operator(**row) for row in operators},
            templates={(row["code"], row["language"]): row["template_text"] for row in templates},
        )

    async def save_machine(self, transaction: Transaction, machine: Machine) -> None:
        """Add or replace a machine."""
        await transaction.execute(
            "INSERT INTO masterdata.machine"
            " (id, name, centre, public_key, sign_public_key, key_index, sign_key_index, active)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
            " ON CONFLICT (id) DO UPDATE SET name = excluded.name, centre = excluded.centre,"
            " public_key = excluded.public_key, sign_public_key = excluded.sign_public_key,"
            " key_index = excluded.key_index, sign_key_index = excluded.sign_key_index, active = excluded.active",
            machine.id,
            machine.name,
            machine.centre,
            machine.public_key,
            machine.sign_public_key,
            machine.key_index,
            machine.sign_key_index,
            machine.active,
        )
        await _changed(transaction)

    async def save_operator(self, transaction: Transaction, operator: Operator) -> None:
        """Add or replace an operator."""
        await transaction.execute(
            "INSERT INTO masterdata.operator (user_id, centre, role, active) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (user_id) DO UPDATE SET centre = excluded.centre,"
            " role = excluded.role, active = excluded.active",
            operator.user_id,
            operator.centre,
            operator.role,
            operator.active,
        )
        await _changed(transaction)

    async def next_sequence(self, machine: MachineId) -> int:
        """Return the machine's next sequence number, 1 to 99999 and round again. One round trip."""
        sequence: int = await self._database.fetch_value(
            "INSERT INTO masterdata.rid_sequence AS stored (machine, last) VALUES ($1, 1)"
            " ON CONFLICT (machine) DO UPDATE SET last = stored.last % 99999 + 1 RETURNING last",
            machine,
        )
        return sequence


async def _changed(transaction: Transaction) -> None:
    await transaction.execute("UPDATE masterdata.change SET version = version + 1")
