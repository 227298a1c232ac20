"""Tokens of other issuers, from a second process with keys of its own, and its evil twins."""

import ssl
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import pytest
from pydantic import ValidationError

import foreign_issuer
from civium.kernel.errors import Unavailable
from civium.platform.http.access import Unauthenticated
from civium.platform.permissions import Role
from civium.platform.settings import AccessSettings, TrustedIssuer
from tls_authority import SERVER, Authority


class Issuer:
    """The other process, from outside."""

    def __init__(self, port, scheme="http", ca=None):
        self.host = f"{scheme}://127.0.0.1:{port}"
        self.http = httpx.Client(base_url=self.host, verify=ssl.create_default_context(cafile=ca) if ca else True)

    def url(self, realm="mosip"):
        return f"{self.host}/realms/{realm}"

    def settings(self, realm="mosip", **changes):
        return AccessSettings(
            issuers=(
                TrustedIssuer(
                    **{
                        "issuer": self.url(realm),
                        "jwks_uri": f"{self.url(realm)}/certs",
                        "audiences": ("civium", "mosip-resident-client"),
                        **changes,
                    }
                ),
            )
        )

    def mint(self, signer="mosip", *, header=None, how="realm", drop=(), **changes):
        now = time.time()
        claims = {
            "iss": self.url(),
            "aud": ["account", "civium"],
            "azp": "mosip-pms-client",
            "preferred_username": "service-account-mosip-pms-client",
            "realm_access": {"roles": ["PARTNER_ADMIN", "uma_authorization"]},
            "typ": "Bearer",
            "iat": int(now),
            "exp": int(now) + 300,
            "jti": f"id-{now}",
            **changes,
        }
        claims = {name: value for name, value in claims.items() if name not in drop}
        order = {"header": header or {}, "claims": claims, "with": how}
        return self.http.post(f"/realms/{signer}/mint", json=order).text

    def rotate(self, bits=2048):
        self.http.post("/realms/mosip/rotate", content=str(bits))

    def behave(self, how):
        self.http.post("/behave", content=how)

    @property
    def served(self):
        return int(self.http.get("/served").text)


@contextmanager
def running(*arguments, **how):
    command = [sys.executable, foreign_issuer.__file__, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        issuer = Issuer(int(process.stdout.readline()), **how)
        issuer.process = process
        yield issuer
        issuer.http.close()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def issuer():
    with running() as started:
        yield started


@pytest.fixture
def time_passes(monkeypatch):
    """Moves the clock that measures the age of keys."""
    offset = 0.0
    monkeypatch.setattr("civium.access.keyring.monotonic", lambda: time.monotonic() + offset)

    def advance(seconds):
        nonlocal offset
        offset += seconds

    return advance


@pytest.fixture
def access(build, issuer):
    return build(access=issuer.settings())


async def refused(access, token):
    with pytest.raises(Unauthenticated):
        await access.verify(token)


async def test_a_token_of_a_trusted_issuer_is_good(access, issuer):
    caller = await access.verify(issuer.mint())
    assert (caller.subject, caller.client_id) == ("service-account-mosip-pms-client", "mosip-pms-client")
    assert caller.roles == {Role.PARTNER_ADMIN}


async def test_without_configuration_no_other_issuer_is_trusted(build, issuer):
    await refused(build(), issuer.mint())
    assert issuer.served == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "civium"},
        {"aud": [], "azp": "mosip-resident-client"},
        {"aud": "account", "azp": "mosip-resident-client"},
        {"realm_access": {"roles": []}},
        {"jti": None},
        {"typ": "", "header": {"typ": "at+jwt"}},
    ],
)
async def test_what_else_is_good(access, issuer, changes):
    await access.verify(issuer.mint(**changes))


@pytest.mark.parametrize(
    "twin",
    [
        {"signer": "other"},
        {"signer": "other", "header": {"kid": "mosip-1"}},
        {"how": "none", "header": {"alg": "none"}},
        {"how": "none"},
        {"how": "public", "header": {"alg": "HS256"}},
        {"header": {"alg": "HS256"}},
        {"header": {"alg": "PS256"}},
        {"header": {"alg": "ES256"}},
        {"header": {"kid": "unknown"}},
        {"header": {"kid": None}},
        {"header": {"crit": ["x"]}},
        {"aud": ["account"]},
        {"aud": "account civium"},
        {"aud": ["CIVIUM"]},
        {"drop": ["aud"], "azp": "other"},
        {"drop": ["exp"]},
        {"exp": 1},
        {"exp": "later"},
        {"exp": 1e300},
        {"nbf": time.time() + 3000},
        {"typ": "ID"},
        {"typ": "Refresh"},
        {"drop": ["typ"]},
        {"drop": ["azp"]},
        {"preferred_username": ""},
        {"preferred_username": 7},
    ],
    ids=str,
)
async def test_evil_twins_are_refused(access, issuer, twin):
    await refused(access, issuer.mint(**twin))
    await access.verify(issuer.mint())


async def test_another_realm_of_the_same_host_is_another_issuer(access, issuer):
    await refused(access, issuer.mint("other", iss=issuer.url("other")))
    # Well signed by the trusted realm, but not its name: case, a slash and a port make another issuer.
    for name in (
        issuer.url("other"),
        issuer.url() + "/",
        issuer.url().upper(),
        issuer.url().replace("127.0.0.1", "localhost"),
    ):
        await refused(access, issuer.mint(iss=name))


async def test_roles_that_are_no_list_give_nothing(access, issuer):
    for roles in ("PARTNER_ADMIN", {"roles": "PARTNER_ADMIN"}, {"roles": [["PARTNER_ADMIN"], 7, None]}, None, []):
        assert (await access.verify(issuer.mint(realm_access=roles))).roles == frozenset()


async def test_other_places_of_the_claims(build, issuer):
    access = build(
        access=issuer.settings(roles_claim="resource_access.civium.roles", client_claim="clientId", subject_claim="sub")
    )
    token = issuer.mint(clientId="c", sub="s", resource_access={"civium": {"roles": ["METRICS"]}})
    caller = await access.verify(token)
    assert (caller.subject, caller.client_id, caller.roles) == ("s", "c", {Role.METRICS})


async def test_the_issuer_cannot_speak_as_us(build, issuer, access):
    ours = "http://127.0.0.1:8080/auth/realms/mosip"
    await refused(access, issuer.mint(iss=ours, aud=["civium"]))


async def test_the_key_set_is_fetched_once(access, issuer):
    for _ in range(20):
        await access.verify(issuer.mint())
    assert issuer.served == 1


async def test_a_new_key_is_found_and_unknown_ones_do_not_make_a_storm(access, issuer, time_passes):
    await access.verify(issuer.mint())
    for number in range(20):
        await refused(access, issuer.mint(header={"kid": f"made-up-{number}"}))
    assert issuer.served == 1
    time_passes(11)
    issuer.rotate()
    await access.verify(issuer.mint())
    for number in range(20):
        await refused(access, issuer.mint(header={"kid": f"made-up-{number}"}))
    assert issuer.served == 2


async def test_a_withdrawn_key_ends_also_the_tokens_seen_before(build, issuer, time_passes):
    access = build(access=issuer.settings())
    token = issuer.mint()
    await access.verify(token)
    issuer.behave("symmetric")
    time_passes(301)
    await refused(access, token)


async def test_known_keys_serve_on_for_an_hour_while_the_issuer_is_down(access, issuer, time_passes):
    token, unseen = issuer.mint(), issuer.mint(azp="other")
    await access.verify(token)
    issuer.process.kill()
    issuer.process.wait()
    time_passes(301)
    await access.verify(token)
    await access.verify(unseen)
    time_passes(3600)
    with pytest.raises(Unavailable):
        await access.verify(token)


@pytest.mark.parametrize("behaviour", ["error", "slow", "huge", "redirect", "garbage"])
async def test_a_key_set_that_is_not_served_well_is_not_taken(access, issuer, behaviour, time_passes):
    issuer.behave(behaviour)
    began = time.monotonic()
    for _ in range(3):
        with pytest.raises(Unavailable):
            await access.verify(issuer.mint())
    assert time.monotonic() - began < 4
    issuer.behave("well")
    time_passes(11)
    await access.verify(issuer.mint())


async def test_symmetric_keys_of_a_key_set_are_left_out(access, issuer):
    issuer.behave("symmetric")
    await refused(access, issuer.mint())


async def test_weak_keys_of_a_key_set_are_left_out(access, issuer):
    issuer.rotate(1024)
    await refused(access, issuer.mint())


async def test_a_foreign_token_can_be_revoked(build, issuer, access):
    elsewhere = build(access=issuer.settings())
    token, other = issuer.mint(), issuer.mint(jti="other")
    await access.revoke(token)
    await refused(access, token)
    await refused(elsewhere, token)
    await access.verify(other)


async def test_the_certificate_of_the_key_set_is_always_verified(build, tmp_path):
    ca, stranger = Authority(tmp_path, "ca"), Authority(tmp_path, "stranger")
    right = ca.issue("right", SERVER, ips=["127.0.0.1"])
    other_name = ca.issue("other-name", SERVER, dns=["elsewhere.example"])
    for files, trusted, good in (
        (right, ca, True),
        (right, stranger, False),
        (right, None, False),
        (other_name, ca, False),
    ):
        with running(*files, scheme="https", ca=ca.file) as issuer:
            if files is other_name:
                issuer.http = httpx.Client(base_url=issuer.host, verify=False)
            access = build(access=issuer.settings(ca=trusted and trusted.file))
            if good:
                await access.verify(issuer.mint())
            else:
                with pytest.raises(Unavailable):
                    await access.verify(issuer.mint())


@pytest.mark.parametrize(
    "uri", ["http://idp.example/certs", "http://127.0.0.1.evil.example/certs", "ftp://127.0.0.1/", "certs"]
)
def test_a_key_set_without_tls_is_refused_at_the_start(uri):
    with pytest.raises(ValidationError, match="https"):
        TrustedIssuer(issuer="x", jwks_uri=uri, audiences=("civium",))


def test_no_setting_turns_verification_off():
    assert not {name for name in TrustedIssuer.model_fields if "verify" in name or "insecure" in name}


def test_an_issuer_without_audience_is_refused_at_the_start():
    with pytest.raises(ValidationError):
        TrustedIssuer(issuer="x", jwks_uri="https://idp.example/certs", audiences=())
