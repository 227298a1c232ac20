"""Services that prove themselves with a client certificate, over real TLS against a real server process."""

import ssl
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import ValidationError

import mtls_server
from civium.kernel.clock import FixedClock
from civium.platform.http.certificates import EXTENSION, CertificateCallers
from civium.platform.permissions import Role
from civium.platform.settings import AccessSettings, CertificateClient, HttpSettings, Settings
from tls_authority import CLIENT, SERVER, Authority

CLIENTS = (
    CertificateClient(name="dns:regproc.internal", client="mosip-regproc-client", roles=(Role.METRICS,)),
    CertificateClient(name="uri:spiffe://civium/worker", client="worker", roles=(Role.METRICS,)),
    CertificateClient(name="subject:CN=by-subject", client="named", roles=(Role.METRICS,)),
    CertificateClient(name="dns:weak.internal", client="weak", roles=(Role.RESIDENT,)),
)
UNAUTHENTICATED = (401, "KER-ATH-401")


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"), "ca")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("stranger"), "ca")


@contextmanager
def served(ca, **http):
    certificate, key = ca.issue("server", SERVER, ips=["127.0.0.1"])
    settings = Settings(
        http=HttpSettings(tls_certificate=certificate, tls_key=key, client_ca=ca.file, **http),
        access=AccessSettings(certificates=CLIENTS),
    )
    process = subprocess.Popen(
        [sys.executable, mtls_server.__file__, settings.model_dump_json()], stdout=subprocess.PIPE, text=True
    )
    try:
        yield f"https://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


@pytest.fixture(scope="module")
def server(ca):
    with served(ca) as url:
        yield url


def ask(server, ca, files=None, **headers):
    tls = ssl.create_default_context(cafile=ca.file)
    if files is not None:
        tls.load_cert_chain(*files)
    with httpx.Client(base_url=server, verify=tls, trust_env=False) as http:
        answer = http.post("/v1/probe/thing", headers=headers)
        again = http.post("/v1/probe/thing", headers=headers)
    assert answer.status_code == again.status_code
    if answer.status_code != 200:
        return answer.status_code, answer.json()["errors"][0]["errorCode"]
    assert answer.json()["response"] == again.json()["response"]
    return answer.json()["response"]["client"]


@pytest.mark.parametrize(
    ("names", "client"),
    [
        ({"name": "any", "dns": ["regproc.internal"]}, "mosip-regproc-client"),
        ({"name": "any", "dns": ["x.internal", "regproc.internal"]}, "mosip-regproc-client"),
        ({"name": "any", "uris": ["spiffe://civium/worker"]}, "worker"),
        ({"name": "by-subject"}, "named"),
    ],
    ids=str,
)
def test_a_registered_certificate_needs_no_token(server, ca, names, client):
    assert ask(server, ca, ca.issue(usage=CLIENT, **names)) == client


@pytest.mark.parametrize(
    "names",
    [
        {"name": "regproc.internal"},
        {"name": "any", "dns": ["xregproc.internal"]},
        {"name": "any", "dns": ["regproc.internal.evil.example"]},
        {"name": "any", "dns": ["*.internal"]},
        {"name": "any", "uris": ["spiffe://civium/worker/x"]},
        {"name": "any", "uris": ["dns:regproc.internal"]},
        {"name": "by-subject2"},
    ],
    ids=str,
)
def test_another_name_of_the_same_authority_is_nobody(server, ca, names):
    assert ask(server, ca, ca.issue(usage=CLIENT, **names)) == UNAUTHENTICATED


def test_without_certificate_a_token_counts(server, ca):
    assert ask(server, ca) == UNAUTHENTICATED
    assert ask(server, ca, Authorization=f"Bearer {mtls_server.TOKEN}") == "bearer"


def test_a_token_that_is_sent_counts_before_the_certificate(server, ca):
    files = ca.issue("any", CLIENT, dns=["regproc.internal"])
    assert ask(server, ca, files, Authorization=f"Bearer {mtls_server.TOKEN}") == "bearer"
    assert ask(server, ca, files, Authorization="Bearer wrong") == UNAUTHENTICATED


def test_a_certificate_gives_its_roles_only(server, ca):
    assert ask(server, ca, ca.issue("any", CLIENT, dns=["weak.internal"])) == (403, "KER-ATH-403")


@pytest.mark.parametrize("kind", ["foreign", "expired", "for servers"])
def test_a_certificate_that_does_not_hold_ends_the_handshake(server, ca, stranger, kind):
    files = {
        "foreign": lambda: stranger.issue("any", CLIENT, dns=["regproc.internal"]),
        "expired": lambda: ca.issue("any", CLIENT, dns=["regproc.internal"], lifetime=timedelta(hours=-1)),
        "for servers": lambda: ca.issue("any", SERVER, dns=["regproc.internal"]),
    }[kind]()
    with pytest.raises(httpx.HTTPError):
        ask(server, ca, files)


def test_another_site_cannot_use_the_certificate_that_a_browser_holds(server, ca):
    files = ca.issue("any", CLIENT, dns=["regproc.internal"])
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert ask(server, ca, files, **headers) == (403, "KER-ATH-403")
    assert ask(server, ca, files, Origin=server) == "mosip-regproc-client"


def test_no_header_stands_in_for_a_certificate(server, ca):
    certificate, _ = ca.issue("any", CLIENT, dns=["regproc.internal"])
    escaped = certificate.read_text().replace("\n", "%0A")
    for name in ("X-Client-Cert", "X-SSL-Client-Cert", "X-Forwarded-Client-Cert", "SSL-Client-Subject-DN"):
        assert ask(server, ca, **{name: escaped}) == UNAUTHENTICATED


def test_a_certificate_can_be_demanded_of_everybody(ca):
    with served(ca, require_client_certificate=True) as url:
        assert ask(url, ca, ca.issue("any", CLIENT, dns=["regproc.internal"])) == "mosip-regproc-client"
        with pytest.raises(httpx.HTTPError):
            ask(url, ca, Authorization=f"Bearer {mtls_server.TOKEN}")


def test_a_connection_that_outlives_its_certificate_is_nobodys(ca):
    certificate, _ = ca.issue("any", CLIENT, dns=["regproc.internal"])
    der = x509.load_pem_x509_certificate(certificate.read_bytes()).public_bytes(Encoding.DER)
    clock = FixedClock(datetime.now(UTC))
    callers = CertificateCallers(CLIENTS, clock)
    scope = {"extensions": {EXTENSION: {"der": der}}}
    assert callers.caller(scope).client_id == "mosip-regproc-client"
    clock.advance(timedelta(hours=2))
    assert callers.caller(scope) is None


def test_settings_that_would_check_no_certificate_are_refused(tmp_path):
    with pytest.raises(ValidationError, match="client_ca"):
        Settings(access=AccessSettings(certificates=CLIENTS))
    with pytest.raises(ValidationError, match="client_ca"):
        Settings(http=HttpSettings(require_client_certificate=True))
    with pytest.raises(ValidationError, match="tls_certificate"):
        Settings(http=HttpSettings(client_ca=tmp_path))
    with pytest.raises(ValidationError):
        CertificateClient(name="regproc.internal", client="x", roles=())


def test_forwarded_addresses_count_from_trusted_proxies_only():
    assert not mtls_server.server_config(None, HttpSettings()).proxy_headers
    trusting = mtls_server.server_config(None, HttpSettings(trusted_proxies=("10.0.0.1",)))
    assert (trusting.proxy_headers, trusting.forwarded_allow_ips) == (True, ["10.0.0.1"])
