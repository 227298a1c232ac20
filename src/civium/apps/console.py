"""What all commands share: the settings, with every wrong one named."""

import typer
from pydantic import ValidationError
from rich.console import Console

from civium.apps import serving
from civium.platform.settings import Settings, UnknownSettingError

_err = Console(stderr=True)


def effective_settings(mode: str | None = None) -> Settings:
    """Return the settings; a wrong one ends the command with status 2 and its name."""
    try:
        return serving.settings_of(mode)
    except UnknownSettingError as problem:
        _err.print(f"[red]civium:[/red] {problem}", highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None
    except ValidationError as problem:
        for error in problem.errors(include_input=False, include_url=False):
            place = ".".join(str(part) for part in error["loc"]) or "settings"
            _err.print(f"[red]civium:[/red] {place}: {error['msg']}", highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None
