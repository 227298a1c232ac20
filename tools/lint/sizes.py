"""Rule ``size``: a file fits into a head, and the whole server into a small team's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tools.lint.source import Finding

FILE_LINES: Final = 600
SERVER_LINES: Final = 60_000
FOLDERS: Final = ("bench", "docs", "src", "tests", "tools")
SUFFIXES: Final = frozenset({".css", ".html", ".js", ".md", ".py", ".sql", ".svg", ".toml"})


def size(root: Path, *, file_lines: int = FILE_LINES, server_lines: int = SERVER_LINES) -> Iterator[Finding]:
    """Find files that are too long, and a server that is."""
    server = 0
    for path in written_files(root):
        lines = path.read_bytes().count(b"\n")
        name = path.relative_to(root).as_posix()
        if lines > file_lines:
            yield Finding(name, lines, "size", f"{lines} lines: split it, {file_lines} are the limit")
        if name.startswith("src/civium/") and path.suffix == ".py":
            server += lines
    if server > server_lines:
        yield Finding("src/civium", 0, "size", f"{server} lines of server: {server_lines} are the limit")


def written_files(root: Path) -> list[Path]:
    """Return the files that people write and read, without what is built from them."""
    return sorted(
        path
        for folder in FOLDERS
        for path in (root / folder).rglob("*")
        if path.suffix in SUFFIXES and "_build" not in path.parts and "vectors" not in path.parts and path.is_file()
    )
