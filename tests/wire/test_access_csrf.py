"""Requests that a page of another site makes with the user's cookie, and the cookies themselves."""

import httpx
import pytest

from civium.access import wiring
from civium.kernel.secrets import Secret
from civium.platform.http import CallerParameter, ErrorCodes, Router, allow
from civium.platform.http.app import create_app
from civium.platform.permissions import Permission, Role
from civium.platform.settings import AccessSettings, Settings

PORTAL = "https://portal.example"
HOST = "id.example"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def probe():
    routes = Router("/v1/probe", ErrorCodes("PRB-001", "PRB-500"))
    for method in METHODS:

        @routes.enveloped(method, "/thing", allow(Permission.METRICS_READ))
        async def thing(caller: CallerParameter):
            """Tell who asks."""
            return caller.subject

    return routes


@pytest.fixture
async def access_and_http(db, sealer_core, keys_core, outbox_core, clock, tmp_path):
    settings = Settings(home=tmp_path, access=AccessSettings(trusted_origins=(PORTAL,)))
    access, module = wiring.build(db.core("access"), sealer_core, keys_core, outbox_core, clock, settings)
    await access.register_client("client", Secret("s"), (Role.METRICS,))
    app = create_app([*module.routers, probe()], access, settings)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=f"https://{HOST}") as client:
        yield access, client


@pytest.fixture
async def token(access_and_http):
    return (await access_and_http[0].authenticate_client("client", Secret("s"))).token.reveal()


@pytest.fixture
def http(access_and_http):
    return access_and_http[1]


FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": f"https://{HOST}"},
    {"Sec-Fetch-Site": "rubbish"},
    {"Origin": "https://evil.example"},
    {"Origin": f"https://{HOST}.evil.example"},
    {"Origin": f"https://{HOST}:444"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": f"{PORTAL}.evil.example"},
]
OWN = [
    {},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "same-origin", "Origin": f"https://{HOST}"},
    {"Origin": f"https://{HOST}"},
    {"Origin": PORTAL},
    {"Sec-Fetch-Site": "cross-site", "Origin": PORTAL},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_another_site_cannot_change_anything_with_the_cookie(http, token, headers):
    for method in METHODS:
        answer = await http.request(method, "/v1/probe/thing", headers={**headers, "Cookie": f"Authorization={token}"})
        if method == "GET":
            assert answer.status_code == 200
        else:
            assert answer.status_code == 403
            assert answer.json()["errors"] == [
                {"errorCode": "KER-ATH-403", "message": "Forbidden : request of another site"}
            ]


@pytest.mark.parametrize("headers", OWN, ids=str)
async def test_our_pages_trusted_ones_and_programs_can(http, token, headers):
    for method in METHODS:
        answer = await http.request(method, "/v1/probe/thing", headers={**headers, "Cookie": f"Authorization={token}"})
        assert answer.status_code == 200


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_a_bearer_token_is_nothing_that_a_browser_sends_by_itself(http, token, headers):
    answer = await http.post("/v1/probe/thing", headers={**headers, "Authorization": f"Bearer {token}"})
    assert answer.status_code == 200


async def test_another_site_can_neither_log_out_nor_refresh_nor_invalidate(http, token):
    headers = {"Cookie": f"Authorization={token}; refresh_token=x", "Origin": "https://evil.example"}
    proof = {"clientID": "client", "clientSecret": "s"}
    for method, path, sent in (
        ("DELETE", "/v1/authmanager/logout/user", None),
        ("POST", "/v1/authmanager/authorize/invalidateToken", None),
        ("POST", "/v1/authmanager/authorize/refreshToken/app", proof),
    ):
        assert (await http.request(method, path, headers=headers, json=sent)).status_code == 403, path
    assert (await http.get("/v1/probe/thing", headers={"Authorization": f"Bearer {token}"})).status_code == 200


@pytest.mark.parametrize(
    "cookie",
    [
        "XAuthorization={}",
        "AuthorizationX={}",
        "authorization={}",
        "Authorization ={}x",
        "x=Authorization={}",
        "Authorization={}; Authorization=other",
        "Authorization=other; Authorization={}",
    ],
)
async def test_the_cookie_has_an_exact_name_and_one_value(http, token, cookie):
    answer = await http.get("/v1/probe/thing", headers={"Cookie": cookie.format(token)})
    assert answer.status_code == 401


async def test_the_same_cookie_twice_is_no_contradiction(http, token):
    for cookie in ("Authorization={0}; Authorization={0}", "a=b; Authorization={0};"):
        answer = await http.get("/v1/probe/thing", headers={"Cookie": cookie.format(token)})
        assert answer.status_code == 200
