"""What passes over a key process's socket: calls, replies, and frames of ``u32 length ‖ msgpack``.

A call names its operation by its type and the key that it uses by :meth:`Call.key`, which is what the allow-lists
speak of. No call or reply shows its content in ``repr``.
"""

import asyncio
from datetime import datetime
from typing import ClassVar, Final, Literal, cast

import msgspec

from civium.keys.api import KeyRef, SignatureAlgorithm, SignedForm

LENGTH_BYTES: Final = 4
MAX_FRAME_BYTES: Final = 16 * 1024 * 1024


class Message(msgspec.Struct, frozen=True, array_like=True):
    """A message whose content stays out of logs and tracebacks."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Call(Message, frozen=True):
    """An operation on one key.

    ``threaded`` operations take part of a millisecond or more (RSA, files) and run outside the event loop.
    """

    threaded: ClassVar[bool] = False

    @property
    def operation(self) -> str:
        """The name of the operation in allow-lists, counts and logs."""
        return type(self).__name__

    def key(self) -> tuple[str, str]:
        """Return (application, reference) of the key that is used."""
        raise NotImplementedError


class _KeyCall(Call, frozen=True):
    application: str
    reference: str

    def key(self) -> tuple[str, str]:
        return self.application, self.reference

    @property
    def ref(self) -> KeyRef:
        """The key's address."""
        return KeyRef(self.application, self.reference)


class GetCertificate(_KeyCall, frozen=True, tag="certificate"):
    """Answer: CertificateReply."""

    threaded = True


class GetCertificates(_KeyCall, frozen=True, tag="certificates"):
    """Answer: list of CertificateReply, newest first."""


class InstallCertificate(_KeyCall, frozen=True, tag="install"):
    """Answer: nothing."""

    threaded = True

    pem: str


class Unwrap(_KeyCall, frozen=True, tag="unwrap"):
    """Answer: the session key."""

    threaded = True

    wrapped: bytes
    thumbprint: bytes | None


class Sign(_KeyCall, frozen=True, tag="sign"):
    """Answer: the compact JWS."""

    threaded = True

    payload: bytes
    include_payload: bool
    include_certificate: bool
    include_certificate_hash: bool


Subject = tuple[str | None, str | None, str | None, str | None, str | None, str | None]
"""Country, state, location, organisation, unit and common name as asked for (``certificates.SUBJECT_ORDER``)."""


class MakeMaster(_KeyCall, frozen=True, tag="make-master"):
    """Answer: CertificateReply."""

    threaded = True

    subject: Subject
    force: bool


class MakeRequest(_KeyCall, frozen=True, tag="request"):
    """Answer: the PKCS#10 request in PEM."""

    threaded = True

    subject: Subject


class Certify(_KeyCall, frozen=True, tag="certify"):
    """Give a key an outside authority's certificate. Answer: nothing."""

    threaded = True

    pem: str


class Retire(_KeyCall, frozen=True, tag="retire"):
    """End a key's new use. Answer: nothing."""

    threaded = True


class RenewSymmetric(_KeyCall, frozen=True, tag="renew-symmetric"):
    """Answer: whether a new version was made."""

    threaded = True

    force: bool


class SignData(_KeyCall, frozen=True, tag="sign-data"):
    """Sign bytes of one form with the generation of ``thumbprint``. Answer: the signature."""

    threaded = True

    data: bytes
    form: SignedForm
    algorithm: SignatureAlgorithm
    thumbprint: bytes


class IssuePartner(Call, frozen=True, tag="issue"):
    """Answer: list of PEMs."""

    threaded = True

    leaf_pem: str
    encipherment: bool

    def key(self) -> tuple[str, str]:
        return "PMS", ""


class ZkFresh(Call, frozen=True, tag="zk-fresh"):
    """Choose a pool key for a person; ``hybrid`` wraps it so for a receiver that offers it. Answer: ZkFreshReply."""

    id: str
    hybrid: bool = False

    def key(self) -> tuple[str, str]:
        return "ZK", "POOL"


class ZkDerive(Call, frozen=True, tag="zk-derive"):
    """Answer: the person's derived key at a pool index."""

    id: str
    index: int

    def key(self) -> tuple[str, str]:
        return "ZK", "DERIVE"


class ZkInstall(Call, frozen=True, tag="zk-install"):
    """Take a pool key in, ``hybrid`` or standard and no other form. Answer: nothing."""

    threaded = True

    encrypted_random_key: str
    index: int
    hybrid: bool = False

    def key(self) -> tuple[str, str]:
        return "ZK", "INSTALL"


class ZkReEncrypt(Call, frozen=True, tag="zk-re-encrypt"):
    """Answer: base64 of the pool key under this context's IDENTITY_CACHE key."""

    threaded = True

    encrypted_random_key: str

    def key(self) -> tuple[str, str]:
        return "ZK", "RE-ENCRYPT"


class TokenId(Call, frozen=True, tag="token"):
    """Answer: the token."""

    uin: str
    partner_code: str

    def key(self) -> tuple[str, str]:
        return "TOKEN", ""


class MakeDataKey(Call, frozen=True, tag="data-key"):
    """Answer: DataKeyReply."""

    purpose: str
    context: bytes

    def key(self) -> tuple[str, str]:
        return "DATA", self.purpose


class UnwrapDataKey(Call, frozen=True, tag="unwrap-data-key"):
    """Answer: the data key."""

    purpose: str
    context: bytes
    wrapped: bytes

    def key(self) -> tuple[str, str]:
        return "DATA", self.purpose


class RenewDataKey(Call, frozen=True, tag="renew-data-key"):
    """Wrap a data key under the newest master; its clear form stays inside. Answer: the wrapped key, or nothing."""

    purpose: str
    context: bytes
    wrapped: bytes

    def key(self) -> tuple[str, str]:
        return "DATA", self.purpose


class KeyedHash(Call, frozen=True, tag="hash"):
    """Answer: 32 bytes."""

    domain: str
    value: bytes

    def key(self) -> tuple[str, str]:
        return "HASH", self.domain


class IdentifierSalt(Call, frozen=True, tag="salt"):
    """Answer: base64 text."""

    modulo: int

    def key(self) -> tuple[str, str]:
        return "SALT", ""


class TakeUsage(Call, frozen=True, tag="usage"):
    """Answer: list of UsageReply since the last time it was asked."""

    def key(self) -> tuple[str, str]:
        return "USAGE", ""


class ReportUsage(Call, frozen=True, tag="report"):
    """Tell uses of data keys that a caller holds: opened boxes. Answer: nothing."""

    uses: list["UsageReply"]

    def key(self) -> tuple[str, str]:
        return "USAGE", ""


class TotalUsage(Call, frozen=True, tag="total"):
    """Answer: list of UsageReply since the process began."""

    def key(self) -> tuple[str, str]:
        return "USAGE", ""


class ListKeys(Call, frozen=True, tag="list"):
    """Answer: list of KeyReply, all generations of all keys."""

    def key(self) -> tuple[str, str]:
        return "LIST", ""


class Rotate(_KeyCall, frozen=True, tag="rotate"):
    """Make a new generation of a key. Answer: CertificateReply."""

    threaded = True


class RotateSecret(Call, frozen=True, tag="rotate-secret"):
    """Make a new version of a symmetric master. Answer: its number."""

    threaded = True

    name: str

    def key(self) -> tuple[str, str]:
        return "SECRET", self.name


AnyCall = (
    GetCertificate
    | GetCertificates
    | InstallCertificate
    | Unwrap
    | Sign
    | MakeMaster
    | MakeRequest
    | Certify
    | Retire
    | RenewSymmetric
    | SignData
    | IssuePartner
    | ZkFresh
    | ZkDerive
    | ZkInstall
    | ZkReEncrypt
    | TokenId
    | MakeDataKey
    | UnwrapDataKey
    | RenewDataKey
    | KeyedHash
    | IdentifierSalt
    | TakeUsage
    | ReportUsage
    | TotalUsage
    | ListKeys
    | Rotate
    | RotateSecret
)


class CertificateReply(Message, frozen=True):
    """One generation's certificate."""

    pem: str
    issued_at: datetime
    expires_at: datetime
    key_id: str


class ZkFreshReply(Message, frozen=True):
    """A pool key, derived for a person, and wrapped for the receiver."""

    index: int
    derived: bytes
    encrypted_random_key: str


class DataKeyReply(Message, frozen=True):
    """A new data key."""

    clear: bytes
    wrapped: bytes


class UsageReply(Message, frozen=True):
    """How often an operation used a key for a purpose, and for how many transactions.

    ``uncited`` counts those uses that named no transaction: there should be none.
    """

    operation: str
    application: str
    reference: str
    purpose: str
    count: int
    uncited: int
    transactions: int


class KeyReply(Message, frozen=True):
    """One generation of a key, or one version of a symmetric master (whose application is empty)."""

    application: str
    reference: str
    state: str
    thumbprint: str
    key_id: str
    issued_at: datetime
    expires_at: datetime | None


class Citation(Message, frozen=True):
    """What a call is for: a purpose, and the transaction (correlation id) that needs it."""

    purpose: str
    transaction: str | None


class Request(Message, frozen=True):
    """A call and the number that its reply will carry."""

    id: int
    call: AnyCall
    citation: Citation


class Failure(Message, frozen=True):
    """Why a call failed; texts come from the specification's tables, never from the input."""

    kind: Literal["problem", "decryption", "integrity", "unavailable", "internal"]
    code: str = ""
    message: str = ""


class Reply(Message, frozen=True):
    """The reply to the request of the same number."""

    id: int
    failure: Failure | None
    result: msgspec.Raw


class FrameProtocol(asyncio.Protocol):
    """Cuts a byte stream into frames; subclasses take them in ``frame_received``."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._outgoing: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take bytes in; a frame that is too large ends the connection. Copies each frame once."""
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= LENGTH_BYTES:
            length = int.from_bytes(buffer[start : start + LENGTH_BYTES], "big")
            if length > MAX_FRAME_BYTES:
                self.abort()
                return
            end = start + LENGTH_BYTES + length
            if len(buffer) < end:
                break
            self.frame_received(bytes(buffer[start + LENGTH_BYTES : end]))
            start = end
        del buffer[:start]

    def frame_received(self, frame: bytes) -> None:
        """Handle one frame."""
        raise NotImplementedError

    def send(self, message: Message) -> None:
        """Queue a message; does nothing on a closed connection. Raises ValueError when it is too large.

        What is queued in one turn of the event loop goes out with one system call.
        """
        if self.transport is None or self.transport.is_closing():
            return
        body = msgspec.msgpack.encode(message)
        if len(body) > MAX_FRAME_BYTES:
            raise ValueError("too large for the key process")
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outgoing += len(body).to_bytes(LENGTH_BYTES, "big"), body

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(b"".join(outgoing))

    def abort(self) -> None:
        """End the connection at once."""
        if self.transport is not None:
            self.transport.abort()
