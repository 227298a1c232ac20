"""Reads the reference data that the platform ships (folder ``seed``): plain JSON and text, to be read by people."""

import json
from datetime import UTC, datetime
from importlib.resources import files

from civium.kernel.identifiers import CentreId, Language
from civium.masterdata.api import Centre
from civium.masterdata.store import ShippedData

_SCHEMA_ID = "1001"
_SCHEMA_VERSION = 0.1
_EFFECTIVE_FROM = datetime(2020, 1, 1, tzinfo=UTC)


def read() -> ShippedData:
    """Return the shipped data."""
    seed = files(__package__) / "seed"
    schema_text = (seed / "id-schema-0.1.json").read_text("utf-8")
    schema = json.loads(schema_text)
    lists = json.loads((seed / "lists.json").read_text("utf-8"))
    return ShippedData(
        schema_id=_SCHEMA_ID,
        schema_version=_SCHEMA_VERSION,
        schema_title=schema["title"],
        schema_description=schema["description"],
        schema_text=json.dumps(schema, ensure_ascii=False, separators=(",", ":")),
        effective_from=_EFFECTIVE_FROM,
        mapping_text=(seed / "identity-mapping.json").read_text("utf-8"),
        centres=[
            Centre(CentreId(centre["id"]), centre["names"], active=True)
            for centre in json.loads((seed / "centres.json").read_text("utf-8"))
        ],
        list_items=[
            (kind, item["code"], language, name, position)
            for kind, items in lists.items()
            for position, item in enumerate(items)
            for language, name in item["names"].items()
        ],
        templates={
            (file.name.removesuffix(".txt"), Language(folder.name)): file.read_text("utf-8").rstrip("\n")
            for folder in (seed / "templates").iterdir()
            for file in folder.iterdir()
        },
    )
