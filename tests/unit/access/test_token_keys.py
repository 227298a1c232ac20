"""Rotation of the token key with overlap, and what the cache of tokens may cost."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from civium.access import tokens
from civium.access.tokens import OwnKeys
from civium.kernel.clock import FixedClock
from civium.kernel.encoding import b64u, unb64
from civium.kernel.secrets import Secret
from civium.keys.api import ACCESS_TOKENS
from civium.platform.http.access import Unauthenticated

SECRET = Secret("secret")
OVERLAP = timedelta(minutes=15)


@pytest.fixture
def time_passes(monkeypatch):
    offset = 0.0
    monkeypatch.setattr("civium.access.keyring.monotonic", lambda: time.monotonic() + offset)

    def advance(seconds):
        nonlocal offset
        offset += seconds

    return advance


def kid(token):
    return json.loads(unb64(token.split(".")[0]))["kid"]


async def new_token(access):
    return (await access.authenticate_client("client", SECRET)).token.reveal()


async def test_after_a_rotation_old_and_new_tokens_are_good_everywhere(build, keystores, time_passes):
    access, elsewhere = build(), build()
    await access.register_client("client", SECRET, ())
    before = await new_token(access)
    await elsewhere.verify(before)
    keystores.core.hierarchy.rotate(ACCESS_TOKENS)
    after = await new_token(access)
    assert kid(before) != kid(after)
    time_passes(2)
    for service in (access, elsewhere, build()):
        await service.verify(before)
        await service.verify(after)


async def test_a_generation_verifies_until_its_last_token_has_expired(keys_core, keystores):
    keystores.core.hierarchy.rotate(ACCESS_TOKENS)
    newest, replaced, *_ = await keys_core.certificates(ACCESS_TOKENS)
    assert replaced.expires_at <= datetime.now(UTC)

    async def verifying(after):
        clock = FixedClock(replaced.expires_at + after)
        return {each.key_id for each in await OwnKeys(keys_core, clock, OVERLAP).generations()}

    assert {newest.key_id, replaced.key_id} <= await verifying(OVERLAP - timedelta(seconds=1))
    assert replaced.key_id not in await verifying(OVERLAP + timedelta(seconds=1))


async def test_a_token_that_was_seen_ends_with_its_key(build, keystores, keys_core, time_passes, monkeypatch):
    access = build()
    await access.register_client("client", SECRET, ())
    token = await new_token(access)
    await access.verify(token)
    keystores.core.hierarchy.rotate(ACCESS_TOKENS)

    async def newest_only(self):
        return (await self._keys.certificates(ACCESS_TOKENS))[:1]

    monkeypatch.setattr(OwnKeys, "generations", newest_only)
    time_passes(61)
    with pytest.raises(Unauthenticated):
        await access.verify(token)


async def test_made_up_key_ids_do_not_burden_the_key_process(build, keys_core, monkeypatch):
    access = build()
    await access.register_client("client", SECRET, ())
    _, claims, signature = (await new_token(access)).split(".")
    asked = 0
    real = keys_core.certificates

    async def counted(ref):
        nonlocal asked
        asked += 1
        return await real(ref)

    monkeypatch.setattr(keys_core, "certificates", counted)
    for number in range(200):
        forged = json.dumps({"alg": "RS256", "kid": f"k{number}"}).encode()
        with pytest.raises(Unauthenticated):
            await access.verify(f"{b64u(forged)}.{claims}.{signature}")
    assert asked <= 3


async def test_the_cache_of_tokens_is_bounded(build, monkeypatch):
    monkeypatch.setattr(tokens, "CACHED_TOKENS", 5)
    access = build()
    await access.register_client("client", SECRET, ())
    for _ in range(12):
        await access.verify(await new_token(access))
    assert len(access._reader._seen) == 5


async def test_refused_tokens_are_not_kept(build):
    access = build()
    await access.register_client("client", SECRET, ())
    token = await new_token(access)
    for number in range(50):
        with pytest.raises(Unauthenticated):
            await access.verify(f"{token[:-6]}{number:06d}")
    assert len(access._reader._seen) == 0
