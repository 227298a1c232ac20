"""The documentation's tables that follow from the code: ``python -m tools.tables`` writes them anew.

A table stands between ``<!-- <name> -->`` and ``<!-- /<name> -->``. A test fails when one differs from the code.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from civium.access.wiring import build as build_access
from civium.apps.server import metrics_router
from civium.apps.web.pages import web_router
from civium.authentication.wiring import build as build_authentication
from civium.identity.wiring import build as build_identity
from civium.kernel.clock import SystemClock
from civium.masterdata.wiring import build as build_masterdata
from civium.partners.wiring import build as build_partners
from civium.platform.http import Declaration, Router
from civium.platform.settings import Settings
from civium.registration.wiring import build as build_registration

DOCS: Final = Path(__file__).resolve().parents[1] / "docs"
_PATH_PARTS: Final = "{misp_licence}/{partner}/{api_key}"
_UNSET: Final[Any] = None
"""Stands for database, keys and the like: declaring routes uses none of them."""


def routers() -> list[Router]:
    """Return all routers of the product, built without any dependency that does IO."""
    clock, settings, absent = SystemClock(), Settings(mode="sandbox"), _UNSET
    modules = (
        build_access(absent, absent, absent, absent, clock, settings)[1],
        build_masterdata(absent, absent, absent, absent, clock, settings)[1],
        build_partners(absent, absent, absent, absent, absent, clock)[1],
        build_identity(absent, absent, absent, absent, absent, absent, clock)[1],
        build_registration(absent, absent, absent, absent, absent, absent, absent, absent, clock, settings)[1],
        build_authentication(absent, absent, absent, absent, clock, settings)[1],
    )
    pages = web_router(Path(), {}, (), absent, sandbox=True)
    return [*(router for module in modules for router in module.routers), metrics_router(), pages]


def routes_table() -> Iterator[str]:
    """Yield one table for each service: what it answers, and to whom."""
    for router in routers():
        rows = [
            f"| {each.method} | `{_path(each)}` | {_caller(each)} | {getattr(route, 'summary', '').rstrip('.')} |"
            for each, route in zip(router.declarations, router.api.routes, strict=True)
            if not each.path.endswith("/actuator/health") and not _is_short_form(each)
        ]
        yield f"### {f'`{router.base}`' if router.base else 'Pages'}"
        yield ""
        yield "| Method | Path | Caller | What it does |"
        yield "|---|---|---|---|"
        yield from rows
        yield ""


def _path(declaration: Declaration) -> str:
    return (declaration.path or "/").replace("{rest:path}", _PATH_PARTS).replace("{path:path}", "{page}")


def _is_short_form(declaration: Declaration) -> bool:
    """Whether the route only answers that parts of the path are missing."""
    return re.fullmatch(r"/idauthentication/v1/\w+", declaration.path) is not None


def _caller(declaration: Declaration) -> str:
    access = declaration.access
    return f"`{access.permission.value}`" if access.permission is not None else access.kind.value


def settings_table() -> Iterator[str]:
    """Yield the settings: key in the TOML file, kind of value, default."""
    yield "| Key | Value | Default |"
    yield "|---|---|---|"
    for key, field in _settings(Settings.model_fields):
        yield f"| `{key}` | {_kind(field.annotation)} | {_default(field)} |"


def _settings(fields: Mapping[str, FieldInfo], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _settings(field.annotation.model_fields, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def _kind(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(annotation))
    if isinstance(annotation, UnionType):
        return _kind(next(each for each in get_args(annotation) if each is not type(None)))
    if get_origin(annotation) is tuple:
        return "list of tables" if issubclass(get_args(annotation)[0], BaseModel) else "list of text"
    words = {"str": "text", "int": "number", "bool": "true or false", "Path": "path", "SecretStr": "secret text",
             "dict": "table", "frozenset": "list of text"}  # fmt: skip
    return words[annotation.__name__]


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "one for each core"
    match field.default:
        case None:
            return "unset"
        case bool() as value:
            return f"`{str(value).lower()}`"
        case tuple() | frozenset() | dict() as values if not values:
            return "none"
        case tuple() as values:
            return ", ".join(f"`{value}`" for value in values)
        case value:
            return f"`{value}`"


TABLES: Final = {"routes": ("compatibility.md", routes_table), "settings": ("operating.md", settings_table)}


def with_table(text: str, name: str) -> str:
    """Return the page with the table ``name`` written anew."""
    _, rows = TABLES[name]
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"no place for the table '{name}'")
    table = "\n".join(rows()).strip()
    return f"{before}{begin}{table}\n{end}{after}"


def main() -> int:
    """Write all tables."""
    for name, (page, _) in TABLES.items():
        path = DOCS / page
        path.write_text(with_table(path.read_text(), name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
