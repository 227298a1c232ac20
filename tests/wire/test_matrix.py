"""Every route with every kind of caller, generated from what the routes declare, on the running platform."""

import json
import secrets
from collections.abc import Iterable, Iterator

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi import FastAPI
from starlette.routing import BaseRoute, Route, compile_path

from authentication_world import certificate
from civium.platform.http import CallerKind, Declaration, ErrorCodes, Router
from civium.platform.http.app import DirectRoutes, Edge, create_app
from civium.platform.permissions import GRANTS, Role
from relying_party_client import RelyingPartyClient
from surface import *  # noqa: F403
from surface import Surface, check_hygiene, codes, concrete, envelope

pytestmark = pytest.mark.matrix

OPENAPI = "/openapi.json"
WRONG_TOKENS = (
    "none",
    "garbage",
    "three garbage parts",
    "expired",
    "signed by another key",
    "alg none",
    "alg none, key named",
    "HMAC with the public key",
    "signature left out",
    "claims exchanged",
    "of another issuer",
    "revoked",
)
UNAUTHENTICATED = (401, ["KER-ATH-401"])
FORBIDDEN = (403, ["KER-ATH-403"])
EFFECTIVE = {"/v1/policymanager/policies/group/new", "/v1/partnermanager/partners"}
"""Routes that a permitted caller changes something with; GET routes of number generators need no body for it."""


def body_of(path: str) -> dict[str, str]:
    """Return a request that a permitted caller changes something with, a new one each time, else an empty one."""
    name = secrets.token_hex(8)
    if path not in EFFECTIVE:
        return {}
    partner = {"partnerId": name, "organizationName": name, "address": name, "contactNumber": "9000000000"}
    group = {"name": name, "desc": name}
    return {**partner, **group, "emailId": f"{name}@partner.invalid", "partnerType": "FTM_Provider"}


def call(surface: Surface, declaration: Declaration, token: str | None) -> httpx.Response:
    """Ask a route with the smallest well-formed request."""
    sent = {} if declaration.method == "GET" else {"json": envelope(body_of(declaration.path))}
    return surface.ask(declaration.method, concrete(declaration.path), token, **sent)


def is_making(declaration: Declaration) -> bool:
    return declaration.method == ("POST" if declaration.path in EFFECTIVE else "GET")


def of_kind(surface: Surface, *kinds: CallerKind) -> list[Declaration]:
    found = [declaration for declaration in surface.declarations if declaration.access.kind in kinds]
    assert found
    return found


def refusal(answer: httpx.Response) -> tuple[int, list[str]]:
    assert answer.json()["response"] is None
    return answer.status_code, codes(answer)


def test_every_permission_guards_a_route_and_every_route_names_one(surface):
    guarded = {declaration.access.permission for declaration in of_kind(surface, CallerKind.TOKEN)}
    assert None not in guarded
    assert guarded == GRANTS.keys()
    assert set(WRONG_TOKENS) == surface.wrong_tokens.keys()


@pytest.mark.parametrize("wrong", WRONG_TOKENS)
async def test_without_a_valid_token(surface, wrong):
    token = surface.wrong_tokens[wrong]
    before = await surface.settled()
    admitted = [
        (declaration, answer.status_code)
        for declaration in of_kind(surface, CallerKind.TOKEN)
        if refusal(answer := call(surface, declaration, token)) != UNAUTHENTICATED
    ]
    assert not admitted
    assert await surface.stored() == before


@pytest.mark.parametrize("wrong", WRONG_TOKENS)
def test_open_routes_do_not_care_for_tokens(surface, wrong):
    for declaration in of_kind(surface, CallerKind.ANYONE, CallerKind.SANDBOX):
        assert call(surface, declaration, surface.wrong_tokens[wrong]).status_code not in {401, 403}, declaration


@pytest.mark.parametrize("role", Role)
async def test_a_role_opens_what_the_table_grants_and_nothing_else(surface, role):
    token = surface.log_in(f"test-{role}")
    routes = of_kind(surface, CallerKind.TOKEN)
    before = await surface.settled()
    for declaration in routes:
        if role not in GRANTS[declaration.access.permission]:
            assert refusal(call(surface, declaration, token)) == FORBIDDEN, declaration
    assert await surface.stored() == before
    for declaration in routes:
        if role in GRANTS[declaration.access.permission]:
            answer = call(surface, declaration, token)
            assert answer.status_code == 200, (declaration, answer.text)
            if answer.headers["content-type"] == "application/json":
                assert not {"KER-ATH-401", "KER-ATH-403"} & set(codes(answer)), declaration


async def test_the_same_requests_of_the_right_caller_do_change_something(surface):
    """Keeps the comparison of what is stored honest: it would see what a wrongly admitted caller does."""
    await surface.register("test-all", *Role)
    token = surface.log_in("test-all")
    for path in (*EFFECTIVE, "/v1/idgenerator/uin"):
        declaration = next(one for one in surface.declarations if one.path == path and is_making(one))
        before = await surface.settled()
        assert call(surface, declaration, token).status_code == 200
        assert await surface.stored() != before, path


async def test_relying_parties_must_sign(surface, relying_party, person):
    client = RelyingPartyClient.of(relying_party)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    stranger = certificate("stranger", key, "stranger", key)
    for declaration in of_kind(surface, CallerKind.SIGNED):
        usage = declaration.path.split("/")[3]
        path = concrete(declaration.path)
        if "{" in declaration.path:
            path = client.path(usage)
        body = json.dumps(client.request(usage, person.uin.reveal(), otp="111111")).encode()
        foreign = RelyingPartyClient.of(relying_party, key=key, certificate=stranger)
        for signature, expected in (
            (None, ["IDA-MLC-007", "IDA-MLC-006"]),
            ("", ["IDA-MLC-007", "IDA-MLC-006"]),
            ("a..b", ["IDA-MLC-007", "IDA-MPA-001"]),
            (client.signature(body[:-1]), ["IDA-MLC-007", "IDA-MPA-001"]),
            (foreign.signature(body), ["IDA-MLC-007", "IDA-MPA-001"]),
        ):
            # A token of whatever role stands in for no signature.
            for token in (surface.role_tokens[Role.AUTH_PARTNER], surface.role_tokens[Role.ID_AUTHENTICATION]):
                headers = {"content-type": "application/json"} | ({} if signature is None else {"signature": signature})
                answer = surface.ask("POST", path, token, content=body, headers=headers)
                assert (answer.status_code, codes(answer)) == (200, expected), declaration
        answer = surface.ask(
            "POST", path, "x", content=body,
            headers={"content-type": "application/json", "signature": client.signature(body)},
        )  # fmt: skip
        if "{" in declaration.path:
            assert "IDA-MLC-007" not in codes(answer), declaration
        else:
            assert codes(answer) == ["IDA-MLC-007", "IDA-MPA-038"]


async def test_sandbox_routes_do_not_exist_in_production(surface):
    settings = surface.settings.model_copy(update={"mode": "production"})
    app = create_app(surface.routers, surface.installation.access, settings)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://civium") as http:
        for declaration in of_kind(surface, CallerKind.SANDBOX):
            for token in (None, *surface.role_tokens.values()):
                headers = {} if token is None else {"authorization": f"Bearer {token}"}
                answer = await http.request(declaration.method, concrete(declaration.path), headers=headers)
                check_hygiene(answer)
                assert answer.status_code == 404


def served(routes: Iterable[BaseRoute]) -> Iterator[BaseRoute]:
    """Return every route, those of included routers too, but the API description."""
    for route in routes:
        if (inner := getattr(route, "original_router", None)) is not None:
            yield from served(inner.routes)
        elif getattr(route, "path", None) != OPENAPI:
            yield route


def undeclared(app: FastAPI) -> list[BaseRoute]:
    """Return the routes of an application that carry no declaration."""
    return [
        route
        for route in served(app.routes)
        if not (isinstance(route, Route) and "civium" in getattr(route.endpoint, "__dict__", {}))
    ]


def product(surface: Surface, *more: Router) -> tuple[tuple[Route, ...], FastAPI]:
    """Return what the product answers with: the signed routes, looked up first, and the rest."""
    edge = create_app([*surface.routers, *more], surface.installation.access, surface.settings)
    assert isinstance(edge, Edge)
    assert isinstance(edge._app, DirectRoutes)
    return edge._app._routes, edge._app._api


def methods_and_paths(routes: Iterable[BaseRoute]) -> set[tuple[str, str]]:
    found = [route for route in routes if isinstance(route, Route)]
    return {(method, route.path) for route in found for method in route.methods or () if method != "HEAD"}


def test_no_route_is_undeclared(surface):
    direct, app = product(surface)
    assert not undeclared(app)
    declared = {(one.method, one.path) for one in surface.declarations}
    assert methods_and_paths(served(app.routes)) == declared
    assert methods_and_paths(direct) == {(one.method, one.path) for one in of_kind(surface, CallerKind.SIGNED)}


def test_no_signed_route_is_looked_up_in_place_of_a_guarded_one(surface):
    direct, _ = product(surface)
    assert direct
    for declaration in surface.declarations:
        if declaration.access.kind is not CallerKind.SIGNED:
            assert not any(route.path_regex.match(concrete(declaration.path)) for route in direct), declaration


def test_an_undeclared_route_would_be_seen(surface):
    router = Router("/v1/planted", ErrorCodes("X", "X"))

    async def planted() -> None: ...

    _, app = product(surface, router)
    assert not undeclared(app)
    app.add_api_route("/v1/planted/route", planted)
    app.add_route("/v1/planted/other", planted)
    app.mount("/v1/planted/app", FastAPI())
    assert len(undeclared(app)) == 3


def test_the_description_says_who_may_call(surface):
    described = surface.ask("GET", OPENAPI).json()["paths"]
    told = {
        (method.upper(), path, operation["x-caller"], operation.get("x-permission"))
        for path, operations in described.items()
        for method, operation in operations.items()
    }
    assert told == {
        (one.method, one.path.replace(":path", ""), one.access.kind.value, one.access.permission)
        for one in surface.declarations
    }


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND"])
def test_what_is_not_declared_is_not_served(surface, method):
    token = surface.role_tokens[Role.GLOBAL_ADMIN]
    assert surface.ask(method, "/v1/nothing/here", token).status_code == 404
    declared = [compile_path(one.path)[0] for one in surface.declarations if one.method == method]
    for path in sorted({concrete(one.path) for one in surface.declarations}):
        if not any(form.match(path) for form in declared):
            assert surface.ask(method, path, token).status_code in {404, 405}, path
