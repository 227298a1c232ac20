"""The auth-manager API: ``/v1/authmanager`` (id-repository-and-commons section 8.4, keys-and-crypto section 11)."""

from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from civium.access.api import Access, ClientProof, IssuedToken, User
from civium.kernel.clock import Clock
from civium.kernel.errors import Rejected
from civium.kernel.secrets import Secret
from civium.platform.http import ANYONE, CallerParameter, ErrorCodes, RequestEnvelope, Router, WireModel, allow
from civium.platform.http.access import Unauthenticated
from civium.platform.http.cookies import ACCESS_COOKIE, sent_cookie, sent_token
from civium.platform.http.routing import token_of
from civium.platform.permissions import Permission, Role

CODES = ErrorCodes("KER-ATH-004", "KER-ATH-500", "Error while validating the request", "Internal server error")
REFRESH_COOKIE = "refresh_token"
_SECRET_HOLDS = "Clientid and Token combination had been validated successfully"  # noqa: S105 - a message
_PASSWORD_HOLDS = "Username and password combination had been validated successfully"  # noqa: S105 - a message


class ClientLogin(WireModel):
    """A service client's proof."""

    client_id: str = Field(alias="clientId", min_length=1, max_length=256)
    secret_key: str = Field(alias="secretKey", min_length=1, max_length=512, repr=False)
    app_id: str = Field(alias="appId", min_length=1, max_length=64)


class ApplicationLogin(WireModel):
    """A user's proof on a page of ours."""

    user_name: str = Field(alias="userName", min_length=1, max_length=256)
    password: str = Field(min_length=1, max_length=512, repr=False)
    app_id: str = Field(alias="appId", min_length=1, max_length=64)


class UserLogin(ApplicationLogin):
    """A user's proof, through a client that proves itself too."""

    client_id: str = Field(alias="clientId", min_length=1, max_length=256)
    client_secret: str = Field(alias="clientSecret", min_length=1, max_length=512, repr=False)


class RefreshProof(WireModel):
    """The client that a session was opened through; the refresh token comes as cookie."""

    client_id: str = Field(alias="clientID", min_length=1, max_length=256)
    client_secret: str = Field(alias="clientSecret", min_length=1, max_length=512, repr=False)


class UserNames(WireModel):
    """Whose details are wanted."""

    user_details: list[Annotated[str, Field(max_length=256)]] = Field(alias="userDetails", max_length=100)


class _Answers:
    """Envelopes that give a token to the caller, or take it away. ``secure`` marks its cookie for TLS only."""

    def __init__(self, routes: Router, *, secure: bool) -> None:
        self._routes = routes
        self._secure = secure

    async def giving(
        self, issued: IssuedToken, content: dict[str, Any], sent: RequestEnvelope[Any] | None = None
    ) -> Response:
        id, version = (None, None) if sent is None else (sent.id, sent.version)
        answer = await self._routes.envelope(content, id=id, version=version)
        answer.headers[ACCESS_COOKIE] = issued.token.reveal()
        answer.set_cookie(
            ACCESS_COOKIE,
            issued.token.reveal(),
            max_age=issued.lifetime_seconds,
            httponly=True,
            samesite="lax",
            secure=self._secure,
        )
        return answer

    async def taking(self, content: dict[str, Any]) -> Response:
        answer = await self._routes.envelope(content)
        answer.delete_cookie(ACCESS_COOKIE, httponly=True, samesite="lax", secure=self._secure)
        return answer


def router(access: Access, clock: Clock, *, secure_cookie: bool) -> Router:
    """Return the routes. ``secure_cookie`` marks the token's cookie for TLS only."""
    routes = Router("/v1/authmanager", CODES, clock=clock)
    answers = _Answers(routes, secure=secure_cookie)
    _add_logins(routes, access, answers)
    _add_sessions(routes, access, answers)
    _add_users(routes, access)
    return routes


def _add_logins(routes: Router, access: Access, answers: _Answers) -> None:
    @routes.enveloped("POST", "/authenticate/clientidsecretkey", ANYONE)
    async def log_client_in(request: Request, body: RequestEnvelope[ClientLogin]) -> Response:
        """Log a service client in; the token comes as cookie and header."""
        issued = await access.authenticate_client(
            body.request.client_id, Secret(body.request.secret_key), address=address_of(request)
        )
        return await answers.giving(issued, {"status": "Success", "message": _SECRET_HOLDS}, body)

    @routes.enveloped("POST", "/authenticate/useridPwd", ANYONE)
    async def log_into_application(request: Request, body: RequestEnvelope[ApplicationLogin]) -> Response:
        """Log a user of one of our pages in; the token comes as cookie and header."""
        proof = body.request
        issued = await access.issue_for_application(
            proof.user_name, Secret(proof.password), application=proof.app_id, address=address_of(request)
        )
        return await answers.giving(issued, {"status": "Success", "message": _PASSWORD_HOLDS}, body)

    @routes.enveloped("POST", "/authenticate/internal/useridPwd", ANYONE)
    async def log_user_in(request: Request, body: RequestEnvelope[UserLogin]) -> Response:
        """Log a user in; the token comes in the answer, as cookie and as header."""
        proof = body.request
        issued = await access.authenticate_user(
            proof.user_name,
            Secret(proof.password),
            client_id=proof.client_id,
            client_secret=Secret(proof.client_secret),
            address=address_of(request),
        )
        assert issued.refresh is not None
        return await answers.giving(
            issued,
            {
                "token": issued.token.reveal(),
                "message": _PASSWORD_HOLDS,
                "refreshToken": issued.refresh.token.reveal(),
                "expiryTime": issued.lifetime_seconds,
                "userId": issued.caller.subject,
                "status": "Success",
                "refreshExpiryTime": issued.refresh.lifetime_seconds,
            },
            body,
        )


def _add_sessions(routes: Router, access: Access, answers: _Answers) -> None:
    async def refresh(request: Request, body: RefreshProof) -> Response:
        """Exchange the refresh token of the cookie, once, for a new pair."""
        token = sent_cookie(request, REFRESH_COOKIE)
        if token is None:
            raise _NoCookie
        client = await access.prove_client(
            ClientProof(body.client_id, Secret(body.client_secret)), address=address_of(request)
        )
        issued = await access.refresh(Secret(token), client)
        assert issued.refresh is not None
        content = {
            "accesstoken": issued.token.reveal(),
            "refreshToken": issued.refresh.token.reveal(),
            "accessTokenExpTime": str(issued.lifetime_seconds),
            "refreshTokenExpTime": str(issued.refresh.lifetime_seconds),
        }
        return await answers.giving(issued, content)

    routes.enveloped("POST", "/authorize/refreshToken/{appid}", ANYONE)(refresh)
    routes.enveloped("POST", "/authorize/internal/refreshToken/{appid}", ANYONE)(refresh)

    async def whose_token(request: Request, caller: CallerParameter) -> dict[str, Any]:
        """Tell whose token this is."""
        return {**_details(User(caller.subject, caller.roles)), "token": sent_token(request)}

    routes.enveloped("GET", "/authorize/admin/validateToken", allow(Permission.ACCESS_TOKEN_VALIDATE))(whose_token)
    routes.enveloped("POST", "/authorize/validateToken", allow(Permission.ACCESS_TOKEN_VALIDATE))(whose_token)

    @routes.enveloped("POST", "/authorize/invalidateToken", allow(Permission.ACCESS_TOKEN_VALIDATE))
    async def invalidate_token(request: Request, _caller: CallerParameter) -> Response:
        """Make the token that came with the request invalid."""
        await access.revoke(token_of(request))
        return await answers.taking({"status": "Success", "message": "Token has been invalidated successfully"})

    @routes.enveloped("DELETE", "/logout/user", ANYONE)
    async def log_out(request: Request) -> Response:
        """End the session of the token that came with the request; a token that is not good has none."""
        token = sent_token(request)
        if token is None:
            raise _NoCookie
        try:
            await access.end_session(token)
        except Unauthenticated:
            return await answers.taking({"status": "Failed", "message": "Token is not valid"})
        return await answers.taking({"status": "Success", "message": "User has been logged out successfully"})


def _add_users(routes: Router, access: Access) -> None:
    @routes.enveloped("GET", "/roles/{appid}", allow(Permission.ACCESS_USER_READ))
    async def roles(appid: Annotated[str, Path(max_length=64)]) -> dict[str, Any]:
        """List the roles that there are, the same for each application."""
        del appid
        return {"roles": [{"roleId": role, "roleName": role, "roleDescription": role} for role in Role]}

    @routes.enveloped("GET", "/userdetails/{appid}", allow(Permission.ACCESS_USER_READ))
    async def find_users(
        role_name: Annotated[str | None, Query(alias="roleName", max_length=64)] = None,
        page_start: Annotated[int, Query(alias="pageStart", ge=0)] = 0,
        page_fetch: Annotated[int, Query(alias="pageFetch", ge=1, le=1000)] = 100,
        user_name: Annotated[str, Query(alias="userName", max_length=256)] = "",
        search: Annotated[str, Query(max_length=256)] = "",
    ) -> dict[str, Any]:
        """List users by role and name, page by page."""
        found = [
            user
            for user in await access.users()
            if (role_name is None or role_name in user.roles) and user_name in user.name and search in user.name
        ]
        return {"mosipUserDtoList": [_details(user) for user in found[page_start : page_start + page_fetch]]}

    @routes.enveloped("POST", "/userdetails/{appid}", allow(Permission.ACCESS_USER_READ))
    async def named_users(body: RequestEnvelope[UserNames]) -> dict[str, Any]:
        """Return the users that are named, as far as they exist."""
        return {"mosipUserDtoList": [_details(user) for user in await access.users(body.request.user_details)]}


class _NoCookie(Rejected):
    def __init__(self) -> None:
        super().__init__("KER-ATH-007", "Token is not present in cookies")


def address_of(request: Request) -> str | None:
    """Return the network address that guesses are counted for."""
    return None if request.client is None else request.client.host


def _details(user: User) -> dict[str, Any]:
    return {
        "userId": user.name,
        "mobile": None,
        "mail": None,
        "langCode": None,
        "userPassword": None,
        "name": user.name,
        "role": "".join(f"{role}," for role in sorted(user.roles)),
        "rId": None,
    }
