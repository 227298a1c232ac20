"""Locks of one person, changed at the same time."""

import asyncio

from civium.identity import store
from civium.identity.api import AuthTypesLocked
from civium.identity.domain import Lock, LockRequest
from civium.identity.locks import LockService
from identity_fixtures import new_person


async def test_the_change_that_counts_here_is_the_last_one_announced(subject, outbox_core):
    uin = await subject.register.create(new_person(), actor="r")
    person = await subject.register._records.by_uin(uin)
    database = subject.db.core("identity")
    locks = LockService(database, subject.register._vault, outbox_core, subject.clock)
    first = AuthTypesLocked(person_ref=str(person.ref), uin=uin.reveal(), locks=())
    async with database.transaction() as transaction:
        await store.insert_locks(transaction, person.ref, [Lock("demo", None, True, None, None)], subject.clock.now())
        second = asyncio.create_task(locks.change(person, [LockRequest("demo", None, locked=False)], actor="r"))
        await asyncio.sleep(0.2)
        assert not second.done()
        await outbox_core.publish(transaction, first, key=str(person.ref))
    await second
    assert [len(event.locks) for event in await subject.events(AuthTypesLocked)] == [0, 1]
    (state,) = await locks.states(person)
    assert state.locked is False
