"""What other contexts may ask of `keys` (keys-and-crypto).

Private keys and symmetric masters live in the key process; :class:`Keys` is a security context's view of it, limited
by the allow-list of that context's socket. Everything that needs public keys only is a pure function of
`keys.formats`, re-exported here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Protocol

from cryptography import x509

from civium.keys.errors import (
    CertificateExpired,
    CertificateMissing,
    CertificateRevoked,
    DecryptionFailed,
    DigestMismatch,
    KeyProblem,
    SignatureInvalid,
    UntrustedCertificate,
)
from civium.keys.formats import certificates, client_crypto, jws, packet, session
from civium.keys.formats.identifiers import decoded_id_hash, hash_modulo, id_hash, modulo, token_id
from civium.keys.formats.primitives import thumbprint
from civium.keys.trust import verify_path
from civium.platform.outbox import Event
from civium.platform.sealing import Sealer


@dataclass(frozen=True, slots=True)
class KeyRef:
    """Address of a key: application id and reference id ("" for a module's master)."""

    application_id: str
    reference_id: str = ""


KERNEL_SIGN = KeyRef("KERNEL", "SIGN")
PMS = KeyRef("PMS")
ACCESS_TOKENS = KeyRef("ACCESS")
"""Signs access tokens and nothing else, so that no other signature can be taken for one."""
IDA_SIGN = KeyRef("IDA", "SIGN")
IDA_PARTNER = KeyRef("IDA", "PARTNER")
IDA_INTERNAL = KeyRef("IDA", "INTERNAL")
IDA_FIR = KeyRef("IDA", "IDA-FIR")
IDA_CRED_SERVICE = KeyRef("IDA", "CRED_SERVICE")
IDA_PUBLIC_KEY = KeyRef("IDA", "PUBLIC_KEY")
IDA_PARTNER_ID = "mpartner-default-auth"


def packet_key(centre: str, machine: str) -> KeyRef:
    """Return the key that packets of a machine are encrypted to."""
    return KeyRef("REGISTRATION", f"{centre}_{machine}")


@dataclass(frozen=True, slots=True)
class Certificate:
    """One generation of a key's certificate."""

    pem: str
    issued_at: datetime
    expires_at: datetime
    key_id: str
    """The JWS ``kid`` (keys-and-crypto section 6.1)."""

    @property
    def x509(self) -> x509.Certificate:
        """The parsed certificate; parsed once for all its uses."""
        return _parsed(self.pem)


_parsed = lru_cache(maxsize=1024)(certificates.parse_pem)


@dataclass(frozen=True, slots=True)
class ZkEncrypted:
    """Attributes under the zero-knowledge scheme, and the pool key for the receiver (section 4.5)."""

    attributes: Mapping[str, str]
    encrypted_random_key: str
    random_key_index: str


@dataclass(frozen=True, slots=True)
class DataKey:
    """A fresh AES-256 key and its wrapped form; ``context`` given at creation is bound to the wrapping."""

    clear: bytes = field(repr=False)
    wrapped: bytes


class SignedForm(StrEnum):
    """What signed bytes are: forms that no one can take for each other, or for a certificate."""

    JOSE = "jose"
    """A JWS signing input: an encoded header, a dot, the payload."""
    CMS = "cms"
    """The signed attributes of a CMS signature (PDF)."""
    RAW = "raw"
    """Bytes that are neither of these nor a DER structure."""


class SignatureAlgorithm(StrEnum):
    """How RSA keys sign; both with SHA-256."""

    RS256 = "RS256"
    PS256 = "PS256"


class Keys(Protocol):
    """The key process as one security context sees it.

    Every call is one round trip over a Unix socket (about 50 microseconds), plus the operation: an RSA-2048 private
    operation takes about 700 microseconds.
    """

    async def certificate(self, ref: KeyRef) -> Certificate:
        """Return the current certificate; a base key is made on demand. Raises KeyProblem (KER-KMS-*)."""
        ...

    async def certificates(self, ref: KeyRef) -> Sequence[Certificate]:
        """Return all generations, newest first."""
        ...

    async def install_certificate(self, ref: KeyRef, pem: str) -> None:
        """Store the certificate of a key that is not ours (other domain). The previous one expires."""
        ...

    async def encrypt(self, ref: KeyRef, clear: bytes, *, salt: bytes | None = None, aad: bytes | None = None) -> bytes:
        """Return the hybrid envelope of section 4.1 (raw bytes): form (a) with salt, (b) bare, (c) with aad only."""
        ...

    async def decrypt(
        self, ref: KeyRef, envelope: bytes, *, salt: bytes | None = None, aad: bytes | None = None
    ) -> bytes:
        """Open a hybrid envelope; only the key process sees the private key, only (app, ref)'s keys are tried.

        Large data costs no extra: the session key is unwrapped by the key process, the data opened here. Raises
        DecryptionFailed.
        """
        ...

    async def unwrap_session_key(self, ref: KeyRef, wrapped: bytes, *, thumbprint: bytes | None = None) -> bytes:
        """Return the AES key that was RSA-OAEP encrypted to one of the generations of ``ref``.

        ``thumbprint`` (32 bytes) chooses the generation; without it the current one. Raises DecryptionFailed.
        """
        ...

    async def jwt_sign(
        self,
        payload: bytes,
        *,
        ref: KeyRef = KERNEL_SIGN,
        include_payload: bool = False,
        include_certificate: bool = False,
        include_certificate_hash: bool = False,
    ) -> str:
        """Return a compact RS256 JWS (detached ``header..signature`` without the payload), section 6.1."""
        ...

    async def zk_encrypt(self, id: str, attributes: Mapping[str, str], *, hybrid: bool = False) -> ZkEncrypted:
        """Encrypt attributes so that only who knows ``id`` can open them (section 4.5).

        With ``hybrid`` the pool key goes in the post-quantum hybrid envelope to a receiver of our own that offers it.
        """
        ...

    async def zk_decrypt(self, id: str, attributes: Mapping[str, str]) -> dict[str, str]:
        """Open attributes of ``zk_encrypt``; raises DecryptionFailed."""
        ...

    async def zk_install(self, encrypted_random_key: str, index: str, *, hybrid: bool = False) -> None:
        """Take in a pool key that came with a credential (``zkReEncryptRandomKey``, then store at its index).

        With ``hybrid`` only the hybrid form is taken, without it only the standard one: nobody can choose a weaker
        form than the two sides have agreed on. Raises DecryptionFailed.
        """
        ...

    async def token_id(self, uin: str, partner_code: str) -> str:
        """Return the 36-digit pairwise token of section 5.4 (single hash); the salts stay in the keystore."""
        ...

    async def data_key(self, purpose: str, context: bytes) -> DataKey:
        """Make a data key under the purpose's key-encryption key."""
        ...

    async def unwrap_data_key(self, purpose: str, context: bytes, wrapped: bytes) -> bytes:
        """Return a data key's clear form; raises DecryptionFailed for another purpose or context."""
        ...

    async def renew_data_key(self, purpose: str, context: bytes, wrapped: bytes) -> bytes | None:
        """Return the data key wrapped under the newest master, or None when it is so already.

        The key process alone sees the clear key. Raises DecryptionFailed.
        """
        ...

    async def keyed_hash(self, domain: str, value: bytes) -> bytes:
        """Return HMAC-SHA-256 of ``value`` under the domain's key."""
        ...

    async def identifier_salt(self, modulo: int) -> str:
        """Return the base64 text of hash salt 0..999, for the forms that a foreign reader needs (section 5.2)."""
        ...

    async def issue_partner_certificate(self, leaf_pem: str, *, encipherment: bool = True) -> Sequence[str]:
        """Re-sign a partner's leaf with PMS: CA:FALSE, digitalSignature (+ keyEncipherment), one year.

        Returns PEMs: the re-signed leaf, PMS, ROOT (section 10.3 as amended by first-line section 0).
        """
        ...


class KeyAdministration(Keys, Protocol):
    """The key process as the key manager's own endpoints see it: `keys` only, never another context."""

    async def make_master(self, ref: KeyRef, subject: Sequence[str | None], *, force: bool) -> Certificate:
        """Return a master's certificate, made when absent or when ``force`` asks. Raises KeyProblem (002, 010)."""
        ...

    async def signing_request(self, ref: KeyRef, subject: Sequence[str | None]) -> str:
        """Return a PKCS#10 request for the current key of ``ref``. Raises KeyProblem."""
        ...

    async def certify(self, ref: KeyRef, pem: str) -> None:
        """Give a key of ours the certificate of an outside authority. Raises KeyProblem."""
        ...

    async def retire(self, ref: KeyRef) -> None:
        """End the new use of a base key; what was encrypted to it still opens. Raises KeyProblem."""
        ...

    async def renew_symmetric(self, ref: KeyRef, *, force: bool) -> bool:
        """Tell whether a new version of a symmetric master was made: only by force. Raises KeyProblem (KER-KMS-010)."""
        ...

    async def sign_data(
        self, ref: KeyRef, data: bytes, *, form: SignedForm, algorithm: SignatureAlgorithm, thumbprint: bytes
    ) -> bytes:
        """Return the signature over ``data``, made by the generation of ``thumbprint``.

        Raises KeyProblem (KER-JWS-108) for bytes of another form than they claim, KER-KMS-001 when the generation is
        not the current one.
        """
        ...

    async def zk_re_encrypt(self, encrypted_random_key: str) -> str:
        """Return a pool key that came wrapped for us under our own IDENTITY_CACHE key, base64 (section 4.5)."""
        ...


class KernelSigner:
    """Signs answers with KERNEL:SIGN, without certificate: machines verify with the synced one (section 6.6)."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def sign(self, body: bytes) -> str:
        """Return the detached JWS over ``body``."""
        return await self._keys.jwt_sign(body, ref=KERNEL_SIGN)


class TrustStore(Protocol):
    """Trust anchors by partner domain (section 10); kept in the core database. Codes KER-PCM-*."""

    async def add_ca(self, data: str, domain: str) -> str:
        """Take a PEM or base64 PKCS#7 in; returns ``Upload Success.`` or ``Partial Upload Success.``."""
        ...

    async def register_partner(self, pem: str, organisation: str, domain: str) -> "PartnerCertificate":
        """Check a partner's leaf (section 10.3, steps 1-10), have it re-signed, store both."""
        ...

    async def anchors(self, domain: str) -> Sequence[str]:
        """Return the PEMs of the domain's roots and intermediates."""
        ...

    async def verify(self, pem: str, domain: str, *, intermediates: Sequence[str] = ()) -> None:
        """Check that a path leads from a certificate to a root of ``domain`` now (section 10.4).

        ``intermediates`` (PEM) may stand on the path without being in the store; they are no roots and no partners'
        leaves. Raises KeyProblem (KER-PCM-001, 011), CertificateExpired, CertificateRevoked or UntrustedCertificate.
        """
        ...

    async def knows(self, pem: str) -> bool:
        """Tell whether a certificate is a partner's, as uploaded or re-signed, valid now and not revoked."""
        ...

    async def is_revoked(self, pem: str) -> bool:
        """Tell whether a certificate is on the local revocation list."""
        ...

    async def partner_certificate(self, certificate_id: str) -> "PartnerCertificates":
        """Return a partner's certificates. Raises KeyProblem (KER-PCM-010, 012)."""
        ...

    async def listed_authorities(self) -> "Sequence[Authority]":
        """Return all authorities of all domains, oldest first."""
        ...

    async def authority_path(self, certificate_id: str) -> Sequence[str]:
        """Return the PEMs from an authority to its root. Raises KeyProblem (KER-PMS-019)."""
        ...

    async def revoke(self, pem: str, reason: str) -> None:
        """Put a certificate on the local revocation list. For ever; doing it again changes nothing."""
        ...


@dataclass(frozen=True, slots=True)
class PartnerCertificate:
    """Answer of a partner certificate upload."""

    certificate_id: str
    signed_chain_p7b: str
    """base64url PKCS#7: re-signed leaf, PMS, ROOT."""
    signed_pem: str
    original_pem: str


@dataclass(frozen=True, slots=True)
class PartnerCertificates:
    """A partner's certificate as it was uploaded and as it was re-signed."""

    original_pem: str
    signed_pem: str


@dataclass(frozen=True, slots=True)
class Authority:
    """A root or intermediate of a domain, as it is listed."""

    certificate_id: str
    domain: str
    kind: str
    """``ROOT`` or ``INTERMEDIATE``."""
    certificate: x509.Certificate
    added_at: datetime
    revoked: bool
    own: bool
    """Whether it is one of our own hierarchy."""


class KeysAudited(Event, frozen=True, kw_only=True):
    """An act of keys for the audit trail: topic and members of audit's own event, which a lower context cannot import.

    ``subject`` is a certificate's thumbprint in hex.
    """

    context: str
    action: str
    actor: str
    purpose: str
    outcome: str = "success"
    subject: str | None = None
    code: str | None = None
    at: str

    @classmethod
    def topic(cls) -> str:
        return "audit.recorded"


__all__ = [
    "ACCESS_TOKENS",
    "IDA_CRED_SERVICE",
    "IDA_FIR",
    "IDA_INTERNAL",
    "IDA_PARTNER",
    "IDA_PARTNER_ID",
    "IDA_PUBLIC_KEY",
    "IDA_SIGN",
    "KERNEL_SIGN",
    "PMS",
    "Authority",
    "Certificate",
    "CertificateExpired",
    "CertificateMissing",
    "CertificateRevoked",
    "DataKey",
    "DecryptionFailed",
    "DigestMismatch",
    "KernelSigner",
    "KeyAdministration",
    "KeyProblem",
    "KeyRef",
    "Keys",
    "KeysAudited",
    "PartnerCertificate",
    "PartnerCertificates",
    "Sealer",
    "SignatureAlgorithm",
    "SignatureInvalid",
    "SignedForm",
    "TrustStore",
    "UntrustedCertificate",
    "ZkEncrypted",
    "certificates",
    "client_crypto",
    "decoded_id_hash",
    "hash_modulo",
    "id_hash",
    "jws",
    "modulo",
    "packet",
    "packet_key",
    "session",
    "thumbprint",
    "token_id",
    "verify_path",
]
