"""The trail: appended once, in one chain, and every way of changing it is found."""

import asyncio
import uuid
from datetime import UTC, datetime

import asyncpg
import msgspec
import pytest

from civium.audit import wiring
from civium.audit.api import AuditRecorded, AuditTrailBroken
from civium.platform.outbox import Delivery


def act(number=0, event_id=None):
    event = AuditRecorded(
        context="identity",
        action="identity.person.created",
        actor="system",
        purpose="enrolment",
        subject=f"{number:064x}",
        at="2026-01-01T00:00:00.000Z",
    )
    return Delivery(event_id or uuid.uuid4(), AuditRecorded.topic(), "k", datetime.now(UTC), msgspec.json.encode(event))


@pytest.fixture
def build(db, sealer_core):
    def again():
        audit, module = wiring.build(db.core("audit"), sealer_core)
        (consumer,) = module.consumers
        return audit, consumer.handle

    return again


@pytest.fixture
async def trail(build):
    """Ten acts, written one after the other."""
    audit, record = build()
    for number in range(10):
        await record(act(number))
    return audit


async def broken(audit):
    with pytest.raises(AuditTrailBroken) as caught:
        await audit.verify()
    return caught.value.seq, caught.value.reason


async def test_an_empty_trail_holds(build):
    audit, _ = build()
    assert (await audit.verify()).records == 0


async def test_acts_are_chained(trail, db):
    verified = await trail.verify()
    assert verified.records == 10
    rows = await db.as_owner("SELECT * FROM audit.record ORDER BY seq")
    assert [row["seq"] for row in rows] == list(range(1, 11))
    assert [row["previous"] for row in rows[1:]] == [row["digest"] for row in rows[:-1]]
    assert rows[-1]["digest"].hex() == verified.head


async def test_an_event_delivered_twice_is_recorded_once(build):
    audit, record = build()
    again = act()
    await record(again)
    await asyncio.gather(record(again), record(again), record(act()))
    assert (await audit.verify()).records == 2


async def test_a_burst_goes_into_few_transactions_from_several_writers(build, db):
    audit, record = build()
    _, elsewhere = build()
    await asyncio.gather(*((record if number % 2 else elsewhere)(act(number)) for number in range(200)))
    assert (await audit.verify()).records == 200
    writes = await db.as_owner("SELECT count(DISTINCT xmin::text) AS n FROM audit.record")
    assert writes[0]["n"] < 50


async def test_a_malformed_event_does_not_hold_up_others(build):
    audit, record = build()
    bad = Delivery(uuid.uuid4(), AuditRecorded.topic(), "k", datetime.now(UTC), b'{"context": 1}')
    results = await asyncio.gather(record(act()), record(bad), record(act()), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), msgspec.ValidationError, type(None)]
    assert (await audit.verify()).records == 2


async def test_a_failed_write_is_retried_with_its_event_alone(build, db):
    audit, record = build()
    await db.as_owner("REVOKE INSERT ON audit.record FROM civium_ctx_audit")
    again = act()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await record(again)
    await db.as_owner("GRANT INSERT ON audit.record TO civium_ctx_audit")
    await record(again)
    assert (await audit.verify()).records == 1


@pytest.mark.parametrize(
    ("change", "seq"),
    [
        ("UPDATE audit.record SET content = replace(content, 'created', 'deleted') WHERE seq = 4", 4),
        ("UPDATE audit.record SET digest = sha256('x') WHERE seq = 4", 4),
        ("UPDATE audit.record SET previous = sha256('x') WHERE seq = 4", 4),
        ("UPDATE audit.record SET event_id = gen_random_uuid() WHERE seq = 4", 4),
        ("DELETE FROM audit.record WHERE seq = 4", 4),
        ("DELETE FROM audit.record WHERE seq = 1", 1),
        ("DELETE FROM audit.record WHERE seq > 8", 9),
        ("DELETE FROM audit.record", 1),
        ("UPDATE audit.record SET seq = seq + 100 WHERE seq = 10", 10),
        ("UPDATE audit.head SET seq = 9, digest = (SELECT digest FROM audit.record WHERE seq = 9)", 10),
        (
            """WITH d AS (DELETE FROM audit.record WHERE seq > 9)
            UPDATE audit.head SET seq = 9, digest = (SELECT digest FROM audit.record WHERE seq = 9)""",
            9,
        ),
        ("UPDATE audit.head SET mac = sha256('x')", 10),
        ("UPDATE audit.head SET mac = NULL", 10),
        ("UPDATE audit.head SET digest = sha256('x')", 10),
        ("UPDATE audit.head SET seq = 0, digest = decode(repeat('00', 32), 'hex'), mac = NULL", 1),
    ],
)
@pytest.mark.tamper
async def test_every_change_is_found_and_named(trail, db, change, seq):
    await db.as_owner(change)
    assert (await broken(trail))[0] == seq


@pytest.mark.tamper
async def test_swapped_rows_are_found(trail, db):
    await db.as_owner("UPDATE audit.record SET seq = CASE seq WHEN 3 THEN -4 ELSE -3 END WHERE seq IN (3, 4)")
    await db.as_owner("UPDATE audit.record SET seq = -seq WHERE seq < 0")
    assert (await broken(trail))[0] == 3


@pytest.mark.tamper
async def test_nothing_is_appended_to_a_forged_head(build, db):
    _, record = build()
    await record(act())
    await db.as_owner("UPDATE audit.head SET digest = sha256('x')")
    with pytest.raises(AuditTrailBroken):
        await record(act())


@pytest.mark.parametrize("statement", ["UPDATE audit.record SET content = ''", "DELETE FROM audit.record"])
async def test_the_context_itself_may_not_change_a_record(trail, db, statement):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await db.core("audit").execute(statement)


async def test_writer_and_verifier_agree_on_text_beyond_ascii(build):
    audit, record = build()
    event = AuditRecorded(context="x", action='quo"te\\ \u2028 \x1f أ', actor="ß", purpose="😀", at="")
    await record(Delivery(uuid.uuid4(), AuditRecorded.topic(), "k", datetime.now(UTC), msgspec.json.encode(event)))
    assert (await audit.verify()).records == 1
