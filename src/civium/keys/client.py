"""`Keys` as other contexts see it: calls to the key process, and the bulk work that needs no private key.

The data of an envelope and the values of zero-knowledge attributes are opened here, with the session or derived key
that the key process gives for this one use, so that size costs no transport.
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol, TypeVar
from weakref import WeakKeyDictionary

import msgspec

from civium.kernel.clock import monotonic
from civium.kernel.errors import CiviumError, IntegrityError, Unavailable
from civium.keys.allowlist import Gate
from civium.keys.api import (
    KERNEL_SIGN,
    Certificate,
    DataKey,
    DecryptionFailed,
    KeyProblem,
    KeyRef,
    SignatureAlgorithm,
    SignedForm,
    ZkEncrypted,
)
from civium.keys.formats import envelope as envelopes
from civium.keys.formats import zk
from civium.keys.operations import Operations
from civium.keys.protocol import (
    AnyCall,
    CertificateReply,
    Certify,
    DataKeyReply,
    Failure,
    FrameProtocol,
    GetCertificate,
    GetCertificates,
    IdentifierSalt,
    InstallCertificate,
    IssuePartner,
    KeyedHash,
    KeyReply,
    ListKeys,
    MakeDataKey,
    MakeMaster,
    MakeRequest,
    RenewDataKey,
    RenewSymmetric,
    Reply,
    ReportUsage,
    Request,
    Retire,
    Rotate,
    RotateSecret,
    Sign,
    SignData,
    Subject,
    TakeUsage,
    TokenId,
    TotalUsage,
    Unwrap,
    UnwrapDataKey,
    UsageReply,
    ZkDerive,
    ZkFresh,
    ZkFreshReply,
    ZkInstall,
    ZkReEncrypt,
)
from civium.keys.usage import ABOUT_USAGE, citation

CONNECT_SECONDS: Final = 5.0
"""How long a call waits for a key process that is starting."""
CONNECT_PAUSE: Final = 0.05
CALL_SECONDS: Final = 30.0
CALL_ATTEMPTS: Final = 3
"""A process that is being killed may still take a connection and drop it."""

T = TypeVar("T")


class Binding(Protocol):
    """A way to the operations of one security context."""

    async def ask(self, call: AnyCall, answer: type[T]) -> T:
        """Return the answer to a call. Raises KeyProblem, DecryptionFailed, IntegrityError or Unavailable."""
        ...

    async def close(self) -> None:
        """Give back what the binding holds."""
        ...


class KeysClient:
    """The `Keys` of one security context, over either binding."""

    def __init__(self, binding: Binding) -> None:
        self._binding = binding

    async def close(self) -> None:
        """Close the way to the key process."""
        await self._binding.close()

    async def usage(self) -> Sequence[UsageReply]:
        """Return how often each key was used since the last time this was asked."""
        return await self._binding.ask(TakeUsage(), list[UsageReply])

    async def total_usage(self) -> Sequence[UsageReply]:
        """Return how often each key was used since the key process began (operator's socket)."""
        return await self._binding.ask(TotalUsage(), list[UsageReply])

    async def list_keys(self) -> Sequence[KeyReply]:
        """Return all generations of all keys (operator's socket)."""
        return await self._binding.ask(ListKeys(), list[KeyReply])

    async def rotate(self, ref: KeyRef) -> Certificate:
        """Make a new generation of a key (operator's socket). Raises KeyProblem."""
        return _certificate(await self._binding.ask(Rotate(ref.application_id, ref.reference_id), CertificateReply))

    async def rotate_secret(self, name: str) -> int:
        """Make a new version of a symmetric master, return its number (operator's socket). Raises KeyProblem."""
        return await self._binding.ask(RotateSecret(name), int)

    async def report_usage(self, uses: Sequence[UsageReply]) -> None:
        """Add what was used of the data keys that this process holds."""
        await self._binding.ask(ReportUsage(list(uses)), type(None))

    async def certificate(self, ref: KeyRef) -> Certificate:
        call = GetCertificate(ref.application_id, ref.reference_id)
        return _certificate(await self._binding.ask(call, CertificateReply))

    async def certificates(self, ref: KeyRef) -> Sequence[Certificate]:
        call = GetCertificates(ref.application_id, ref.reference_id)
        return [_certificate(reply) for reply in await self._binding.ask(call, list[CertificateReply])]

    async def install_certificate(self, ref: KeyRef, pem: str) -> None:
        await self._binding.ask(InstallCertificate(ref.application_id, ref.reference_id, pem), type(None))

    async def encrypt(self, ref: KeyRef, clear: bytes, *, salt: bytes | None = None, aad: bytes | None = None) -> bytes:
        if not ref.reference_id or ref == KERNEL_SIGN:
            raise KeyProblem(
                "KER-CRY-011",
                "Not Allowed to preform encryption with Master Key. Use Base/Encrypt key to encrypt data.",
            )
        return envelopes.encrypt((await self.certificate(ref)).x509, clear, salt=salt, aad=aad)

    async def decrypt(
        self, ref: KeyRef, envelope: bytes, *, salt: bytes | None = None, aad: bytes | None = None
    ) -> bytes:
        parts = envelopes.split(envelope)
        key = await self.unwrap_session_key(ref, parts.wrapped_key, thumbprint=parts.thumbprint)
        return envelopes.open_data(key, parts, salt=salt, aad=aad)

    async def unwrap_session_key(self, ref: KeyRef, wrapped: bytes, *, thumbprint: bytes | None = None) -> bytes:
        call = Unwrap(ref.application_id, ref.reference_id, wrapped, thumbprint)
        return await self._binding.ask(call, bytes)

    async def jwt_sign(
        self,
        payload: bytes,
        *,
        ref: KeyRef = KERNEL_SIGN,
        include_payload: bool = False,
        include_certificate: bool = False,
        include_certificate_hash: bool = False,
    ) -> str:
        call = Sign(
            ref.application_id,
            ref.reference_id,
            payload,
            include_payload,
            include_certificate,
            include_certificate_hash,
        )
        return await self._binding.ask(call, str)

    async def zk_encrypt(self, id: str, attributes: Mapping[str, str], *, hybrid: bool = False) -> ZkEncrypted:
        fresh = await self._binding.ask(ZkFresh(id, hybrid), ZkFreshReply)
        sealed = {name: zk.encrypt_value(fresh.derived, fresh.index, value) for name, value in attributes.items()}
        return ZkEncrypted(sealed, fresh.encrypted_random_key, str(fresh.index))

    async def zk_decrypt(self, id: str, attributes: Mapping[str, str]) -> dict[str, str]:
        indices = {name: zk.value_index(value) for name, value in attributes.items()}
        derived = {index: await self._binding.ask(ZkDerive(id, index), bytes) for index in set(indices.values())}
        return {name: zk.decrypt_value(derived[indices[name]], value) for name, value in attributes.items()}

    async def zk_install(self, encrypted_random_key: str, index: str, *, hybrid: bool = False) -> None:
        if not (index.isascii() and index.isdecimal() and len(index) <= 10):
            raise KeyProblem("KER-ZKC-006", "Invalid encrypted random Key.")
        await self._binding.ask(ZkInstall(encrypted_random_key, int(index), hybrid), type(None))

    async def token_id(self, uin: str, partner_code: str) -> str:
        return await self._binding.ask(TokenId(uin, partner_code), str)

    async def data_key(self, purpose: str, context: bytes) -> DataKey:
        reply = await self._binding.ask(MakeDataKey(purpose, context), DataKeyReply)
        return DataKey(reply.clear, reply.wrapped)

    async def unwrap_data_key(self, purpose: str, context: bytes, wrapped: bytes) -> bytes:
        return await self._binding.ask(UnwrapDataKey(purpose, context, wrapped), bytes)

    async def renew_data_key(self, purpose: str, context: bytes, wrapped: bytes) -> bytes | None:
        return await self._binding.ask(RenewDataKey(purpose, context, wrapped), bytes | None)  # type: ignore[arg-type]

    async def keyed_hash(self, domain: str, value: bytes) -> bytes:
        return await self._binding.ask(KeyedHash(domain, value), bytes)

    async def identifier_salt(self, modulo: int) -> str:
        return await self._binding.ask(IdentifierSalt(modulo), str)

    async def make_master(self, ref: KeyRef, subject: Sequence[str | None], *, force: bool) -> Certificate:
        call = MakeMaster(ref.application_id, ref.reference_id, msgspec.convert(subject, Subject), force)
        return _certificate(await self._binding.ask(call, CertificateReply))

    async def signing_request(self, ref: KeyRef, subject: Sequence[str | None]) -> str:
        call = MakeRequest(ref.application_id, ref.reference_id, msgspec.convert(subject, Subject))
        return await self._binding.ask(call, str)

    async def certify(self, ref: KeyRef, pem: str) -> None:
        await self._binding.ask(Certify(ref.application_id, ref.reference_id, pem), type(None))

    async def retire(self, ref: KeyRef) -> None:
        await self._binding.ask(Retire(ref.application_id, ref.reference_id), type(None))

    async def renew_symmetric(self, ref: KeyRef, *, force: bool) -> bool:
        return await self._binding.ask(RenewSymmetric(ref.application_id, ref.reference_id, force), bool)

    async def sign_data(
        self, ref: KeyRef, data: bytes, *, form: SignedForm, algorithm: SignatureAlgorithm, thumbprint: bytes
    ) -> bytes:
        call = SignData(ref.application_id, ref.reference_id, data, form, algorithm, thumbprint)
        return await self._binding.ask(call, bytes)

    async def zk_re_encrypt(self, encrypted_random_key: str) -> str:
        return await self._binding.ask(ZkReEncrypt(encrypted_random_key), str)

    async def issue_partner_certificate(self, leaf_pem: str, *, encipherment: bool = True) -> Sequence[str]:
        return await self._binding.ask(IssuePartner(leaf_pem, encipherment), list[str])


def _certificate(reply: CertificateReply) -> Certificate:
    return Certificate(reply.pem, reply.issued_at, reply.expires_at, reply.key_id)


class InProcess:
    """The operations in this process, behind the same gate: for tests and single-process set-ups."""

    def __init__(self, gate: Gate, operations: Operations, *, threads: int) -> None:
        self._gate = gate
        self._operations = operations
        self._threads = ThreadPoolExecutor(threads, "keys")

    async def ask(self, call: AnyCall, answer: type[T]) -> T:
        self._gate.admit(call, citation(call))
        result: object
        if isinstance(call, ABOUT_USAGE):
            result = self._gate.ledger.answer(call)
        elif self._operations.slow(call):
            loop = asyncio.get_running_loop()
            result = await loop.run_in_executor(self._threads, self._operations.perform, call)
        else:
            result = self._operations.perform(call)
        return msgspec.convert(result, answer)

    async def close(self) -> None:
        self._threads.shutdown()


class SocketBinding:
    """The operations behind a socket: one connection per event loop, any number of calls in flight."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connections: WeakKeyDictionary[asyncio.AbstractEventLoop, _Connection] = WeakKeyDictionary()
        self._connecting: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    async def ask(self, call: AnyCall, answer: type[T]) -> T:
        """Send a call and wait for its reply.

        Every call may be repeated without harm, so one whose connection breaks is asked again.
        """
        for _ in range(CALL_ATTEMPTS):
            try:
                reply = await (await self._connection()).ask(call)
            except _Lost:
                await asyncio.sleep(CONNECT_PAUSE)
                continue
            if reply.failure is not None:
                raise _problem(reply.failure)
            return msgspec.msgpack.decode(reply.result, type=answer)
        raise Unavailable("the key process ended during a call")

    async def close(self) -> None:
        """Close this event loop's connection."""
        connection = self._connections.pop(asyncio.get_running_loop(), None)
        if connection is not None:
            await connection.close()

    async def _connection(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        connection = self._connections.get(loop)
        if connection is not None and connection.open:
            return connection
        async with self._connecting.setdefault(loop, asyncio.Lock()):
            connection = self._connections.get(loop)
            if connection is None or not connection.open:
                connection = self._connections[loop] = await self._connect(loop)
            return connection

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> "_Connection":
        give_up = monotonic() + CONNECT_SECONDS
        while True:
            try:
                _, connection = await loop.create_unix_connection(_Connection, str(self._path))
            except OSError as problem:
                if monotonic() > give_up:
                    raise Unavailable(f"the key process does not answer on {self._path.name}") from problem
                await asyncio.sleep(CONNECT_PAUSE)
            else:
                return connection


def connect(path: Path) -> KeysClient:
    """Return the `Keys` behind a key process's socket; it connects with the first call and again when it must."""
    return KeysClient(SocketBinding(path))


class _Lost(Exception):
    """The connection ended before the reply came."""


class _Connection(FrameProtocol):
    def __init__(self) -> None:
        super().__init__()
        self._pending: dict[int, asyncio.Future[Reply]] = {}
        self._last = 0
        self._decoder = msgspec.msgpack.Decoder(Reply)
        self._closed = asyncio.get_running_loop().create_future()

    @property
    def open(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    async def ask(self, call: AnyCall) -> Reply:
        self._last = number = self._last + 1
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._pending[number] = future
        try:
            self.send(Request(number, call, citation(call)))
            async with asyncio.timeout(CALL_SECONDS):
                return await future
        except TimeoutError:
            raise Unavailable("the key process does not answer in time") from None
        finally:
            self._pending.pop(number, None)

    async def close(self) -> None:
        if self.transport is not None:
            self.transport.close()
            await self._closed

    def frame_received(self, frame: bytes) -> None:
        reply = self._decoder.decode(frame)
        future = self._pending.get(reply.id)
        if future is not None and not future.done():
            future.set_result(reply)

    def connection_lost(self, _: Exception | None) -> None:
        for future in self._pending.values():
            if not future.done():
                future.set_exception(_Lost())
        if not self._closed.done():
            self._closed.set_result(None)


def _problem(failure: Failure) -> CiviumError:
    match failure.kind:
        case "problem":
            return KeyProblem(failure.code, failure.message)
        case "decryption":
            return DecryptionFailed(failure.message)
        case "integrity":
            return IntegrityError(failure.message)
        case "unavailable":
            return Unavailable(failure.message)
        case "internal":
            return CiviumError("the key process failed; its log says why")
