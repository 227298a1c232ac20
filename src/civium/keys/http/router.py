"""The router of the key manager: its envelope, its codes, and what its requests are made of (section 7, head)."""

import functools
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final

from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from starlette.responses import Response

from civium.kernel.clock import Clock, iso_millis, parse_instant
from civium.kernel.encoding import unb64
from civium.kernel.errors import Rejected, RejectedMany
from civium.keys.api import KeyProblem
from civium.platform.http import Access, ErrorCodes, RequestEnvelope, Router
from civium.platform.http.envelope import error_items
from civium.platform.http.routing import Handler

BASE: Final = "/v1/keymanager"
CODES: Final = ErrorCodes(invalid="KER-KMS-005", internal="KER-KMS-500", internal_message="Internal server error.")
MAX_PEM: Final = 256 * 1024
MAX_ERRORS: Final = 20

_BLANK: Final = "blank"


def _not_blank(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError(_BLANK, "blank")
    return text


def _instant(text: str) -> str:
    parse_instant(_not_blank(text))
    return text


Mandatory = Annotated[str, AfterValidator(_not_blank)]
"""A text of any length up to the body's limit."""
ApplicationId = Annotated[str, Field(max_length=36), AfterValidator(_not_blank)]
ReferenceId = Annotated[str, Field(max_length=128), AfterValidator(_not_blank)]
OptionalApplicationId = Annotated[str | None, Field(max_length=36)]
OptionalReferenceId = Annotated[str | None, Field(max_length=128)]
Instant = Annotated[str, Field(max_length=40), AfterValidator(_instant)]
Pem = Annotated[str, Field(max_length=MAX_PEM), AfterValidator(_not_blank)]


def blank(text: str | None) -> bool:
    """Tell whether an optional text counts as absent."""
    return text is None or not text.strip()


def decoded(text: str | None, problem: Rejected) -> bytes:
    """Return the bytes of a base64 member, empty when it is absent; raises ``problem`` when it is not base64."""
    if text is None or blank(text):
        return b""
    try:
        return unb64(text.strip())
    except ValueError:
        raise problem from None


def invalid_request() -> KeyProblem:
    """Return the refusal of a message that has the wrong shape."""
    return KeyProblem(CODES.invalid, CODES.invalid_message)


class KeyRouter(Router):
    """The routes of ``/v1/keymanager``: refusals repeat the request's id and version, and name each empty field."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(BASE, CODES, clock=clock)

    def enveloped(
        self, method: str, path: str, access: Access, *, id: str | None = None, version: str | None = None
    ) -> Callable[[Handler], Handler]:
        """Declare a route as :meth:`Router.enveloped` does."""
        declare = super().enveloped(method, path, access, id=id, version=version)

        def decorate(handler: Handler) -> Handler:
            @functools.wraps(handler)
            async def answer(*arguments: Any, **keywords: Any) -> Any:
                try:
                    return await handler(*arguments, **keywords)
                except UnicodeError:
                    rejections: list[Rejected] = [
                        invalid_request()
                    ]  # a text with half a character, which JSON can write
                except RejectedMany as problem:
                    rejections = problem.rejections
                except Rejected as problem:
                    rejections = [problem]
                sent = next((value for value in keywords.values() if isinstance(value, RequestEnvelope)), None)
                return await self.envelope(
                    None,
                    id=sent.id if sent else None,
                    version=sent.version if sent else None,
                    errors=error_items(rejections),
                )

            declare(answer)
            return handler

        return decorate

    async def failure(self, problem: Exception, endpoint: Any) -> Response:
        """Return the envelope of an error, one entry for each wrong field."""
        if not isinstance(problem, RequestValidationError):
            return await super().failure(problem, endpoint)
        sent = problem.body if isinstance(problem.body, dict) else {}
        messages = list(dict.fromkeys(_messages(problem)))[:MAX_ERRORS]
        return await self.envelope(
            None,
            id=sent.get("id"),
            version=sent.get("version"),
            errors=[{"errorCode": self.codes.invalid, "message": message} for message in messages],
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
        """Return the envelope; an id or version that is no short text is not repeated."""
        return await super().envelope(response, id=_text(id), version=_text(version), errors=errors, status=status)

    def timestamp(self) -> str:
        """Return the present instant as answers carry it."""
        return iso_millis(self.clock.now())


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and len(value) <= 64 and value.isprintable() else None


def _messages(problem: RequestValidationError) -> Iterator[str]:
    for error in problem.errors():
        field = error["loc"][-1] if error["loc"] else None
        if isinstance(field, str) and (error["type"] in {"missing", _BLANK} or error.get("input", ...) is None):
            yield f"{field} should not be null or empty"
        else:
            yield CODES.invalid_message
