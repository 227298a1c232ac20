"""Errors of keys; other contexts import them from `keys.api`."""

from civium.kernel.errors import CiviumError, Rejected


class KeyProblem(Rejected):
    """A key or certificate operation was refused with a KER-* code."""


class DecryptionFailed(CiviumError):
    """A ciphertext does not open: wrong key, wrong place or changed bytes. Never says which."""


class DigestMismatch(DecryptionFailed):
    """A request opened, but the digest that travels with it is another's (``requestHMAC``)."""


class SignatureInvalid(CiviumError):
    """A signature, its certificate or its trust path does not hold."""


class SignatureMalformed(SignatureInvalid):
    """Bytes that should be a signature cannot be read as one."""


class CertificateMissing(SignatureInvalid):
    """A JWS brings no certificate (``x5c``) and the caller named none."""


class CertificateExpired(SignatureInvalid):
    """A certificate is used before or after its validity."""


class CertificateRevoked(SignatureInvalid):
    """A certificate of the path is on the local revocation list."""


class UntrustedCertificate(SignatureInvalid):
    """No path leads from a certificate to a trusted root."""
