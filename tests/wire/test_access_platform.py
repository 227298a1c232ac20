"""Logging in and out on the running platform: several web processes behind one socket."""

import time

import httpx

CLIENT_LOGIN = "/v1/authmanager/authenticate/clientidsecretkey"
VALIDATE = "/v1/authmanager/authorize/admin/validateToken"
INVALIDATE = "/v1/authmanager/authorize/invalidateToken"
CERTS = "/auth/realms/mosip/protocol/openid-connect/certs"


def statuses(url, token, times):
    """Ask over a new connection each time, so that every process is met."""
    headers = {"Authorization": f"Bearer {token}"}
    return {httpx.get(url + VALIDATE, headers=headers, timeout=10).status_code for _ in range(times)}


def log_in(url):
    proof = {"clientId": "mosip-resident-client", "secretKey": "sandbox-secret", "appId": "resident"}
    return httpx.post(url + CLIENT_LOGIN, json={"request": proof}, timeout=10).headers["authorization"]


def test_a_revocation_reaches_every_process_within_two_seconds(platform):
    token, other = log_in(platform.url), log_in(platform.url)
    assert statuses(platform.url, token, 20) == {200}
    answer = httpx.post(platform.url + INVALIDATE, headers={"Authorization": f"Bearer {token}"}, timeout=10)
    assert answer.status_code == 200
    revoked_at = time.monotonic()
    while statuses(platform.url, token, 8) != {401}:
        assert time.monotonic() - revoked_at < 2
    assert statuses(platform.url, token, 20) == {401}
    assert statuses(platform.url, other, 8) == {200}


def test_the_key_set_is_public(platform):
    (key,) = httpx.get(platform.url + CERTS, timeout=10).json()["keys"]
    assert set(key) == {"kid", "kty", "n", "e", "use", "alg"}
