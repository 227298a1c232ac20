"""Examines a running installation and names the remedy of each fault."""

import asyncio
import os
import smtplib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime

import httpx

from civium.apps.installation import Installation, open_installation
from civium.apps.serving import address, running
from civium.kernel.clock import SystemClock
from civium.kernel.errors import CiviumError
from civium.keys.api import IDA_PARTNER, IDA_SIGN, KERNEL_SIGN, PMS, KeyRef, Keys
from civium.platform.settings import Settings

EXPIRY_WARNING = timedelta(days=30)
CLOCK_TOLERANCE = timedelta(seconds=2)
MAIL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one part; ``remedy`` is empty when it is healthy."""

    part: str
    healthy: bool
    found: str
    remedy: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Examine the running installation, part by part."""
    if running(settings) is None:
        return [Finding("platform", False, "does not run", "start it: civium serve, or make up for the sandbox")]
    try:
        return asyncio.run(_examine(settings))
    except (CiviumError, OSError) as problem:
        remedy = f"read the logs under {settings.home / 'log'} and start the platform again"
        return [Finding("platform", False, str(problem) or type(problem).__name__, remedy)]


async def _examine(settings: Settings) -> list[Finding]:
    async with open_installation(settings) as installation:
        findings = [
            await _guarded("web", lambda: _web(settings), "see log/web-*.log"),
            await _guarded("clock", lambda: _clock(installation), "set this machine's clock by NTP"),
            await _guarded("database", lambda: _database(installation), "see log/supervisor.log and the disk's space"),
            await _guarded("events", lambda: _events(installation), "see log/worker.log for the consumer that fails"),
            await _guarded("object store", lambda: _store(settings), "make the folder objects writable for this user"),
            await _guarded("mail", lambda: _mail(installation), "set mail.host and mail.port to a server that answers"),
            await _guarded(
                "audit", lambda: _audit(installation), "stop and investigate: rows of the trail were changed"
            ),
        ]
        core = (KERNEL_SIGN, PMS, KeyRef("ROOT"))
        for keys, refs in ((installation.core.keys, core), (installation.auth.keys, (IDA_SIGN, IDA_PARTNER))):
            findings += [await _key(keys, ref) for ref in refs]
        return findings


async def _guarded(part: str, check: Callable[[], Awaitable[str]], remedy: str) -> Finding:
    try:
        return Finding(part, True, await check())
    except Exception as problem:  # noqa: BLE001 - whatever it is, it is the finding
        return Finding(part, False, str(problem) or type(problem).__name__, remedy)


async def _key(keys: Keys, ref: KeyRef) -> Finding:
    part = f"key {ref.application_id}{':' + ref.reference_id if ref.reference_id else ''}"
    try:
        certificate = await keys.certificate(ref)
    except CiviumError as problem:
        return Finding(part, False, str(problem), "see log/keys.log; the keystore must open with the same passphrase")
    left = certificate.expires_at - SystemClock().now()
    found = f"valid until {certificate.expires_at:%Y-%m-%d}"
    if left < EXPIRY_WARNING:
        return Finding(part, False, found, "restart the key process: it renews keys before they expire")
    return Finding(part, True, found)


async def _web(settings: Settings) -> str:
    async with httpx.AsyncClient(base_url=address(settings)) as http:
        answer = await http.get("/actuator/health")
        answer.raise_for_status()
        drift = abs(parsedate_to_datetime(answer.headers["date"]) - SystemClock().now())
        if drift > CLOCK_TOLERANCE:
            raise CiviumError(f"the web processes' clock is {drift.total_seconds():.0f} s away")
    return f"answers at {address(settings)}"


async def _clock(installation: Installation) -> str:
    theirs = await installation.core.pool.fetchval("SELECT clock_timestamp()")
    drift = abs(theirs - SystemClock().now())
    if drift > CLOCK_TOLERANCE:
        raise CiviumError(f"the database's clock is {drift.total_seconds():.0f} s away")
    return "one time everywhere"


async def _database(installation: Installation) -> str:
    version = await installation.core.pool.fetchval("SHOW server_version")
    superuser = await installation.core.pool.fetchval("SHOW is_superuser")
    if superuser != "off":
        raise CiviumError("the application is a superuser of the database")
    return f"PostgreSQL {version}, application without superuser rights"


async def _events(installation: Installation) -> str:
    dead = 0
    for context in (installation.core, installation.auth):
        dead += await context.pool.fetchval(f"SELECT count(*) FROM {context.schema}.dead_letter")  # noqa: S608
    if dead:
        raise CiviumError(f"{dead} events were given up")
    return "no event was given up"


async def _store(settings: Settings) -> str:
    path = settings.home / "objects"
    if not os.access(path, os.W_OK):
        raise CiviumError(f"{path} is not writable")
    return "writable"


async def _mail(installation: Installation) -> str:
    mail = installation.settings.mail
    with smtplib.SMTP(mail.host, mail.port, timeout=MAIL_SECONDS) as server:
        server.noop()
    return f"{mail.host}:{mail.port} takes mail"


async def _audit(installation: Installation) -> str:
    await installation.audit.verify()
    return "the chain holds"
