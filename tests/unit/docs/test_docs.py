"""The documentation builds without a warning, and what it says about the code is so."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from civium.apps.cli import app
from civium.authentication import errors
from tools.tables import DOCS, TABLES, routers, with_table

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]


def test_it_builds_without_a_warning(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "sphinx", "-q", "-E", "-W", "--keep-going", "-d", tmp_path / "trees"]
    done = subprocess.run([*build, DOCS, tmp_path / "html"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "html" / "index.html").is_file()


@pytest.mark.parametrize("name", TABLES)
def test_tables_equal_the_code(name: str) -> None:
    page = (DOCS / TABLES[name][0]).read_text()
    assert with_table(page, name) == page, "run: .venv/bin/python -m tools.tables"


def test_a_table_without_its_place_is_an_error() -> None:
    with pytest.raises(ValueError, match="no place"):
        with_table("# A page\n\n<!-- routes -->\n", "routes")


def test_the_table_names_every_service() -> None:
    page = (DOCS / "compatibility.md").read_text()
    assert [each.base for each in routers() if each.base and f"### `{each.base}`" not in page] == []


def _commands(page: Path) -> list[list[str]]:
    fenced = re.findall(r"```(?:shell|text)\n(.*?)```", page.read_text(), re.DOTALL)
    inline = re.findall(r"`((?:make|civium) [^`]+)`", page.read_text())
    lines = [line.removeprefix("$ ") for block in fenced for line in block.splitlines()] + inline
    return [shlex.split(line, comments=True) for line in lines]


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {words[1] for page in PAGES for words in _commands(page) if words[0] == "make"}
    assert {"run", "test", "help", "docs"} <= named
    assert named - targets == set()


def test_every_command_that_is_named_exists() -> None:
    named = [words[1:] for page in PAGES for words in _commands(page) if Path(words[0]).name == "civium"]
    assert ["doctor"] in named
    for words in named:
        command, rest = get_command(app), list(words)
        while rest and hasattr(command, "commands"):
            assert rest[0] in command.commands, words
            command = command.commands[rest.pop(0)]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in rest if word.startswith("--")} - options <= {"--help"}, words


def test_every_proof_of_the_threat_model_exists() -> None:
    proofs = set(re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", (DOCS / "threat-model.md").read_text()))
    assert len(proofs) > 30
    missing = [
        f"{file}::{test}"
        for file, test in sorted(proofs)
        if not (ROOT / file).is_file() or f"def {test}(" not in (ROOT / file).read_text()
    ]
    assert missing == []


def test_every_row_of_the_threat_model_has_a_proof() -> None:
    text = (DOCS / "threat-model.md").read_text().partition("## Threats and measures")[2]
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| Threat")]
    assert [row for row in rows if "::test_" not in row] == []


def test_every_error_code_of_the_first_steps_is_given() -> None:
    given = {value.code for value in vars(errors).values() if isinstance(value, errors.Code)}
    assert set(re.findall(r"IDA-[A-Z]{3}-\d{3}", (DOCS / "relying-party.md").read_text())) <= given


@pytest.mark.parametrize(
    "page", [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
)
def test_links_of_the_pages_beside_the_site_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_decisions_are_numbered_and_tell_all() -> None:
    records = sorted((DOCS / "adr").glob("[0-9]*.md"))
    assert [int(path.name[:4]) for path in records] == list(range(1, len(records) + 1))
    for path in records:
        text = path.read_text()
        assert text.startswith(f"# {int(path.name[:4])}. "), path.name
        parts = re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE)
        assert parts == ["Context", "Decision", "Consequences", "Alternatives"], path.name
