import subprocess
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from civium.keys.api import CertificateExpired, CertificateRevoked, UntrustedCertificate, verify_path
from civium.keys.formats import certificates
from civium.keys.formats.certificates import MASTER, PARTNER, PARTNER_SIGNING, Profile
from civium.keys.formats.primitives import thumbprint
from civium.keys.trust import is_self_signed

from .conftest import NOW, name, self_signed


def path(leaf, *anchors, at=NOW, **options):
    return verify_path(leaf.certificate, [anchor.certificate for anchor in anchors], at, **options)


def test_path_in_any_order_of_the_anchors(root, master, partner, keys):
    stranger = self_signed("stranger", keys[2])
    expected = tuple(holder.certificate for holder in (partner, master, root))
    assert path(partner, root, master) == expected
    assert path(partner, stranger, master, root) == expected


def test_missing_authority(root, master, partner):
    for anchors in ((), (root,), (master,)):
        with pytest.raises(UntrustedCertificate):
            path(partner, *anchors)


def test_root_of_the_same_name_with_another_key(master, partner, keys):
    with pytest.raises(UntrustedCertificate):
        path(partner, self_signed("root", keys[2]), master)
    with pytest.raises(UntrustedCertificate):
        path(partner, self_signed("master", keys[2]))


def test_self_signed_leaf(root, keys):
    with pytest.raises(UntrustedCertificate):
        path(self_signed("leaf", keys[3], PARTNER), root)
    with pytest.raises(UntrustedCertificate):
        path(root, root)


def test_validity_of_leaf_and_authority(root, master, partner, keys):
    ends = partner.certificate.not_valid_after_utc
    assert path(partner, root, master, at=ends)
    for at in (ends + timedelta(seconds=1), NOW - timedelta(days=2)):
        with pytest.raises(CertificateExpired):
            path(partner, root, master, at=at)
    brief = root.signs(MASTER, "brief", keys[1], days=10)
    with pytest.raises(CertificateExpired):
        path(brief.signs(PARTNER, "leaf", keys[3]), root, brief, at=NOW + timedelta(days=20))


def test_renewed_authority_stands_in_for_the_expired(root, keys):
    old, new = (root.signs(MASTER, "renewed", keys[1], days=days) for days in (10, 1000))
    leaf = old.signs(PARTNER, "leaf", keys[3])
    at = NOW + timedelta(days=20)
    assert path(leaf, root, old, new, at=at)[1] == new.certificate
    assert path(leaf, root, old, new, revoked={thumbprint(old.certificate)})[1] == new.certificate


def test_revoked(root, master, partner):
    for holder in (partner, master, root):
        with pytest.raises(CertificateRevoked):
            path(partner, root, master, revoked={thumbprint(holder.certificate)})


def test_only_authorities_issue(root, master, partner, keys):
    leaf = partner.signs(PARTNER, "below", keys[2])
    with pytest.raises(UntrustedCertificate):
        path(leaf, root, master, partner)


def test_partner_that_is_marked_as_authority_is_a_leaf_and_no_intermediate(root, master, keys):
    old = master.signs(Profile(path_length=1, signs=True, enciphers=False), "old", keys[3])
    assert path(old, root, master)
    with pytest.raises(UntrustedCertificate):
        path(old.signs(PARTNER, "minted", keys[2]), root, master)


def test_path_length(root, keys):
    first = root.signs(replace(MASTER, path_length=0), "first", keys[1])
    assert path(first.signs(PARTNER, "leaf", keys[3]), root, first)
    second = first.signs(MASTER, "second", keys[2])
    with pytest.raises(UntrustedCertificate):
        path(second.signs(PARTNER, "leaf", keys[3]), root, first, second)


def variant(issuer, key, subject, *extensions, algorithm=None):
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=400))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return replace(issuer, key=key, certificate=builder.sign(issuer.key, algorithm or hashes.SHA256()))


CA = (x509.BasicConstraints(ca=True, path_length=None), True)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")


def test_authority_without_constraints_or_usage(root, keys):
    bare = variant(root, keys[1], "bare")
    with pytest.raises(UntrustedCertificate):
        path(bare.signs(PARTNER, "leaf", keys[3]), root, bare)
    usage = certificates._key_usage(PARTNER_SIGNING)
    for extensions, accepted in (((CA,), True), ((CA, (usage, True)), False), ((CA, (UNKNOWN, True)), False)):
        authority = variant(root, keys[1], "authority", *extensions)
        leaf = authority.signs(PARTNER, "leaf", keys[3])
        if accepted:
            assert path(leaf, root, authority)
        else:
            with pytest.raises(UntrustedCertificate):
                path(leaf, root, authority)


def test_unknown_critical_extension_of_a_leaf(root, keys):
    assert path(variant(root, keys[3], "leaf", (UNKNOWN, False)), root)
    with pytest.raises(UntrustedCertificate):
        path(variant(root, keys[3], "leaf", (UNKNOWN, True)), root)


@pytest.mark.parametrize("algorithm", [hashes.SHA224(), hashes.SHA384(), hashes.SHA512()], ids=lambda a: a.name)
def test_other_sha2_is_accepted(root, keys, algorithm):
    assert path(variant(root, keys[3], "leaf", algorithm=algorithm), root)


def openssl_certificate(
    tmp_path, issuer, key, subject="/C=MA/O=Relying Party/CN=old", *, authority=False, v1=False, digest="-sha1"
):
    """openssl still signs with SHA-1; cryptography does not."""
    for file, holder in (("issuer.key", issuer.key), ("own.key", key)):
        (tmp_path / file).write_bytes(holder.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "issuer.pem").write_text(certificates.pem(issuer.certificate))
    (tmp_path / "ext").write_text(f"basicConstraints=critical,CA:{'TRUE' if authority else 'FALSE'}\n")
    request = ["openssl", "req", "-new", "-key", tmp_path / "own.key", "-subj", subject, "-out", tmp_path / "csr"]
    subprocess.run(request, check=True, capture_output=True)
    sign = ["openssl", "x509", "-req", digest, "-in", tmp_path / "csr", "-CA", tmp_path / "issuer.pem",
            "-CAkey", tmp_path / "issuer.key", "-set_serial", "9", "-days", "3650", *([] if v1 else ["-extfile", tmp_path / "ext"])]  # fmt: skip
    return certificates.parse_pem(subprocess.run(sign, check=True, capture_output=True, text=True).stdout)


def test_sha1(root, keys, tmp_path):
    leaf = openssl_certificate(tmp_path, root, keys[3])
    at = leaf.not_valid_before_utc + timedelta(days=1)
    with pytest.raises(UntrustedCertificate):
        verify_path(leaf, [root.certificate], at)
    certificate = openssl_certificate(tmp_path, root, keys[1], authority=True)
    authority = replace(root, key=keys[1], certificate=certificate)
    with pytest.raises(UntrustedCertificate):
        path(authority.signs(PARTNER, "leaf", keys[3], start=at), root, authority, at=at)


def test_self_signed_means_by_its_own_key(root, keys):
    assert is_self_signed(root.certificate)
    posing = certificates.issue(
        MASTER, name("root"), keys[3].public_key(), issuer=name("root"), signing_key=keys[0],
        not_before=NOW, not_after=NOW + timedelta(days=1),
    )  # fmt: skip
    assert not is_self_signed(posing)


def test_many_authorities_of_one_name_cost_little(root, keys):
    twins = [root.signs(MASTER, "root", keys[1]) for _ in range(40)]
    with pytest.raises(UntrustedCertificate):
        path(twins[0].signs(PARTNER, "leaf", keys[3]), *twins)
