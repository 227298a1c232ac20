"""Routers whose every route declares its caller, answers in the envelope and maps errors to the wire's codes.

A route without an :class:`Access` declaration cannot be written: the decorator demands it. The caller is checked
before the body is read as JSON. Business errors are HTTP 200 with ``errors`` (section 0.1); 401 and 403 are for
callers; an unknown error is HTTP 500 with the router's internal code and a correlation id, nothing else.
"""

import functools
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import asyncpg
import msgspec.json
import structlog
from fastapi import APIRouter, Depends
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from civium.kernel.clock import Clock, SystemClock, iso_millis
from civium.kernel.errors import Rejected, RejectedMany, Unavailable
from civium.platform.http.access import ANYONE, Access, Caller, CallerKind, Forbidden, TokenVerifier, Unauthenticated
from civium.platform.http.certificates import CertificateCallers
from civium.platform.http.cookies import refuse_foreign, sent_token
from civium.platform.http.envelope import RequestEnvelope, error_items
from civium.platform.http.limits import check_depth, check_text

_log = structlog.get_logger(__name__)
_UNREADABLE = 400


class ResponseSigner(Protocol):
    """Signs response bodies for the header ``response-signature`` (keys-and-crypto section 6.6)."""

    async def sign(self, body: bytes) -> str:
        """Return the detached JWS over the exact bytes of ``body``."""
        ...


@dataclass(frozen=True, slots=True)
class ErrorCodes:
    """The codes of a service for what goes wrong before its own rules speak.

    ``invalid`` (a message with the wrong shape), its text, and ``internal``.
    """

    invalid: str
    internal: str
    invalid_message: str = "Invalid request"
    internal_message: str = "Internal server error"


@dataclass(frozen=True, slots=True)
class Declaration:
    """One route as declared: what the matrix test route x caller is generated from."""

    method: str
    path: str
    access: Access


@dataclass(frozen=True, slots=True)
class _Endpoint:
    access: Access
    id: str | None
    version: str | None


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


CallerParameter = Annotated[Caller, Depends(_caller)]
"""Annotation of a handler's parameter that receives the verified caller."""

Handler = Callable[..., Awaitable[Any]]


class Router:
    """The routes of one service, under one base path.

    ``signer`` (optional) signs every answer. ``base`` gets a health route at ``<base>/actuator/health``.
    """

    def __init__(
        self, base: str, codes: ErrorCodes, *, signer: ResponseSigner | None = None, clock: Clock | None = None
    ) -> None:
        self.base = base
        self.codes = codes
        self.signer = signer
        self.clock: Clock = clock or SystemClock()
        self.declarations: list[Declaration] = []
        self.direct: list[Route] = []
        """Signed routes once more: their handlers take the bare request, so nothing of FastAPI's is needed."""
        self.api = APIRouter(prefix=base, route_class=_route_class(self))
        self.raw("GET", "/actuator/health", ANYONE)(_health)

    def enveloped(
        self, method: str, path: str, access: Access, *, id: str | None = None, version: str | None = None
    ) -> Callable[[Handler], Handler]:
        """Declare a route whose handler's result becomes ``response`` of the envelope.

        The handler takes FastAPI parameters; annotate the body as ``RequestEnvelope[Model]``. ``id`` and ``version``
        of the answer default to those of the request.
        """

        def decorate(handler: Handler) -> Handler:
            @functools.wraps(handler)
            async def answer(*arguments: Any, **keywords: Any) -> Response:
                result = await handler(*arguments, **keywords)
                if isinstance(result, Response):
                    return result
                sent = next((value for value in keywords.values() if isinstance(value, RequestEnvelope)), None)
                return await self.envelope(
                    result,
                    id=id if id is not None or sent is None else sent.id,
                    version=version if version is not None or sent is None else sent.version,
                )

            self._add(method, path, access, answer, id, version)
            return handler

        return decorate

    def raw(self, method: str, path: str, access: Access) -> Callable[[Handler], Handler]:
        """Declare a route whose handler returns a finished Response or a JSON value.

        The handler of a signed route takes the Request alone and returns a Response.
        """

        def decorate(handler: Handler) -> Handler:
            @functools.wraps(handler)
            async def answer(*arguments: Any, **keywords: Any) -> Any:
                return await handler(*arguments, **keywords)

            self._add(method, path, access, answer, None, None)
            if access.kind is CallerKind.SIGNED:
                self.direct.append(Route(self.base + path, self._direct(handler), methods=[method]))
            return handler

        return decorate

    def _direct(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                response: Response = await handler(request)
            except Exception as problem:  # noqa: BLE001 - the edge answers every error
                return await self.failure(problem, None)
            return response

        return answer

    def _add(
        self, method: str, path: str, access: Access, answer: Handler, id: str | None, version: str | None
    ) -> None:
        answer.__dict__["civium"] = _Endpoint(access, id, version)
        self.declarations.append(Declaration(method, self.base + path, access))
        self.api.add_api_route(
            path,
            answer,
            methods=[method],
            response_model=None,
            summary=(answer.__doc__ or answer.__name__).strip().splitlines()[0],
            openapi_extra={"x-caller": access.kind.value, "x-permission": access.permission},
        )

    async def envelope(
        self,
        response: object,
        *,
        id: str | None = None,
        version: str | None = None,
        errors: list[dict[str, str]] | None = None,
        status: int = 200,
    ) -> Response:
        """Return the envelope as an HTTP response, signed when this router signs."""
        content = self._content(response, id, version, errors)
        headers = {"response-signature": await self.signer.sign(content)} if self.signer is not None else {}
        return Response(content, status_code=status, media_type="application/json", headers=headers)

    def _content(self, response: object, id: str | None, version: str | None, errors: object) -> bytes:
        return _json(
            {
                "id": id,
                "version": version,
                "responsetime": iso_millis(self.clock.now()),
                "metadata": None,
                "response": response,
                "errors": errors,
            }
        )

    async def failure(self, problem: Exception, endpoint: _Endpoint | None) -> Response:
        """Return the envelope of an error; logs what must not reach the caller.

        It goes out unsigned, as HTTP 503, when nobody answers who could sign it.
        """
        id, version = (endpoint.id, endpoint.version) if endpoint else (None, None)
        status = 200
        match problem:
            case Unauthenticated():
                status, errors = 401, error_items([problem])
            case Forbidden():
                status, errors = 403, error_items([problem])
            case Rejected():
                errors = error_items([problem])
            case RejectedMany():
                errors = error_items(problem.rejections)
            case RequestValidationError():
                errors = [
                    {"errorCode": self.codes.invalid, "message": f"{self.codes.invalid_message}{detail}"}
                    for detail in _where(problem)
                ]
            case HTTPException(status_code=code) if code < 500:
                # An unreadable body is a business error on the wire: 200 with the service's code (keys section 7).
                status = 200 if code == _UNREADABLE else code
                errors = [{"errorCode": self.codes.invalid, "message": self.codes.invalid_message}]
            case asyncpg.CharacterNotInRepertoireError() | asyncpg.UntranslatableCharacterError():
                # Text with a NUL, which no column holds: nothing was written.
                errors = [{"errorCode": self.codes.invalid, "message": self.codes.invalid_message}]
            case Unavailable():
                _log.warning("dependency_unavailable", error=type(problem).__name__)
                status, errors = 503, [{"errorCode": self.codes.internal, "message": self.codes.internal_message}]
            case _:
                _log.error("unexpected_error", error=type(problem).__name__, exc_info=problem)
                status, errors = 500, [{"errorCode": self.codes.internal, "message": self.codes.internal_message}]
        try:
            return await self.envelope(None, id=id, version=version, errors=errors, status=status)
        except Unavailable as silent:
            _log.warning("dependency_unavailable", error=type(silent).__name__)
            errors = [{"errorCode": self.codes.internal, "message": self.codes.internal_message}]
            return Response(self._content(None, id, version, errors), status_code=503, media_type="application/json")


def _json(value: object) -> bytes:
    return msgspec.json.encode(jsonable_encoder(value, by_alias=True))


def _where(problem: RequestValidationError) -> list[str]:
    places = []
    for error in problem.errors():
        path = "/".join(str(part) for part in error["loc"] if part != "body")
        places.append(f": {path} {error['msg']}" if path else f": {error['msg']}")
    return places[:20] or [""]


async def _health() -> dict[str, str]:
    """Tell that the service answers."""
    return {"status": "UP"}


def _route_class(router: Router) -> type[APIRoute]:
    class GuardedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            inner = super().get_route_handler()
            endpoint: _Endpoint = self.endpoint.__dict__["civium"]

            async def handle(request: Request) -> Response:
                try:
                    await admit(request, endpoint.access)
                    if endpoint.access.kind is not CallerKind.SIGNED and _is_json(request):
                        check_depth(await request.body(), request.app.state.max_json_depth)
                        check_text(await request.body())
                    return await inner(request)
                except Exception as problem:  # noqa: BLE001 - the edge answers every error
                    return await router.failure(problem, endpoint)

            return handle

    return GuardedRoute


def _is_json(request: Request) -> bool:
    return "json" in request.headers.get("content-type", "")


async def admit(request: Request, access: Access) -> None:
    """Check the caller against the declaration and put it on the request; raises Unauthenticated or Forbidden."""
    if access.kind is CallerKind.SANDBOX and not request.app.state.sandbox:
        raise HTTPException(404)
    if access.kind is not CallerKind.TOKEN or access.permission is None:
        return
    caller = await _identify(request)
    if not caller.may(access.permission):
        raise Forbidden
    request.state.caller = caller


async def _identify(request: Request) -> Caller:
    if (token := sent_token(request)) is not None:
        verifier: TokenVerifier = request.app.state.tokens
        return await verifier.verify(token)
    certificates: CertificateCallers = request.app.state.certificates
    caller = certificates.caller(request.scope)
    if caller is None:
        raise Unauthenticated
    refuse_foreign(request)
    return caller


def token_of(request: Request) -> str:
    """Return the access token as :func:`sent_token` does; raises Unauthenticated also when there is none."""
    token = sent_token(request)
    if token is None:
        raise Unauthenticated
    return token
