"""The filter stage: from bytes to factors (id-authentication section 7.1). Every failure is answered as a pair.

Steps are numbered as in the specification. Biometric segments are refused later as an unsupported factor; of steps
10a to 10d nothing is done for them.
"""

from dataclasses import dataclass, field
from datetime import datetime

from civium.authentication import errors
from civium.authentication.api import Call, Usage
from civium.authentication.demographics import Claim, claims_of
from civium.authentication.policy import Factor
from civium.authentication.snapshot import Snapshot
from civium.authentication.validation import VERSION_FORM
from civium.authentication.wire import AuthBlock, RequestBody, read_block
from civium.kernel.clock import Clock
from civium.kernel.encoding import unb64
from civium.keys.api import (
    IDA_PARTNER,
    CertificateRevoked,
    DecryptionFailed,
    DigestMismatch,
    KeyProblem,
    Keys,
    SignatureInvalid,
    jws,
    session,
    thumbprint,
)

PATH_PARTS = 3


@dataclass(frozen=True, slots=True)
class Path:
    """The last three segments of the path, as sent."""

    licence_key: str = field(repr=False)
    partner_id: str
    api_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Opened:
    """A request whose signature holds and whose block is open."""

    body: RequestBody = field(repr=False)
    block: AuthBlock = field(repr=False)
    claims: tuple[Claim, ...]
    factors: frozenset[Factor]
    signer: bytes
    """SHA-256 of the signer's certificate."""
    path: Path


class Filters:
    """Opens requests. One RSA private operation, in the key process, for endpoints with an encrypted block."""

    def __init__(self, keys: Keys, clock: Clock, *, accept_empty_authorization: bool, max_depth: int) -> None:
        self._keys = keys
        self._clock = clock
        self._accept_empty_authorization = accept_empty_authorization
        self._max_depth = max_depth
        self._expiries: dict[bytes, datetime] = {}

    async def open(self, usage: Usage, call: Call, body: RequestBody, snapshot: Snapshot) -> Opened:
        """Run steps 2 to 13 on a body that step 1 (wire.read_body) has parsed; raises Rejected."""
        self._check_names(usage, body)  # 2, 3
        if not call.signature:  # 4
            raise errors.MISSING.of("signature header")
        signer = self._check_signature(call.signature, call.body, snapshot)  # 5
        if not call.authorization and not self._accept_empty_authorization:  # 6
            raise errors.MISSING.of("Authorization - header")
        block = await self._open_block(body) if usage is not Usage.OTP else AuthBlock()  # 7, 8, 9
        for index, segment in enumerate(block.biometrics or ()):  # 10
            if not segment.data or not isinstance(segment.data, str):
                raise errors.MISSING.of(f"request/biometrics/{index}/data")
        claims = claims_of(block.demographics)  # 11
        # 12: a signature without x5c has failed step 5 already
        return Opened(body, block, claims, _factors(block, claims), signer, _path(call.path))  # 13

    @staticmethod
    def _check_names(usage: Usage, body: RequestBody) -> None:
        if not body.id:
            raise errors.MISSING.of("id")
        if body.id != usage.value:
            raise errors.INVALID.of("id")
        if not body.version:
            raise errors.MISSING.of("version")
        if not VERSION_FORM.fullmatch(body.version):
            raise errors.INVALID.of("version")

    def _check_signature(self, signature: str, body: bytes, snapshot: Snapshot) -> bytes:
        at = self._clock.now()
        try:
            certificate = jws.verify(signature, body, at=at).certificate
            signer = thumbprint(certificate)
            snapshot.trust.check(certificate, signer, at)
        except CertificateRevoked:
            raise errors.REVOKED_CERTIFICATE.of() from None
        except SignatureInvalid:
            raise errors.BAD_SIGNATURE.of("signature header") from None
        return signer

    async def _open_block(self, body: RequestBody) -> AuthBlock:
        for name, value in (  # 7
            ("request", body.request),
            ("requestHMAC", body.request_hmac),
            ("requestSessionKey", body.request_session_key),
            ("thumbprint", body.thumbprint),
        ):
            if not value:
                raise errors.MISSING.of(name)
        assert body.request and body.request_hmac and body.request_session_key and body.thumbprint  # noqa: PT018
        try:
            for text in (body.request, body.request_hmac, body.request_session_key):
                unb64(text)
        except ValueError:
            raise errors.NOT_PROCESSED.of() from None
        try:  # 8
            wrapped = session.parse_session_key(body.request_session_key, body.thumbprint)
            await self._check_expiry(wrapped.thumbprint)
            session_key = await self._keys.unwrap_session_key(
                IDA_PARTNER, wrapped.wrapped, thumbprint=wrapped.thumbprint
            )
            clear = session.open_request(session_key, body.request, body.request_hmac, versioned=wrapped.versioned)
        except DigestMismatch:  # 9
            raise errors.DIGEST_MISMATCH.of() from None
        except (DecryptionFailed, KeyProblem):
            raise errors.UNDECRYPTABLE.of() from None
        return read_block(clear, self._max_depth)

    async def _check_expiry(self, named: bytes) -> None:
        """Refuse a key that has expired; an unknown one is left to the decryption. One round trip per generation."""
        if named not in self._expiries:
            generations = await self._keys.certificates(IDA_PARTNER)
            self._expiries = {thumbprint(each.x509): each.expires_at for each in generations}
        expires_at = self._expiries.get(named)
        if expires_at is not None and expires_at < self._clock.now():
            raise errors.KEY_EXPIRED.of()


def _factors(block: AuthBlock, claims: tuple[Claim, ...]) -> frozenset[Factor]:
    present = {
        Factor.DEMO: bool(claims),
        Factor.OTP: bool(block.otp and block.otp.strip()),
        Factor.PIN: bool(block.static_pin),
        Factor.BIO: bool(block.biometrics),
    }
    return frozenset(factor for factor, there in present.items() if there)


def _path(parts: tuple[str, ...]) -> Path:
    if len(parts) < PATH_PARTS:
        raise errors.PATH_SHORT.of()
    return Path(*parts[-PATH_PARTS:])
