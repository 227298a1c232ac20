"""Trust: the path from a certificate to a root of its domain (keys-and-crypto section 10).

The path is built here, not by `cryptography.x509.verification`: that one refuses the platform's own certificates (no
authority key identifier, no subject alternative name) and older ones with a negative serial, which stay valid.
"""

from collections import deque
from collections.abc import Collection, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtensionOID

from civium.keys.errors import CertificateExpired, CertificateRevoked, UntrustedCertificate
from civium.keys.formats.certificates import MIN_KEY_BITS
from civium.keys.formats.primitives import thumbprint

_UNDERSTOOD = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)
SHA2 = (hashes.SHA224, hashes.SHA256, hashes.SHA384, hashes.SHA512)


def verify_path(
    leaf: x509.Certificate,
    anchors: Sequence[x509.Certificate],
    at: datetime,
    *,
    revoked: Collection[bytes] = (),
) -> tuple[x509.Certificate, ...]:
    """Return the path leaf, intermediates, root within ``anchors`` (roots and intermediates of ONE domain).

    Only anchors issue: a partner's leaf never does, whatever its basicConstraints say. ``revoked`` holds thumbprints
    (32 bytes). Raises CertificateExpired when the leaf, or every path, is outside its validity at ``at``,
    CertificateRevoked when the leaf or a path's authority is revoked, UntrustedCertificate otherwise. Costs one RSA
    public operation (30 microseconds) per link.
    """
    if not _valid(leaf, at):
        raise CertificateExpired("the certificate is not valid at this time")
    if thumbprint(leaf) in revoked:
        raise CertificateRevoked("the certificate is revoked")
    if _unknown_critical(leaf) or is_self_signed(leaf):
        raise UntrustedCertificate("the certificate cannot be trusted")
    path = _path(leaf, [anchor for anchor in anchors if _valid(anchor, at) and thumbprint(anchor) not in revoked])
    if path is not None:
        return path
    broken = _path(leaf, anchors)
    if broken is None:
        raise UntrustedCertificate("no path leads to a trusted root")
    if any(thumbprint(authority) in revoked for authority in broken):
        raise CertificateRevoked("an authority of the path is revoked")
    raise CertificateExpired("an authority of the path is not valid at this time")


def _valid(certificate: x509.Certificate, at: datetime) -> bool:
    return certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc


def _path(leaf: x509.Certificate, anchors: Sequence[x509.Certificate]) -> tuple[x509.Certificate, ...] | None:
    """Return the shortest path from ``leaf`` up to a self-signed anchor.

    Breadth first, each anchor once: anchors with equal names cannot make it cost more than their number squared.
    """
    paths: deque[tuple[x509.Certificate, ...]] = deque([(leaf,)])
    unused = list(anchors)
    while paths:
        path = paths.popleft()
        for authority in [anchor for anchor in unused if _issued(anchor, path)]:
            longer = (*path, authority)
            if is_self_signed(authority):
                return longer
            unused.remove(authority)
            paths.append(longer)
    return None


def _issued(authority: x509.Certificate, path: tuple[x509.Certificate, ...]) -> bool:
    return may_issue(authority, below=_authorities(path)) and signed_by(path[-1], authority)


def _authorities(path: tuple[x509.Certificate, ...]) -> int:
    """Return the number of authorities below the next one that a path length counts: not those self-issued."""
    return sum(1 for certificate in path[1:] if certificate.subject != certificate.issuer)


def may_issue(certificate: x509.Certificate, *, below: int = 0) -> bool:
    """Tell whether a certificate is an authority that allows ``below`` further authorities under it."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False
    if not constraints.ca or _unknown_critical(certificate):
        return False
    if constraints.path_length is not None and constraints.path_length < below:
        return False
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return True


def is_self_signed(certificate: x509.Certificate) -> bool:
    """Tell whether a certificate is signed with its own key."""
    return certificate.subject == certificate.issuer and signed_by(certificate, certificate)


def signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Tell whether ``authority`` has the issuer's name and its key, RSA of 2048 bits or more, signed with SHA-2."""
    key = authority.public_key()
    if certificate.issuer != authority.subject or not isinstance(certificate.signature_hash_algorithm, SHA2):
        return False
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < MIN_KEY_BITS:
        return False
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _unknown_critical(certificate: x509.Certificate) -> bool:
    return any(extension.critical and extension.oid not in _UNDERSTOOD for extension in certificate.extensions)
