"""Commands of who runs the platform: accounts, and events that were given up."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from civium.apps import serving
from civium.kernel.errors import CiviumError
from civium.kernel.secrets import Secret
from civium.platform.permissions import Role
from civium.platform.settings import Settings

T = TypeVar("T")

accounts = typer.Typer(no_args_is_help=True, help="Users and service clients of the built-in issuer.")
events = typer.Typer(no_args_is_help=True, help="Events that a consumer could not take.")

_out = Console()
SHORTEST_PASSWORD = 12

Roles = Annotated[list[Role], typer.Option("--role", help="A role that the account has; repeat for more.")]


@accounts.command("user")
def add_user(
    name: Annotated[str, typer.Argument(help="User name.")],
    role: Roles,
    password: Annotated[str, typer.Option(prompt=True, confirmation_prompt=True, hide_input=True, help="Asked for.")],
) -> None:
    """Add a user, or replace the password and roles of one. A new country's first administrator is made so."""
    _with_access(name, Secret(password), role, user=True)


@accounts.command("client")
def add_client(
    name: Annotated[str, typer.Argument(help="Client id.")],
    role: Roles,
    secret: Annotated[str, typer.Option(prompt=True, confirmation_prompt=True, hide_input=True, help="Asked for.")],
) -> None:
    """Add a service client, or replace the secret and roles of one."""
    _with_access(name, Secret(secret), role, user=False)


def _with_access(name: str, secret: Secret[str], roles: list[Role], *, user: bool) -> None:
    from civium.apps.installation import open_installation

    if len(secret.reveal()) < SHORTEST_PASSWORD:
        raise CiviumError(f"too short: take {SHORTEST_PASSWORD} characters or more")

    async def register(settings: Settings) -> None:
        async with open_installation(settings) as installation:
            if user:
                await installation.access.register_user(name, secret, roles)
            else:
                await installation.access.register_client(name, secret, roles)

    _on_running(register)
    _out.print(f"{name} has the roles {', '.join(role.value for role in roles)}.")


@events.command("list")
def list_events() -> None:
    """List what was given up: event, consumer, reason. Shows no content."""
    from civium.apps.installation import open_installation
    from civium.platform.dispatcher import DeadLetter, dead_letters

    async def read(settings: Settings) -> list[tuple[str, DeadLetter]]:
        async with open_installation(settings) as installation:
            return [
                (context.schema, letter)
                for context in (installation.core, installation.auth)
                for letter in await dead_letters(context.pool, context.schema)
            ]

    table = Table("Outbox", "Event", "Topic", "Consumer", "Reason", "Attempts", "Given up at")
    for schema, letter in _on_running(read):
        table.add_row(
            schema, str(letter.event_id), letter.topic, letter.consumer, letter.reason, str(letter.attempts),
            f"{letter.died_at:%Y-%m-%d %H:%M:%S}",
        )  # fmt: skip
    _out.print(table)


@events.command("replay")
def replay_event(
    event: Annotated[uuid.UUID, typer.Argument(help="Event id of 'civium events list'.")],
    consumer: Annotated[str, typer.Argument(help="Consumer of 'civium events list'.")],
    outbox: Annotated[str, typer.Option(help="Outbox of 'civium events list'.")] = "outbox_core",
) -> None:
    """Deliver an event again that was given up, after its cause was mended."""
    from civium.apps.installation import open_installation
    from civium.platform.dispatcher import replay

    async def again(settings: Settings) -> None:
        async with open_installation(settings) as installation:
            for context in (installation.core, installation.auth):
                if context.schema == outbox:
                    await replay(context.pool, outbox, event, consumer)
                    return
        raise CiviumError(f"there is no outbox {outbox}")

    _on_running(again)
    _out.print("It is on its way again.")


def _on_running(work: Callable[[Settings], Awaitable[T]]) -> T:
    settings = serving.settings_of()
    if serving.running(settings) is None:
        raise CiviumError("the platform does not run: start it with 'civium serve'")

    async def run() -> T:
        return await work(settings)

    return asyncio.run(run())
