"""Rule ``pin``: what is installed is exactly what was looked at, and no file says where from.

Each ``requirements*.txt`` pins every package by version and hash, names no host, and satisfies what ``pyproject.toml``
asks for; a package that stands in two of the platform's files has one version.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.lint.source import Finding

HOSTS: Final = re.compile(r"://|index-url|find-links|^\s*-[ef]\b")
_HASH: Final = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")
_COMMENT: Final = re.compile(r"(^|\s)#.*")
REMEDY: Final = "run tools/pin"


@dataclass(frozen=True, slots=True)
class Pin:
    """One package of a requirements file."""

    line: int
    requirement: Requirement
    hashed: bool

    @property
    def name(self) -> str:
        """The package's canonical name."""
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> str | None:
        """The exact version, or None when it is not pinned to one."""
        exact = [each.version for each in self.requirement.specifier if each.operator == "=="]
        return exact[0] if len(exact) == len(self.requirement.specifier) == 1 else None


def pin(root: Path) -> Iterator[Finding]:
    """Find what is wrong with the requirements files under ``root``."""
    files = {path.name: path.read_text() for path in sorted(root.glob("requirements*.txt"))}
    pins = {name: list(_pins(text)) for name, text in files.items()}
    for name, text in files.items():
        for number, line in enumerate(text.splitlines(), start=1):
            if HOSTS.search(line):
                yield Finding(name, number, "pin", "names a host or a path")
        for each in pins[name]:
            if each.version is None or not each.hashed:
                yield Finding(name, each.line, "pin", f"{each.name} has no exact version with a hash")
    for name, asked in _asked(root).items():
        for requirement in asked:
            if not _satisfied(requirement, pins.get(name, [])):
                yield Finding(name, 1, "pin", f"'{requirement}' is asked for and not pinned: {REMEDY}")
    yield from _disagreements(pins.get("requirements.txt", []), pins.get("requirements-dev.txt", []))


def _pins(text: str) -> Iterator[Pin]:
    logical, start = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        start = start if logical else number
        logical += _COMMENT.sub("", line).removesuffix("\\") + " "
        if line.endswith("\\"):
            continue
        if (plain := _HASH.sub("", logical).strip()) and not plain.startswith("-"):
            yield Pin(start, Requirement(plain), _HASH.search(logical) is not None)
        logical = ""


def _asked(root: Path) -> Mapping[str, list[Requirement]]:
    project = tomllib.loads((root / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    runtime = [*project["project"]["dependencies"], *groups.get("build", ())]
    asked = {
        "requirements.txt": [Requirement(each) for each in runtime],
        "requirements-dev.txt": [Requirement(each) for each in groups["dev"]],
    }
    for path in root.glob("requirements*.in"):
        lines = [_COMMENT.sub("", line).strip() for line in path.read_text().splitlines()]
        asked[f"{path.stem}.txt"] = [Requirement(line) for line in lines if line]
    return asked


def _satisfied(requirement: Requirement, pins: list[Pin]) -> bool:
    versions = [each.version for each in pins if each.name == canonicalize_name(requirement.name)]
    return bool(versions) and all(
        version is not None and requirement.specifier.contains(version, prereleases=True) for version in versions
    )


def _disagreements(runtime: list[Pin], development: list[Pin]) -> Iterator[Finding]:
    versions: dict[str, set[str | None]] = {}
    for each in runtime:
        versions.setdefault(each.name, set()).add(each.version)
    for each in development:
        if each.name in versions and each.version not in versions[each.name]:
            yield Finding("requirements-dev.txt", each.line, "pin", f"{each.name} differs from requirements.txt")
