"""The auth-manager API over HTTP, as the outside calls it."""

import json

import httpx
import pytest
from fastapi import Request

from civium.access import wiring
from civium.kernel.secrets import Secret
from civium.platform.http import CallerParameter, ErrorCodes, Router, allow
from civium.platform.http.app import create_app
from civium.platform.permissions import Permission, Role
from civium.platform.settings import HttpSettings, Settings

CLIENT_LOGIN = "/v1/authmanager/authenticate/clientidsecretkey"
USER_LOGIN = "/v1/authmanager/authenticate/internal/useridPwd"
VALIDATE = "/v1/authmanager/authorize/admin/validateToken"
INVALIDATE = "/v1/authmanager/authorize/invalidateToken"

CLIENT = {"clientId": "mosip-resident-client", "secretKey": "sandbox-secret", "appId": "resident"}
USER = {
    "userName": "110012",
    "password": "sandbox-password",
    "appId": "registrationclient",
    "clientId": "mosip-admin-client",
    "clientSecret": "sandbox-secret",
}


def probe():
    """A route of another service, for one permission."""
    routes = Router("/v1/probe", ErrorCodes("PRB-001", "PRB-500"))

    @routes.enveloped("GET", "/metrics", allow(Permission.METRICS_READ))
    async def metrics(_request: Request, caller: CallerParameter):
        """Tell who asks."""
        return {"subject": caller.subject}

    return routes


@pytest.fixture
def build(db, sealer_core, keys_core, outbox_core, clock, tmp_path):
    def again(mode="sandbox", **http):
        settings = Settings(home=tmp_path, mode=mode, http=HttpSettings(**http))
        access, module = wiring.build(db.core("access"), sealer_core, keys_core, outbox_core, clock, settings)
        app = create_app([*module.routers, probe()], access, settings)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        return access, httpx.AsyncClient(transport=transport, base_url="http://civium")

    return again


@pytest.fixture
async def access(build):
    service, _ = build()
    await service.register_client(
        "mosip-resident-client",
        Secret("sandbox-secret"),
        (Role.RESIDENT, Role.ID_AUTHENTICATION, Role.CREDENTIAL_REQUEST),
    )
    await service.register_client("mosip-admin-client", Secret("sandbox-secret"), ())
    await service.register_user("110012", Secret("sandbox-password"), (Role.REGISTRATION_SUPERVISOR,))
    return service


@pytest.fixture
async def http(build, access):
    _, client = build()
    async with client:
        yield client


def wrapped(request):
    return {
        "id": "string",
        "version": "1.0",
        "requesttime": "2026-11-24T10:00:00.000Z",
        "metadata": {},
        "request": request,
    }


async def token_of(http, login=None):
    answer = await http.post(CLIENT_LOGIN, json=wrapped({**CLIENT, **(login or {})}))
    http.cookies.clear()
    return answer.headers["authorization"]


def errors(answer):
    return [(error["errorCode"], error["message"]) for error in answer.json()["errors"]]


async def test_a_client_logs_in(http):
    answer = await http.post(CLIENT_LOGIN, json=wrapped(CLIENT))
    assert answer.status_code == 200
    body = answer.json()
    assert body["id"] == "string"
    assert body["version"] == "1.0"
    assert body["errors"] is None
    assert body["response"] == {
        "status": "Success",
        "message": "Clientid and Token combination had been validated successfully",
    }
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"Authorization={answer.headers['authorization']};")
    assert {"httponly", "path=/", "samesite=lax"} <= {part.strip().lower() for part in cookie.split(";")}
    assert "secure" not in cookie.lower()


async def test_a_user_logs_in(http):
    answer = await http.post(USER_LOGIN, json=wrapped(USER))
    response = answer.json()["response"]
    assert response.keys() == {
        "token",
        "message",
        "refreshToken",
        "expiryTime",
        "userId",
        "status",
        "refreshExpiryTime",
    }
    assert response["userId"] == "110012"
    assert response["expiryTime"] >= 20 * 60
    assert response["token"] == answer.headers["authorization"] == answer.cookies["Authorization"]


async def test_the_token_is_taken_as_cookie_and_as_bearer(http):
    token = await token_of(http)
    expected = {
        "userId": "service-account-mosip-resident-client",
        "mobile": None,
        "mail": None,
        "langCode": None,
        "userPassword": None,
        "name": "service-account-mosip-resident-client",
        "role": "CREDENTIAL_REQUEST,ID_AUTHENTICATION,RESIDENT,",
        "rId": None,
        "token": token,
    }
    for headers in ({"Cookie": f"Authorization={token}"}, {"Authorization": f"Bearer {token}"}):
        answer = await http.get(VALIDATE, headers=headers)
        assert answer.status_code == 200
        assert answer.json()["response"] == expected
    assert (await http.post(VALIDATE.replace("/admin", ""), headers=headers)).json()["response"] == expected


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Cookie": "Authorization="},
        {"Cookie": "Authorization=anyRandomString"},
        {"Cookie": "Other=x"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer QW55UmFuZG9tU3RyaW5nLVRvQ3JlYXRlLUp3dA=="},
        {"Authorization": "Bearer " + "a." * 9000},
    ],
)
async def test_no_valid_token_is_401(http, headers):
    answer = await http.get(VALIDATE, headers=headers)
    assert answer.status_code == 401
    assert errors(answer) == [("KER-ATH-401", "Authentication Failed")]
    assert answer.json()["response"] is None


async def test_a_role_without_the_permission_is_403(http):
    token = await token_of(http)
    answer = await http.get("/v1/probe/metrics", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 403
    assert errors(answer) == [("KER-ATH-403", "Forbidden")]


async def test_the_permission_opens_another_service(http, access):
    await access.register_client("prometheus", Secret("s"), (Role.METRICS,))
    token = await token_of(http, {"clientId": "prometheus", "secretKey": "s"})
    answer = await http.get("/v1/probe/metrics", headers={"Authorization": f"Bearer {token}"})
    assert answer.json()["response"] == {"subject": "service-account-prometheus"}


@pytest.mark.parametrize(
    ("path", "login"),
    [
        (CLIENT_LOGIN, {**CLIENT, "secretKey": "wrong"}),
        (CLIENT_LOGIN, {**CLIENT, "clientId": "nobody"}),
        (CLIENT_LOGIN, {**CLIENT, "clientId": "a\x00b"}),
        (CLIENT_LOGIN, {**CLIENT, "clientId": "110012", "secretKey": "sandbox-password"}),
        (USER_LOGIN, {**USER, "password": "wrong"}),
        (USER_LOGIN, {**USER, "userName": "nobody"}),
        (USER_LOGIN, {**USER, "clientSecret": "wrong"}),
        (USER_LOGIN, {**USER, "userName": "110012 "}),
    ],
)
async def test_wrong_proofs_look_alike(http, path, login):
    answer = await http.post(path, json=wrapped(login))
    assert answer.status_code == 200
    assert errors(answer) == [("KER-ATH-023", "Invalid Credentials")]
    assert "set-cookie" not in answer.headers
    assert "authorization" not in answer.headers


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b'"x"',
        b"{}",
        b'{"request": null}',
        b'{"request": []}',
        json.dumps(wrapped({})).encode(),
        json.dumps(wrapped({**CLIENT, "clientId": ""})).encode(),
        json.dumps(wrapped({**CLIENT, "clientId": None})).encode(),
        json.dumps(wrapped({**CLIENT, "clientId": 7})).encode(),
        json.dumps(wrapped({**CLIENT, "secretKey": ["sandbox-secret"]})).encode(),
        json.dumps(wrapped({**CLIENT, "secretKey": "x" * 513})).encode(),
        json.dumps(wrapped({**CLIENT, "appId": ""})).encode(),
        b'{"request":' + b"[" * 40 + b"]" * 40 + b"}",
        b'{"request": {"clientId": "\xff"}}',
        b'{"request": {"clientId": "\\ud800", "secretKey": "sandbox-secret", "appId": "x"}}',
    ],
)
async def test_bad_input_gets_the_specified_code_and_shows_no_secret(http, content):
    answer = await http.post(CLIENT_LOGIN, content=content, headers={"content-type": "application/json"})
    assert answer.status_code in {200, 400}
    found = errors(answer)
    assert found
    assert all(code == "KER-ATH-004" for code, _ in found)
    assert "sandbox-secret" not in answer.text
    assert "Traceback" not in answer.text


async def test_a_body_that_is_too_large(http):
    answer = await http.post(CLIENT_LOGIN, content=b" " * (7 * 1024 * 1024))
    assert answer.status_code == 413


async def test_a_token_can_be_invalidated(http):
    token = await token_of(http)
    cookie = {"Cookie": f"Authorization={token}"}
    answer = await http.post(INVALIDATE, headers=cookie)
    assert answer.json()["response"]["message"] == "Token has been invalidated successfully"
    assert "max-age=0" in answer.headers["set-cookie"].lower()
    for method, path in (("GET", VALIDATE), ("POST", INVALIDATE)):
        assert (await http.request(method, path, headers=cookie)).status_code == 401


async def test_production_refuses_every_sandbox_login_and_token(build):
    service, sandbox = build()
    await service.seed_sandbox()
    async with sandbox:
        token = await token_of(sandbox)
        assert (await sandbox.post(USER_LOGIN, json=wrapped(USER))).json()["response"]["userId"] == "110012"
    _, production = build("production")
    async with production:
        for path, login in ((CLIENT_LOGIN, CLIENT), (USER_LOGIN, USER)):
            answer = await production.post(path, json=wrapped(login))
            assert errors(answer) == [("KER-ATH-023", "Invalid Credentials")]
        answer = await production.get(VALIDATE, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401


async def test_with_tls_the_cookie_is_for_tls_only(build, access, tmp_path):
    await access.register_client("client", Secret("s"), ())
    _, client = build("production", tls_certificate=tmp_path / "c.pem", tls_key=tmp_path / "k.pem")
    async with client:
        login = wrapped({"clientId": "client", "secretKey": "s", "appId": "x"})
        answer = await client.post(CLIENT_LOGIN, json=login)
    assert "; secure" in answer.headers["set-cookie"].lower()


async def test_a_token_of_another_issuer_is_refused(build, http):
    token = await token_of(http)
    _, elsewhere = build(port=9999)
    async with elsewhere:
        answer = await elsewhere.get(VALIDATE, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401


APPLICATION_LOGIN = "/v1/authmanager/authenticate/useridPwd"
LOGOUT = "/v1/authmanager/logout/user"
REFRESH = "/v1/authmanager/authorize/internal/refreshToken/registrationclient"
PROOF = {"clientID": "mosip-admin-client", "clientSecret": "sandbox-secret"}


async def test_a_session_is_refreshed_by_its_cookie(http):
    issued = (await http.post(USER_LOGIN, json=wrapped(USER))).json()["response"]
    assert issued["refreshExpiryTime"] == 3600
    http.cookies.clear()
    for path in (REFRESH, REFRESH.replace("/internal", "")):
        answer = await http.post(path, json=PROOF, headers={"Cookie": f"refresh_token={issued['refreshToken']}"})
        issued = answer.json()["response"]
        assert issued.keys() == {"accesstoken", "refreshToken", "accessTokenExpTime", "refreshTokenExpTime"}
        assert issued["accesstoken"] == answer.cookies["Authorization"]
        http.cookies.clear()
        seen = await http.get(VALIDATE, headers={"Cookie": f"Authorization={issued['accesstoken']}"})
        assert seen.json()["response"]["userId"] == "110012"


async def test_refreshing_without_a_good_token_or_client(http):
    issued = (await http.post(USER_LOGIN, json=wrapped(USER))).json()["response"]
    http.cookies.clear()
    assert errors(await http.post(REFRESH, json=PROOF)) == [("KER-ATH-007", "Token is not present in cookies")]
    answer = await http.post(REFRESH, json=PROOF, headers={"Cookie": "refresh_token=x"})
    assert (answer.status_code, errors(answer)[0][0]) == (401, "KER-ATH-401")
    cookie = {"Cookie": f"refresh_token={issued['refreshToken']}"}
    answer = await http.post(REFRESH, json={**PROOF, "clientSecret": "x"}, headers=cookie)
    assert errors(answer) == [("KER-ATH-023", "Invalid Credentials")]
    answer = await http.post(REFRESH, json={}, headers=cookie)
    assert errors(answer)[0][0] == "KER-ATH-004"


async def test_a_user_of_our_own_page_logs_in_without_a_client(http):
    login = {name: USER[name] for name in ("userName", "password", "appId")}
    answer = await http.post(APPLICATION_LOGIN, json=wrapped(login))
    assert answer.json()["response"] == {
        "status": "Success",
        "message": "Username and password combination had been validated successfully",
    }
    token = answer.cookies["Authorization"]
    http.cookies.clear()
    wrong = await http.post(APPLICATION_LOGIN, json=wrapped({**login, "password": "x"}))
    assert errors(wrong) == [("KER-ATH-023", "Invalid Credentials")]
    assert (await http.get(VALIDATE, headers={"Cookie": f"Authorization={token}"})).status_code == 200


async def test_logging_out_ends_the_session(http):
    issued = (await http.post(USER_LOGIN, json=wrapped(USER))).json()["response"]
    http.cookies.clear()
    cookie = {"Cookie": f"Authorization={issued['token']}"}
    answer = await http.delete(LOGOUT, headers=cookie)
    assert answer.json()["response"]["status"] == "Success"
    assert "max-age=0" in answer.headers["set-cookie"].lower()
    assert (await http.get(VALIDATE, headers=cookie)).status_code == 401
    refused = await http.post(REFRESH, json=PROOF, headers={"Cookie": f"refresh_token={issued['refreshToken']}"})
    assert refused.status_code == 401
    assert (await http.delete(LOGOUT, headers=cookie)).json()["response"]["status"] == "Failed"
    assert errors(await http.delete(LOGOUT)) == [("KER-ATH-007", "Token is not present in cookies")]


async def test_administrators_see_users_and_roles(http, access):
    await access.register_client("admin", Secret("s"), (Role.GLOBAL_ADMIN,))
    await access.register_user("110011", Secret("p"), (Role.REGISTRATION_OFFICER,))
    token = await token_of(http, {"clientId": "admin", "secretKey": "s"})
    headers = {"Authorization": f"Bearer {token}"}

    async def found(query=""):
        answer = await http.get(f"/v1/authmanager/userdetails/admin{query}", headers=headers)
        return [user["userId"] for user in answer.json()["response"]["mosipUserDtoList"]]

    assert await found() == ["110011", "110012"]
    assert await found("?roleName=REGISTRATION_OFFICER") == ["110011"]
    assert await found("?pageStart=1&pageFetch=1") == ["110012"]
    assert await found("?userName=12") == ["110012"]
    named = await http.post(
        "/v1/authmanager/userdetails/admin", json=wrapped({"userDetails": ["110011", "nobody"]}), headers=headers
    )
    assert named.json()["response"]["mosipUserDtoList"] == [
        {"userId": "110011", "mobile": None, "mail": None, "langCode": None, "userPassword": None, "name": "110011",
         "role": "REGISTRATION_OFFICER,", "rId": None},
    ]  # fmt: skip
    roles = (await http.get("/v1/authmanager/roles/admin", headers=headers)).json()["response"]["roles"]
    assert {role["roleName"] for role in roles} == set(Role)
    other = {"Authorization": f"Bearer {await token_of(http)}"}
    assert (await http.get("/v1/authmanager/userdetails/admin", headers=other)).status_code == 403
