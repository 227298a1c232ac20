"""Routes of the start page, the API page, their style sheet, and the sandbox's outbox."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from babel import Locale
from fastapi import Query
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

from civium.apps.web.journey import load
from civium.platform.http import ANYONE, SANDBOX, ErrorCodes, Router

_CODES = ErrorCodes(invalid="KER-WEB-001", internal="KER-WEB-500")
DOCS = "docs/_build"
_DOCS_POLICY = "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'"
_LOCALES = {"eng": "en", "ara": "ar"}
_TEMPLATES = Environment(
    loader=PackageLoader(__package__ or "civium.apps.web"),
    autoescape=select_autoescape(),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_STYLE, _MARK = (resources.files(__package__).joinpath(name).read_bytes() for name in ("style.css", "mark.svg"))
_CATALOGUE: Mapping[str, Mapping[str, str]] = json.loads(
    resources.files(__package__).joinpath("catalogue.json").read_text("utf-8")
)

Lang = Annotated[str, Query(max_length=3)]
Check = Callable[[], Awaitable[bool]]
Outbox = Callable[[str | None], Awaitable[list[dict[str, Any]]]]


def web_router(
    home: Path, checks: Mapping[str, Check], routers: Sequence[Router], outbox: Outbox, *, sandbox: bool
) -> Router:
    """Return the pages. ``checks`` tell by part whether it works; ``routers`` are listed on the API page.

    The documentation is served when it was built (`make docs`) in the folder that the server was started in.
    """
    router = Router("", _CODES)
    docs = Path(DOCS).absolute()

    @router.raw("GET", "/", ANYONE)
    async def start(lang: Lang = "eng") -> Response:
        """Show what runs and the demo person's journey."""
        states = {part: await check() for part, check in checks.items()}
        journey = load(home) if sandbox else None
        built = (docs / "index.html").is_file()
        return _page("start.html", lang, path="/", states=states, journey=journey, sandbox=sandbox, docs=built)

    @router.raw("GET", "/api", ANYONE)
    async def describe(lang: Lang = "eng") -> Response:
        """List every route with its caller and permission."""
        routes = [
            (declaration, getattr(route, "summary", ""))
            for one in (*routers, router)
            for declaration, route in zip(one.declarations, one.api.routes, strict=True)
            if declaration.path
        ]
        return _page("api.html", lang, path="/api", routes=routes)

    @router.raw("GET", "/style.css", ANYONE)
    async def style() -> Response:
        """Return the style sheet of the pages."""
        return Response(_STYLE, media_type="text/css")

    @router.raw("GET", "/favicon.ico", ANYONE)
    async def mark() -> Response:
        """Return the icon of the pages."""
        return Response(_MARK, media_type="image/svg+xml")

    @router.raw("GET", "/docs/{path:path}", ANYONE)
    async def documentation(path: str) -> Response:
        """Return a page of the documentation."""
        try:
            file = (docs / (path or "index.html")).resolve()
            there = file.is_relative_to(docs) and file.is_file()
        except (OSError, ValueError):  # a name that no file can have
            there = False
        if not there:
            raise HTTPException(404)
        return FileResponse(file, headers={"content-security-policy": _DOCS_POLICY})

    @router.raw("GET", "/sandbox/outbox", SANDBOX)
    async def caught(
        to: Annotated[str | None, Query(min_length=1, max_length=320)] = None,
    ) -> list[dict[str, Any]]:
        """Return the mail and SMS caught for an address (without one: all), newest first."""
        return await outbox(to)

    return router


def _page(template: str, lang: str, **values: object) -> Response:
    language = lang if lang in _CATALOGUE else "eng"
    locale = Locale.parse(_LOCALES[language])
    texts = _CATALOGUE[language]

    def text(key: str, **fields: object) -> str:
        return texts[key].format(**fields)

    html = _TEMPLATES.get_template(template).render(
        t=text,
        locale=locale.language,
        direction=locale.text_direction,
        other="ara" if language == "eng" else "eng",
        other_locale="ar" if language == "eng" else "en",
        lang=language,
        **values,
    )
    return Response(html, media_type="text/html; charset=utf-8")
