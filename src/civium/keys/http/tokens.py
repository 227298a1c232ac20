"""Pairwise tokens and licence keys (section 7.8)."""

import secrets
import string
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import Path, Query
from pydantic import Field

from civium.kernel.clock import Clock
from civium.kernel.errors import Rejected
from civium.keys import store
from civium.keys.api import KeyAdministration, KeyRef
from civium.keys.http.router import KeyRouter
from civium.keys.http.uses import UseLog
from civium.platform.database import Database
from civium.platform.http import CallerParameter, RequestEnvelope, WireModel, allow
from civium.platform.permissions import Permission

LICENSE_LENGTH: Final = 16
HASH_DOMAIN: Final = "keys/license"
TOKEN: Final = KeyRef("TOKEN")
_ALPHABET: Final = string.ascii_letters + string.digits

PERMISSIONS: Final = frozenset(
    {
        "OTP Trigger",
        "OTP Authentication",
        "Demo Authentication - Identity Data Match",
        "Demo Authentication - Address Data Match",
        "Demo Authentication - Full Address Data Match",
        "Demo Authentication - Secondary Language Match",
        "Biometric Authentication - FMR Data Match",
        "Biometric Authentication - IIR Data Match",
        "Biometric Authentication - FID Data Match",
        "Static Pin Authentication",
        "eKYC - limited",
        "eKYC - Full",
        "eKYC - No",
    }
)

Answer = dict[str, object]
Identifier = Annotated[str, Path(max_length=128)]


class TokenRequest(WireModel):
    """Body of tokenid: keeps the identifier out of the address."""

    uin: str | None = Field(default=None, max_length=128)
    partner_code: str | None = Field(default=None, alias="partnerCode", max_length=128)


class LicenseRequest(WireModel):
    """Body of license/generate."""

    tsp_id: str | None = Field(default=None, alias="tspId", max_length=36)
    expires_at: str | None = Field(default=None, alias="licenseExpiryTime", max_length=40)


class PermissionRequest(WireModel):
    """Body of license/permission."""

    tsp_id: str | None = Field(default=None, alias="tspId", max_length=36)
    license_key: str | None = Field(default=None, alias="licenseKey", max_length=64)
    permissions: Annotated[tuple[str, ...], Field(strict=False, max_length=64)] = ()


class Licenses:
    """The licence keys of providers; only keyed hashes are kept."""

    def __init__(self, db: Database, keys: KeyAdministration, clock: Clock) -> None:
        self._db = db
        self._keys = keys
        self._clock = clock

    async def make(self, tsp_id: str | None, expires_at: str | None) -> str:
        """Return a new key, shown this once. Raises Rejected (KER-LKM-001, 008, 999)."""
        tsp_id = _named(tsp_id)
        end, now = _instant(expires_at), self._clock.now()
        if end <= now:
            raise Rejected("KER-LKM-008", "Expiry DateTime should be ahead of current DateTime.")
        key = "".join(secrets.choice(_ALPHABET) for _ in range(LICENSE_LENGTH))
        hashed = await self._hash(key)
        async with self._db.transaction() as transaction:
            await store.add_license(transaction, hashed, tsp_id, end, now)
        return key

    async def permit(self, tsp_id: str | None, license_key: str | None, permissions: tuple[str, ...]) -> None:
        """Give a key permissions. Raises Rejected (KER-LKM-001, 003 - 007)."""
        hashed = await self._found(tsp_id, license_key)
        for permission in permissions:
            if not permission.strip():
                raise Rejected("KER-LKM-007", "Permission entered is an empty string.")
            if permission not in PERMISSIONS:
                raise Rejected("KER-LKM-003", "Permission value entered is not accepted.")
        async with self._db.transaction() as transaction:
            await store.add_license_permissions(transaction, hashed, permissions)

    async def permissions(self, tsp_id: str | None, license_key: str | None) -> list[str]:
        """Return a key's permissions. Raises Rejected (KER-LKM-001, 004 - 006, 009)."""
        found = await store.license_permissions(self._db, await self._found(tsp_id, license_key))
        if not found:
            raise Rejected("KER-LKM-009", "No Permissions has been mapped to the entered TSP-LicenseKey Pair.")
        return list(found)

    async def _found(self, tsp_id: str | None, license_key: str | None) -> bytes:
        tsp_id = _named(tsp_id)
        if license_key is None or not license_key.strip():
            raise Rejected("KER-LKM-006", "License Key entered is null or empty.")
        hashed = await self._hash(license_key.strip())
        end = await store.license_expiry(self._db, hashed, tsp_id)
        if end is None:
            raise Rejected("KER-LKM-004", "LicenseKey Not Found.")
        if end <= self._clock.now():
            raise Rejected("KER-LKM-005", "LicenseKey Expired.")
        return hashed

    async def _hash(self, key: str) -> bytes:
        return await self._keys.keyed_hash(HASH_DOMAIN, key.encode())


def _named(tsp_id: str | None) -> str:
    if tsp_id is None or not tsp_id.strip():
        raise Rejected("KER-LKM-001", "TSP entered is null or empty.")
    if not tsp_id.isprintable():
        raise Rejected("KER-LKM-999", "Invalid request")
    return tsp_id.strip()


def _instant(text: str | None) -> datetime:
    try:
        at = datetime.fromisoformat((text or "").strip())
    except ValueError:
        raise Rejected("KER-LKM-999", "Invalid request") from None
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def add_tokens(router: KeyRouter, keys: KeyAdministration, licenses: Licenses, uses: UseLog) -> None:
    """Declare the routes of tokens and licence keys."""
    token_allowed = allow(Permission.KEYS_TOKEN_MAKE)
    license_allowed = allow(Permission.KEYS_LICENSE)

    async def token(uin: str, partner_code: str, caller: CallerParameter) -> Answer:
        with uses.using(caller, "tokenid", TOKEN):
            if not uin.strip() or not partner_code.strip():
                raise Rejected("KER-TIG-010", "UIN and partner code cannot be empty.")
            return {"tokenID": await keys.token_id(uin.strip(), partner_code.strip())}

    @router.enveloped("GET", "/tokenid/{uin}/{partner_code}", token_allowed)
    async def token_of_address(uin: Identifier, partner_code: Identifier, caller: CallerParameter) -> Answer:
        """Return a person's token for a partner. The address is never logged."""
        return await token(uin, partner_code, caller)

    @router.enveloped("POST", "/tokenid", token_allowed)
    async def token_of_body(body: RequestEnvelope[TokenRequest], caller: CallerParameter) -> Answer:
        """Return the same without the identifier in the address."""
        return await token(body.request.uin or "", body.request.partner_code or "", caller)

    @router.enveloped("POST", "/license/generate", license_allowed)
    async def make_license(body: RequestEnvelope[LicenseRequest]) -> Answer:
        """Make a licence key for a provider."""
        return {"licenseKey": await licenses.make(body.request.tsp_id, body.request.expires_at)}

    @router.enveloped("POST", "/license/permission", license_allowed)
    async def permit(body: RequestEnvelope[PermissionRequest]) -> Answer:
        """Give a licence key permissions."""
        asked = body.request
        await licenses.permit(asked.tsp_id, asked.license_key, asked.permissions)
        return {"status": "Mapped License with the permissions"}

    @router.enveloped("GET", "/license/permission", license_allowed)
    async def permissions(
        tsp_id: Annotated[str | None, Query(alias="tspId", max_length=36)] = None,
        license_key: Annotated[str | None, Query(alias="licenseKey", max_length=64)] = None,
    ) -> Answer:
        """Return the permissions of a licence key."""
        return {"permissions": await licenses.permissions(tsp_id, license_key)}
