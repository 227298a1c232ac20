"""The auth-manager API: ``/v1/authmanager`` (id-repository-and-commons section 8.4, keys-and-crypto section 11)."""

from typing import Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from civium.access.api import Access, IssuedToken
from civium.kernel.clock import Clock
from civium.kernel.secrets import Secret
from civium.platform.http import ANYONE, CallerParameter, ErrorCodes, RequestEnvelope, Router, WireModel, allow
from civium.platform.http.routing import token_of
from civium.platform.permissions import Permission

CODES = ErrorCodes("KER-ATH-004", "KER-ATH-500", "Error while validating the request", "Internal server error")
COOKIE = "Authorization"


class ClientLogin(WireModel):
    """A service client's proof."""

    client_id: str = Field(alias="clientId", min_length=1, max_length=256)
    secret_key: str = Field(alias="secretKey", min_length=1, max_length=512, repr=False)
    app_id: str = Field(alias="appId", min_length=1, max_length=64)


class UserLogin(WireModel):
    """A user's proof, through a client that proves itself too."""

    user_name: str = Field(alias="userName", min_length=1, max_length=256)
    password: str = Field(min_length=1, max_length=512, repr=False)
    app_id: str = Field(alias="appId", min_length=1, max_length=64)
    client_id: str = Field(alias="clientId", min_length=1, max_length=256)
    client_secret: str = Field(alias="clientSecret", min_length=1, max_length=512, repr=False)


def router(access: Access, clock: Clock, *, secure_cookie: bool) -> Router:
    """Return the routes. ``secure_cookie`` marks the token's cookie for TLS only."""
    routes = Router("/v1/authmanager", CODES, clock=clock)

    async def with_token(issued: IssuedToken, sent: RequestEnvelope[Any], content: dict[str, Any]) -> Response:
        answer = await routes.envelope(content, id=sent.id, version=sent.version)
        answer.headers[COOKIE] = issued.token.reveal()
        answer.set_cookie(
            COOKIE,
            issued.token.reveal(),
            max_age=issued.lifetime_seconds,
            httponly=True,
            samesite="lax",
            secure=secure_cookie,
        )
        return answer

    @routes.enveloped("POST", "/authenticate/clientidsecretkey", ANYONE)
    async def log_client_in(body: RequestEnvelope[ClientLogin]) -> Response:
        """Log a service client in; the token comes as cookie and header."""
        issued = await access.authenticate_client(body.request.client_id, Secret(body.request.secret_key))
        return await with_token(
            issued,
            body,
            {"status": "Success", "message": "Clientid and Token combination had been validated successfully"},
        )

    @routes.enveloped("POST", "/authenticate/internal/useridPwd", ANYONE)
    async def log_user_in(body: RequestEnvelope[UserLogin]) -> Response:
        """Log a user in; the token comes in the answer, as cookie and as header. There are no refresh tokens."""
        proof = body.request
        issued = await access.authenticate_user(
            proof.user_name,
            Secret(proof.password),
            client_id=proof.client_id,
            client_secret=Secret(proof.client_secret),
        )
        return await with_token(
            issued,
            body,
            {
                "token": issued.token.reveal(),
                "message": "Username and password combination had been validated successfully",
                "refreshToken": None,
                "expiryTime": issued.lifetime_seconds,
                "userId": issued.caller.subject,
                "status": "Success",
                "refreshExpiryTime": 0,
            },
        )

    async def whose_token(request: Request, caller: CallerParameter) -> dict[str, Any]:
        """Tell whose token this is."""
        return {
            "userId": caller.subject,
            "mobile": None,
            "mail": None,
            "langCode": None,
            "userPassword": None,
            "name": caller.subject,
            "role": "".join(f"{role}," for role in sorted(caller.roles)),
            "rId": None,
            "token": token_of(request),
        }

    routes.enveloped("GET", "/authorize/admin/validateToken", allow(Permission.ACCESS_TOKEN_VALIDATE))(whose_token)
    routes.enveloped("POST", "/authorize/validateToken", allow(Permission.ACCESS_TOKEN_VALIDATE))(whose_token)

    @routes.enveloped("POST", "/authorize/invalidateToken", allow(Permission.ACCESS_TOKEN_VALIDATE))
    async def invalidate_token(request: Request, _caller: CallerParameter) -> Response:
        """Make the token that came with the request invalid."""
        await access.revoke(token_of(request))
        answer = await routes.envelope({"status": "Success", "message": "Token has been invalidated successfully"})
        answer.delete_cookie(COOKIE, httponly=True, samesite="lax", secure=secure_cookie)
        return answer

    return routes
