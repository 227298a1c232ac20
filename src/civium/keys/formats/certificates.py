"""Certificates and signing requests that the platform issues and reads (keys-and-crypto section 10.1)."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import NameOID

from civium.kernel.encoding import b64u
from civium.keys.errors import KeyProblem, SignatureMalformed
from civium.keys.formats.primitives import unb64_or

MIN_KEY_BITS = 2048
MAX_CERTIFICATES = 64
"""Certificates of one PKCS#7."""
KEPT_CERTIFICATES = 256
"""Signers' certificates that are not read anew with each request."""

SUBJECT_ORDER = (
    NameOID.COUNTRY_NAME,
    NameOID.STATE_OR_PROVINCE_NAME,
    NameOID.LOCALITY_NAME,
    NameOID.ORGANIZATION_NAME,
    NameOID.ORGANIZATIONAL_UNIT_NAME,
    NameOID.COMMON_NAME,
)


@dataclass(frozen=True, slots=True)
class Profile:
    """What a certificate may do. ``path_length`` is None for one that is no authority."""

    path_length: int | None
    signs: bool
    enciphers: bool


ROOT = Profile(path_length=2, signs=True, enciphers=False)
MASTER = Profile(path_length=1, signs=True, enciphers=False)
BASE = Profile(path_length=None, signs=False, enciphers=True)
PARTNER = Profile(path_length=None, signs=True, enciphers=True)
PARTNER_SIGNING = Profile(path_length=None, signs=True, enciphers=False)


def module_name(application_id: str, reference_id: str = "") -> x509.Name:
    """Return the default subject of a root or master certificate."""
    suffix = f"{application_id}-{reference_id}" if reference_id else application_id
    values = ("IN", "KA", "BANGALORE", "IITB", "MOSIP-TECH-CENTER", f"www.mosip.io ({suffix})")
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in zip(SUBJECT_ORDER, values, strict=True)])


def requested_name(values: Sequence[str | None], application_id: str, reference_id: str) -> x509.Name | None:
    """Return the subject that a caller asked for, missing values by default; None when nothing was asked for.

    ``values`` are in the order of ``SUBJECT_ORDER``. Raises KeyProblem (KER-KMS-005) for values that no name can hold.
    """
    if not any(values):
        return None
    default = module_name(application_id, reference_id)
    try:
        return x509.Name(
            [
                x509.NameAttribute(attribute.oid, value or attribute.value)
                for attribute, value in zip(default, values, strict=True)
            ]
        )
    except ValueError:
        raise KeyProblem("KER-KMS-005", "Invalid request") from None


def base_name(application_id: str, reference_id: str, issuer: x509.Name) -> x509.Name:
    """Return the subject of a base key's certificate: the issuer's with an own common name."""
    inherited = [attribute for attribute in _first_of_each(issuer) if attribute.oid != NameOID.COMMON_NAME]
    own = x509.NameAttribute(NameOID.COMMON_NAME, f"{application_id}-{reference_id}")
    return x509.Name([*inherited, own])


def partner_name(subject: x509.Name) -> x509.Name:
    """Return the subject of a re-signed partner certificate: the first of each attribute, in the platform's order.

    Raises KeyProblem (KER-PCM-001) without a common name.
    """
    attributes = _first_of_each(subject)
    if not any(attribute.oid == NameOID.COMMON_NAME and attribute.value for attribute in attributes):
        raise invalid_certificate()
    return x509.Name(attributes)


def organisation(subject: x509.Name) -> str:
    """Return the first organisation of a name, empty without one."""
    found = subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return str(found[0].value) if found else ""


def _first_of_each(name: x509.Name) -> list[x509.NameAttribute[str | bytes]]:
    return [found[0] for oid in SUBJECT_ORDER if (found := name.get_attributes_for_oid(oid))]


def issue(
    profile: Profile,
    subject: x509.Name,
    public_key: rsa.RSAPublicKey,
    *,
    issuer: x509.Name,
    signing_key: rsa.RSAPrivateKey,
    not_before: datetime,
    not_after: datetime,
) -> x509.Certificate:
    """Return a certificate signed with SHA-256 and RSA; self-signed when ``issuer`` is ``subject``.

    The serial is random and positive.
    """
    authority = profile.path_length is not None
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=profile.path_length), critical=True)
        .add_extension(_key_usage(profile), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .sign(signing_key, hashes.SHA256())
    )


def _key_usage(profile: Profile) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=profile.signs,
        key_encipherment=profile.enciphers,
        key_cert_sign=profile.path_length is not None,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def signing_request(subject: x509.Name, signing_key: rsa.RSAPrivateKey) -> str:
    """Return a PKCS#10 request in PEM."""
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(signing_key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM).decode()


def der(certificate: x509.Certificate) -> bytes:
    """Return the DER bytes."""
    return certificate.public_bytes(Encoding.DER)


def pem(certificate: x509.Certificate) -> str:
    """Return PEM: 64-character lines and a trailing newline."""
    return certificate.public_bytes(Encoding.PEM).decode()


def invalid_certificate() -> KeyProblem:
    """Return the refusal of bytes that are no certificate."""
    return KeyProblem("KER-PCM-001", "Invalid Certificate uploaded.")


_PEM_HEAD, _PEM_TAIL = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def parse_pem(text: str) -> x509.Certificate:
    """Return the certificate of a PEM text, with or without its line breaks; raises KeyProblem (KER-PCM-001)."""
    head, begin, rest = text.partition(_PEM_HEAD)
    body, end, tail = rest.partition(_PEM_TAIL)
    if head.strip() or tail.strip() or not begin or not end:
        raise invalid_certificate()
    return parse_der(unb64_or(_refuse, "".join(body.split())))


def _refuse(_: str) -> KeyProblem:
    return invalid_certificate()


_UNREADABLE = (
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


@contextmanager
def _tolerance() -> Iterator[None]:
    """Read without complaint what the field has: negative serials, long names, unsorted PKCS#7."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def parse_der(data: bytes) -> x509.Certificate:
    """Return the certificate of DER bytes; raises KeyProblem (KER-PCM-001).

    What is lazily parsed (key, names, extensions) is read here, so that no later use of the certificate fails.
    """
    try:
        with _tolerance():
            certificate = x509.load_der_x509_certificate(data)
            _ = certificate.public_key(), certificate.subject, certificate.issuer, certificate.extensions
            _ = certificate.version, certificate.signature_hash_algorithm
    except (ValueError, *_UNREADABLE) as problem:
        raise invalid_certificate() from problem
    return certificate


@lru_cache(KEPT_CERTIFICATES)
def parse_lenient(text: str) -> x509.Certificate:
    """Return the certificate of an ``x5c`` member: base64, line breaks allowed, of DER or of a PEM text.

    Raises SignatureMalformed. About 100 microseconds, and 1 for a text that was read lately.
    """
    raw = unb64_or(SignatureMalformed, "".join(text.split()))
    try:
        return parse_pem(raw.decode()) if raw.startswith(_PEM_HEAD.encode()) else parse_der(raw)
    except (KeyProblem, UnicodeDecodeError):
        raise SignatureMalformed("x5c holds no certificate") from None


def chain_p7b(chain: Iterable[x509.Certificate]) -> str:
    """Return a PKCS#7 of certificates only, base64url, in the order given.

    Readers take the first certificate for the leaf, while `pkcs7.serialize_certificates` sorts them.
    """
    certificates = _tlv(0xA0, b"".join(der(certificate) for certificate in chain))
    data_type = bytes.fromhex("06092a864886f70d010701")
    signed_type = bytes.fromhex("06092a864886f70d010702")
    signed = _tlv(0x30, b"\x02\x01\x01\x31\x00" + _tlv(0x30, data_type) + certificates + b"\x31\x00")
    return b64u(_tlv(0x30, signed_type + _tlv(0xA0, signed)))


def _tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def parse_p7b(text: str) -> tuple[x509.Certificate, ...]:
    """Return the certificates of a base64 PKCS#7 in their order; raises KeyProblem (KER-PCM-001)."""
    raw = unb64_or(_refuse, "".join(text.split()))
    try:
        with _tolerance():
            found = pkcs7.load_der_pkcs7_certificates(raw)
    except (ValueError, UnsupportedAlgorithm) as problem:
        raise invalid_certificate() from problem
    if not 0 < len(found) <= MAX_CERTIFICATES:
        raise invalid_certificate()
    return tuple(parse_der(der(certificate)) for certificate in found)
