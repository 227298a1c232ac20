"""Credentials that a browser sends by itself, and the pages that may make it do so.

A cookie counts under its exact name, and only if no second one of that name says something else. A request that
changes something and rests on a cookie, or on a client certificate that a browser holds, must come from our own
pages, from a trusted origin or from no page at all: browsers say where it comes from (``Sec-Fetch-Site``,
``Origin``), other programs say nothing.
"""

from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request

from civium.platform.http.access import ForeignSite, Unauthenticated

ACCESS_COOKIE: Final = "Authorization"
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def sent_token(request: Request) -> str | None:
    """Return the access token of the cookie ``Authorization``, else of the bearer header, else None.

    Raises ForeignSite, and Unauthenticated for contradicting cookies.
    """
    token = sent_cookie(request, ACCESS_COOKIE)
    if token is not None:
        return token
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    return credentials if scheme.lower() == "bearer" and credentials else None


def sent_cookie(request: Request, name: str) -> str | None:
    """Return a cookie that proves who calls, or None; raises ForeignSite and Unauthenticated."""
    values = {
        value.strip()
        for header in request.headers.getlist("cookie")
        for found, _, value in (pair.partition("=") for pair in header.split(";"))
        if found.strip() == name and value.strip()
    }
    if not values:
        return None
    if len(values) > 1:
        raise Unauthenticated
    refuse_foreign(request)
    return values.pop()


def refuse_foreign(request: Request) -> None:
    """Raise ForeignSite when a page of another site wants to change something with what a browser sends by itself."""
    if request.method not in _READS and _is_foreign(request):
        raise ForeignSite


def _is_foreign(request: Request) -> bool:
    origin = request.headers.get("origin")
    if origin is not None and origin in request.app.state.trusted_origins:
        return False
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in {"same-origin", "none"}
    return origin is not None and urlsplit(origin).netloc != request.headers.get("host")
