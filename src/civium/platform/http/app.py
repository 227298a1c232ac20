"""The web application of one process: routers mounted, limits and headers on every answer."""

import secrets
from collections.abc import Sequence

import structlog
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from civium.kernel.clock import SystemClock, monotonic
from civium.platform.http.access import TokenVerifier
from civium.platform.http.certificates import CertificateCallers
from civium.platform.http.limits import bounded
from civium.platform.http.routing import Router
from civium.platform.settings import Settings
from civium.platform.telemetry import REQUESTS, SECONDS, correlation

_log = structlog.get_logger(__name__)

SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"cache-control", b"no-store"),
    (
        b"content-security-policy",
        (
            b"default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; form-action 'self'; "
            b"frame-ancestors 'none'; base-uri 'none'"
        ),
    ),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"referrer-policy", b"no-referrer"),
    (b"strict-transport-security", b"max-age=63072000; includeSubDomains"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)


def create_app(routers: Sequence[Router], tokens: TokenVerifier, settings: Settings) -> ASGIApp:
    """Return the ASGI application. Route order is that of ``routers``."""
    api = FastAPI(
        title="Civium",
        description="National identity platform, wire-compatible with MOSIP LTS 1.2",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    api.state.tokens = tokens
    api.state.sandbox = settings.sandbox
    api.state.max_json_depth = settings.http.max_json_depth
    api.state.trusted_origins = settings.access.trusted_origins
    api.state.certificates = CertificateCallers(settings.access.certificates, SystemClock())
    for router in routers:
        api.include_router(router.api)
    api.add_exception_handler(HTTPException, _no_route)
    direct = [route for router in routers for route in router.direct]
    return Edge(DirectRoutes(direct, api), settings.http.max_body_bytes)


async def _no_route(_request: Request, problem: Exception) -> Response:
    status = problem.status_code if isinstance(problem, HTTPException) else 500
    message = "No such address" if status == 404 else "Method not allowed"
    return JSONResponse({"errors": [{"errorCode": "KER-ATH-404", "message": message}]}, status_code=status)


class DirectRoutes:
    """Answers the signed routes itself and leaves the rest to the API, which looks through all routes of all contexts.

    That search and FastAPI's layers cost as much CPU as all else that an authentication does in this process.
    """

    def __init__(self, routes: Sequence[Route], api: FastAPI) -> None:
        self._routes = tuple(routes)
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for route in self._routes if scope["type"] == "http" else ():
            match, found = route.matches(scope)
            if match is Match.FULL:
                scope.update(found, app=self._api, route=route)
                await route.handle(scope, receive, send)
                return
        await self._api(scope, receive, send)


class Edge:
    """The outermost layer: size limit, correlation id, security headers, one log line and metrics per request.

    The log line holds the route's template, never the path: paths may carry identifiers.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = monotonic()
        request_id = secrets.token_hex(8)
        token = correlation.set(request_id)
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(header for header in SECURITY_HEADERS if header[0] not in present),
                    (b"x-correlation-id", request_id.encode()),
                ]
            await send(message)

        try:
            await self._app(scope, bounded(scope, receive, self._max_body_bytes), send_with_headers)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            elapsed = monotonic() - began
            REQUESTS.labels(scope["method"], route, status).inc()
            SECONDS.labels(route).observe(elapsed)
            _log.info(
                "request", method=scope["method"], route=route, status=status, milliseconds=round(elapsed * 1000, 1)
            )
            correlation.reset(token)
