"""The built-in issuer over HTTP, as an OAuth 2.0 client and a service that trusts it see it."""

import base64
import json
import time
import uuid

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from civium.access import wiring
from civium.access.throttle import ACCOUNT
from civium.kernel.secrets import Secret
from civium.platform.http.app import create_app
from civium.platform.permissions import Role
from civium.platform.settings import HttpSettings, Settings

REALM = "/auth/realms/mosip"
OIDC = f"{REALM}/protocol/openid-connect"
ISSUER = f"http://127.0.0.1:8080{REALM}"
CLIENT = {"client_id": "service", "client_secret": "s3cret/+ä"}
USER = {"grant_type": "password", "username": "110011", "password": "officer"}
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.fixture
async def access_and_http(db, sealer_core, keys_core, outbox_core, clock, tmp_path):
    settings = Settings(home=tmp_path, http=HttpSettings())
    access, module = wiring.build(db.core("access"), sealer_core, keys_core, outbox_core, clock, settings)
    await access.register_client(CLIENT["client_id"], Secret(CLIENT["client_secret"]), (Role.ID_REPOSITORY,))
    await access.register_client("other", Secret("other"), ())
    await access.register_user("110011", Secret("officer"), (Role.REGISTRATION_OFFICER,))
    transport = httpx.ASGITransport(app=create_app(module.routers, access, settings), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://civium") as client:
        yield access, client


@pytest.fixture
def access(access_and_http):
    return access_and_http[0]


@pytest.fixture
def http(access_and_http):
    return access_and_http[1]


async def ask(http, path="token", headers=None, **form):
    return await http.post(f"{OIDC}/{path}", data=form, headers=headers)


async def grant(http, **form):
    answer = await ask(http, **{**CLIENT, **form})
    assert answer.status_code == 200, answer.text
    return answer.json()


def basic(name, secret):
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


def error(answer):
    body = answer.json()
    assert set(body) == {"error", "error_description"}
    return answer.status_code, body["error"]


async def test_client_credentials(http, access):
    answer = await ask(http, grant_type="client_credentials", scope="openid", **CLIENT)
    body = answer.json()
    assert answer.headers["cache-control"] == "no-store"
    assert (body["token_type"], body["expires_in"], body["not-before-policy"]) == ("Bearer", 900, 0)
    assert "refresh_token" not in body
    assert (await access.verify(body["access_token"])).roles == {Role.ID_REPOSITORY}
    by_header = await ask(http, grant_type="client_credentials", headers=basic("service", "s3cret%2F%2B%C3%A4"))
    assert by_header.status_code == 200


async def test_a_password_gives_a_session_that_is_refreshed(http, access):
    first = await grant(http, **USER)
    assert first["refresh_expires_in"] == 1800
    second = await grant(http, grant_type="refresh_token", refresh_token=first["refresh_token"])
    assert second["session_state"] == first["session_state"]
    assert (await access.verify(second["access_token"])).subject == "110011"
    again = await ask(http, grant_type="refresh_token", refresh_token=first["refresh_token"], **CLIENT)
    assert error(again) == (400, "invalid_grant")
    dead = await ask(http, grant_type="refresh_token", refresh_token=second["refresh_token"], **CLIENT)
    assert error(dead) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({}, (400, "invalid_request")),
        ({"grant_type": "authorization_code"}, (400, "unsupported_grant_type")),
        ({"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange"}, (400, "unsupported_grant_type")),
        ({"grant_type": "client_credentials", "client_secret": "wrong"}, (401, "invalid_client")),
        ({"grant_type": "client_credentials", "client_id": "nobody"}, (401, "invalid_client")),
        (
            {"grant_type": "client_credentials", "client_id": "110011", "client_secret": "officer"},
            (401, "invalid_client"),
        ),
        ({"grant_type": "client_credentials", "client_id": "a\0b"}, (400, "invalid_request")),
        ({**USER, "password": "wrong"}, (401, "invalid_grant")),
        ({**USER, "username": "nobody"}, (401, "invalid_grant")),
        ({"grant_type": "password", "username": "110011"}, (400, "invalid_request")),
        ({"grant_type": "refresh_token"}, (400, "invalid_request")),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, (400, "invalid_grant")),
    ],
    ids=str,
)
async def test_refusals_have_the_form_of_the_standard(http, form, expected):
    answer = await ask(http, **{**CLIENT, **form})
    assert error(answer) == expected
    assert "s3cret" not in answer.text
    assert "officer" not in answer.text


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "application/x-www-form-urlencoded"),
        (b'{"grant_type": "client_credentials"}', "application/json"),
        (b"grant_type=client_credentials", "text/plain"),
        (b"client_id=a&client_id=service&client_secret=x", "application/x-www-form-urlencoded"),
        (b"client_id=%ff&client_secret=%ff", "application/x-www-form-urlencoded"),
        (b"a=" + b"x" * 20_000, "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=1" % n for n in range(50)), "application/x-www-form-urlencoded"),
        (b"client_id=service", "application/x-www-form-urlencoded"),
    ],
)
@pytest.mark.parametrize("path", ["token", "token/introspect", "revoke", "logout"])
async def test_bad_bodies(http, content, kind, path):
    answer = await http.post(f"{OIDC}/{path}", content=content, headers={"content-type": kind})
    assert answer.status_code == 400
    assert error(answer)[1] in {"invalid_request", "invalid_client"}


@pytest.mark.parametrize("credentials", ["", "x", "%%%", base64.b64encode(b"no colon").decode(), "\xff"])
async def test_bad_headers(http, credentials):
    headers = {"Authorization": f"Basic {credentials}".encode("latin-1")}
    answer = await ask(http, grant_type="client_credentials", headers=headers)
    assert error(answer) == (400, "invalid_request")


async def test_a_wrong_secret_in_the_header_is_answered_with_the_scheme(http):
    answer = await ask(http, grant_type="client_credentials", headers=basic("service", "wrong"))
    assert error(answer) == (401, "invalid_client")
    assert answer.headers["www-authenticate"] == 'Basic realm="mosip"'


async def test_two_ways_of_client_authentication_are_refused(http):
    answer = await ask(http, grant_type="client_credentials", headers=basic("service", "x"), **CLIENT)
    assert error(answer) == (400, "invalid_request")


async def test_guesses_are_throttled(http):
    for _ in range(ACCOUNT.free):
        await ask(http, grant_type="client_credentials", client_id="service", client_secret="wrong")
    assert error(await ask(http, grant_type="client_credentials", **CLIENT)) == (401, "invalid_client")


class Signer:
    """A client with a key of its own."""

    def __init__(self, kind="rsa"):
        self.alg = "RS256" if kind == "rsa" else "ES256"
        key = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
        self.public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.key = (RSAKey if kind == "rsa" else ECKey).import_key(pem)

    def form(self, alg=None, key=None, header=None, **changes):
        claims = {
            "iss": "signer",
            "sub": "signer",
            "aud": f"{ISSUER}/protocol/openid-connect/token",
            "jti": uuid.uuid4().hex,
            "exp": int(time.time()) + 60,
            **changes,
        }
        claims = {name: value for name, value in claims.items() if value is not ...}
        assertion = jwt.encode({"alg": alg or self.alg, **(header or {})}, claims, key or self.key)
        return {"grant_type": "client_credentials", "client_assertion_type": ASSERTION, "client_assertion": assertion}


@pytest.mark.parametrize("kind", ["rsa", "ec"])
async def test_a_client_proves_itself_with_its_key(http, access, kind):
    signer = Signer(kind)
    await access.register_client("signer", None, (Role.METRICS,), public_key=signer.public)
    for audience in (ISSUER, [f"{ISSUER}/protocol/openid-connect/token", "x"]):
        answer = await ask(http, **signer.form(aud=audience))
        assert (await access.verify(answer.json()["access_token"])).roles == {Role.METRICS}


async def test_an_assertion_counts_once(http, access):
    signer = Signer()
    await access.register_client("signer", None, (), public_key=signer.public)
    form = signer.form()
    assert (await ask(http, **form)).status_code == 200
    assert error(await ask(http, **form)) == (401, "invalid_client")


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "https://elsewhere.example/token"},
        {"aud": ...},
        {"exp": 1},
        {"exp": ...},
        {"exp": time.time() + 7200},
        {"nbf": time.time() + 3000},
        {"jti": ...},
        {"jti": ""},
        {"iss": "other"},
        {"sub": "other"},
        {"sub": ...},
        {"alg": "HS256"},
        {"key": RSAKey.generate_key(2048, private=True)},
        {"header": {"crit": ["x"], "x": 1}},
    ],
    ids=str,
)
async def test_bad_assertions_are_refused(http, access, changes):
    signer = Signer()
    await access.register_client("signer", None, (), public_key=signer.public)
    if changes.get("alg") == "HS256":
        head, payload, _ = signer.form()["client_assertion"].split(".")
        head = base64.urlsafe_b64encode(b'{"alg":"HS256"}').rstrip(b"=").decode()
        form = {**signer.form(), "client_assertion": f"{head}.{payload}.AAAA"}
    elif "header" in changes:
        form = signer.form()
        head = (
            base64.urlsafe_b64encode(json.dumps({"alg": "RS256", **changes["header"]}).encode()).rstrip(b"=").decode()
        )
        form["client_assertion"] = head + form["client_assertion"][form["client_assertion"].index(".") :]
    else:
        form = signer.form(**changes)
    assert error(await ask(http, **form)) == (401, "invalid_client")


async def test_a_client_with_a_key_alone_has_no_secret_to_guess(http, access):
    await access.register_client("signer", None, (), public_key=Signer().public)
    for secret in ("", "None", "null"):
        answer = await ask(http, grant_type="client_credentials", client_id="signer", client_secret=secret)
        assert answer.status_code in {400, 401}
    other = Signer()
    assert error(await ask(http, **other.form())) == (401, "invalid_client")
    assert error(await ask(http, **other.form(iss="service", sub="service"))) == (401, "invalid_client")


@pytest.mark.parametrize("key", [rsa.generate_private_key(65537, 1024), ec.generate_private_key(ec.SECP384R1())])
async def test_weak_and_other_keys_are_not_registered(access, key):
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    with pytest.raises(ValueError, match="2048"):
        await access.register_client("weak", None, (), public_key=pem)


async def test_the_key_set_verifies_what_is_issued(http):
    token = (await grant(http, grant_type="client_credentials"))["access_token"]
    keys = (await http.get(f"{OIDC}/certs")).json()
    for key in keys["keys"]:
        assert set(key) == {"kid", "kty", "n", "e", "use", "alg"}
    claims = jwt.decode(token, KeySet.import_key_set(keys), algorithms=["RS256"]).claims
    assert (claims["iss"], claims["azp"]) == (ISSUER, "service")


async def test_the_discovery_document_names_what_answers(http):
    document = (await http.get(f"{REALM}/.well-known/openid-configuration")).json()
    assert document["issuer"] == ISSUER
    assert document["token_endpoint_auth_methods_supported"][0] == "private_key_jwt"
    for name, address in document.items():
        if name.endswith(("_endpoint", "_uri")):
            path = address.removeprefix("http://127.0.0.1:8080")
            method = "GET" if name in {"jwks_uri", "userinfo_endpoint"} else "POST"
            assert (await http.request(method, path)).status_code in {200, 400, 401}, name


async def test_introspection(http):
    issued = await grant(http, **USER)

    async def found(token, **client):
        return (await ask(http, "token/introspect", token=token, **(client or CLIENT))).json()

    body = await found(issued["access_token"])
    assert (body["active"], body["username"], body["client_id"]) == (True, "110011", "service")
    assert body["realm_access"] == {"roles": ["REGISTRATION_OFFICER"]}
    assert body["exp"] > time.time()
    for token in ("x", issued["access_token"][:-3], issued["refresh_token"]):
        assert await found(token) == {"active": False}
    stranger = await ask(http, "token/introspect", token=issued["access_token"], client_id="x", client_secret="y")
    assert error(stranger) == (401, "invalid_client")
    await ask(http, "revoke", token=issued["access_token"], **CLIENT)
    assert await found(issued["access_token"]) == {"active": False}


async def test_revocation_is_for_the_client_that_the_token_is_of(http, access):
    issued = await grant(http, **USER)
    for token in (issued["access_token"], issued["refresh_token"], "x"):
        answer = await ask(http, "revoke", token=token, client_id="other", client_secret="other")
        assert (answer.status_code, answer.content) == (200, b"")
    await access.verify(issued["access_token"])
    assert (await ask(http, "revoke", token=issued["refresh_token"], **CLIENT)).status_code == 200
    assert (await http.get(f"{OIDC}/userinfo", headers=bearer(issued))).status_code == 401


def bearer(issued):
    return {"Authorization": f"Bearer {issued['access_token']}"}


async def test_logout_and_userinfo(http):
    issued = await grant(http, **USER)
    answer = await http.get(f"{OIDC}/userinfo", headers=bearer(issued))
    assert answer.json()["preferred_username"] == "110011"
    assert (await ask(http, "logout", refresh_token=issued["refresh_token"], **CLIENT)).status_code == 204
    assert (await http.get(f"{OIDC}/userinfo", headers=bearer(issued))).status_code == 401
    again = await ask(http, grant_type="refresh_token", refresh_token=issued["refresh_token"], **CLIENT)
    assert error(again) == (400, "invalid_grant")
