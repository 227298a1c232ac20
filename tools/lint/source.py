"""What every rule works on: one parsed file, and what it found there."""

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

ESCAPE = re.compile(r"lint: allow (?P<rule>[a-z-]+)(?: - (?P<reason>\S.*))?")
"""Rule name ``escape`` is what a faulty escape is reported under."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One broken rule at one place."""

    path: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: [{self.rule}] {self.message}"


@dataclass(frozen=True)
class Source:
    """One Python file. ``path`` is relative to the repository, with slashes."""

    path: str
    text: str
    tree: ast.Module = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tree", ast.parse(self.text, self.path))

    @classmethod
    def read(cls, root: Path, path: Path) -> "Source":
        """Return the file ``path`` under ``root``."""
        return cls(path.relative_to(root).as_posix(), path.read_text())

    @property
    def name(self) -> str:
        """The file's name."""
        return PurePosixPath(self.path).name

    @property
    def context(self) -> str:
        """The folder under ``src/civium`` that holds the file; empty outside it."""
        parts = PurePosixPath(self.path).parts
        return parts[2] if parts[:2] == ("src", "civium") and len(parts) > 3 else ""

    @cached_property
    def imports(self) -> dict[str, str]:
        """What each imported name of the file means, dotted: ``{"dt": "datetime.datetime"}``."""
        names: dict[str, str] = {}
        for node in ast.walk(self.tree):
            match node:
                case ast.Import(names=aliases):
                    for alias in aliases:
                        local = alias.asname or alias.name.split(".")[0]
                        names[local] = alias.name if alias.asname else local
                case ast.ImportFrom(module=str(module), names=aliases, level=0):
                    names |= {alias.asname or alias.name: f"{module}.{alias.name}" for alias in aliases}
        return names

    def meaning(self, node: ast.expr) -> str:
        """Return the dotted meaning of a name or attribute chain; empty for any other expression."""
        match node:
            case ast.Name(id=name):
                return self.imports.get(name, name)
            case ast.Attribute(value=value, attr=attr):
                prefix = self.meaning(value)
                return f"{prefix}.{attr}" if prefix else ""
        return ""

    def escapes(self) -> Iterator[tuple[int, str, str | None]]:
        """Yield line, rule and reason of each escape."""
        for number, line in enumerate(self.text.splitlines(), start=1):
            _, hash_sign, comment = line.partition("#")
            if hash_sign and (found := ESCAPE.search(comment)):
                yield number, found["rule"], found["reason"]


Rule = Callable[[Source], Iterable[Finding]]


def finding(source: Source, node: ast.AST, rule: str, message: str) -> Finding:
    """Return a finding at the place of ``node``."""
    return Finding(source.path, getattr(node, "lineno", 1), rule, message)


def check(source: Source, rules: Iterable[Rule]) -> list[Finding]:
    """Return what the rules find that no escape of the same line allows, and the escapes that are wrong."""
    found = {each for rule in rules for each in rule(source)}
    kept = set(found)
    for line, rule, reason in source.escapes():
        allowed = {each for each in found if (each.line, each.rule) == (line, rule)}
        kept -= allowed
        if reason is None:
            kept.add(Finding(source.path, line, "escape", f"say why: # lint: allow {rule} - <reason>"))
        elif not allowed:
            kept.add(Finding(source.path, line, "escape", f"allows nothing: no '{rule}' finding here"))
    return sorted(kept)
