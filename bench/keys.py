"""Area ``keys``: what the key manager does, against the bare cryptography that each operation cannot avoid.

The limit of a row is that cryptography alone, done by as many threads as the row may use, measured in the same run just
before it. Rows of the socket and HTTP share the machine with what they measure: the load, the web processes.
"""

import asyncio
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from rich.console import Console

from bench.figures import Figure
from bench.machine import CORES
from bench.platform import HOST, RunningPlatform, running
from civium.apps.sandbox.client import Platform
from civium.kernel.clock import SystemClock, iso_millis, monotonic
from civium.kernel.encoding import b64u
from civium.kernel.secrets import Secret
from civium.keys import allowlist
from civium.keys.allowlist import Gate, Grant
from civium.keys.api import KERNEL_SIGN, jws, packet_key
from civium.keys.client import InProcess, KeysClient, connect
from civium.keys.formats.primitives import OAEP
from civium.keys.opening import TokenAccess, Unsealing
from civium.keys.operations import Keystores
from civium.keys.process import socket_path

SECONDS = 1.5
"""How long each row is measured."""
CALLERS = 16
"""Calls in flight; connections over HTTP."""
SIZES = {"1 KB": 1024, "1 MB": 1024 * 1024}
KEY = packet_key("10001", "10001")
SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = "bench-pin"
SERVE = "from civium.keys.process import main; from civium.platform.settings import load; main(load())"
UNLIMITED = [Grant(grant.operation, grant.application, grant.reference, 10**9) for grant in allowlist.CORE]

Work = Callable[[], Awaitable[object]]


def run(console: Console) -> Iterator[Figure]:
    """Measure every row: in process, through the socket, in SoftHSM, over HTTP."""
    yield from asyncio.run(_software())
    with _key_process() as home:
        yield from asyncio.run(_through_socket(home))
    if SOFTHSM.exists():
        with _token() as (home, access):
            yield from asyncio.run(_in_token(home, access))
    else:
        console.print("SoftHSM is not installed: its rows are left out (apt-get install softhsm2)")
    with running() as platform:
        yield from asyncio.run(_over_http(platform))


async def _software() -> list[Figure]:
    with (
        tempfile.TemporaryDirectory() as home,
        Keystores(Path(home), Unsealing(), zk_pool_size=16, clock=SystemClock()) as stores,
    ):
        keys = KeysClient(InProcess(Gate("core", UNLIMITED), stores.core, threads=CORES))
        figures = [figure async for figure in _rows(keys, "in process", SIZES)]
        await keys.close()
        return figures


@contextmanager
def _key_process() -> Iterator[Path]:
    """Start a key process over an empty home."""
    with tempfile.TemporaryDirectory() as home:
        ready, told = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE.replace("load())", f"load(), ready={told})")],
            env={**os.environ, "CIVIUM_HOME": home, "CIVIUM_KEYS__ZK_POOL_SIZE": "16"},
            pass_fds=(told,),
            stdout=subprocess.DEVNULL,
        )
        os.close(told)
        try:
            with os.fdopen(ready) as pipe:
                pipe.readline()
            yield Path(home)
        finally:
            process.terminate()
            process.wait()


async def _through_socket(home: Path) -> list[Figure]:
    keys = connect(socket_path(home, "core"))
    figures = [figure async for figure in _rows(keys, "socket", {"1 KB": 1024})]
    await keys.close()
    return figures


@contextmanager
def _token() -> Iterator[tuple[Path, TokenAccess]]:
    """Make a token in a folder of its own."""
    with tempfile.TemporaryDirectory() as home:
        tokens = Path(home) / "tokens"
        tokens.mkdir()
        conf = Path(home) / "conf"
        conf.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\n")
        os.environ["SOFTHSM2_CONF"] = str(conf)
        subprocess.run(
            ["softhsm2-util", "--init-token", "--free", "--label", "bench", "--so-pin", PIN, "--pin", PIN],
            check=True,
            capture_output=True,
        )
        yield Path(home) / "keys", TokenAccess(SOFTHSM, "bench", Secret(PIN))


async def _in_token(home: Path, access: TokenAccess) -> list[Figure]:
    """Measure one core's rate: a library bears one thread per process."""
    with Keystores(home, Unsealing(token=access), zk_pool_size=16, clock=SystemClock()) as stores:
        keys = KeysClient(InProcess(Gate("core", UNLIMITED), stores.core, threads=1))
        figures = [figure async for figure in _rows(keys, "SoftHSM", {"1 KB": 1024}, threads=1)]
        await keys.close()
        return figures


async def _rows(keys: KeysClient, where: str, sizes: dict[str, int], threads: int = CORES) -> AsyncIterator[Figure]:
    private = rsa.generate_private_key(65537, 2048)
    public = private.public_key()
    certificate = (await keys.certificate(KERNEL_SIGN)).x509
    for name, size in sizes.items():
        clear = secrets.token_bytes(size)
        wrapped, nonce = public.encrypt(bytes(32), OAEP), bytes(12)
        sealed = AESGCM(bytes(32)).encrypt(nonce, clear, None)
        envelope = await keys.encrypt(KEY, clear)
        signed = await keys.jwt_sign(clear)
        signature = private.sign(clear, padding.PKCS1v15(), hashes.SHA256())
        text = b64u(clear)

        def bare_encrypt(clear: bytes = clear) -> object:
            return public.encrypt(bytes(32), OAEP), AESGCM(bytes(32)).encrypt(bytes(12), clear, None)

        def bare_decrypt(wrapped: bytes = wrapped, sealed: bytes = sealed) -> object:
            return private.decrypt(wrapped, OAEP), AESGCM(bytes(32)).decrypt(bytes(12), sealed, None)

        def bare_sign(clear: bytes = clear) -> object:
            return private.sign(clear, padding.PKCS1v15(), hashes.SHA256())

        def bare_verify(signature: bytes = signature, clear: bytes = clear) -> None:
            public.verify(signature, clear, padding.PKCS1v15(), hashes.SHA256())

        def bare_zk(text: str = text) -> object:
            return public.encrypt(bytes(32), OAEP), AESGCM(bytes(32)).encrypt(bytes(12), text.encode(), None)

        async def verify(signed: str = signed, clear: bytes = clear) -> object:
            return jws.verify(signed, clear, certificate=certificate)

        rows: list[tuple[str, Work, Callable[[], object], int]] = [
            ("encrypt", lambda clear=clear: keys.encrypt(KEY, clear), bare_encrypt, 1),  # type: ignore[misc]
            ("decrypt", lambda envelope=envelope: keys.decrypt(KEY, envelope), bare_decrypt, threads),  # type: ignore[misc]
            ("jwtSign", lambda clear=clear: keys.jwt_sign(clear), bare_sign, threads),  # type: ignore[misc]
            ("jwtVerify", verify, bare_verify, 1),
            ("zkEncrypt", lambda text=text: keys.zk_encrypt("2419762130", {"a": text}), bare_zk, 1),  # type: ignore[misc]
        ]
        for operation, work, bare, at_once in rows:
            limit, rate = _bare(bare, at_once), await _rate(work)
            # What else ran on the machine only ever lowers a limit: the higher of before and after is nearer to it.
            limit = max(limit, _bare(bare, at_once))
            yield _figure(f"{operation} {name} {where}", rate, limit)
            if operation == "jwtSign" and name == "1 KB":
                # The pattern of the rows without a size: what is signed is a document of about a kilobyte.
                yield _figure(f"jwtSign {where}", await _rate(work), limit)


async def _over_http(platform: RunningPlatform) -> list[Figure]:
    with Platform(platform.url) as session:
        session.login_client("regproc", "mosip-testrig-client")
        cookie = session.send("GET", "/v1/authmanager/authorize/admin/validateToken").request.headers["cookie"]
    private = rsa.generate_private_key(65537, 2048)
    wrapped = private.public_key().encrypt(bytes(32), OAEP)
    ref = {"applicationId": KEY.application_id, "referenceId": KEY.reference_id}
    at = {"timeStamp": iso_millis(SystemClock().now())}
    data = b64u(secrets.token_bytes(1024))
    encrypt = _request("/v1/keymanager/encrypt", cookie, {**ref, **at, "data": data})
    sealed = json.loads(await _once(platform.port, encrypt))["response"]["data"]
    document = b64u(json.dumps({"text": "x" * 1000}).encode())
    sign = {"applicationId": "KERNEL", "referenceId": "SIGN", "dataToSign": document}
    figures = []
    for name, request, bare in (
        ("decrypt 1 KB http", _request("/v1/keymanager/decrypt", cookie, {**ref, **at, "data": sealed}),
         lambda: private.decrypt(wrapped, OAEP)),
        ("jwtSign http", _request("/v1/keymanager/jwtSign", cookie, sign),
         lambda: private.sign(bytes(1024), padding.PKCS1v15(), hashes.SHA256())),
        ("encrypt 1 KB http", encrypt, lambda: private.public_key().encrypt(bytes(32), OAEP)),
    ):  # fmt: skip
        answer = json.loads(await _once(platform.port, request))
        if not answer.get("response"):
            raise RuntimeError(f"{name}: {answer['errors']}")
        limit, rate = _bare(bare, CORES), await _http_rate(platform.port, request)
        figures.append(_figure(name, rate, max(limit, _bare(bare, CORES))))
    return figures


def _figure(name: str, rate: float, limit: float) -> Figure:
    return Figure(name, rate, "1/s", limit, rate / limit)


def _bare(operation: Callable[[], object], threads: int) -> float:
    """Return how often the threads together do an operation in a second."""

    def repeat(_: int) -> float:
        count, began = 0, monotonic()
        while (elapsed := monotonic() - began) < SECONDS / 2:
            operation()
            count += 1
        return count / elapsed

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(repeat, range(threads)))


async def _rate(work: Work) -> float:
    await work()
    done, began = 0, monotonic()

    async def caller() -> None:
        nonlocal done
        while monotonic() - began < SECONDS:
            await work()
            done += 1

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return done / (monotonic() - began)


def _request(path: str, cookie: str, request: Mapping[str, object]) -> bytes:
    body = json.dumps(
        {"id": "bench", "version": "1.0", "requesttime": iso_millis(SystemClock().now()), "request": request}
    ).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {HOST}\r\ncookie: {cookie}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
    return await reader.readexactly(length)


async def _once(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(request)
    answer = await _answer(reader)
    writer.close()
    return answer


async def _http_rate(port: int, request: bytes) -> float:
    done, began = 0, monotonic()

    async def connection() -> None:
        nonlocal done
        reader, writer = await asyncio.open_connection(HOST, port)
        while monotonic() - began < 2 * SECONDS:
            writer.write(request)
            await _answer(reader)
            done += 1
        writer.close()

    await asyncio.gather(*(connection() for _ in range(CALLERS)))
    return done / (monotonic() - began)
