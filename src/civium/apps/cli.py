"""The command `civium`."""

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from civium.apps import keys_cli, operating, serving
from civium.apps.console import effective_settings
from civium.kernel.clock import monotonic
from civium.kernel.errors import CiviumError
from civium.platform.postgres import Cluster

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Civium, an open national identity platform. Data lives under CIVIUM_HOME (default ./.civium).",
)
sandbox = typer.Typer(no_args_is_help=True, help="A small made-up country: people and relying parties to try with.")
app.add_typer(sandbox, name="sandbox")
app.add_typer(operating.accounts, name="account")
app.add_typer(operating.events, name="events")
app.add_typer(keys_cli.app, name="keys")

_out = Console()
_err = Console(stderr=True)
CLIENT_PYTHON = Path(".venv-client/bin/python")


@app.command()
def serve(
    in_sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Serve a made-up country: sandbox logins, mail caught, faults allowed.")
    ] = False,
) -> None:
    """Start everything and serve until Ctrl-C."""
    serving.run(effective_settings("sandbox" if in_sandbox else None), _err)


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Keep serving afterwards, until Ctrl-C.")] = False,
    client: Annotated[Path, typer.Option(help="Python of the public client's environment.")] = CLIENT_PYTHON,
) -> None:
    """Enrol a made-up person and authenticate them with the public client."""
    from civium.apps import demo as story

    began = monotonic()
    settings = effective_settings("sandbox")
    if not client.exists():
        raise CiviumError(f"{client} is missing: run 'make demo', which makes the public client's environment")
    with serving.started(settings, _err) as server:
        told = story.journey(settings.home, server.url, _out, began=began, client_python=client.absolute())
        told = story.finish(settings.home, told, server.memory_megabytes())
        _out.print(
            f"Authenticated [b]{told.seconds:.1f} s[/b] after the start (budget 60 s); "
            f"memory of everything [b]{told.memory_megabytes:.0f} MB[/b] (budget 1000 MB, summed PSS).",
            soft_wrap=True,
        )
        if keep:
            _out.print(f"Serving at {server.url} - press Ctrl-C to stop.", soft_wrap=True)
            server.wait()


@sandbox.command("up")
def sandbox_up() -> None:
    """Start the sandbox in the background; return when it is ready."""
    settings = effective_settings("sandbox")
    serving.start_background(settings, _err)
    _out.print(
        f"Ready at {serving.address(settings)}; stop it with 'make down' or 'civium sandbox down'.", soft_wrap=True
    )


@sandbox.command("down")
def sandbox_down() -> None:
    """Stop the sandbox that runs in the background."""
    stopped = serving.stop_background(effective_settings("sandbox"))
    _out.print("Stopped." if stopped else "Nothing runs here.")


@sandbox.command("partner")
def sandbox_partner(
    name: Annotated[str, typer.Argument(help="Partner id: letters, digits and dashes.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for config.toml, p12, certificate and README.")],
) -> None:
    """Make a relying party through the partner API and write what its client needs."""
    from civium.apps.sandbox.client import Platform
    from civium.apps.sandbox.relying_party import make_relying_party, write_client_files

    with Platform(serving.address(effective_settings("sandbox"))) as platform:
        write_client_files(make_relying_party(platform, name), out)
        _out.print(f"{name} may authenticate people now; everything that its client needs is in {out}", soft_wrap=True)


@sandbox.command("person")
def sandbox_person(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
    seed: Annotated[int | None, typer.Option(help="The same seed makes the same person.")] = None,
) -> None:
    """Enrol a made-up person through the registration API and print who they are."""
    from civium.apps.sandbox.applicant import make_applicant
    from civium.apps.sandbox.client import Platform
    from civium.apps.sandbox.registration import enrol

    settings = effective_settings("sandbox")
    with Platform(serving.address(settings)) as platform, _err.status("Making a person up and enrolling them ..."):
        person = enrol(platform, settings.home, make_applicant(seed))
    told = {
        "rid": person.rid.reveal(),
        "uin": person.uin.reveal(),
        "vid": person.vid.reveal(),
        "phone": person.applicant.phone,
        "email": person.applicant.email,
        "name": person.applicant.names,
        "dateOfBirth": person.applicant.date_of_birth,
    }
    if as_json:
        sys.stdout.write(json.dumps(told, ensure_ascii=False) + "\n")
        return
    table = Table(show_header=False)
    for key, value in told.items():
        table.add_row(key, str(value))
    _out.print(table)


@app.command("doctor")
def doctor_command() -> None:
    """Check keys, expiry, clock, database, store and mail of the running installation; say each remedy."""
    from civium.apps import doctor

    findings = doctor.examine(effective_settings())
    table = Table("", "Part", "Finding", "Remedy")
    for finding in findings:
        table.add_row("[green]✓" if finding.healthy else "[red]✗", finding.part, finding.found, finding.remedy)
    _out.print(table)
    if not all(finding.healthy for finding in findings):
        raise typer.Exit(1)


@app.command()
def config() -> None:
    """Print the effective settings; secrets are masked."""
    shown = effective_settings().model_dump(mode="json")
    _out.print_json(json.dumps(shown))


@app.command()
def reset(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete all data under CIVIUM_HOME, keys included. Nothing brings them back."""
    settings = effective_settings()
    if serving.running(settings):
        raise CiviumError("the platform is running: stop it first (Ctrl-C, or 'civium sandbox down')")
    cluster = Cluster(settings.home, settings.database)
    if not yes:
        database = "" if cluster.data.is_relative_to(settings.home) else f" and {cluster.data.parent}"
        typer.confirm(f"Delete everything under {settings.home}{database}?", abort=True)
    cluster.erase()
    shutil.rmtree(settings.home, ignore_errors=True)
    _out.print(f"{settings.home} is gone.", soft_wrap=True)


def main() -> None:
    """Run the command line; our own errors, and the system's, are one line that says what to do."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        app()
    except (CiviumError, OSError) as problem:
        _err.print(f"[red]civium:[/red] {problem}", highlight=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
