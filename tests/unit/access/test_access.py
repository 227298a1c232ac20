"""Log-ins, tokens, and everything that must not be let in."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from civium.access.accounts import sandbox_logins
from civium.access.domain import MAX_WAITING, SecretHasher
from civium.access.throttle import ACCOUNT, WINDOW
from civium.access.tokens import MAX_TOKEN_CHARACTERS
from civium.audit.api import AuditRecorded
from civium.kernel.clock import FixedClock
from civium.kernel.encoding import b64u, unb64
from civium.kernel.errors import IntegrityError, Rejected, Unavailable
from civium.kernel.secrets import Secret
from civium.keys.api import ACCESS_TOKENS, KERNEL_SIGN
from civium.platform.database import record_statements
from civium.platform.http.access import Unauthenticated
from civium.platform.outbox import PURPOSE, decode, place_of
from civium.platform.permissions import Role
from civium.platform.settings import AccessSettings

GOOD = Secret("correct horse battery staple")
BAD = Secret("wrong")


async def client_token(access, roles=(Role.RESIDENT,)):
    await access.register_client("client", GOOD, roles)
    return (await access.authenticate_client("client", GOOD)).token.reveal()


async def assert_refused(awaitable):
    with pytest.raises(Rejected) as caught:
        await awaitable
    assert caught.value.code == "KER-ATH-023"


async def test_a_client_logs_in(access):
    token = await client_token(access)
    caller = await access.verify(token)
    assert (caller.subject, caller.client_id, caller.roles) == (
        "service-account-client",
        "client",
        frozenset({Role.RESIDENT}),
    )


async def test_the_token_has_the_specified_shape(access):
    header, payload, _ = (await client_token(access)).split(".")
    claims = json.loads(unb64(payload))
    assert json.loads(unb64(header))["alg"] == "RS256"
    assert claims["iss"].endswith("/auth/realms/mosip")
    assert claims["azp"] in claims["aud"]
    assert claims["preferred_username"] == "service-account-client"
    assert claims["realm_access"] == {"roles": ["RESIDENT"]}
    assert claims["exp"] - claims["iat"] == 15 * 60
    assert {"jti", "scope", "sub"} <= claims.keys()


async def test_a_user_logs_in_through_a_client_that_proves_itself(access):
    await access.register_client("client", GOOD, ())
    await access.register_user("110011", Secret("officer"), (Role.REGISTRATION_OFFICER,))

    def login(name="110011", password="officer", client="client", secret=GOOD):
        return access.authenticate_user(name, Secret(password), client_id=client, client_secret=secret)

    issued = await login()
    assert issued.caller.subject == "110011"
    assert issued.caller.roles == {Role.REGISTRATION_OFFICER}
    await assert_refused(login(password="other"))
    await assert_refused(login(name="nobody"))
    await assert_refused(login(client="nobody"))
    await assert_refused(login(secret=BAD))
    # A client is no user and a user no client, even with the right secret.
    await assert_refused(access.authenticate_client("110011", Secret("officer")))
    await assert_refused(login(name="client", password=GOOD.reveal()))


async def test_registering_again_replaces_secret_and_roles(access):
    await client_token(access)
    await access.register_client("client", Secret("new"), (Role.METRICS,))
    await assert_refused(access.authenticate_client("client", GOOD))
    assert (await access.authenticate_client("client", Secret("new"))).caller.roles == {Role.METRICS}


def guess(access, name="client", secret=BAD, address=None):
    return access.authenticate_client(name, secret, address=address)


async def fail(access, clock, times, **who):
    """Guess wrongly, each time after the longest wait."""
    for _ in range(times):
        await assert_refused(guess(access, **who))
        clock.advance(timedelta(seconds=20))


@pytest.fixture
async def fixed():
    return FixedClock(datetime.now(UTC))


@pytest.fixture
async def guarded(build, fixed):
    access = build(clock=fixed)
    for name in ("client", "other"):
        await access.register_client(name, GOOD, ())
    return access


async def test_each_failure_after_the_free_ones_costs_a_longer_wait(guarded, fixed):
    for _ in range(ACCOUNT.free):
        await assert_refused(guess(guarded))
    for wait in (1, 2, 4, 8):
        fixed.advance(timedelta(seconds=wait - 0.5))
        await assert_refused(guess(guarded, secret=GOOD))
        fixed.advance(timedelta(seconds=0.5))
        await assert_refused(guess(guarded))
    fixed.advance(timedelta(seconds=16))
    await guess(guarded, secret=GOOD)


async def test_after_the_last_guess_the_account_is_locked_for_a_while(build, guarded, fixed):
    await fail(guarded, fixed, ACCOUNT.stop)
    elsewhere = build(clock=fixed)
    for access in (guarded, elsewhere):
        await assert_refused(guess(access, secret=GOOD))
        await guess(access, name="other", secret=GOOD)
    fixed.advance(WINDOW)
    await guess(elsewhere, secret=GOOD)


async def test_parallel_guesses_get_no_extra_tries(guarded, db):
    await asyncio.gather(*(assert_refused(guess(guarded)) for _ in range(5 * ACCOUNT.stop)))
    assert (await db.as_owner("SELECT failures FROM access.failed_login"))[0]["failures"] == ACCOUNT.free


def strict(build, fixed, failures):
    return build(clock=fixed, access=AccessSettings(failures_per_address=failures))


async def test_an_address_that_tries_many_names_is_stopped(guarded, build, fixed):
    guarded = strict(build, fixed, 4)
    for number in range(4):
        await assert_refused(guess(guarded, name=f"nobody-{number}", address="2001:db8::1"))
    # The whole /64 is one party's; its right secrets do not count either.
    await assert_refused(guess(guarded, secret=GOOD, address="2001:db8::ffff"))
    await guess(guarded, secret=GOOD, address="2001:db8:0:1::1")
    fixed.advance(WINDOW)
    await guess(guarded, secret=GOOD, address="2001:db8::1")


async def test_right_secrets_do_not_count_for_an_address(guarded, build, fixed):
    guarded = strict(build, fixed, 2)
    for _ in range(6):
        await guess(guarded, secret=GOOD, address="192.0.2.1")
    await assert_refused(guess(guarded, address="192.0.2.1"))
    await guess(guarded, secret=GOOD, address="192.0.2.1")
    await assert_refused(guess(guarded, address="192.0.2.1"))
    # A right secret in between does not forget the wrong ones.
    await assert_refused(guess(guarded, secret=GOOD, address="192.0.2.1"))


async def test_a_success_forgets_failures(guarded, fixed):
    for _ in range(2):
        await fail(guarded, fixed, ACCOUNT.stop - 1)
        await guess(guarded, secret=GOOD)


async def test_names_that_nobody_has_are_throttled_too(guarded, fixed, db):
    await fail(guarded, fixed, ACCOUNT.stop + 2, name="nobody")
    assert (await db.as_owner("SELECT failures FROM access.failed_login"))[0]["failures"] == ACCOUNT.stop


async def test_no_address_is_stored(guarded, db):
    await assert_refused(guess(guarded, address="192.0.2.77"))
    rows = await db.as_owner("SELECT failed_login::text AS row FROM access.failed_login")
    assert len(rows) == 2
    assert not any("192.0.2.77" in row["row"] or b"192.0.2.77".hex() in row["row"] for row in rows)


async def test_an_unknown_name_takes_as_long_as_a_wrong_secret(access):
    await access.register_client("client", GOOD, ())

    async def seconds(name):
        durations = []
        for _ in range(5):
            began = time.perf_counter()
            await assert_refused(access.authenticate_client(name, BAD))
            durations.append(time.perf_counter() - began)
        return min(durations)

    known, unknown = await seconds("client"), await seconds("nobody")
    assert unknown > known / 2


async def test_a_flood_of_log_ins_is_turned_away():
    hasher = SecretHasher()
    results = await asyncio.gather(*(hasher.check(None, BAD) for _ in range(MAX_WAITING + 5)), return_exceptions=True)
    assert sum(isinstance(result, Unavailable) for result in results) == 5
    assert results.count(False) == MAX_WAITING


async def test_a_token_expires(build):
    clock = FixedClock(datetime.now(UTC))
    access = build(clock=clock)
    token = await client_token(access)
    await access.verify(token)
    clock.advance(timedelta(minutes=14))
    await access.verify(token)
    clock.advance(timedelta(minutes=1))
    with pytest.raises(Unauthenticated):
        await access.verify(token)


async def test_a_revoked_token_is_refused_here_at_once_and_elsewhere_soon(build):
    access, elsewhere = build(), build()
    token = await client_token(access)
    await elsewhere.verify(token)
    await access.revoke(token)
    with pytest.raises(Unauthenticated):
        await access.verify(token)
    with pytest.raises(Unauthenticated):
        await access.revoke(token)
    await asyncio.sleep(1.1)
    with pytest.raises(Unauthenticated):
        await elsewhere.verify(token)
    # A new token of the same client is another one.
    await access.verify((await access.authenticate_client("client", GOOD)).token.reveal())


async def test_the_purge_deletes_what_has_expired(build, db):
    clock = FixedClock(datetime.now(UTC))
    access = build(clock=clock)
    await access.revoke(await client_token(access))
    await assert_refused(access.authenticate_client("client", BAD))
    await access.purge()
    assert len(await db.as_owner("SELECT 1 FROM access.revoked_token")) == 1
    clock.advance(timedelta(hours=1))
    await access.purge()
    assert await db.as_owner("SELECT 1 FROM access.revoked_token") == []
    assert await db.as_owner("SELECT 1 FROM access.failed_login") == []


def resigned(token, **changes):
    """The claims of a token with changes, unsigned."""
    return json.dumps({**json.loads(unb64(token.split(".")[1])), **changes}).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "http://evil.example/auth/realms/mosip"},
        {"iss": "http://127.0.0.1:8080/auth/realms/other"},
        {"aud": ["account"]},
        {"typ": "ID"},
        {"exp": "never"},
        {"exp": 0},
        {"realm_access": ["GLOBAL_ADMIN"]},
        {"sandbox": True},
        {"preferred_username": None},
    ],
)
async def test_claims_that_do_not_hold_are_refused_although_well_signed(access, keys_core, changes):
    token = await client_token(access)
    forged = await keys_core.jwt_sign(resigned(token, **changes), ref=ACCESS_TOKENS, include_payload=True)
    with pytest.raises(Unauthenticated):
        await access.verify(forged)


async def test_unknown_roles_give_nothing(access, keys_core):
    token = await client_token(access)
    signed = await keys_core.jwt_sign(
        resigned(token, realm_access={"roles": ["offline_access", "RESIDENT", "ROOT"]}),
        ref=ACCESS_TOKENS,
        include_payload=True,
    )
    assert (await access.verify(signed)).roles == {Role.RESIDENT}


async def test_a_token_signed_with_the_key_of_answers_is_refused(access, keys_core):
    signed = await keys_core.jwt_sign(resigned(await client_token(access)), ref=KERNEL_SIGN, include_payload=True)
    with pytest.raises(Unauthenticated):
        await access.verify(signed)


async def test_forgeries_are_refused(access):
    token = await client_token(access)
    header, payload, signature = token.split(".")
    head = json.loads(unb64(header))

    def headed(**changes):
        return b64u(json.dumps({**head, **changes}).encode())

    raised = b64u(resigned(token, realm_access={"roles": ["GLOBAL_ADMIN"]}))
    flipped = signature[:10] + ("A" if signature[10] != "A" else "B") + signature[11:]
    for forged in (
        "",
        ".",
        "..",
        "anyRandomString",
        "\x00",
        "é.é.é",
        "a" * (MAX_TOKEN_CHARACTERS + 1),
        f"{header}.{raised}.{signature}",
        f"{header}.{payload}.{flipped}",
        f"{header}.{payload}.",
        f"{header}..{signature}",
        f"{headed(alg='none')}.{payload}.",
        f"{headed(alg='HS256')}.{payload}.{signature}",
        f"{headed(kid='other')}.{payload}.{signature}",
        f"{headed(kid=7)}.{payload}.{signature}",
        f"{b64u(b'[]')}.{payload}.{signature}",
        f"{headed(crit=['x'])}.{payload}.{signature}",
    ):
        with pytest.raises(Unauthenticated):
            await access.verify(forged)
    assert await access.verify(token)


async def test_a_foreign_key_under_our_key_id_is_refused(access):
    token = await client_token(access)
    kid = json.loads(unb64(token.split(".")[0]))["kid"]
    foreign = RSAKey.generate_key(2048, private=True)
    forged = jwt.encode({"alg": "RS256", "kid": kid}, json.loads(resigned(token)), foreign)
    with pytest.raises(Unauthenticated):
        await access.verify(forged)


async def test_a_known_token_costs_no_statement(access):
    token = await client_token(access)
    await access.verify(token)
    async with record_statements() as statements:
        for _ in range(100):
            await access.verify(token)
    assert len(statements) <= 1


async def test_the_sandbox_log_ins_work_in_the_sandbox_only(build):
    sandbox, production = build("sandbox"), build()
    with pytest.raises(RuntimeError):
        await production.seed_sandbox()
    began = time.perf_counter()
    await sandbox.seed_sandbox()
    assert time.perf_counter() - began < 5
    await sandbox.seed_sandbox()
    issued = await sandbox.authenticate_user(
        "110011",
        Secret("sandbox-password"),
        client_id="mosip-admin-client",
        client_secret=Secret("sandbox-secret"),
    )
    assert issued.caller.roles == {Role.REGISTRATION_OFFICER}
    assert issued.lifetime_seconds >= 20 * 60
    # The same database, now served in production: neither log-in nor token is good for anything.
    await assert_refused(production.authenticate_client("mosip-resident-client", Secret("sandbox-secret")))
    with pytest.raises(Unauthenticated):
        await production.verify(issued.token.reveal())


async def test_every_shipped_sandbox_login_names_known_roles():
    logins = sandbox_logins()
    assert len(logins) == 23
    assert {role for login in logins for role in login.roles} <= set(Role)


async def test_a_swapped_account_row_does_not_open(access, db):
    await access.register_client("admin", GOOD, (Role.GLOBAL_ADMIN,))
    await access.register_client("mine", Secret("mine"), ())
    await db.as_owner(
        "UPDATE access.account SET box = (SELECT box FROM access.account AS o WHERE o.name_hash <> account.name_hash)"
    )
    with pytest.raises(IntegrityError):
        await access.authenticate_client("admin", Secret("mine"))


async def test_nothing_at_rest_names_an_account(access, db):
    await access.register_client("canary-client", Secret("canary-secret"), (Role.GLOBAL_ADMIN,))
    await access.authenticate_client("canary-client", Secret("canary-secret"))
    rows = await db.as_owner("SELECT account::text AS row FROM access.account") + await db.as_owner(
        "SELECT outbox::text AS row FROM outbox_core.outbox"
    )
    text = " ".join(row["row"] for row in rows)
    for canary in (b"canary", b"GLOBAL_ADMIN", b"argon2"):
        assert canary.hex() not in text
        assert canary.decode() not in text


async def test_log_ins_are_audited(access, db, sealer_core):
    await client_token(access)
    await assert_refused(access.authenticate_client("client", BAD))
    events = [
        decode(await sealer_core.unseal(PURPOSE, place_of(row["id"], row["topic"]), row["payload"]), AuditRecorded)
        for row in await db.outbox_rows()
    ]
    assert [(event.action, event.actor, event.outcome) for event in events] == [
        ("access.client.registered", "system", "success"),
        ("access.client.login", "client", "success"),
        ("access.client.login", "anonymous", "failure"),
    ]
