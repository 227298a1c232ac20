"""Keys and certificates over HTTP (section 7.1)."""

import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7

from civium.kernel.clock import SystemClock
from civium.keys import allowlist
from civium.keys.allowlist import Gate
from civium.keys.api import KeyProblem, KeyRef, thumbprint
from civium.keys.client import InProcess, KeysClient
from civium.keys.formats import certificates
from civium.keys.formats.certificates import BASE, PARTNER
from keys_fixtures import open_home
from tests.unit.keys_formats.conftest import name, new_rsa, self_signed

from .conftest import b64u, part
from .test_encryption import data


def run(command, **more):
    return subprocess.run(command, check=True, **more)


@pytest.fixture(scope="module")
async def manager_keys(tmp_path_factory):
    """Keystores of their own: these tests change the hierarchy."""
    with open_home(tmp_path_factory.mktemp("life"), SystemClock()) as opened:
        client = KeysClient(InProcess(Gate("core", allowlist.CORE), opened.core, threads=2))
        yield client
        await client.close()


@pytest.fixture(scope="module")
def root():
    return self_signed("outside", new_rsa(), start=datetime.now(UTC).replace(microsecond=0) - timedelta(days=1))


def master(app, ref="", **more):
    return {"applicationId": app, "referenceId": ref, **more}


async def current(api, app, ref=""):
    return await api.ok("GET", "/getCertificate", params={"applicationId": app, "referenceId": ref})


def parsed(pem):
    return x509.load_pem_x509_certificate(pem.encode())


async def test_master_keys(api):
    before = await current(api, "RESIDENT")
    same = await api.ok("POST", "/generateMasterKey/CERTIFICATE", master("RESIDENT"))
    assert same["certificate"] == before["certificate"]
    assert same["certSignRequest"] is None
    assert set(same) == {"certificate", "certSignRequest", "issuedAt", "expiryAt", "timestamp"}
    forced = await api.ok("POST", "/generateMasterKey/certificate", master(
        "RESIDENT", force=True, commonName="Résidents", organizationUnit="OU", organization="Country", location="Town",
        state="State", country="MA",
    ))  # fmt: skip
    assert forced["certificate"] != before["certificate"]
    subject = parsed(forced["certificate"]).subject
    assert [attribute.value for attribute in subject] == ["MA", "State", "Town", "Country", "OU", "Résidents"]
    assert (await current(api, "RESIDENT"))["certificate"] == forced["certificate"]
    generations = await api.ok("GET", "/getAllCertificates", params={"applicationId": "RESIDENT"})
    assert [each["certificateData"] for each in generations["allCertificates"]] == [
        forced["certificate"], before["certificate"],
    ]  # fmt: skip
    assert len({each["keyId"] for each in generations["allCertificates"]}) == 2


async def test_twice_a_day_and_a_master_never_made(api):
    """Old behaviour: a second generation of a day is an internal error (section 13 no. 10)."""
    assert await api.code("GET", "/getCertificate", params={"applicationId": "DIGITAL_CARD"}) == "KER-KMS-012"
    made = [
        (await api.ok("POST", "/generateMasterKey/CERTIFICATE", master("DIGITAL_CARD", force=True)))["certificate"]
        for _ in range(3)
    ]
    assert len(set(made)) == 3


@pytest.mark.parametrize(
    ("kind", "asked", "code"),
    [
        ("PEM", master("RESIDENT"), "KER-KMS-009"),
        ("CSR", master("RESIDENT", "any"), "KER-KMS-010"),
        ("CSR", master("RESIDENT", "SIGN"), "KER-KMS-010"),
        ("CERTIFICATE", master("NOBODY"), "KER-KMS-002"),
        ("CERTIFICATE", master("KERNEL", "IDENTITY_CACHE"), "KER-KMS-010"),
        ("CERTIFICATE", master("RESIDENT", country="Morocco"), "KER-KMS-005"),
        ("CERTIFICATE", master("RESIDENT", country="1", force=True), "KER-KMS-005"),
        ("CERTIFICATE", {"referenceId": ""}, "KER-KMS-005"),
    ],
)
async def test_masters_that_are_not_made(api, kind, asked, code):
    assert await api.code("POST", f"/generateMasterKey/{kind}", asked) == code


async def test_only_key_makers_make_keys(api):
    for token in ("person", "officer"):
        for method, path in (
            ("POST", "/generateMasterKey/CSR"), ("PUT", "/revokeKey"), ("POST", "/uploadCertificate"),
            ("POST", "/generateSymmetricKey"), ("POST", "/generateCSR"), ("POST", "/uploadOtherDomainCertificate"),
        ):  # fmt: skip
            assert (await api.ask(method, path, master("RESIDENT"), token=token)).status_code == 403, path


async def test_revoked_keys_open_what_they_sealed_and_seal_no_more(api):
    sealed = (await api.ok("POST", "/encrypt", data(b64u(b"old"))))["data"]
    before = (await current(api, "ID_REPO", "uin"))["certificate"]
    assert (await api.ok("PUT", "/revokeKey", master("ID_REPO", "uin")))["status"] == "Key Revoked"
    after = (await current(api, "ID_REPO", "uin"))["certificate"]
    assert after != before
    assert (await api.ok("POST", "/decrypt", data(sealed)))["data"] == b64u(b"old")
    assert await api.code("PUT", "/revokeKey", master("KERNEL", "SIGN")) == "KER-KMS-021"
    assert await api.code("PUT", "/revokeKey", master("ID_REPO", "never")) == "KER-KMS-003"
    assert await api.code("PUT", "/revokeKey", master("ID_REPO")) == "KER-KMS-005"


async def test_destroyed_keys_open_nothing(api, manager_keys):
    sealed = (await api.ok("POST", "/encrypt", data(b64u(b"gone"), ref="demographic_data")))["data"]
    mark = thumbprint(parsed((await current(api, "ID_REPO", "demographic_data"))["certificate"]))
    await api.ok("PUT", "/revokeKey", master("ID_REPO", "demographic_data"))
    await current(api, "ID_REPO", "demographic_data")
    hierarchy = manager_keys._binding._operations.hierarchy
    hierarchy.destroy(KeyRef("ID_REPO", "demographic_data"), mark)
    assert await api.code("POST", "/decrypt", data(sealed, ref="demographic_data")) == "KER-FSE-003"


async def test_signing_requests_and_outside_certificates(api, root, tmp_path):
    asked = master("PRE_REGISTRATION", "INDIVIDUAL")
    sealed = (await api.ok("POST", "/encrypt", data(b64u(b"x"), app="PRE_REGISTRATION", ref="INDIVIDUAL")))["data"]
    made = await api.ok("POST", "/generateCSR", asked | {"commonName": "individual"})
    assert made["certificate"] is None
    (tmp_path / "request.pem").write_text(made["certSignRequest"])
    told = run(
        ["openssl", "req", "-in", "request.pem", "-noout", "-verify", "-subject"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert "OK" in told.stderr + told.stdout
    assert "individual" in told.stdout
    request = x509.load_pem_x509_csr(made["certSignRequest"].encode())
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)

    def issued(days, key=None):
        return certificates.pem(
            certificates.issue(
                BASE, request.subject, key or request.public_key(), issuer=root.certificate.subject,
                signing_key=root.key, not_before=start, not_after=start + timedelta(days=days),
            )
        )  # fmt: skip

    good = issued(300)
    upload = asked | {"certificateData": good}
    assert await api.code("POST", "/uploadCertificate", upload | {"certificateData": "none"}) == "KER-PCM-001"
    foreign = issued(300, new_rsa().public_key())
    assert await api.code("POST", "/uploadCertificate", upload | {"certificateData": foreign}) == "KER-KMS-014"
    assert await api.code("POST", "/uploadCertificate", upload | {"certificateData": issued(0)}) == "KER-KMS-001"
    assert await api.code("POST", "/uploadCertificate", upload | master("ID_REPO", "never")) == "KER-KMS-017"
    assert (await api.ok("POST", "/uploadCertificate", upload))["status"] == "Upload Success"
    assert await api.code("POST", "/uploadCertificate", upload) == "KER-KMS-027"
    after = await current(api, "PRE_REGISTRATION", "INDIVIDUAL")
    assert after["certificate"] == good
    assert after["expiryAt"].startswith(f"{start + timedelta(days=300):%Y-%m-%d}")
    # What names the key's first certificate still opens, and so does what names the new one.
    opening = data(sealed, app="PRE_REGISTRATION", ref="INDIVIDUAL")
    assert (await api.ok("POST", "/decrypt", opening, token="testrig"))["data"] == b64u(b"x")
    newer = (await api.ok("POST", "/encrypt", opening | {"data": b64u(b"y")}))["data"]
    assert (await api.ok("POST", "/decrypt", opening | {"data": newer}, token="testrig"))["data"] == b64u(b"y")
    assert await api.code("POST", "/generateCSR", master("KERNEL", "IDENTITY_CACHE")) == "KER-KMS-022"
    whole = await api.ok("POST", "/generateMasterKey/CSR", master("ID_REPO"))
    assert whole["certificate"] is None
    assert x509.load_pem_x509_csr(whole["certSignRequest"].encode()).is_signature_valid


async def test_other_domains_certificates(api, root):
    first, second = (
        root.signs(PARTNER, "partner", new_rsa(), start=root.certificate.not_valid_before_utc) for _ in "12"
    )
    upload = master("PARTNER", "mpartner-1", certificateData=certificates.pem(first.certificate))
    assert (await api.ok("POST", "/uploadOtherDomainCertificate", upload))["status"] == "Upload Success"
    assert await api.code("POST", "/uploadOtherDomainCertificate", upload) == "KER-KMS-015"
    sealed = (await api.ok("POST", "/encrypt", data(b64u(b"to them"), app="PARTNER", ref="mpartner-1")))["data"]
    assert sealed
    newer = upload | {"certificateData": certificates.pem(second.certificate)}
    await api.ok("POST", "/uploadOtherDomainCertificate", newer)
    shown = (await current(api, "PARTNER", "mpartner-1"))["certificate"]
    assert shown == certificates.pem(second.certificate)
    assert (
        await api.code("POST", "/decrypt", data(sealed, app="PARTNER", ref="mpartner-1"), token="testrig")
        == "KER-CRY-012"
    )


def issued_by(root, key, **more):
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    values = {"not_before": start, "not_after": start + timedelta(days=400), "hash": hashes.SHA256()} | more
    return (
        x509.CertificateBuilder()
        .subject_name(name("them"))
        .issuer_name(root.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(values["not_before"])
        .not_valid_after(values["not_after"])
        .sign(root.key, values["hash"])
    )


@pytest.mark.parametrize("kind", ["curve", "short", "expired", "future", "none", "kernel", "own", "name"])
async def test_other_domains_certificates_that_are_refused(api, root, kind):
    asked = master("PARTNER", f"bad-{kind}")
    now = datetime.now(UTC).replace(microsecond=0)
    key, more, code = new_rsa() if kind not in {"curve", "short"} else None, {}, None
    match kind:
        case "curve":
            key, code = ec.generate_private_key(ec.SECP192R1()), "KER-CRY-002"
        case "short":
            key, code = new_rsa(1024), "KER-CRY-002"
        case "expired":
            more, code = {"not_before": now - timedelta(days=9), "not_after": now - timedelta(days=1)}, "KER-PCM-004"
        case "future":
            more, code = {"not_before": now + timedelta(days=1)}, "KER-PCM-004"
        case "none":
            code = "KER-KMS-013"
        case "kernel":
            asked, code = master("KERNEL", "SIGN"), "KER-KMS-015"
        case "own":
            asked, code = master("ID_REPO", "uin"), "KER-KMS-015"
        case "name":
            asked, code = master("PARTNER", "a/b"), "KER-KMS-010"
    pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----" if kind == "none" else None
    asked |= {"certificateData": pem or certificates.pem(issued_by(root, key, **more))}
    assert await api.code("POST", "/uploadOtherDomainCertificate", asked) == code


async def test_negative_serials_are_accepted(api, tmp_path):
    run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "k.pem", "-out", "c.pem", "-days", "30",
         "-set_serial", "-7", "-subj", "/C=MA/O=Them/CN=negative"], cwd=tmp_path, capture_output=True,
    )  # fmt: skip
    asked = master("PARTNER", "negative", certificateData=(tmp_path / "c.pem").read_text())
    await api.ok("POST", "/uploadOtherDomainCertificate", asked)


async def test_chains(api):
    for app, ref, length in (("ROOT", "", 1), ("ID_REPO", "", 2), ("ID_REPO", "uin", 3), ("KERNEL", "SIGN", 2)):
        found = await api.ok("GET", "/getCertificateChain", params={"applicationId": app, "referenceId": ref})
        text = found["certificatesTrustPath"]
        assert text.startswith("-----BEGIN PKCS7-----\n")
        chain = pkcs7.load_pem_pkcs7_certificates(text.encode())
        assert len(chain) == length
        pem = (await current(api, app, ref))["certificate"]
        assert parsed(pem) in chain


async def test_the_symmetric_master(api):
    asked = master("KERNEL", "IDENTITY_CACHE")
    attributes = {"id": "2419762130", "zkDataAttributes": [{"identifier": "name", "value": "Amina"}]}
    sealed = await api.ok("POST", "/zkEncrypt", attributes)
    assert (await api.ok("POST", "/generateSymmetricKey", asked))["status"] == "Key Exists."
    assert (await api.ok("POST", "/generateSymmetricKey", asked | {"force": True}))["status"] == "Generation Success"
    assert (await api.ok("PUT", "/revokeKey", asked))["status"] == "Key Revoked"
    again = attributes | {"zkDataAttributes": sealed["zkDataAttributes"]}
    assert (await api.ok("POST", "/zkDecrypt", again))["zkDataAttributes"] == attributes["zkDataAttributes"]
    assert await api.code("POST", "/generateSymmetricKey", master("ID_REPO", "uin")) == "KER-KMS-010"


async def test_signatures_follow_the_generations(api):
    """A signer remembers the generation; the key process has the last word on which is current."""
    asked = {"dataToSign": b64u(b"{}"), "applicationId": "REGISTRATION_PROCESSOR", "includePayload": True}
    key_ids = []
    for _ in range(3):
        text = (await api.ok("POST", "/jwtSign", asked, token="regproc"))["jwtSignedData"]
        key_ids.append(part(text, 0)["kid"])
        await api.ok("POST", "/generateMasterKey/CERTIFICATE", master("REGISTRATION_PROCESSOR", force=True))
        # What an older generation signed still verifies.
        verify = {"jwtSignatureData": text, "applicationId": "REGISTRATION_PROCESSOR"}
        assert (await api.ok("POST", "/jwtVerify", verify))["signatureValid"] is True
    assert len(set(key_ids)) == 3


@pytest.mark.parametrize(("app", "ref"), [("IDA", "PUBLIC_KEY"), ("PARTNER", "mpartner-default-auth")])
async def test_what_is_sealed_to_authentication_goes_nowhere_else(api, root, manager_keys, app, ref):
    """Old behaviour: who may upload a partner's certificate gets the zero-knowledge keys sealed to its own."""
    before = (await current(api, app, ref))["certificate"]
    theirs = certificates.pem(issued_by(root, new_rsa()))
    upload = master(app, ref, certificateData=theirs)
    assert await api.code("POST", "/uploadOtherDomainCertificate", upload) == "KER-KMS-015"
    assert await api.code("PUT", "/revokeKey", master(app, ref)) == "KER-KMS-021"
    with pytest.raises(KeyProblem):
        await manager_keys.install_certificate(KeyRef(app, ref), theirs)
    assert (await current(api, app, ref))["certificate"] == before
