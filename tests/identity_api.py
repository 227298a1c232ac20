"""The ID repository behind HTTP, for the wire tests."""

import json
from typing import Any

import httpx

from civium.kernel.clock import Clock, iso_millis
from civium.platform.http import Caller
from civium.platform.http.access import Unauthenticated
from civium.platform.permissions import Role

CALLERS = {
    "processor": Caller("processor", "regproc", frozenset({Role.REGISTRATION_PROCESSOR})),
    "repository": Caller("repository", "idrepo", frozenset({Role.ID_REPOSITORY})),
    "resident": Caller("resident", "resident", frozenset({Role.RESIDENT})),
    "auth": Caller("auth", "ida", frozenset({Role.ID_AUTHENTICATION})),
    "partner": Caller("partner", "pms", frozenset({Role.AUTH_PARTNER})),
}
IDENTITY = "/idrepository/v1/identity"
VID = "/idrepository/v1/vid"


class Tokens:
    """Knows the callers of these tests by name."""

    async def verify(self, token: str) -> Caller:
        if token not in CALLERS:
            raise Unauthenticated
        return CALLERS[token]


class Api:
    """Sends requests as one of the callers; every answer is checked to be an envelope, and signed."""

    def __init__(self, http: httpx.AsyncClient, clock: Clock) -> None:
        self.http = http
        self.clock = clock

    def envelope(self, operation: str, request: Any, **changes: Any) -> dict[str, Any]:
        whole = {"id": operation, "version": "v1", "requesttime": iso_millis(self.clock.now()), "request": request}
        return {name: value for name, value in (whole | changes).items() if value is not ...}

    async def send(self, method: str, path: str, body: Any = None, *, token: str = "repository") -> dict[str, Any]:
        headers = {"cookie": f"Authorization={token}", "content-type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        answer = await self.http.request(method, path, content=content, headers=headers)
        parsed = answer.json()
        assert answer.headers["response-signature"].count(".") == 2
        assert set(parsed) == {"id", "version", "responsetime", "metadata", "response", "errors"}
        return {"http": answer.status_code, **parsed}

    async def ok(self, method: str, path: str, body: Any = None, *, token: str = "repository") -> Any:
        answer = await self.send(method, path, body, token=token)
        assert (answer["http"], answer["errors"]) == (200, None)
        return answer["response"]

    async def errors(self, method: str, path: str, body: Any = None, *, token: str = "repository") -> list[str]:
        answer = await self.send(method, path, body, token=token)
        assert (answer["http"], answer["response"]) == (200, None)
        return [f"{error['errorCode']} {error['message']}" for error in answer["errors"]]
