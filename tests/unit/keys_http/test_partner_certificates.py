"""Authorities, partners' certificates and revocation lists over HTTP (section 7.6; section 13 no. 3 and 5)."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from civium.kernel.clock import FixedClock, SystemClock
from civium.kernel.errors import Unavailable
from civium.keys.api import CertificateRevoked, KeyProblem, UntrustedCertificate
from civium.keys.formats import certificates
from civium.keys.formats.certificates import MASTER, PARTNER, ROOT, Profile
from civium.keys.revocation import RevocationLists
from civium.keys.wiring import build_trust
from tests.unit.keys_formats.conftest import Holder, name, new_rsa, self_signed

from .conftest import unb64u

NOW = datetime.now(UTC).replace(microsecond=0)
START = NOW - timedelta(days=1)
URL = "http://lists.example/ca.crl"


@pytest.fixture(scope="module")
def ca():
    return self_signed("partner root", new_rsa(), start=START)


@pytest.fixture(scope="module")
def intermediate(ca):
    return ca.signs(MASTER, "partner ca", new_rsa(), start=START, days=2000)


@pytest.fixture(scope="module")
def leaf(intermediate):
    return intermediate.signs(PARTNER, "rp", new_rsa(), start=START)


def pem(holder):
    return certificates.pem(holder.certificate)


def upload(holder, domain="AUTH", **more):
    return {"certificateData": pem(holder), "partnerDomain": domain, **more}


@pytest.fixture
async def ready(api, ca, intermediate):
    for each in (ca, intermediate):
        await api.ok("POST", "/uploadCACertificate", upload(each))
    return api


async def test_the_whole_course(ready, leaf):
    asked = upload(leaf, organizationName="Relying Party")
    made = await ready.ok("POST", "/uploadPartnerCertificate", asked, token="pms")
    assert set(made) == {"signedCertificateData", "certificateId", "timestamp"}
    chain = pkcs7.load_der_pkcs7_certificates(unb64u(made["signedCertificateData"]))
    assert len(chain) == 3
    signed = (await ready.ok("GET", f"/getPartnerCertificate/{made['certificateId']}"))["certificateData"]
    both = await ready.ok("GET", f"/getPartnerSignedCertificate/{made['certificateId']}")
    assert both["caSignedCertificateData"] == pem(leaf)
    assert both["mosipSignedCertificateData"] == signed
    certificate = x509.load_pem_x509_certificate(signed.encode())
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate in chain
    for certificate_data in (pem(leaf), signed):
        answer = await ready.ok(
            "POST", "/verifyCertificateTrust", {"certificateData": certificate_data, "partnerDomain": "auth"}
        )
        assert answer == {"status": True}
    assert await ready.ok("POST", "/verifyCertificateTrust", upload(leaf, "DEVICE")) == {"status": False}


async def test_only_partner_management_has_certificates_signed(ready, leaf):
    asked = upload(leaf, organizationName="Relying Party")
    assert await ready.refused("POST", "/uploadPartnerCertificate", asked, token="resident") == [
        ("KER-PCM-016", "Sign Certificate not allowed for the authenticated token.")
    ]
    assert (await ready.ask("POST", "/uploadPartnerCertificate", asked, token="officer")).status_code == 403


@pytest.mark.parametrize(
    ("method", "path", "request_", "code"),
    [
        ("GET", "/getPartnerCertificate/none", None, "KER-PCM-010"),
        ("GET", "/getPartnerCertificate/00000000-0000-0000-0000-000000000000", None, "KER-PCM-012"),
        ("GET", "/getPartnerSignedCertificate/none", None, "KER-PCM-010"),
        ("GET", "/getCACertificateTrustPath/none", None, "KER-PMS-019"),
        ("GET", "/getCACertificateTrustPath/00000000-0000-0000-0000-000000000000", None, "KER-PMS-019"),
        ("POST", "/uploadCACertificate", {"certificateData": "x", "partnerDomain": "AUTH"}, "KER-PCM-001"),
        ("POST", "/verifyCertificateTrust", {"certificateData": "x", "partnerDomain": "AUTH"}, "KER-PCM-001"),
        ("POST", "/getCaCertificates", {"caCertificateType": "LEAF"}, "KER-PCM-018"),
        ("POST", "/getCaCertificates", {"sortByFieldName": "pem"}, "KER-KMS-005"),
        ("POST", "/getCaCertificates", {"pageNumber": 0}, "KER-KMS-005"),
        ("POST", "/getCaCertificates", {"pageSize": 100_000}, "KER-KMS-005"),
        ("POST", "/getCaCertificates", {"validFromDate": "then"}, "KER-KMS-005"),
    ],
)
async def test_refusals(ready, method, path, request_, code):
    assert await ready.code(method, path, request_) == code


async def test_a_chain_of_the_wrong_domain(ready, ca, intermediate, leaf):
    asked = upload(leaf, "DEVICE", organizationName="Relying Party")
    assert await ready.code("POST", "/uploadPartnerCertificate", asked, token="pms") == "KER-PCM-006"
    assert await ready.code("POST", "/uploadCACertificate", upload(intermediate, "DEVICE")) == "KER-PCM-005"
    assert await ready.code("POST", "/uploadCACertificate", upload(ca)) == "KER-PCM-003"
    assert await ready.code("POST", "/uploadCACertificate", upload(ca, "OTHER")) == "KER-PCM-011"
    assert await ready.code("POST", "/verifyCertificateTrust", upload(leaf, "OTHER")) == "KER-PCM-011"


async def test_a_partner_with_a_certificate_of_an_authority_is_a_leaf_all_the_same(ready, ca, trust):
    """Old behaviour: re-signed leaves are CA:TRUE and enter the trust store, so partners mint certificates."""
    old = ca.signs(Profile(path_length=0, signs=True, enciphers=True), "old partner", new_rsa(), start=START)
    await ready.ok("POST", "/uploadPartnerCertificate", upload(old, organizationName="Relying Party"), token="pms")
    minted = old.signs(PARTNER, "minted", new_rsa(), start=START)
    assert await ready.ok("POST", "/verifyCertificateTrust", upload(minted)) == {"status": False}
    assert await ready.code("POST", "/uploadCACertificate", upload(old)) == "KER-PCM-005"
    with pytest.raises(UntrustedCertificate):
        await trust.verify(pem(minted), "AUTH", intermediates=[pem(old)])
    assert await ready.ok("POST", "/verifyCertificateTrust", upload(old)) == {"status": True}


async def test_listing(ready, ca, intermediate, leaf):
    await ready.ok("POST", "/uploadPartnerCertificate", upload(leaf, organizationName="Relying Party"), token="pms")

    async def listed(**asked):
        return await ready.ok("POST", "/getCaCertificates", asked)

    everything = await listed()
    assert (everything["pageNumber"], everything["pageSize"], everything["totalPages"]) == (1, 10, 1)
    assert everything["totalRecords"] == 4
    assert set(everything["allPartnerCertificates"][0]) == {
        "caCertificateType", "partnerDomain", "certId", "issuedTo", "issuedBy", "certThumbprint", "validFromDate",
        "validTillDate", "uploadTime", "status",
    }  # fmt: skip
    foreign = (await listed(excludeMosipCA=True, sortOrder="asc"))["allPartnerCertificates"]
    assert [each["caCertificateType"] for each in foreign] == ["ROOT", "INTERMEDIATE"]
    assert foreign[0]["certThumbprint"] == ca.certificate.fingerprint(hashes.SHA256()).hex()
    assert foreign[0]["status"] is True
    pages = [await listed(pageNumber=n, pageSize=3, sortOrder="asc") for n in (1, 2, 3)]
    assert [len(page["allPartnerCertificates"]) for page in pages] == [3, 1, 0]
    assert pages[0]["totalPages"] == 2
    assert (await listed(caCertificateType="ROOT"))["totalRecords"] == 2
    assert (await listed(partnerDomain="DEVICE"))["totalRecords"] == 0
    assert (await listed(issuedTo="partner ca"))["totalRecords"] == 1
    assert (await listed(certId=foreign[1]["certId"]))["totalRecords"] == 1
    soon = (NOW + timedelta(days=2500)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    assert (await listed(expiringWithinDate=soon, excludeMosipCA=True))["totalRecords"] == 1
    path = await ready.ok("GET", f"/getCACertificateTrustPath/{foreign[1]['certId']}")
    found = pkcs7.load_der_pkcs7_certificates(unb64u(path["p7bFile"]))
    assert found == [intermediate.certificate, ca.certificate]


# Revocation lists.


class Lists:
    """A network with one list on it."""

    def __init__(self):
        self.content = {}
        self.asked = []

    async def fetch(self, url):
        self.asked.append(url)
        if url not in self.content:
            raise Unavailable("not there")
        return self.content[url]


@pytest.fixture(scope="module")
def listing_ca():
    """A root whose key may sign lists, and a leaf that names one."""
    key = new_rsa()
    root = sign(name("root"), key, name("root"), key, ca=True)
    leaf_key = new_rsa()
    points = x509.CRLDistributionPoints(
        [x509.DistributionPoint([x509.UniformResourceIdentifier(URL)], None, None, None)]
    )
    return Holder(key, root), Holder(leaf_key, sign(name("leaf"), leaf_key, name("root"), key, points=points))


def sign(subject, key, issuer, signing_key, *, ca=False, points=None):
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(START)
        .not_valid_after(START + timedelta(days=900))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if points is not None:
        builder = builder.add_extension(points, critical=False)
    return builder.sign(signing_key, hashes.SHA256())


def revocation_list(issuer, *revoked, last=NOW - timedelta(hours=1), days=7, key=None, encoding=Encoding.DER):
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(last)
        .next_update(last + timedelta(days=days))
    )
    for each in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder().serial_number(each.certificate.serial_number).revocation_date(last).build()
        )
    return builder.sign(key or issuer.key, hashes.SHA256()).public_bytes(encoding)


async def checked(lists, clock, root, leaf):
    await RevocationLists(lists, clock).check((leaf.certificate, root.certificate))


@pytest.mark.parametrize("encoding", [Encoding.DER, Encoding.PEM])
async def test_lists(listing_ca, encoding):
    """Old behaviour: revocation is off and addresses of lists are never read."""
    root, leaf = listing_ca
    lists, clock = Lists(), FixedClock(NOW)
    lists.content[URL] = revocation_list(root, encoding=encoding)
    await checked(lists, clock, root, leaf)
    lists.content[URL] = revocation_list(root, leaf, encoding=encoding)
    with pytest.raises(CertificateRevoked):
        await checked(lists, clock, root, leaf)


async def test_a_list_that_cannot_be_had_refuses(listing_ca):
    root, leaf = listing_ca
    stranger = Holder(new_rsa(), root.certificate)
    for content in (
        None,
        b"",
        b"no list",
        revocation_list(root, last=NOW - timedelta(days=9)),
        revocation_list(root, last=NOW + timedelta(days=1)),
        revocation_list(root, key=stranger.key),
        revocation_list(Holder(root.key, leaf.certificate)),
    ):
        lists = Lists()
        if content is not None:
            lists.content[URL] = content
        with pytest.raises(UntrustedCertificate):
            await checked(lists, FixedClock(NOW), root, leaf)


async def test_an_issuer_that_may_not_sign_lists(listing_ca):
    _, leaf = listing_ca
    other = self_signed("root", new_rsa(), ROOT, start=START)
    lists = Lists()
    lists.content[URL] = revocation_list(other)
    with pytest.raises(UntrustedCertificate):
        await checked(lists, FixedClock(NOW), other, leaf)


async def test_lists_are_kept_for_a_while(listing_ca):
    root, leaf = listing_ca
    lists, clock = Lists(), FixedClock(NOW)
    lists.content[URL] = revocation_list(root)
    kept = RevocationLists(lists, clock)
    for _ in range(3):
        await kept.check((leaf.certificate, root.certificate))
    assert lists.asked == [URL]
    clock.advance(timedelta(hours=1, seconds=1))
    await kept.check((leaf.certificate, root.certificate))
    assert lists.asked == [URL, URL]
    # A kept list is its issuer's: another issuer of the same address is asked for its own.
    other = Holder(new_rsa(), root.certificate)
    other = Holder(other.key, sign(name("root"), other.key, name("root"), other.key, ca=True))
    with pytest.raises(UntrustedCertificate):
        await kept.check((leaf.certificate, other.certificate))


async def test_certificates_that_name_no_list_ask_nothing(ca, leaf, intermediate):
    lists = Lists()
    await RevocationLists(lists, FixedClock(NOW)).check((leaf.certificate, intermediate.certificate, ca.certificate))
    assert lists.asked == []


async def test_the_trust_store_asks_the_list(db, keys_core, outbox_core, listing_ca):
    root, leaf = listing_ca
    lists = Lists()
    trust = build_trust(db.core("keys"), keys_core, outbox_core, SystemClock(), lists=lists)
    await trust.add_ca(pem(root), "AUTH")
    with pytest.raises(UntrustedCertificate):
        await trust.verify(pem(leaf), "AUTH")
    lists.content[URL] = revocation_list(root)
    await trust.verify(pem(leaf), "AUTH")


async def test_a_revoked_intermediate_is_not_taken_in(db, keys_core, outbox_core, listing_ca):
    root, _ = listing_ca
    key = new_rsa()
    points = x509.CRLDistributionPoints(
        [x509.DistributionPoint([x509.UniformResourceIdentifier(URL)], None, None, None)]
    )
    between = Holder(key, sign(name("between"), key, name("root"), root.key, ca=True, points=points))
    lists = Lists()
    trust = build_trust(db.core("keys"), keys_core, outbox_core, SystemClock(), lists=lists)
    await trust.add_ca(pem(root), "AUTH")
    lists.content[URL] = revocation_list(root, between)
    with pytest.raises(KeyProblem, match="KER-PCM-005"):
        await trust.add_ca(pem(between), "AUTH")
