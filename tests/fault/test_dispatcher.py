"""Delivery of events: order, retries, crashes, dead letters."""

import asyncio
import inspect
import signal
import sys
import textwrap
import uuid
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from civium.kernel.clock import monotonic
from civium.platform.dispatcher import Dispatcher, NoDeadLetter, Retrying, dead_letters, replay
from civium.platform.outbox import Consumer, Event, decode

FAST = Retrying(attempts=3, first_delay=timedelta(milliseconds=10), longest_delay=timedelta(milliseconds=20))


class Happened(Event, frozen=True):
    number: int

    @classmethod
    def topic(cls) -> str:
        return "test.happened"


class Ignored(Event, frozen=True):
    @classmethod
    def topic(cls) -> str:
        return "test.ignored"


@pytest.fixture
async def publish(db, outbox_core):
    async def send(*numbers, key="k", event=None):
        async with db.core("identity").transaction() as transaction:
            for number in numbers:
                await outbox_core.publish(transaction, event or Happened(number), key=key)

    return send


@pytest.fixture
def dispatching(db, sealer_core, clock):
    @asynccontextmanager
    async def run(*consumers, retrying=FAST):
        dispatcher = Dispatcher(db.core_pool, "outbox_core", consumers, sealer_core, clock, retrying=retrying)
        task = asyncio.create_task(dispatcher.run())
        try:
            yield dispatcher
        finally:
            dispatcher.stop()
            async with asyncio.timeout(10):
                await task

    return run


async def until(condition, seconds=5.0):
    deadline = monotonic() + seconds
    while True:
        result = condition()
        if inspect.isawaitable(result):
            result = await result
        if result:
            return result
        assert monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.01)


async def is_empty(db):
    return not await db.outbox_rows()


def consumer(name, handle, topic="test.happened"):
    return Consumer(name, frozenset({topic}), handle)


def collector(into):
    async def handle(delivery):
        into.append(decode(delivery.payload, Happened).number)

    return handle


async def test_each_consumer_gets_each_event_once_and_the_event_is_deleted(db, publish, dispatching):
    first, second = [], []
    await publish(1, 2, 3)
    async with dispatching(consumer("a", collector(first)), consumer("b", collector(second))):
        await until(lambda: is_empty(db))
    assert first == [1, 2, 3]
    assert second == [1, 2, 3]


async def test_an_event_without_consumers_is_deleted(db, publish, dispatching):
    await publish(1, event=Ignored())
    async with dispatching(consumer("a", collector([]))):
        await until(lambda: is_empty(db))


async def test_order_is_kept_per_key_and_a_failing_key_delays_no_other(publish, dispatching):
    seen = []
    failures = iter([True, True])

    async def handle(delivery):
        if delivery.key == "bad" and next(failures, False):
            raise RuntimeError
        seen.append((delivery.key, decode(delivery.payload, Happened).number))

    await publish(*range(20), key="bad")
    await publish(*range(20), key="good")
    async with dispatching(consumer("a", handle)):
        await until(lambda: len(seen) == 40)
    assert [number for key, number in seen if key == "bad"] == list(range(20))
    assert [number for key, number in seen if key == "good"] == list(range(20))
    assert seen[0][0] == "good"


async def test_a_failing_consumer_does_not_repeat_the_others(publish, dispatching):
    steady, shaky = [], []
    tries = []

    async def handle(delivery):
        tries.append(1)
        if len(tries) < 3:
            raise ValueError("private text")
        shaky.append(1)

    await publish(7)
    async with dispatching(consumer("steady", collector(steady)), consumer("shaky", handle)):
        await until(lambda: shaky)
    assert steady == [7]
    assert len(tries) == 3


async def test_after_the_last_attempt_a_dead_letter_with_the_reason_stands_and_can_be_replayed(
    db, publish, dispatching
):
    broken = True
    seen = []

    async def handle(delivery):
        if broken:
            raise ValueError("a name that must not be stored")
        seen.append(decode(delivery.payload, Happened).number)

    await publish(1)
    async with dispatching(consumer("a", handle)):
        letters = await until(lambda: dead_letters(db.core_pool, "outbox_core"))
        assert [(letter.consumer, letter.reason, letter.attempts) for letter in letters] == [("a", "ValueError", 3)]
        broken = False
        await replay(db.core_pool, "outbox_core", letters[0].event_id, "a")
        await until(lambda: seen == [1])
    assert await dead_letters(db.core_pool, "outbox_core") == []


async def test_an_unknown_dead_letter_cannot_be_replayed(db):
    with pytest.raises(NoDeadLetter):
        await replay(db.core_pool, "outbox_core", uuid.uuid4(), "a")


async def test_a_changed_payload_reaches_no_consumer(db, publish, dispatching):
    seen = []
    await publish(1)
    await db.as_owner("UPDATE outbox_core.outbox SET payload = substr(payload, 1, length(payload) - 1)")
    async with dispatching(consumer("a", collector(seen))):
        letters = await until(lambda: dead_letters(db.core_pool, "outbox_core"))
        assert letters[0].reason == "IntegrityError"
    assert seen == []


async def test_two_dispatchers_share_the_work_without_repeating_or_reordering(publish, dispatching):
    seen = []

    async def handle(delivery):
        await asyncio.sleep(0.001)
        seen.append((delivery.key, decode(delivery.payload, Happened).number))

    for number in range(10):
        for key in ("a", "b", "c", "d"):
            await publish(number, key=key)
    one = consumer("c", handle)
    async with dispatching(one), dispatching(one):
        await until(lambda: len(seen) >= 40)
    assert len(seen) == 40
    for key in ("a", "b", "c", "d"):
        assert [number for its, number in seen if its == key] == list(range(10))


async def test_a_handler_that_hangs_is_cut_off_before_its_lease_ends(publish, dispatching):
    cut, seen = [], []

    async def handle(delivery):
        if not cut:
            try:
                await asyncio.sleep(60)
            finally:
                cut.append(1)
        seen.append(decode(delivery.payload, Happened).number)

    await publish(1)
    impatient = Retrying(first_delay=timedelta(milliseconds=10), lease=timedelta(milliseconds=200))
    async with dispatching(consumer("a", handle), retrying=impatient):
        await until(lambda: seen == [1])


async def test_what_a_vanished_dispatcher_had_in_hand_is_due_at_once(db, publish, dispatching):
    seen = []
    await publish(1)
    async with dispatching(consumer("a", collector([])), retrying=FAST):
        await until(lambda: is_empty(db))
    await publish(2)
    await db.as_owner(
        "INSERT INTO outbox_core.delivery (event_id, consumer, seq, key, attempts, due, holder)"
        " SELECT id, 'a', seq, key, 1, now() + interval '1 hour', 999999 FROM outbox_core.outbox"
    )
    await db.as_owner("UPDATE outbox_core.outbox SET remaining = 1")
    async with dispatching(consumer("a", collector(seen))):
        await until(lambda: seen == [2])


async def test_old_inbox_entries_of_settled_events_are_forgotten(db, publish, dispatching):
    await publish(1)
    await db.as_owner(
        "INSERT INTO outbox_core.inbox SELECT 'a', id, now() - interval '2 days' FROM outbox_core.outbox"
        " UNION ALL SELECT 'a', gen_random_uuid(), now() - interval '2 days'"
        " UNION ALL SELECT 'a', gen_random_uuid(), now() - interval '2 hours'"
    )

    async def never(_delivery):
        raise RuntimeError

    async with dispatching(consumer("a", never), retrying=Retrying()):

        async def tidied():
            return len(await db.as_owner("SELECT 1 FROM outbox_core.inbox")) == 2

        await until(tidied)
    assert not await is_empty(db)


async def test_delivery_follows_the_commit_within_milliseconds(publish, dispatching):
    arrived = []

    async def handle(_delivery):
        arrived.append(monotonic())

    async with dispatching(consumer("a", handle)):
        await asyncio.sleep(0.2)
        delays = []
        for _ in range(20):
            arrived.clear()
            await publish(1)
            committed = monotonic()
            await until(lambda: arrived)
            delays.append(arrived[0] - committed)
    assert sorted(delays)[10] < 0.1


async def test_the_dispatcher_survives_the_loss_of_its_connections(db, publish, dispatching):
    seen = []
    async with dispatching(consumer("a", collector(seen))):
        await publish(1)
        await until(lambda: seen == [1])
        async with db.core_pool.acquire() as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE usename = current_user AND datname = current_database() AND pid <> pg_backend_pid()"
            )
        await publish(2)
        await until(lambda: seen == [1, 2])


_CHILD = textwrap.dedent("""
    import asyncio, sys
    from civium.kernel import faults
    from civium.kernel.clock import SystemClock
    from civium.platform.database import Database, open_pool
    from civium.platform.dispatcher import Dispatcher
    from civium.platform.outbox import Consumer, first_time

    class Unsealed:
        async def unseal(self, purpose, place, box):
            return box

    async def main(dsn, fault):
        faults.arm(fault)
        pool = await open_pool(dsn, size=4)
        database = Database(pool)

        async def handle(delivery):
            async with database.transaction() as transaction:
                if await first_time(transaction, "outbox_core", "counting", delivery.id):
                    await transaction.execute("UPDATE zoo.tally SET visits = visits + 1")
                else:
                    await transaction.execute("UPDATE zoo.tally SET repeats = repeats + 1")

        consumer = Consumer("counting", frozenset({"test.happened"}), handle)
        await Dispatcher(pool, "outbox_core", [consumer], Unsealed(), SystemClock()).run()

    asyncio.run(main(*sys.argv[1:]))
""")


@pytest.mark.kill
async def test_a_kill_between_handler_and_acknowledgement_has_no_second_effect(db):
    await db.as_owner("CREATE SCHEMA zoo")
    await db.as_owner("CREATE TABLE zoo.tally AS SELECT 0 AS visits, 0 AS repeats")
    await db.as_owner("GRANT USAGE ON SCHEMA zoo TO civium_core")
    await db.as_owner("GRANT ALL ON zoo.tally TO civium_core")
    await db.core("identity").execute(
        "INSERT INTO outbox_core.outbox (id, topic, key, at, payload) VALUES ($1, 'test.happened', 'k', now(), '')",
        uuid.uuid4(),
    )

    async def start(fault):
        return await asyncio.create_subprocess_exec(sys.executable, "-c", _CHILD, db.dsn("civium_core").reveal(), fault)

    struck = await start("dispatcher.handled")
    assert await struck.wait() == -signal.SIGKILL
    assert not await is_empty(db)
    again = await start("none")
    try:
        await until(lambda: is_empty(db), seconds=10)
    finally:
        again.kill()
        await again.wait()
    assert [tuple(row) for row in await db.as_owner("SELECT visits, repeats FROM zoo.tally")] == [(1, 1)]
