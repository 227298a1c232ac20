"""Clients that prove themselves with a signed assertion, private_key_jwt (RFC 7523): nothing to guess or to leak."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from civium.access.accounts import Accounts, InvalidCredentials
from civium.access.domain import Account, AccountKind
from civium.access.keyring import PublicKey, is_strong
from civium.access.store import Store
from civium.access.tokens import ALGORITHMS, LEEWAY, MAX_TOKEN_CHARACTERS, claimed, decoded
from civium.access.trail import Trail
from civium.kernel.clock import Clock
from civium.kernel.encoding import canonical_json
from civium.platform.database import Database
from civium.platform.http.access import Unauthenticated
from civium.platform.sealing import Sealer

HASH_DOMAIN: Final = "access/assertion"
LONGEST: Final = timedelta(minutes=5)
"""How long an assertion may be good: so long its ``jti`` is remembered."""


class _Claims(msgspec.Struct, frozen=True):
    iss: str
    sub: str
    aud: str | tuple[str, ...]
    exp: float
    jti: str
    nbf: float = 0


class Assertions:
    """Checks assertions; each counts once, in all processes together."""

    def __init__(
        self,
        database: Database,
        store: Store,
        sealer: Sealer,
        clock: Clock,
        *,
        accounts: Accounts,
        trail: Trail,
        audiences: Collection[str],
    ) -> None:
        self._database = database
        self._store = store
        self._sealer = sealer
        self._clock = clock
        self._accounts = accounts
        self._trail = trail
        self._audiences = frozenset(audiences)

    async def prove(self, client_id: str, assertion: str) -> Account:
        """Return the client's account. One signature check, about 100 microseconds. Raises InvalidCredentials."""
        account = await self._accounts.find(AccountKind.CLIENT, client_id)
        if account is None or account.public_key is None:
            raise InvalidCredentials
        claims = self._checked(client_id, assertion, client_key(account.public_key))
        expires_at = datetime.fromtimestamp(claims.exp, UTC)
        id_hash = await self._sealer.keyed_hash(HASH_DOMAIN, canonical_json([client_id, claims.jti]))
        name_hash = await self._accounts.name_hash(AccountKind.CLIENT, client_id)
        async with self._database.transaction() as transaction:
            fresh = await self._store.use_assertion(transaction, id_hash, expires_at)
            await self._trail.note(
                transaction,
                "client.login",
                actor=client_id if fresh else "anonymous",
                subject=name_hash.hex(),
                outcome="success" if fresh else "replayed",
            )
        if not fresh:
            raise InvalidCredentials
        return account

    def _checked(self, client_id: str, assertion: str, key: PublicKey) -> _Claims:
        now = self._clock.now()
        if len(assertion) > MAX_TOKEN_CHARACTERS:
            raise InvalidCredentials
        try:
            claims = msgspec.convert(decoded(assertion, key, ALGORITHMS).claims, _Claims)
        except (JoseError, msgspec.ValidationError, ValueError) as problem:
            raise InvalidCredentials from problem
        audiences = {claims.aud} if isinstance(claims.aud, str) else set(claims.aud)
        if claims.iss != client_id or claims.sub != client_id or not audiences & self._audiences or not claims.jti:
            raise InvalidCredentials
        if not now.timestamp() < claims.exp <= (now + LONGEST).timestamp() or claims.nbf > (now + LEEWAY).timestamp():
            raise InvalidCredentials
        return claims


def subject_of(assertion: str) -> str:
    """Return the client that an unverified assertion names; raises InvalidCredentials."""
    try:
        return claimed(assertion[:MAX_TOKEN_CHARACTERS], 1, "sub")
    except Unauthenticated as problem:
        raise InvalidCredentials from problem


def client_key(pem: str) -> PublicKey:
    """Return a client's public key; raises ValueError for a key that is weak or of another kind."""
    key = load_pem_public_key(pem.encode())
    if not is_strong(key):
        raise ValueError("a client's key is RSA of 2048 bits or more, or on P-256")
    octets = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return RSAKey.import_key(octets) if isinstance(key, rsa.RSAPublicKey) else ECKey.import_key(octets)
