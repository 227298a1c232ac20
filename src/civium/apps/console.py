"""What all commands share: plain errors, and the settings with every wrong one named."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from pydantic import ValidationError
from rich.console import Console

from civium.apps import serving
from civium.kernel.errors import CiviumError
from civium.platform.settings import Settings, UnknownSettingError

_err = Console(stderr=True)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Show our own errors as one line that says what to do; everything else keeps its trace."""
    try:
        yield
    except CiviumError as problem:
        _err.print(f"[red]civium:[/red] {problem}", highlight=False)
        raise typer.Exit(1) from None


def effective_settings(mode: str | None = None) -> Settings:
    """Return the settings; a wrong one ends the command with status 2 and its name."""
    try:
        return serving.settings_of(mode)
    except UnknownSettingError as problem:
        _err.print(f"[red]civium:[/red] {problem}", highlight=False)
        raise typer.Exit(2) from None
    except ValidationError as problem:
        for error in problem.errors(include_input=False, include_url=False):
            place = ".".join(str(part) for part in error["loc"]) or "settings"
            _err.print(f"[red]civium:[/red] {place}: {error['msg']}", highlight=False)
        raise typer.Exit(2) from None
