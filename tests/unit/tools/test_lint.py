"""Each house rule against its bad twin, and against what it must leave alone."""

from collections.abc import Callable
from textwrap import dedent

import pytest

from tools.lint.__main__ import RULES
from tools.lint.boundaries import boundary
from tools.lint.clock import clock
from tools.lint.comparisons import secret_compare
from tools.lint.logs import log
from tools.lint.routes import route
from tools.lint.source import Finding, Rule, Source, check
from tools.lint.sql import sql
from tools.lint.transactions import open_transaction

SERVICE = "src/civium/identity/service.py"


def lines(rule: Rule, text: str, path: str = SERVICE) -> list[int]:
    return [each.line for each in check(Source(path, dedent(text).strip() + "\n"), [rule])]


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (sql, 'await db.fetch("SELECT uin FROM identity.person")'),
        (sql, 'await db.execute(f"UPDATE {table} SET a = 1")'),
        (sql, 'X = """\n    INSERT INTO t VALUES (1)"""'),
        (sql, 'x = "DELETE FROM t" + where'),
        (clock, "from datetime import datetime\nx = datetime.now()"),
        (clock, "import datetime as dt\nx = dt.datetime.utcnow()"),
        (clock, "import time\ndef f(now=time.monotonic): ..."),
        (clock, "from time import time as present\nx = present()"),
        (clock, "from datetime import date\nx = date.today()"),
        (log, '_log.info("sent", email=address_of(x))'),
        (log, '_log.info("seen", hash=vid)'),
        (log, '_log.warning("failed", value=row.uin)'),
        (log, '_log.info("failed", value=thing.reveal())'),
        (log, '_log.info(f"failed for {x}")'),
        (log, '_log.info("failed for %s" % x)'),
        (log, '_log.info("known", name=x)'),
        (log, 'self._logger.error("bad", reason=individualId)'),
        (log, 'import structlog\nstructlog.get_logger().info("x", otp=1)'),
        (secret_compare, "if otp == given: ..."),
        (secret_compare, "if given != row.api_key: ..."),
        (secret_compare, "if password.encode() == given: ..."),
        (secret_compare, "if digest == self.mac(x).mac: ..."),
        (secret_compare, "if licence_key.reveal() == given: ..."),
        (secret_compare, 'if secret == "letmein": ...'),
        (secret_compare, "ok = 1 < 2 == signature != other"),
        (route, "from fastapi import APIRouter\nx = APIRouter()"),
        (route, "import fastapi\nx = fastapi.FastAPI()"),
        (route, "router.api.add_api_route('/x', f)"),
        (route, "from starlette.routing import Route\nx = Route('/x', f)"),
        (boundary, "from civium.partners.store import Store"),
        (boundary, "from civium.partners import service"),
        (boundary, "import civium.keys.hierarchy"),
        (boundary, "def f():\n    from civium.audit.service import X"),
        (boundary, "from civium.partners.wiring import build"),
    ],
)
def test_a_bad_twin_is_found(rule: Rule, text: str) -> None:
    assert lines(rule, text)


@pytest.mark.parametrize(
    ("rule", "text", "path"),
    [
        (sql, '"""SELECT the best and INSERT INTO the list."""', SERVICE),
        (sql, 'x = "Select a language"', SERVICE),
        (sql, 'x = "SELECT 1"', "src/civium/identity/store.py"),
        (sql, 'x = "SELECT 1"', "src/civium/identity/vid/store.py"),
        (sql, 'x = "SELECT 1"', "src/civium/platform/dispatcher.py"),
        (clock, "import time\ntime.sleep(1)", SERVICE),
        (clock, "from datetime import datetime\nx = datetime.fromisoformat(y)\nz = clock.now()", SERVICE),
        (clock, "import time\nx = time.monotonic()", "src/civium/kernel/clock.py"),
        (log, '_log.error("died", part=part.name, error=type(problem).__name__)', SERVICE),
        (log, 'math.log(uin)\nself.info("x", otp=1)', SERVICE),
        (secret_compare, 'if hmac.compare_digest(otp, given) and otp != "": ...', SERVICE),
        (secret_compare, "if otp_attempts == 5 or password is None or kind == secrets_kind: ...", SERVICE),
        (secret_compare, "if len(signature) == size: ...", SERVICE),
        (route, "from civium.platform.http import Router\nx = Router('/v1', codes)", SERVICE),
        (route, "from fastapi import APIRouter\nx = APIRouter()", "src/civium/platform/http/routing.py"),
        (boundary, "from civium.partners.api import Partners\nfrom civium.keys import api", SERVICE),
        (boundary, "from civium.identity.store import Store\nfrom civium.platform.outbox import Outbox", SERVICE),
        (boundary, "from civium.identity.store import Store", "src/civium/apps/server.py"),
    ],
)
def test_what_is_right_passes(rule: Rule, text: str, path: str) -> None:
    assert lines(rule, text, path) == []


class TestOpenTransaction:
    HEAD = """
        from civium.identity.api import Register
        from civium.keys.api import Keys
        from civium.partners.api import Partners
        from civium.platform.database import Database
        from civium.platform.objects import ObjectStore
        from civium.platform.sealing import Sealer
        """

    @staticmethod
    def _source(body: str) -> str:
        return dedent(TestOpenTransaction.HEAD).strip() + "\n" + dedent(body).strip() + "\n"

    def _found(self, body: str) -> list[str]:
        text = self._source(body)
        found = check(Source(SERVICE, text), [open_transaction])
        return [text.splitlines()[each.line - 1].strip() for each in found]

    def test_an_attribute_of_another_context(self) -> None:
        assert self._found("""
            class S:
                def __init__(self, database: Database, keys: Keys) -> None:
                    self._database = database
                    self._keys = keys

                async def act(self) -> None:
                    await self._keys.sign(b"")
                    async with self._database.transaction() as tx:
                        await self._keys.sign(b"within")
                    await self._keys.sign(b"")
            """) == ['await self._keys.sign(b"within")']  # fmt: skip

    def test_through_methods_of_the_class(self) -> None:
        assert self._found("""
            class S:
                def __init__(self, partners: Partners) -> None:
                    self._partners = partners

                async def act(self) -> None:
                    async with self._database.transaction() as tx:
                        await self._outer()
                        await self._harmless(tx)

                async def _outer(self) -> None:
                    await self._inner()

                async def _inner(self) -> None:
                    await self._partners.find()

                async def _harmless(self, tx) -> None:
                    await self._outbox.publish(tx)
            """) == ["await self._outer()"]  # fmt: skip

    def test_a_dataclass_member_and_a_parameter(self) -> None:
        assert self._found("""
            @dataclass
            class S:
                objects: ObjectStore

                async def act(self, partners: Partners) -> None:
                    async with self._database.transaction() as tx, other():
                        await self.objects.put("x", b"")
                        await partners.find()

            async def alone(database: Database, keys: Keys) -> None:
                async with database.transaction():
                    await keys.certificate(x)
            """) == ['await self.objects.put("x", b"")', "await partners.find()", "await keys.certificate(x)"]  # fmt: skip

    def test_own_context_sealer_and_outbox_may_be_asked(self) -> None:
        assert not self._found("""
            class S:
                def __init__(self, register: Register, sealer: Sealer) -> None:
                    self._register = register
                    self._sealer = sealer

                async def act(self) -> None:
                    async with self._database.transaction() as tx:
                        await self._register.find()
                        await self._sealer.seal("p", place, b"")
                        await self._store.save(tx)
                        await self._outbox.publish(tx, event)
            """)


class TestEscape:
    def test_it_allows_what_it_names_on_its_line(self) -> None:
        assert not lines(sql, 'x = "SELECT 1"  # lint: allow sql - the probe of the health check')

    @pytest.mark.parametrize(
        ("text", "rules"),
        [
            ('x = "SELECT 1"  # lint: allow sql', {"escape"}),
            ('x = "SELECT 1"  # lint: allow sql - ', {"escape"}),
            ('x = "SELECT 1"  # lint: allow clock - another rule', {"escape", "sql"}),
            ('# lint: allow sql - the line above\nx = "SELECT 1"', {"escape", "sql"}),
            ("x = 1  # lint: allow sql - allows nothing", {"escape"}),
        ],
    )
    def test_a_wrong_one_is_a_finding(self, text: str, rules: set[str]) -> None:
        assert {each.rule for each in check(Source(SERVICE, text + "\n"), [sql])} == rules


def test_findings_name_place_and_rule() -> None:
    [found] = check(Source(SERVICE, 'x = 1\ny = "SELECT 1"\n'), RULES)
    assert str(found) == f"{SERVICE}:2: [sql] SQL outside store.py"
    assert isinstance(found, Finding)


def test_every_rule_says_what_it_is_for() -> None:
    names: list[Callable[..., object]] = list(RULES)
    assert all(each.__doc__ and each.__doc__.startswith("Find ") for each in names)
