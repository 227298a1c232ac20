"""The built-in issuer over HTTP: OAuth 2.0 and OpenID Connect at the addresses that Keycloak gives them.

Grants: client_credentials, password (for internal users), refresh_token. RFC 6749, 7009 (revocation), 7523 (client
assertions), 7662 (introspection). Errors have the form of RFC 6749 section 5.2.
"""

import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_plus

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from civium.access.api import Access, Client, ClientProof, IssuedToken
from civium.access.assertions import subject_of
from civium.access.http import CODES, address_of
from civium.access.tokens import ALGORITHMS, OwnKeys, public_key
from civium.kernel.clock import Clock
from civium.kernel.errors import CiviumError, Rejected
from civium.kernel.secrets import Secret
from civium.platform.http import ANYONE, Caller, CallerParameter, Router, allow
from civium.platform.http.access import Unauthenticated
from civium.platform.permissions import Permission

BASE: Final = "/auth/realms/mosip"
TOKEN: Final = "/protocol/openid-connect/token"  # noqa: S105 - an address
ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
MAX_FIELDS: Final = 20
MAX_CHARACTERS: Final = 16_384
_PATHS: Final = {
    "token_endpoint": TOKEN,
    "introspection_endpoint": f"{TOKEN}/introspect",
    "revocation_endpoint": "/protocol/openid-connect/revoke",
    "end_session_endpoint": "/protocol/openid-connect/logout",
    "userinfo_endpoint": "/protocol/openid-connect/userinfo",
    "jwks_uri": "/protocol/openid-connect/certs",
}
_NO_CLIENT: Final = "Invalid client or Invalid client credentials"
_METHODS: Final = ["private_key_jwt", "client_secret_basic", "client_secret_post"]

Form = Mapping[str, str]
Handler = Callable[[Request, Form], Awaitable[Response]]


class OAuthError(CiviumError):
    """A request that the issuer refuses; ``error`` is the code of RFC 6749 section 5.2."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(error)
        self.error = error
        self.description = description
        self.status = status

    def answer(self, *, by_header: bool) -> Response:
        """Return the answer; a client that used the header is told which scheme to use."""
        headers = {"www-authenticate": 'Basic realm="mosip"'} if by_header and self.status == 401 else {}
        content = {"error": self.error, "error_description": self.description}
        return JSONResponse(content, status_code=self.status, headers=headers)


def router(access: Access, keys: OwnKeys, clock: Clock, *, issuer: str) -> Router:
    """Return the routes; ``issuer`` is the ``iss`` of the tokens and the address that the document names."""
    routes = Router(BASE, CODES, clock=clock)
    forms = _Forms(access)
    for path, handler in (
        (TOKEN, forms.token),
        (_PATHS["introspection_endpoint"], forms.introspect),
        (_PATHS["revocation_endpoint"], forms.revoke),
        (_PATHS["end_session_endpoint"], forms.log_out),
    ):
        routes.raw("POST", path, ANYONE)(_of_form(handler))

    @routes.raw("GET", _PATHS["userinfo_endpoint"], allow(Permission.ACCESS_TOKEN_VALIDATE))
    async def userinfo(caller: CallerParameter) -> dict[str, Any]:
        """Tell whose token this is."""
        return _about(caller)

    @routes.raw("GET", _PATHS["jwks_uri"], ANYONE)
    async def certs() -> dict[str, Any]:
        """Return the public keys that verify tokens now: all generations whose tokens may still be good."""
        return {
            "keys": [
                {**public_key(each).as_dict(private=False), "kid": each.key_id, "use": "sig", "alg": "RS256"}
                for each in await keys.generations()
            ]
        }

    @routes.raw("GET", "/.well-known/openid-configuration", ANYONE)
    async def discovery() -> dict[str, Any]:
        """Describe the issuer."""
        return {
            "issuer": issuer,
            **{name: issuer + path for name, path in _PATHS.items()},
            "grant_types_supported": ["client_credentials", "password", "refresh_token"],
            "response_types_supported": [],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "claims_supported": ["iss", "aud", "azp", "sub", "preferred_username", "realm_access", "exp", "iat"],
            **{
                f"{endpoint}_endpoint_{name}_supported": values
                for endpoint in ("token", "introspection", "revocation")
                for name, values in (("auth_methods", _METHODS), ("auth_signing_alg_values", ALGORITHMS))
            },
        }

    return routes


class _Forms:
    """The endpoints that take a form from a client that proves itself in it."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def token(self, request: Request, form: Form) -> Response:
        """Issue a token."""
        client = await self._client(request, form)
        match form.get("grant_type"):
            case "client_credentials":
                return _issued(await self._access.issue_to_client(client))
            case "password":
                return _issued(await self._for_password(request, form, client))
            case "refresh_token":
                return _issued(await self._for_refresh_token(form, client))
            case None:
                raise OAuthError("invalid_request", "Missing form parameter: grant_type")
            case _:
                raise OAuthError("unsupported_grant_type", "Unsupported grant_type")

    async def introspect(self, request: Request, form: Form) -> Response:
        """Tell a client whether an access token is good now, and whose it is."""
        await self._client(request, form)
        try:
            found = await self._access.inspect(_field(form, "token"))
        except Unauthenticated:
            return JSONResponse({"active": False})
        return JSONResponse(
            {
                **_about(found.caller),
                "active": True,
                "iss": found.issuer,
                "username": found.caller.subject,
                "client_id": found.caller.client_id,
                "exp": int(found.expires_at.timestamp()),
                "jti": found.id,
                "sid": found.session,
                "token_type": "Bearer",
            }
        )

    async def revoke(self, request: Request, form: Form) -> Response:
        """Make a token of the client invalid; with a refresh token its whole session ends."""
        client = await self._client(request, form)
        await self._access.revoke_for(_field(form, "token"), client)
        return Response()

    async def log_out(self, request: Request, form: Form) -> Response:
        """End the session of a refresh token."""
        client = await self._client(request, form)
        await self._access.revoke_for(_field(form, "refresh_token"), client)
        return Response(status_code=204)

    async def _client(self, request: Request, form: Form) -> Client:
        try:
            return await self._access.prove_client(_proof(request, form), address=address_of(request))
        except Rejected as problem:
            raise OAuthError("invalid_client", _NO_CLIENT, 401) from problem

    async def _for_password(self, request: Request, form: Form, client: Client) -> IssuedToken:
        name, password = _field(form, "username"), Secret(_field(form, "password"))
        try:
            return await self._access.issue_to_user(name, password, client=client, address=address_of(request))
        except Rejected as problem:
            raise OAuthError("invalid_grant", "Invalid user credentials", 401) from problem

    async def _for_refresh_token(self, form: Form, client: Client) -> IssuedToken:
        try:
            return await self._access.refresh(Secret(_field(form, "refresh_token")), client)
        except Unauthenticated as problem:
            raise OAuthError("invalid_grant", "Invalid refresh token") from problem


def _of_form(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            return await handler(request, await _form(request))
        except OAuthError as problem:
            return problem.answer(by_header="authorization" in request.headers)

    answer.__doc__ = handler.__doc__
    return answer


def _about(caller: Caller) -> dict[str, Any]:
    return {
        "sub": caller.subject,
        "preferred_username": caller.subject,
        "azp": caller.client_id,
        "realm_access": {"roles": sorted(caller.roles)},
    }


def _issued(issued: IssuedToken) -> Response:
    content: dict[str, Any] = {
        "access_token": issued.token.reveal(),
        "expires_in": issued.lifetime_seconds,
        "refresh_expires_in": 0,
        "token_type": "Bearer",
        "not-before-policy": 0,
        "scope": "email profile",
    }
    if issued.refresh is not None:
        content |= {
            "refresh_token": issued.refresh.token.reveal(),
            "refresh_expires_in": issued.refresh.lifetime_seconds,
            "session_state": issued.session,
        }
    return JSONResponse(content)


async def _form(request: Request) -> Form:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise OAuthError("invalid_request", "The body must be a form")
    body = await request.body()
    if len(body) > MAX_CHARACTERS:
        raise OAuthError("invalid_request", "The body is too large")
    try:
        pairs = parse_qsl(body.decode(), max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError as problem:
        raise OAuthError("invalid_request", "The body is no form") from problem
    form = dict(pairs)
    if len(form) != len(pairs) or "\0" in "".join(form.values()):
        raise OAuthError("invalid_request", "A parameter is repeated or malformed")
    return form


def _field(form: Form, name: str) -> str:
    if name not in form:
        raise OAuthError("invalid_request", f"Missing form parameter: {name}")
    return form[name]


def _proof(request: Request, form: Form) -> ClientProof:
    """Return the client's proof; exactly one way of proving may be used (RFC 6749 section 2.3)."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    ways = (scheme.lower() == "basic", "client_secret" in form, "client_assertion" in form)
    if sum(ways) > 1:
        raise OAuthError("invalid_request", "More than one way of client authentication")
    if ways[0]:
        return _basic(credentials)
    if ways[1]:
        return ClientProof(_field(form, "client_id"), Secret(form["client_secret"]))
    if ways[2]:
        if form.get("client_assertion_type") != ASSERTION:
            raise OAuthError("invalid_request", "Unknown client_assertion_type")
        client_id = subject_of(form["client_assertion"])
        if form.get("client_id", client_id) != client_id:
            raise OAuthError("invalid_request", "client_id is not that of the assertion")
        return ClientProof(client_id, assertion=form["client_assertion"])
    raise OAuthError("invalid_client", _NO_CLIENT)


def _basic(credentials: str) -> ClientProof:
    try:
        text = base64.b64decode(credentials, validate=True).decode()
    except ValueError as problem:
        raise OAuthError("invalid_request", "Malformed Authorization header") from problem
    name, colon, secret = text.partition(":")
    if not colon:
        raise OAuthError("invalid_request", "Malformed Authorization header")
    return ClientProof(unquote_plus(name), Secret(unquote_plus(secret)))
