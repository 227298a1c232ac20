"""Wires the contexts of one process: the only place that knows them all."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from civium.access.api import Access
from civium.access.wiring import build as build_access
from civium.apps.supervisor import READY
from civium.audit.api import Audit
from civium.audit.wiring import build as build_audit
from civium.authentication.wiring import build as build_authentication
from civium.biometrics.wiring import build as build_biometrics
from civium.credentials.wiring import build as build_credentials
from civium.identity.wiring import build as build_identity
from civium.kernel.clock import SystemClock
from civium.keys.client import KeysClient, connect
from civium.keys.fetching import PublicListSource
from civium.keys.process import socket_path
from civium.keys.sealing import KeySealer
from civium.keys.usage_trail import UsageTrail
from civium.keys.wiring import build_http, build_trust
from civium.masterdata.api import MasterData
from civium.masterdata.wiring import build as build_masterdata
from civium.notify.wiring import build as build_notify
from civium.partners.service import Partners
from civium.partners.wiring import build as build_partners
from civium.platform.database import Database, open_pool
from civium.platform.jobs import Job
from civium.platform.module import Module
from civium.platform.objects import FileObjectStore
from civium.platform.outbox import Consumer, SealedOutbox
from civium.platform.postgres import AUTH, CORE, Cluster, context_role
from civium.platform.sealing import Sealer
from civium.platform.settings import Settings
from civium.registration.wiring import build as build_registration

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]

OUTBOX_CORE, OUTBOX_AUTH = "outbox_core", "outbox_auth"


@dataclass(frozen=True, slots=True)
class SecurityContext:
    """What one security context (core or auth) shares: its login's pool, its keys, its outbox."""

    schema: str
    """The schema of its outbox."""
    pool: "Pool"
    keys: KeysClient
    sealer: Sealer
    outbox: SealedOutbox


@dataclass(frozen=True, slots=True)
class Installation:
    """Every context of this process, wired."""

    settings: Settings
    core: SecurityContext
    auth: SecurityContext
    modules: tuple[Module, ...]
    access: Access
    audit: Audit
    master_data: MasterData
    partners: Partners

    @property
    def consumers(self) -> tuple[Consumer, ...]:
        """All subscriptions."""
        return tuple(consumer for module in self.modules for consumer in module.consumers)


@asynccontextmanager
async def open_installation(settings: Settings) -> AsyncIterator[Installation]:
    """Open the pools and key clients and build all contexts; closes what it opened.

    Needs the running database and key process. Biometric workers start at the first match only.
    """
    clock = SystemClock()
    settings = with_catcher(settings)
    async with AsyncExitStack() as stack:
        core = await _security_context(stack, settings, CORE, "core", OUTBOX_CORE)
        auth = await _security_context(stack, settings, AUTH, "auth", OUTBOX_AUTH)

        def database(context: str, of: SecurityContext = core) -> Database:
            return Database(of.pool, context_role(context) if settings.database.context_roles else None)

        objects = FileObjectStore(settings.home / "objects")
        matcher = build_biometrics(settings.http.workers)
        stack.push_async_callback(matcher.close)

        access, access_module = build_access(database("access"), core.sealer, core.keys, core.outbox, clock, settings)
        audit, audit_module = build_audit(database("audit"), core.sealer)
        master_data, master_data_module = build_masterdata(
            database("masterdata"), core.sealer, core.keys, core.outbox, clock, settings
        )
        trust = build_trust(
            database("keys"), core.keys, core.outbox, clock,
            lists=PublicListSource(settings.keymanager.private_list_hosts),
        )  # fmt: skip
        key_uses, keys_module = build_http(database("keys"), core.keys, auth.keys, trust, core.outbox, clock, settings)
        stack.push_async_callback(key_uses.close)
        partners, partners_module = build_partners(
            database("partners"), core.sealer, core.keys, trust, core.outbox, clock
        )
        register, identity_module = build_identity(
            database("identity"), core.sealer, core.keys, objects, core.outbox, master_data, clock
        )
        _, registration_module = build_registration(
            database("registration"), core.sealer, core.keys, objects, core.outbox, master_data, register, matcher,
            clock, settings,
        )  # fmt: skip
        _, authentication_module = build_authentication(
            database("authentication", auth), auth.sealer, auth.keys, auth.outbox, clock, settings
        )
        yield Installation(
            settings,
            core,
            auth,
            (
                access_module,
                audit_module,
                keys_module,
                master_data_module,
                build_notify(database("notify"), master_data, clock, settings),
                partners_module,
                identity_module,
                build_credentials(
                    database("credentials"), register, core.keys, core.sealer, core.outbox, master_data, clock
                ),
                registration_module,
                authentication_module,
            ),
            access,
            audit,
            master_data,
            partners,
        )


def usage_job(installation: Installation) -> Job:
    """Return the job that writes the accounts of key use into the audit trail; one process runs it."""
    core, auth = installation.core, installation.auth
    database = Database(core.pool, context_role("keys") if installation.settings.database.context_roles else None)
    return UsageTrail(database, {"core": core.keys, "auth": auth.keys}, core.outbox, SystemClock()).job()


def mark_ready() -> None:
    """Tell the supervisor that this process works."""
    if READY in os.environ:
        Path(os.environ[READY]).touch()


def with_catcher(settings: Settings) -> Settings:
    """Return the settings with the port of the sandbox's mail catcher, which the system chose."""
    if not settings.sandbox or settings.mail.port != 0:
        return settings
    port = int((settings.home / "run" / "catcher.port").read_text())
    return settings.model_copy(update={"mail": settings.mail.model_copy(update={"port": port})})


async def _security_context(
    stack: AsyncExitStack, settings: Settings, role: str, name: str, schema: str
) -> SecurityContext:
    pool = await open_pool(_dsn(settings, role), size=settings.database.pool_size)
    stack.push_async_callback(pool.close)
    keys = connect(socket_path(settings.home, name))
    stack.push_async_callback(keys.close)
    sealer = KeySealer(keys)
    return SecurityContext(schema, pool, keys, sealer, SealedOutbox(schema, sealer, SystemClock()))


def _dsn(settings: Settings, role: str) -> str:
    return Cluster(settings.home, settings.database).dsn(role).reveal()
