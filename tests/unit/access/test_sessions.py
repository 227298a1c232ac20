"""Refresh tokens count once; sessions end as a whole, everywhere, soon."""

import asyncio
import json
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from civium.access.api import ClientProof
from civium.kernel.clock import FixedClock
from civium.kernel.encoding import b64u, unb64
from civium.kernel.secrets import Secret
from civium.platform.http.access import Unauthenticated
from civium.platform.permissions import Role

SECRET = Secret("secret")
PASSWORD = Secret("password")


@pytest.fixture
async def clock():
    return FixedClock(datetime.now(UTC))


@pytest.fixture
async def access(build, clock):
    service = build(clock=clock)
    for name in ("client", "other"):
        await service.register_client(name, SECRET, ())
    await service.register_user("110011", PASSWORD, (Role.REGISTRATION_OFFICER,))
    return service


@pytest.fixture
async def client(access):
    return await access.prove_client(ClientProof("client", SECRET))


def log_in(access, client):
    return access.issue_to_user("110011", PASSWORD, client=client)


def claims(issued):
    return json.loads(unb64(issued.token.reveal().split(".")[1]))


async def refused(awaitable):
    with pytest.raises(Unauthenticated):
        await awaitable


async def test_a_refresh_token_gives_the_next_pair(access, client):
    first = await log_in(access, client)
    second = await access.refresh(first.refresh.token, client)
    third = await access.refresh(second.refresh.token, client)
    assert (await access.verify(third.token.reveal())).subject == "110011"
    assert len({each.refresh.token.reveal() for each in (first, second, third)}) == 3
    assert claims(first)["sid"] == claims(third)["sid"] == third.session
    # What was issued before stays good until it expires or the session ends.
    await access.verify(first.token.reveal())


async def test_a_second_use_ends_the_session_and_all_its_tokens(access, client, build, clock):
    elsewhere = build(clock=clock)
    first = await log_in(access, client)
    bystander = await log_in(access, client)
    second = await access.refresh(first.refresh.token, client)
    await refused(elsewhere.refresh(first.refresh.token, client))
    await refused(access.refresh(second.refresh.token, client))
    for issued in (first, second):
        await refused(elsewhere.verify(issued.token.reveal()))
    await access.verify(bystander.token.reveal())


async def test_of_parallel_uses_one_wins_at_most(access, client):
    first = await log_in(access, client)
    results = await asyncio.gather(
        *(access.refresh(first.refresh.token, client) for _ in range(8)), return_exceptions=True
    )
    assert sum(not isinstance(each, Exception) for each in results) <= 1
    assert all(isinstance(each, Unauthenticated) for each in results if isinstance(each, Exception))
    await refused(access.verify(first.token.reveal()))


async def test_another_client_cannot_use_it_nor_end_the_session(access, client):
    first = await log_in(access, client)
    other = await access.prove_client(ClientProof("other", SECRET))
    await refused(access.refresh(first.refresh.token, other))
    await access.revoke_for(first.refresh.token.reveal(), other)
    await access.revoke_for(first.token.reveal(), other)
    await access.refresh(first.refresh.token, client)


async def test_it_ends_when_idle_and_when_old(access, client, clock):
    issued = await log_in(access, client)
    clock.advance(timedelta(minutes=31))
    await refused(access.refresh(issued.refresh.token, client))
    issued = await log_in(access, client)
    for _ in range(20):
        clock.advance(timedelta(minutes=29))
        issued = await access.refresh(issued.refresh.token, client)
    clock.advance(timedelta(minutes=29))
    await refused(access.refresh(issued.refresh.token, client))


async def test_roles_are_those_of_now(access, client, db):
    first = await log_in(access, client)
    await db.as_owner("DELETE FROM access.account WHERE name_hash = (SELECT name_hash FROM access.session)")
    await refused(access.refresh(first.refresh.token, client))


async def test_a_new_password_ends_the_sessions(access, client):
    first = await log_in(access, client)
    await access.register_user("110011", Secret("new"), (Role.METRICS,))
    await refused(access.verify(first.token.reveal()))
    await refused(access.refresh(first.refresh.token, client))


async def test_forged_refresh_tokens_are_refused_and_end_nothing(access, client):
    first = await log_in(access, client)
    token = first.refresh.token.reveal()
    octets = unb64(token)
    for forged in (
        "",
        "x",
        "é",
        token[:-2],
        token + "AAAA",
        first.token.reveal(),
        b64u(octets[:16] + b"\0\0\0\1" + octets[20:]),
        b64u(uuid.uuid4().bytes + octets[16:]),
        b64u(octets[:-1] + bytes([octets[-1] ^ 1])),
        b64u(bytes(52)),
    ):
        await refused(access.refresh(Secret(forged), client))
    await access.refresh(Secret(token), client)


async def test_logging_out_ends_the_session(access, client):
    first = await log_in(access, client)
    second = await access.refresh(first.refresh.token, client)
    await access.end_session(first.token.reveal())
    for issued in (first, second):
        await refused(access.verify(issued.token.reveal()))
    await refused(access.refresh(second.refresh.token, client))


async def test_a_client_has_no_session(access, client):
    issued = await access.issue_to_client(client)
    assert (issued.refresh, issued.session) == (None, None)
    await access.end_session(issued.token.reveal())
    await refused(access.verify(issued.token.reveal()))


async def is_good(access, token):
    try:
        await access.verify(token)
    except Unauthenticated:
        return False
    return True


async def test_revocation_reaches_other_processes_within_two_seconds(build):
    access, elsewhere = build(), build()
    await access.register_client("client", SECRET, ())
    await access.register_user("110011", PASSWORD, ())
    client = await access.prove_client(ClientProof("client", SECRET))
    for end in (access.revoke, access.end_session):
        token = (await log_in(access, client)).token.reveal()
        await elsewhere.verify(token)
        began = time.monotonic()
        await end(token)
        for _ in range(95):
            if not await is_good(elsewhere, token):
                break
            await asyncio.sleep(0.02)
        assert not await is_good(elsewhere, token)
        assert time.monotonic() - began < 2


async def test_nothing_at_rest_is_good_for_a_token(access, client, db):
    issued = await log_in(access, client)
    rows = await db.as_owner("SELECT session::text AS row FROM access.session")
    secret = unb64(issued.refresh.token.reveal())[20:].hex()
    assert len(rows) == 1
    for canary in ("110011", b"110011".hex(), b"client".hex(), secret, secret[:16]):
        assert canary not in rows[0]["row"]


async def test_the_purge_deletes_old_sessions(access, client, clock, db):
    await log_in(access, client)
    await access.purge()
    assert len(await db.as_owner("SELECT 1 FROM access.session")) == 1
    clock.advance(timedelta(minutes=31))
    await access.purge()
    assert await db.as_owner("SELECT 1 FROM access.session") == []
