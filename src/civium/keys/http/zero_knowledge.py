"""Zero-knowledge encryption of attributes (section 7.3)."""

from typing import Annotated, Final

from fastapi import Query
from pydantic import Field

from civium.keys.api import DecryptionFailed, KeyAdministration, KeyProblem
from civium.keys.http.access import IDA_IDENTITY_CACHE, IDENTITY_CACHE, ApplicationAccess
from civium.keys.http.router import KeyRouter, Mandatory
from civium.keys.http.uses import UseLog
from civium.platform.http import CallerParameter, RequestEnvelope, WireModel, allow
from civium.platform.permissions import Permission

MAX_ATTRIBUTES: Final = 1_000

Answer = dict[str, object]


class Attribute(WireModel):
    """One attribute: its name, and its value in clear or sealed."""

    identifier: Mandatory = Field(max_length=256)
    value: Mandatory


class Attributes(WireModel):
    """Body of zkEncrypt and zkDecrypt."""

    id: Mandatory = Field(max_length=128)
    attributes: Annotated[tuple[Attribute, ...], Field(strict=False, max_length=MAX_ATTRIBUTES)] = Field(
        alias="zkDataAttributes"
    )

    def by_number(self) -> dict[str, str]:
        """Return the values under their place: names may repeat."""
        if not self.attributes:
            raise KeyProblem("KER-ZKC-003", "Data attributes Empty.")
        return {str(number): attribute.value for number, attribute in enumerate(self.attributes)}

    def named(self, values: dict[str, str]) -> list[dict[str, str]]:
        """Return the attributes of an answer, in the order of the request."""
        return [
            {"identifier": attribute.identifier, "value": values[str(number)]}
            for number, attribute in enumerate(self.attributes)
        ]


class WrappedKey(WireModel):
    """Body of zkReEncryptRandomKey: keeps the key out of the query."""

    encrypted_key: Mandatory = Field(alias="encryptedKey", max_length=16_384)


def add_zero_knowledge(
    router: KeyRouter,
    keys: KeyAdministration,
    authentication: KeyAdministration,
    access: ApplicationAccess,
    uses: UseLog,
) -> None:
    """Declare the routes; ``authentication`` is that context's view, which alone opens pool keys that came wrapped."""
    use = allow(Permission.KEYS_ZK_USE)

    @router.enveloped("POST", "/zkEncrypt", use)
    async def encrypt(body: RequestEnvelope[Attributes], caller: CallerParameter) -> Answer:
        """Encrypt a person's attributes under a key of the pool and the person's id."""
        asked = body.request
        with uses.using(caller, "zkEncrypt", IDENTITY_CACHE):
            access.check_decrypt(caller, IDENTITY_CACHE)
            sealed = await keys.zk_encrypt(asked.id, asked.by_number())
            return {
                "zkDataAttributes": asked.named(dict(sealed.attributes)),
                "encryptedRandomKey": sealed.encrypted_random_key,
                "rankomKeyIndex": sealed.random_key_index,
            }

    @router.enveloped("POST", "/zkDecrypt", use)
    async def decrypt(body: RequestEnvelope[Attributes], caller: CallerParameter) -> Answer:
        """Decrypt a person's attributes."""
        asked = body.request
        with uses.using(caller, "zkDecrypt", IDENTITY_CACHE):
            access.check_decrypt(caller, IDENTITY_CACHE)
            try:
                clear = await keys.zk_decrypt(asked.id, asked.by_number())
            except DecryptionFailed:
                raise KeyProblem("KER-ZKC-004", "Data Encryption/Decryption Error.") from None
            return {"zkDataAttributes": asked.named(clear), "encryptedRandomKey": None, "rankomKeyIndex": None}

    async def re_encrypt(encrypted_key: str, caller: CallerParameter) -> Answer:
        with uses.using(caller, "zkReEncryptRandomKey", IDA_IDENTITY_CACHE):
            access.check_decrypt(caller, IDA_IDENTITY_CACHE)
            try:
                return {"encryptedKey": await authentication.zk_re_encrypt(encrypted_key.strip())}
            except DecryptionFailed:
                raise KeyProblem("KER-ZKC-006", "Invalid encrypted random Key.") from None

    @router.enveloped("POST", "/zkReEncryptRandomKey", use)
    async def re_encrypt_key(
        caller: CallerParameter,
        encrypted_key: Annotated[Mandatory, Query(alias="encryptedKey", max_length=16_384)],
    ) -> Answer:
        """Wrap a pool key that came for authentication under its own master."""
        return await re_encrypt(encrypted_key, caller)

    @router.enveloped("POST", "/zkReEncryptRandomKey/body", use)
    async def re_encrypt_body(caller: CallerParameter, body: RequestEnvelope[WrappedKey]) -> Answer:
        """Do the same with the key in the body, where no log of addresses can hold it."""
        return await re_encrypt(body.request.encrypted_key, caller)
