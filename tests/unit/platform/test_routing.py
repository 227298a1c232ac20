"""Answers of a router whose signer does not answer."""

from typing import Any

import httpx
import pytest

from civium.kernel.errors import Rejected, Unavailable
from civium.platform.http import ANYONE, Caller, ErrorCodes, Router
from civium.platform.http.access import Unauthenticated
from civium.platform.http.app import create_app
from civium.platform.settings import Settings


class Nobody:
    async def verify(self, token: str) -> Caller:
        raise Unauthenticated

    async def sign(self, body: bytes) -> str:
        raise Unavailable("the key process does not answer")


@pytest.mark.parametrize("path", ["/x/answer", "/x/refusal"])
async def test_nothing_but_the_outage_is_told_when_nobody_signs(path: str) -> None:
    router = Router("/x", ErrorCodes("X-400", "X-500"), signer=Nobody())

    @router.enveloped("GET", "/answer", ANYONE)
    async def answer() -> dict[str, Any]:
        return {"name": "Amina"}

    @router.enveloped("GET", "/refusal", ANYONE)
    async def refuse() -> None:
        raise Rejected("X-001", "Record of Amina")

    app = create_app((router,), Nobody(), Settings(mode="sandbox"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as http:
        got = await http.get(path)
    assert got.status_code == 503
    assert got.json()["errors"] == [{"errorCode": "X-500", "message": "Internal server error"}]
    assert "Amina" not in got.text
