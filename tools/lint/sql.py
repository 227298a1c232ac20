"""Rule ``sql``: statements stand in a context's ``store.py``; the other files that may hold some are named here."""

import ast
import re
from collections.abc import Iterator
from typing import Final

from tools.lint.source import Finding, Source, finding

ELSEWHERE: Final = frozenset(
    {
        *(
            f"src/civium/platform/{name}.py"
            for name in ("database", "dispatcher", "listener", "migrations", "outbox", "rewrapping")
        ),
        "src/civium/platform/postgres.py",
        "src/civium/apps/doctor.py",
        "src/civium/apps/server.py",
    }
)
"""Files that are no store and yet hold SQL: the session, the outbox, the cluster; health checks of `apps`."""
_SQL = re.compile(
    r"\s*(SELECT\s|INSERT\s+INTO\s|UPDATE\s+\S+\s+SET\s|DELETE\s+FROM\s|WITH\s+(RECURSIVE\s+)?\w+\s+AS\s|"
    r"(CREATE|ALTER|DROP|TRUNCATE|GRANT|REVOKE|LISTEN|NOTIFY|COPY|LOCK\s+TABLE)\s|SET\s+(LOCAL|ROLE)\s|SHOW\s+\w)"
)


def sql(source: Source) -> Iterator[Finding]:
    """Find string literals that are SQL outside the files that may hold it."""
    if source.name == "store.py" or source.path in ELSEWHERE:
        return
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(source.tree):
        if id(node) not in documentation and _SQL.match(_text(node)):
            yield finding(source, node, "sql", "SQL outside store.py")


def _text(node: ast.AST) -> str:
    """Return a literal's text, with ``x`` for each value that is filled in; empty for other nodes."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(_text(value) or "x" for value in values)
    return ""
