"""Public keys that verify tokens: ours from the key process, another issuer's from its JWKS, both cached."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import httpx
import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey, import_key

from civium.kernel.clock import monotonic
from civium.kernel.encoding import unb64
from civium.kernel.errors import Unavailable
from civium.platform.http.access import Unauthenticated
from civium.platform.settings import TrustedIssuer

_log = structlog.get_logger(__name__)

PublicKey = RSAKey | ECKey
PublicKeys = Mapping[str, PublicKey]

STALE_SECONDS: Final = 3600.0
"""How long keys serve on while their source cannot be reached."""

JWKS_BYTES: Final = 256 * 1024
JWKS_KEYS: Final = 32
JWKS_SECONDS: Final = 3.0
MIN_RSA_BITS: Final = 2048


class Keyring:
    """Keys by ``kid``. A lookup costs less than a microsecond; ``read`` is called when they get old or one lacks.

    An unknown ``kid`` leads to one reading in ``pause`` seconds, however many tokens name it.
    """

    def __init__(self, read: Callable[[], Awaitable[PublicKeys]], *, fresh: float, pause: float) -> None:
        self._read = read
        self._fresh = fresh
        self._pause = pause
        self._keys: PublicKeys = {}
        self._read_at = self._tried_at = float("-inf")
        self._reading = asyncio.Lock()

    async def key(self, kid: str) -> PublicKey:
        """Return the key; raises Unauthenticated when there is none, Unavailable when that cannot be told."""
        if self._due(kid) and not (kid in self._keys and self._reading.locked()):
            async with self._reading:
                if self._due(kid):
                    await self._renew()
        known = monotonic() - self._read_at <= STALE_SECONDS
        if known and kid in self._keys:
            return self._keys[kid]
        if not known or self._read_at < self._tried_at:
            raise Unavailable("the keys of a token's issuer cannot be read")
        raise Unauthenticated

    def _due(self, kid: str) -> bool:
        now = monotonic()
        return (kid not in self._keys or now - self._read_at > self._fresh) and now - self._tried_at > self._pause

    async def _renew(self) -> None:
        try:
            self._keys = await self._read()
        except Unavailable as problem:
            self._tried_at = monotonic()
            _log.warning("issuer_keys_unavailable", error=type(problem.__cause__ or problem).__name__)
        else:
            self._tried_at = self._read_at = monotonic()


class Jwks:
    """Reads a trusted issuer's key set over TLS that is always verified. Strict on time, size, redirects and keys."""

    def __init__(self, issuer: TrustedIssuer) -> None:
        self._uri = issuer.jwks_uri
        self._ca = issuer.ca
        self._tls: ssl.SSLContext | None = None

    async def read(self) -> PublicKeys:
        """Return the usable keys; raises Unavailable."""
        try:
            async with asyncio.timeout(JWKS_SECONDS):
                return _usable(await self._fetch())
        except (httpx.HTTPError, TimeoutError, OSError, msgspec.MsgspecError, ValueError) as problem:
            raise Unavailable("JWKS") from problem

    async def _fetch(self) -> bytes:
        if self._tls is None:
            self._tls = ssl.create_default_context(cafile=self._ca)
        async with (
            httpx.AsyncClient(verify=self._tls, trust_env=False, follow_redirects=False, timeout=JWKS_SECONDS) as http,
            http.stream("GET", self._uri, headers={"accept": "application/json"}) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                raise ValueError("no key set")
            content = bytearray()
            async for part in answer.aiter_bytes(8192):
                content += part
                if len(content) > JWKS_BYTES:
                    raise ValueError("key set too large")
            return bytes(content)


class _KeySet(msgspec.Struct, frozen=True):
    keys: list[dict[str, object]]


def _usable(content: bytes) -> PublicKeys:
    """Return the public signature keys of a key set; what is weak, symmetric, private or malformed is left out."""
    found: dict[str, PublicKey] = {}
    for member in msgspec.json.decode(content, type=_KeySet).keys[:JWKS_KEYS]:
        kid = member.get("kid")
        if isinstance(kid, str) and member.get("use", "sig") == "sig" and (key := _imported(member)) is not None:
            found[kid] = key
    return found


def _imported(member: dict[str, object]) -> PublicKey | None:
    try:
        if member.get("kty") == "RSA" and len(unb64(str(member["n"]))) < MIN_RSA_BITS // 8:
            return None
        key = import_key({name: value for name, value in member.items() if isinstance(value, str | list)})
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return key if isinstance(key, RSAKey | ECKey) and not key.is_private and is_strong(key.public_key) else None


def is_strong(key: object) -> bool:
    """Tell whether a public key may verify: RSA of 2048 bits or more, or on P-256."""
    match key:
        case rsa.RSAPublicKey():
            return key.key_size >= MIN_RSA_BITS
        case ec.EllipticCurvePublicKey():
            return isinstance(key.curve, ec.SECP256R1)
        case _:
            return False
