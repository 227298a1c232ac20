"""An HTTP client of the platform's own APIs, as an operator's tool would be."""

import json
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from civium.kernel.clock import SystemClock, iso_millis
from civium.kernel.errors import CiviumError
from civium.kernel.secrets import Secret

SANDBOX_SECRET = Secret("sandbox-secret")
SANDBOX_PASSWORD = Secret("sandbox-password")


class CallFailed(CiviumError):
    """The platform refused a call. Holds the wire's error codes, no data."""

    def __init__(self, call: str, status: int, errors: list[tuple[str, str]]) -> None:
        listed = "; ".join(f"{code} {message}" for code, message in errors) or "no error code"
        super().__init__(f"{call}: HTTP {status}: {listed}")
        self.status = status
        self.codes = tuple(code for code, _ in errors)


@dataclass(frozen=True, slots=True)
class User:
    """A sandbox user (person) of the auth manager."""

    name: str
    app_id: str
    client_id: str


PARTNER_ADMIN = User("partner-111997", "partner", "mosip-pms-client")
OFFICER = User("110011", "registrationclient", "mosip-pms-client")


class Platform:
    """A session with a running platform; ``token`` is that of the last login."""

    def __init__(self, url: str, *, timeout: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(base_url=self.url, timeout=timeout)
        self._clock = SystemClock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def login_client(self, app_id: str, client_id: str, secret: Secret[str] = SANDBOX_SECRET) -> None:
        """Log a service client in; later calls carry its token."""
        request = {"appId": app_id, "clientId": client_id, "secretKey": secret.reveal()}
        self._login("/v1/authmanager/authenticate/clientidsecretkey", request)

    def login_user(self, user: User, password: Secret[str] = SANDBOX_PASSWORD) -> None:
        """Log a user in; later calls carry the token."""
        request = {
            "appId": user.app_id,
            "userName": user.name,
            "password": password.reveal(),
            "clientId": user.client_id,
            "clientSecret": SANDBOX_SECRET.reveal(),
        }
        self._login("/v1/authmanager/authenticate/internal/useridPwd", request)

    def _login(self, path: str, request: dict[str, str]) -> None:
        self._http.cookies.clear()
        answer = self._http.post(path, json=self.envelope(request))
        result_of(f"POST {path}", answer)
        if "Authorization" not in answer.cookies:
            raise CallFailed(f"POST {path}", answer.status_code, [("no-token", "the answer set no token cookie")])

    def envelope(self, request: object, id: str = "civium.sandbox", version: str = "1.0") -> dict[str, Any]:
        """Return the wire's request envelope at the present instant."""
        return {
            "id": id,
            "version": version,
            "requesttime": iso_millis(self._clock.now()),
            "metadata": {},
            "request": request,
        }

    def call(
        self, method: str, path: str, request: object = None, *, id: str = "civium.sandbox", version: str = "1.0"
    ) -> Any:
        """Make an enveloped call and return its ``response``; raises CallFailed."""
        body = None if method == "GET" else self.envelope(request, id, version)
        return result_of(f"{method} {path}", self._http.request(method, path, json=body))

    def get(self, path: str, **query: str) -> Any:
        """Make an enveloped GET and return its ``response``; raises CallFailed."""
        return result_of(f"GET {path}", self._http.get(path, params=query))

    def plain(self, path: str, **query: str) -> Any:
        """Return the JSON of a GET outside the envelope."""
        answer = self._http.get(path, params=query)
        answer.raise_for_status()
        return answer.json()

    def send(self, method: str, path: str, **keywords: Any) -> httpx.Response:
        """Make a call as it is, with the session's token."""
        return self._http.request(method, path, **keywords)

    def messages(self, address: str) -> list[dict[str, str]]:
        """Return what the sandbox's catcher holds for an address, newest first."""
        caught: list[dict[str, str]] = self.plain("/sandbox/outbox", to=address)
        return caught


def result_of(call: str, answer: httpx.Response) -> Any:
    """Return ``response`` of an enveloped answer; raises CallFailed."""
    try:
        document = answer.json()
    except json.JSONDecodeError:
        raise CallFailed(call, answer.status_code, []) from None
    errors = [(error["errorCode"], error.get("message", "")) for error in document.get("errors") or []]
    if errors or answer.is_error:
        raise CallFailed(call, answer.status_code, errors)
    return document.get("response")
