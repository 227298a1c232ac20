"""The whole HTTP surface of the running platform, as its declarations name it, and callers of every kind."""

import asyncio
import base64
import json
import re
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest_asyncio
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from civium.access.tokens import TokenIssuer
from civium.access.wiring import issuer_of
from civium.apps.installation import Installation, open_installation
from civium.apps.server import all_routers
from civium.kernel.clock import FixedClock, SystemClock, iso_millis
from civium.kernel.secrets import Secret
from civium.keys.api import KERNEL_SIGN
from civium.platform import telemetry
from civium.platform.http import Caller, Declaration, Router
from civium.platform.http.app import SECURITY_HEADERS
from civium.platform.permissions import Role
from civium.platform.postgres import OWNER, Cluster
from civium.platform.settings import DatabaseSettings, HttpSettings, Settings, load
from platform_fixtures import RunningPlatform

PASSPHRASE = Secret("a secret of the tests")
CLIENT_LOGIN = "/v1/authmanager/authenticate/clientidsecretkey"
INVALIDATE = "/v1/authmanager/authorize/invalidateToken"
LOG_OUT = "/v1/authmanager/logout/user"
NO_ALGORITHM = b'{"alg":"none","typ":"JWT"}'
LIFETIME = timedelta(minutes=30)
_TRACES = ("Traceback", 'File "', "asyncpg", "pydantic", "site-packages")


def check_hygiene(answer: httpx.Response) -> None:
    """Fail unless the answer has every security header and a correlation id, and shows nothing of the inside."""
    for name, value in SECURITY_HEADERS:
        assert answer.headers[name.decode()] == value.decode(), name
    assert re.fullmatch(r"[0-9a-f]{16}", answer.headers["x-correlation-id"])
    assert not {"server", "x-powered-by", "via"} & answer.headers.keys()
    if "html" not in answer.headers.get("content-type", ""):
        assert not any(trace in answer.text for trace in _TRACES), answer.text[:500]


def codes(answer: httpx.Response) -> list[str]:
    """Return the error codes of an envelope."""
    return [error["errorCode"] for error in answer.json().get("errors") or []]


def envelope(request: object, **changes: Any) -> dict[str, Any]:
    """Return a request in the wire's envelope; a change to ``...`` leaves a member out."""
    members = {"id": "civium.test", "version": "v1", "requesttime": now(), "metadata": {}, "request": request}
    return {name: value for name, value in (members | changes).items() if value is not ...}


def now(**shift: float) -> str:
    return iso_millis(datetime.now(UTC) + timedelta(**shift))


def concrete(path: str) -> str:
    """Return a declared path with something in place of each parameter."""
    return re.sub(r"\{[^}]*\}", "0", path)


@dataclass
class Surface:
    """The running platform from outside (``http``) and, for what the tests compare with, from inside."""

    settings: Settings
    installation: Installation
    routers: tuple[Router, ...]
    http: httpx.Client
    role_tokens: dict[Role, str] = field(default_factory=dict, repr=False)
    wrong_tokens: dict[str, str | None] = field(default_factory=dict, repr=False)

    @property
    def declarations(self) -> list[Declaration]:
        """Every route; that which ends a session comes last."""
        found = [declaration for router in self.routers for declaration in router.declarations]
        return sorted(found, key=lambda declaration: declaration.path == INVALIDATE)

    def ask(
        self, method: str, path: str, token: str | None = None, *, headers: Mapping[str, str] | None = None, **sent: Any
    ) -> httpx.Response:
        """Make one call, as the bearer of ``token``; every answer must be clean."""
        authorization = {} if token is None else {"authorization": f"Bearer {token}"}
        answer = self.http.request(method, path, headers={**authorization, **(headers or {})}, **sent)
        self.http.cookies.clear()
        check_hygiene(answer)
        return answer

    def talk(self, sent: bytes) -> bytes:
        """Return what the server says to raw bytes, until it closes or is silent for a second."""
        told = b""
        with socket.create_connection((self.settings.http.host, self.settings.http.port), timeout=1.0) as connection:
            connection.sendall(sent)
            try:
                while piece := connection.recv(65536):
                    told += piece
            except TimeoutError:
                pass
        return told

    async def register(self, name: str, *roles: Role) -> None:
        """Add a service client."""
        await self.installation.access.register_client(name, PASSPHRASE, roles)

    def log_in(self, name: str) -> str:
        """Return a token of a service client."""
        proof = {"clientId": name, "secretKey": PASSPHRASE.reveal(), "appId": "test"}
        return str(self.ask("POST", CLIENT_LOGIN, json=envelope(proof)).headers["authorization"])

    async def stored(self) -> dict[str, str]:
        """Return a digest of every table that a refused caller must not change.

        Without the table of refused replays, which a background job clears by the clock.
        """
        connection = await asyncpg.connect(Cluster(self.settings.home, self.settings.database).dsn(OWNER).reveal())
        try:
            tables = await connection.fetch(
                "SELECT schemaname || '.' || tablename AS name FROM pg_tables WHERE schemaname NOT IN "
                "('pg_catalog', 'information_schema', 'access', 'audit', 'outbox_core', 'outbox_auth', 'platform') "
                "AND (schemaname, tablename) <> ('authentication', 'replay')"
            )
            return {
                name: await connection.fetchval(
                    f"SELECT md5(string_agg(md5(t::text), '' ORDER BY md5(t::text))) FROM {name} t"
                )
                for (name,) in tables
            }
        finally:
            await connection.close()

    async def settled(self) -> dict[str, str]:
        """Return the digests once nothing in the background changes them any more."""
        before = await self.stored()
        for _ in range(100):
            await asyncio.sleep(0.1)
            after = await self.stored()
            if after == before:
                return after
            before = after
        raise AssertionError("the platform does not come to rest")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def surface(platform: RunningPlatform) -> AsyncIterator[Surface]:
    """The running platform with a client for every role, logged in, and a token of every wrong kind."""
    settings = load(
        home=platform.home,
        mode="sandbox",
        http=HttpSettings(port=platform.port),
        database=DatabaseSettings(context_roles=True),
    )
    telemetry.correlation.set("test-surface")
    async with open_installation(settings) as installation:
        with httpx.Client(base_url=platform.url, timeout=30.0) as http:
            made = Surface(settings, installation, all_routers(installation), http)
            for role in Role:
                await made.register(f"test-{role}", role)
                made.role_tokens[role] = made.log_in(f"test-{role}")
            made.wrong_tokens = await _wrong_tokens(made)
            yield made


async def _wrong_tokens(surface: Surface) -> dict[str, str | None]:
    keys = surface.installation.core.keys
    issuer, clock = issuer_of(surface.settings), SystemClock()
    caller = Caller("service-account-intruder", "intruder", frozenset(Role))

    async def issued(by: TokenIssuer) -> str:
        return (await by.issue(caller, sandbox=True))[0].reveal()

    right = await issued(TokenIssuer(keys, clock, issuer=issuer, lifetime=LIFETIME))
    assert surface.ask("GET", "/v1/authmanager/authorize/admin/validateToken", right).status_code == 200
    past = FixedClock(clock.now() - LIFETIME - timedelta(seconds=2))
    head, payload, signature = right.split(".")
    revoked = await issued(TokenIssuer(keys, clock, issuer=issuer, lifetime=LIFETIME))
    assert surface.ask("POST", INVALIDATE, revoked).status_code == 200
    await asyncio.sleep(1.1)
    public = (await keys.certificate(KERNEL_SIGN)).x509.public_key()
    return {
        "none": None,
        "garbage": "QW55UmFuZG9tU3RyaW5n",
        "three garbage parts": "a.b.c",
        "expired": await issued(TokenIssuer(keys, past, issuer=issuer, lifetime=LIFETIME)),
        "signed by another key": _resigned(head, payload),
        "alg none": f"{_b64(NO_ALGORITHM)}.{payload}.",
        "alg none, key named": f"{_with(head, alg='none')}.{payload}.",
        "HMAC with the public key": _keyed(
            _with(head, alg="HS256"), payload, public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        ),
        "signature left out": f"{head}.{payload}.",
        "claims exchanged": f"{head}.{_with(payload, preferred_username='somebody')}.{signature}",
        "of another issuer": await issued(
            TokenIssuer(keys, clock, issuer="https://elsewhere.example/auth/realms/mosip", lifetime=LIFETIME)
        ),
        "revoked": revoked,
    }


def _resigned(head: str, payload: str) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    signed = f"{head}.{payload}"
    return f"{signed}.{_b64(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _keyed(head: str, payload: str, key: bytes) -> str:
    mac = hmac.HMAC(key, hashes.SHA256())
    mac.update(f"{head}.{payload}".encode())
    return f"{head}.{payload}.{_b64(mac.finalize())}"


def _with(part: str, **changes: str) -> str:
    clear = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return _b64(json.dumps({**clear, **changes}).encode())


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def leaks(home: Path, *values: str) -> list[tuple[str, str]]:
    """Return the log files that hold one of the values, in clear or as JSON or base64 writes it."""
    found = []
    for file in [*(home / "log").iterdir(), home / "serve.log"]:
        content = file.read_bytes()
        for value in values:
            clear = value.encode()
            forms = {clear, json.dumps(value)[1:-1].encode(), clear.hex().encode()}
            forms |= {base64.b64encode(bytes(lead) + clear)[4:-4] for lead in range(3) if len(clear) > 8}
            found += [(file.name, value) for form in forms if form in content]
    return found
