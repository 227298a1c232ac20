"""A web process: all routes of all contexts, on the listening socket that the supervisor hands down."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import uvicorn
import uvloop
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.responses import Response

from civium.apps.installation import Installation, mark_ready, open_installation
from civium.apps.supervisor import LISTENER
from civium.apps.web.pages import web_router
from civium.kernel import faults
from civium.keys.api import KERNEL_SIGN
from civium.platform import telemetry
from civium.platform.http import ErrorCodes, Router, allow
from civium.platform.http.app import create_app
from civium.platform.http.server import server_config
from civium.platform.permissions import Permission
from civium.platform.settings import Settings, load

CHECK_SECONDS = 2.0


async def serve(settings: Settings, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT; finishes the requests in progress."""
    async with open_installation(settings) as installation:
        app = create_app(all_routers(installation), installation.access, settings)
        mark_ready()
        await uvicorn.Server(server_config(app, settings.http)).serve(sockets=[listener])


def all_routers(installation: Installation) -> tuple[Router, ...]:
    """Return every route of the product: the contexts', the pages and the metrics."""
    settings = installation.settings
    contexts = tuple(router for module in installation.modules for router in module.routers)
    metrics = metrics_router()
    pages = web_router(
        settings.home,
        _checks(installation),
        (*contexts, metrics),
        _outbox(settings),
        sandbox=settings.sandbox,
    )
    return (*contexts, metrics, pages)


def metrics_router() -> Router:
    """Return the metrics of all web processes for Prometheus; label sets are fixed and name nobody."""
    router = Router("/metrics", ErrorCodes(invalid="KER-MET-001", internal="KER-MET-500"))

    @router.raw("GET", "", allow(Permission.METRICS_READ))
    async def metrics() -> Response:
        """Return the metrics in Prometheus' text format."""
        registry = CollectorRegistry()
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")

    return router


def _checks(installation: Installation) -> dict[str, Callable[[], Awaitable[bool]]]:
    settings = installation.settings

    async def web() -> None:
        return None

    async def database() -> None:
        await installation.core.pool.fetchval("SELECT 1")
        await installation.auth.pool.fetchval("SELECT 1")

    async def keys() -> None:
        await installation.core.keys.certificate(KERNEL_SIGN)

    async def store() -> None:
        if not os.access(settings.home / "objects", os.W_OK):
            raise OSError

    async def mail() -> None:
        _, writer = await asyncio.open_connection(settings.mail.host, settings.mail.port)
        writer.close()

    return {name: _works(check) for name, check in
            (("web", web), ("database", database), ("keys", keys), ("store", store), ("mail", mail))}  # fmt: skip


def _works(check: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[bool]]:
    async def answer() -> bool:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await check()
        except Exception:  # noqa: BLE001 - whatever it is, the part does not work
            return False
        return True

    return answer


def _outbox(settings: Settings) -> Callable[[str | None], Awaitable[list[dict[str, Any]]]]:
    path = settings.home / "run" / "catcher.sock"

    async def caught(to: str | None) -> list[dict[str, Any]]:
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path))) as http:
            answer = await http.get("http://catcher/messages", params={"to": to} if to else {})
        found: list[dict[str, Any]] = answer.json()
        return found

    return caught


def main() -> None:
    """Run one web process of the installation that the environment describes."""
    settings = load()
    telemetry.configure(settings.log_level)
    if settings.sandbox and settings.fault is not None:
        faults.arm(settings.fault)
    listener = socket.socket(fileno=int(os.environ[LISTENER]))
    uvloop.run(serve(settings, listener))


if __name__ == "__main__":
    main()
