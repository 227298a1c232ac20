import subprocess
import warnings
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from civium.kernel.encoding import b64, b64u, unb64
from civium.keys.api import KeyProblem, SignatureInvalid
from civium.keys.formats import certificates
from civium.keys.formats.certificates import MASTER, PARTNER, PARTNER_SIGNING

from .conftest import NOW, name


def openssl(*command, data=None):
    return subprocess.run(["openssl", *command], input=data, check=True, capture_output=True).stdout.decode()


def usage(certificate):
    found = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert found.critical
    return {
        bit
        for bit in ("digital_signature", "key_encipherment", "key_cert_sign", "crl_sign", "data_encipherment")
        if getattr(found.value, bit)
    }


def constraints(certificate):
    found = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert found.critical
    return found.value.ca, found.value.path_length


def test_profiles(root, master, base, partner, keys):
    signing = master.signs(PARTNER_SIGNING, "device", keys[3])
    table = [
        (root, (True, 2), {"digital_signature", "key_cert_sign"}),
        (master, (True, 1), {"digital_signature", "key_cert_sign"}),
        (base, (False, None), {"key_encipherment"}),
        (partner, (False, None), {"digital_signature", "key_encipherment"}),
        (signing, (False, None), {"digital_signature"}),
    ]
    for holder, expected_constraints, expected_usage in table:
        certificate = holder.certificate
        assert constraints(certificate) == expected_constraints
        assert usage(certificate) == expected_usage
        assert certificate.version is x509.Version.v3
        assert certificate.serial_number > 0
        assert isinstance(certificate.signature_hash_algorithm, hashes.SHA256)
        assert certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)


def test_openssl_accepts_the_chain(root, master, partner, tmp_path):
    files = []
    for holder in (root, master, partner):
        files.append(tmp_path / f"{len(files)}.pem")
        files[-1].write_text(certificates.pem(holder.certificate))
    openssl(
        "verify", "-attime", str(int(NOW.timestamp())), "-CAfile", files[0], "-untrusted", files[1],
        files[2],
    )  # fmt: skip


def test_default_names():
    assert certificates.module_name("KERNEL", "SIGN").rfc4514_string() == (
        "CN=www.mosip.io (KERNEL-SIGN),OU=MOSIP-TECH-CENTER,O=IITB,L=BANGALORE,ST=KA,C=IN"
    )
    issuer = certificates.module_name("IDA")
    assert [attribute.value for attribute in issuer][-1] == "www.mosip.io (IDA)"
    assert certificates.base_name("IDA", "PARTNER", issuer).rfc4514_string() == (
        "CN=IDA-PARTNER,OU=MOSIP-TECH-CENTER,O=IITB,L=BANGALORE,ST=KA,C=IN"
    )


def test_partner_name_keeps_six_attributes_in_order():
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "cn"),
            x509.NameAttribute(NameOID.EMAIL_ADDRESS, "a@b.c"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "first"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "second"),
            x509.NameAttribute(NameOID.COUNTRY_NAME, "MA"),
        ]
    )
    assert certificates.partner_name(subject).rfc4514_string() == "CN=cn,O=first,C=MA"
    assert certificates.organisation(subject) == "first"
    with pytest.raises(KeyProblem, match="KER-PCM-001"):
        certificates.partner_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "o")]))


def test_partner_with_a_country_of_another_length():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        country = x509.NameAttribute(NameOID.COUNTRY_NAME, "Morocco", _validate=False)
    subject = x509.Name([country, x509.NameAttribute(NameOID.COMMON_NAME, "cn")])
    assert certificates.partner_name(subject).rfc4514_string() == "CN=cn,C=Morocco"


def test_signing_request(keys):
    text = certificates.signing_request(name("csr"), keys[0])
    assert "verify OK" in openssl("req", "-verify", "-noout", "-subject", data=text.encode()) + _stderr(text)
    request = x509.load_pem_x509_csr(text.encode())
    assert request.is_signature_valid
    assert request.subject == name("csr")


def _stderr(text):
    command = ["openssl", "req", "-verify", "-noout"]
    return subprocess.run(command, input=text.encode(), check=True, capture_output=True).stderr.decode()


def test_pkcs7_keeps_the_order(root, master, partner):
    chain = [holder.certificate for holder in (partner, master, root)]
    text = certificates.chain_p7b(chain)
    assert list(certificates.parse_p7b(text)) == chain
    printed = openssl("pkcs7", "-inform", "DER", "-print_certs", "-noout", data=unb64(text))
    assert [line.rsplit(" ", 1)[1] for line in printed.splitlines() if line.startswith("subject")] == [
        "partner", "master", "root",
    ]  # fmt: skip


def test_pkcs7_of_openssl(root, master, tmp_path):
    path = tmp_path / "both.pem"
    path.write_text(certificates.pem(root.certificate) + certificates.pem(master.certificate))
    command = ["openssl", "crl2pkcs7", "-nocrl", "-certfile", path, "-outform", "DER"]
    der = subprocess.run(command, check=True, capture_output=True).stdout
    assert set(certificates.parse_p7b(b64(der))) == {root.certificate, master.certificate}
    assert set(certificates.parse_p7b(b64u(der))) == {root.certificate, master.certificate}


@pytest.mark.parametrize("text", ["", "AAAA", "!", "MIIB"])
def test_what_is_no_pkcs7_is_refused(text):
    with pytest.raises(KeyProblem, match="KER-PCM-001"):
        certificates.parse_p7b(text)


def test_pem_is_read_leniently(partner):
    text = certificates.pem(partner.certificate)
    assert text.endswith("-----END CERTIFICATE-----\n")
    for spelling in (text, text.rstrip(), text.replace("\n", ""), text.replace("\n", "\r\n"), f"\n {text}"):
        assert certificates.parse_pem(spelling) == partner.certificate


def test_what_is_no_pem_is_refused(partner):
    text = certificates.pem(partner.certificate)
    for bad in ("", "x", text[:-30], text[30:], text + "x", text.replace("MII", "MIJ", 1), text + text):
        with pytest.raises(KeyProblem, match="KER-PCM-001"):
            certificates.parse_pem(bad)
    with pytest.raises(SignatureInvalid):
        certificates.parse_lenient("!")


def test_certificate_with_a_negative_serial_is_read(partner):
    der = bytearray(certificates.der(partner.certificate))
    at = der.index(b"\x02", 8 + 5)  # after version [0] { INTEGER 2 }
    der[at + 2] |= 0x80
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert certificates.parse_der(bytes(der)).version is x509.Version.v3


def test_master_cannot_sign_below_its_path_length(root, master, keys):
    deeper = master.signs(MASTER, "deeper", keys[2])
    assert constraints(deeper.certificate) == (True, 1)
    assert deeper.certificate.not_valid_after_utc - NOW > timedelta(days=1)
    assert PARTNER.path_length is None


def test_pkcs7_with_none_or_too_many_is_refused(root):
    for count in (0, certificates.MAX_CERTIFICATES + 1):
        with pytest.raises(KeyProblem, match="KER-PCM-001"):
            certificates.parse_p7b(certificates.chain_p7b([root.certificate] * count))
