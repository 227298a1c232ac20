"""The key manager's endpoints over HTTP, on a real database and real keystores."""

import base64
import json
from dataclasses import dataclass

import httpx
import pytest

from civium.kernel.clock import SystemClock
from civium.keys.wiring import build_http, build_trust
from civium.platform.http import Caller
from civium.platform.http.access import Unauthenticated
from civium.platform.http.app import create_app
from civium.platform.permissions import Role
from civium.platform.settings import KeyManagerSettings, Settings

SERVICE = frozenset(
    {
        Role.CREDENTIAL_ISSUANCE, Role.GLOBAL_ADMIN, Role.ID_AUTHENTICATION, Role.ID_REPOSITORY, Role.KEY_MAKER,
        Role.PARTNER_ADMIN, Role.REGISTRATION_PROCESSOR, Role.RESIDENT,
    }
)  # fmt: skip


def service(name, roles=SERVICE):
    return Caller(f"service-account-mosip-{name}-client", f"mosip-{name}-client", frozenset(roles))


CALLERS = {
    **{name: service(name) for name in ("admin", "creser", "ida", "idrepo", "pms", "regproc", "resident", "testrig")},
    "person": Caller("person", "portal", frozenset({Role.INDIVIDUAL})),
    "officer": Caller("110011", "regclient", frozenset({Role.REGISTRATION_OFFICER})),
    "stranger": Caller("service-account-stranger", "stranger", SERVICE),
}


def b64u(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64u(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def part(jws, number):
    return json.loads(unb64u(jws.split(".")[number]))


class Tokens:
    async def verify(self, token):
        if token not in CALLERS:
            raise Unauthenticated
        return CALLERS[token]


@dataclass
class Api:
    http: httpx.AsyncClient

    async def ask(self, method, path, request=None, *, token="idrepo", params=None):
        """Return the whole answer."""
        body = {"id": "a.test", "version": "v1", "requesttime": "2026-01-01T00:00:00.000Z", "request": request}
        return await self.http.request(
            method,
            f"/v1/keymanager{path}",
            json=None if method == "GET" else body,
            params=params,
            headers={"authorization": f"Bearer {token}"},
        )

    async def ok(self, method, path, request=None, **more):
        """Return the response of a call that must succeed."""
        answer = await self.ask(method, path, request, **more)
        assert answer.status_code == 200, answer.text
        assert not answer.json()["errors"], answer.text
        return answer.json()["response"]

    async def refused(self, method, path, request=None, **more):
        """Return ``[(code, message)]`` of a call that must be refused."""
        answer = await self.ask(method, path, request, **more)
        members = answer.json()
        assert members["response"] is None, answer.text
        return [(error["errorCode"], error["message"]) for error in members["errors"]]

    async def code(self, method, path, request=None, **more):
        """Return the one code of a call that must be refused."""
        (refusal,) = await self.refused(method, path, request, **more)
        return refusal[0]


class NoLists:
    """A network on which nothing is found."""

    async def fetch(self, url):
        raise AssertionError(f"nothing is fetched in these tests: {url}")


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path, mode="sandbox", keymanager=KeyManagerSettings())


@pytest.fixture
def manager_keys(keys_core):
    """The core keystore; modules that change the hierarchy have one of their own."""
    return keys_core


@pytest.fixture
def trust(db, manager_keys, outbox_core):
    return build_trust(db.core("keys"), manager_keys, outbox_core, SystemClock(), lists=NoLists())


@pytest.fixture
async def manager(db, manager_keys, keys_auth, trust, outbox_core, settings):
    uses, module = build_http(db.core("keys"), manager_keys, keys_auth, trust, outbox_core, SystemClock(), settings)
    yield module
    await uses.close()


@pytest.fixture
def routes(manager):
    """Every route, as declared."""
    return [declaration for router in manager.routers for declaration in router.declarations]


@pytest.fixture
async def api(manager, settings):
    app = create_app(manager.routers, Tokens(), settings)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://civium") as http:
        yield Api(http)
