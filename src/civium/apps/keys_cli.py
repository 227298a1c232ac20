"""`civium keys`: the ceremony, and the life cycle of keys."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from civium.apps import serving
from civium.apps.console import effective_settings
from civium.kernel.clock import SystemClock
from civium.kernel.errors import CiviumError
from civium.kernel.secrets import Secret
from civium.keys import administration, ceremony, pkcs11_token, root
from civium.keys.api import KeyRef
from civium.keys.client import KeysClient
from civium.keys.opening import TokenAccess, Unsealing, unsealing
from civium.keys.operations import Keystores
from civium.platform import telemetry
from civium.platform.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Keys: ceremony, life cycle, tokens, accounts of use.")
_out = Console()
_err = Console(stderr=True)

Application = Annotated[str, typer.Argument(help="Application id, for example REGISTRATION.")]
Reference = Annotated[str, typer.Argument(help="Reference id; none for a module's master.")]
OfContext = Annotated[
    str | None, typer.Option("--context", help="core or auth; by default what the application id tells.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command("init")
def init(
    pkcs11: Annotated[Path | None, typer.Option("--pkcs11", help="PKCS#11 library of a token to make and use.")] = None,
    label: Annotated[str, typer.Option("--token", help="Label of the token.")] = "civium",
) -> None:
    """Make the keystores before the first start: in a PKCS#11 token, or as the settings say."""
    settings = effective_settings()
    if root.kind(_home(settings)) is not None:
        raise CiviumError(f"{_home(settings)} holds keystores already")
    if pkcs11 is None:
        how = unsealing(settings.keys)
    else:
        given = settings.keys.pkcs11_pin
        pin = _asked("PIN of the token") if given is None else Secret(given.get_secret_value())
        pkcs11_token.initialise(pkcs11, label, pin=pin, officer_pin=_asked("PIN of the token's security officer"))
        how = Unsealing(token=TokenAccess(pkcs11, label, pin))
    with _opened(settings, how):
        _out.print(f"Keystores made under {_home(settings)}.")
    if pkcs11 is not None:
        _out.print(f"Set keys.pkcs11_library = {pkcs11}, keys.pkcs11_token = {label} and keys.pkcs11_pin.")


@app.command("ceremony")
def hold_ceremony(
    participant: Annotated[list[str], typer.Option("--participant", help="Who is present; at least two.")],
) -> None:
    """Make the keystores under two custodians' passphrases (or in the token that is set), and sign the record of it."""
    settings = effective_settings()
    how = unsealing(settings.keys)
    if how.token is None:
        how = Unsealing(
            how.passphrase or _asked("Passphrase of the first custodian"),
            how.second_passphrase or _asked("Passphrase of the second custodian"),
        )
    with _err.status("Making both key hierarchies ..."):
        held = ceremony.hold(
            _home(settings), how, participant, zk_pool_size=settings.keys.zk_pool_size, clock=SystemClock()
        )
    table = Table("Context", "Key", "SHA-256 of its certificate")
    for each in held.record.fingerprints:
        table.add_row(each.context, _name(each.application_id, each.reference_id), each.sha256)
    _out.print(table)
    _out.print(f"Signed record: {_home(settings) / ceremony.RECORD_FILE}, {ceremony.SIGNATURE_FILE} beside it.")


@app.command("list")
def list_keys(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """List all generations of all keys and the versions of symmetric masters."""

    async def ask() -> list[tuple[str, ...]]:
        async with _administration() as keys:
            return [
                (
                    context,
                    _name(key.application, key.reference),
                    key.state,
                    f"{key.issued_at:%Y-%m-%d %H:%M}",
                    "" if key.expires_at is None else f"{key.expires_at:%Y-%m-%d %H:%M}",
                    key.thumbprint or f"version {key.key_id}",
                )
                for context in administration.CONTEXTS
                for key in await keys[context].list_keys()
            ]

    _show(("context", "key", "state", "made", "ends", "thumbprint"), asyncio.run(ask()), as_json=as_json)


@app.command("rotate")
def rotate(application: Application, reference: Reference = "", context: OfContext = None) -> None:
    """Make a new generation of a key, or with the application SECRET a new version of a symmetric master.

    The one before opens what it sealed, or verifies what it signed, and no more.
    """

    async def ask() -> str:
        async with _administration() as keys:
            if application == "SECRET":
                return f"version {await keys[context or 'core'].rotate_secret(reference)}"
            made = await keys[_context(application, context)].rotate(KeyRef(application, reference))
            return f"a new generation, valid until {made.expires_at:%Y-%m-%d}"

    _out.print(f"{_name(application, reference)}: {asyncio.run(ask())}")


@app.command("revoke")
def revoke(application: Application, reference: str, context: OfContext = None) -> None:
    """End the new use of a base key now; the next use makes a new one."""

    async def ask() -> None:
        async with _administration() as keys:
            await keys[_context(application, context)].retire(KeyRef(application, reference))

    asyncio.run(ask())
    _out.print(f"{_name(application, reference)} is revoked: it opens what was encrypted to it and no more.")


@app.command("destroy")
def destroy(
    application: Application,
    reference: Annotated[str, typer.Argument(help="Reference id, - for a master; name after SECRET.")],
    generation: Annotated[str, typer.Argument(help="Thumbprint in hex; number of the version after SECRET.")],
    context: OfContext = None,
    yes: Yes = False,
) -> None:
    """Erase an old private key for ever. Only while the platform is stopped."""
    settings = _stopped("destroying a key")
    reference = "" if reference == "-" else reference
    if not yes:
        typer.confirm(
            f"What {_name(application, reference)} {generation} sealed will never open again. Go on?", abort=True
        )
    with _opened(settings, _unsealing(settings)) as stores:
        if application == "SECRET":
            secrets = administration.operations(stores, context or "core").secrets
            secrets.destroy(reference, int(generation) if generation.isdecimal() else 0)
        else:
            operations = administration.operations(stores, _context(application, context))
            operations.hierarchy.destroy(KeyRef(application, reference), _thumbprint(generation))
    _out.print(f"{_name(application, reference)} {generation} is destroyed.")


@app.command("import-p12")
def import_p12(
    file: Annotated[Path, typer.Argument(help="PKCS#12 file with one key and its certificate.")],
    application: Application,
    reference: Reference = "",
    context: OfContext = None,
) -> None:
    """Take a key that was made elsewhere in as the current one. Only while the platform is stopped."""
    settings = _stopped("taking a key in")
    if not file.is_file():
        raise CiviumError(f"{file} is no file")
    password = _asked("Password of the file")
    with _opened(settings, _unsealing(settings)) as stores:
        mark = administration.import_p12(
            stores, _context(application, context), KeyRef(application, reference), file.read_bytes(), password
        )
    _out.print(f"{_name(application, reference)} is now {mark}.")


@app.command("rewrap")
def rewrap(
    batch: Annotated[int, typer.Option("--batch", min=1, max=10_000, help="Rows at a time.")] = 200,
) -> None:
    """Seal everything under old data keys anew while the platform serves. May be stopped and repeated."""
    from civium.apps.installation import open_installation

    settings = effective_settings()
    if serving.running(settings) is None:
        raise CiviumError("the platform is not running: start it, it goes on serving meanwhile")

    async def work(progress: Progress) -> int:
        telemetry.correlation.set(f"rewrap-{uuid.uuid4()}")
        renewed = 0
        async with open_installation(settings) as installation:
            for step in (step for module in installation.modules for step in module.rewraps):
                task = progress.add_task(step.name, total=await step.count())
                async for done in step.batches(batch):
                    renewed += done.renewed
                    progress.advance(task, done.seen)
        return renewed

    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=_err) as progress:
        renewed = asyncio.run(work(progress))
    _out.print(f"{renewed} sealed anew.")


@app.command("usage")
def usage(as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False) -> None:
    """Show how often each key was used for what since the key process began; uses without a transaction stand out."""
    settings = effective_settings()
    if serving.running(settings) is None:
        raise CiviumError("the platform is not running: the audit trail has the accounts of the past")

    async def ask() -> list[tuple[str, ...]]:
        async with administration.through_process(settings) as keys:
            return [
                (
                    context,
                    use.operation,
                    _name(use.application, use.reference),
                    use.purpose,
                    str(use.count),
                    str(use.transactions),
                    str(use.uncited),
                )
                for context in administration.CONTEXTS
                for use in await keys[context].total_usage()
            ]

    heads = ("context", "operation", "key", "purpose", "uses", "transactions", "uncited")
    _show(heads, asyncio.run(ask()), as_json=as_json)


def _show(heads: Sequence[str], rows: Sequence[tuple[str, ...]], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([dict(zip(heads, row, strict=True)) for row in rows]))
        return
    table = Table(*heads)
    for row in rows:
        marked = heads[-1] == "uncited" and row[-1] != "0"
        table.add_row(*row, style="bold red" if marked else None)
    _out.print(table)


def _name(application: str, reference: str) -> str:
    return "/".join(part for part in (application, reference) if part)


def _home(settings: Settings) -> Path:
    return settings.home / "keys"


def _context(application: str, wanted: str | None) -> str:
    if wanted not in {None, *administration.CONTEXTS}:
        raise CiviumError("--context is core or auth")
    return wanted or administration.context_of(application)


def _thumbprint(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise CiviumError("a thumbprint is 64 hexadecimal digits: see 'civium keys list'") from None


def _asked(what: str) -> Secret[str]:
    return Secret(str(typer.prompt(what, hide_input=True)))


def _stopped(what: str) -> Settings:
    settings = effective_settings()
    if serving.running(settings) is not None:
        raise CiviumError(f"{what} needs the keystores themselves: stop the platform first")
    return settings


def _unsealing(settings: Settings) -> Unsealing:
    """Return what the settings give, and ask for what they leave out."""
    how = unsealing(settings.keys)
    match root.kind(_home(settings)):
        case None:
            raise CiviumError(f"{_home(settings)} holds no keystores yet: run 'civium keys init' or start the platform")
        case root.SALT_FILE if how.passphrase is None:
            return Unsealing(_asked("Passphrase of the keystores"))
        case root.DUAL_FILE:
            return Unsealing(
                how.passphrase or _asked("Passphrase of the first custodian"),
                how.second_passphrase or _asked("Passphrase of the second custodian"),
            )
        case _:
            return how


def _opened(settings: Settings, how: Unsealing) -> Keystores:
    return Keystores(_home(settings), how, zk_pool_size=settings.keys.zk_pool_size, clock=SystemClock())


@asynccontextmanager
async def _administration() -> AsyncIterator[Mapping[str, KeysClient]]:
    settings = effective_settings()
    if serving.running(settings) is not None:
        async with administration.through_process(settings) as keys:
            yield keys
    else:
        with _opened(settings, _unsealing(settings)) as stores:
            async with administration.in_process(stores) as keys:
                yield keys
