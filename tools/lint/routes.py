"""Rule ``route``: every route is declared on ``platform.http.Router``, which demands an Access."""

import ast
from collections.abc import Iterator
from typing import Final

from tools.lint.source import Finding, Source, finding

HOME: Final = "src/civium/platform/http/"
ELSEWHERE: Final = frozenset({"src/civium/apps/catcher.py"})
"""The sandbox's mail catcher answers on a Unix socket inside the home directory, not on the network."""
MAKERS: Final = frozenset(
    {
        *(f"fastapi.{name}" for name in ("FastAPI", "APIRouter", "routing.APIRouter", "routing.APIRoute")),
        *(
            f"starlette.{name}"
            for name in ("applications.Starlette", "routing.Route", "routing.Router", "routing.Mount")
        ),
    }
)
METHODS: Final = frozenset(
    {"add_api_route", "add_route", "api_route", "include_router", "mount", "add_websocket_route"}
)


def route(source: Source) -> Iterator[Finding]:
    """Find routes that are made past the Router."""
    if source.path.startswith(HOME) or source.path in ELSEWHERE:
        return
    for node in ast.walk(source.tree):
        match node:
            case ast.Call(func=func) if source.meaning(func) in MAKERS:
                yield finding(source, node, "route", f"{source.meaning(func)}: declare routes on platform.http.Router")
            case ast.Call(func=ast.Attribute(attr=attr)) if attr in METHODS:
                yield finding(source, node, "route", f"{attr}(): declare routes on platform.http.Router")
