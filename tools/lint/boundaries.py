"""Rule ``boundary``: of another context only ``api`` is imported; `apps`, which wires them all, may import more.

The direction of imports (who may import whom) is the layers contract in ``pyproject.toml``.
"""

import ast
from collections.abc import Iterator
from typing import Final

from tools.lint.source import Finding, Source, finding

OPEN: Final = frozenset({"kernel", "platform"})
"""Not contexts: all of them is public."""
WIRES: Final = "apps"


def boundary(source: Source) -> Iterator[Finding]:
    """Find imports of another context's inside, also those inside functions and for types only."""
    if source.context in {WIRES, ""}:
        return
    for node in ast.walk(source.tree):
        for module in _modules(node):
            parts = module.split(".")
            if len(parts) < 2 or parts[0] != "civium" or parts[1] in OPEN | {source.context}:
                continue
            if parts[2:3] != ["api"]:
                yield finding(source, node, "boundary", f"{module}: import civium.{parts[1]}.api only")


def _modules(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), names=names, level=0):
            return [f"{module}.{alias.name}" for alias in names] if module.count(".") < 2 else [module]
    return []
