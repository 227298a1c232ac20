"""Client crypto: this service in the part of a machine, and what it does with machines' keys (section 7.5)."""

from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import AliasChoices, Field

from civium.kernel.encoding import b64u
from civium.keys.api import (
    Certificate,
    DecryptionFailed,
    KeyAdministration,
    KeyProblem,
    KeyRef,
    SignatureAlgorithm,
    SignatureInvalid,
    SignedForm,
    thumbprint,
)
from civium.keys.formats import client_crypto
from civium.keys.formats.client_crypto import ClientType, MachineKey
from civium.keys.http.access import CLIENT_CRYPTO, ApplicationAccess
from civium.keys.http.router import KeyRouter, Mandatory, decoded
from civium.keys.http.uses import UseLog
from civium.platform.http import CallerParameter, RequestEnvelope, WireModel, allow
from civium.platform.permissions import Permission

SIGNING = KeyRef("RESIDENT")
MAX_GENERATIONS = 4
"""Generations of the encryption key that are tried: the format names none."""

Answer = dict[str, object]


class _MachinePart(WireModel):
    public_key: Mandatory = Field(alias="publicKey", max_length=8192)
    is_tpm: bool | None = Field(default=None, validation_alias=AliasChoices("isTpm", "tpm"))
    client_type: str | None = Field(default=None, alias="clientType", max_length=16)

    def machine(self) -> MachineKey:
        """Return the machine's key; raises KeyProblem (KER-CRY-002, KER-KMS-005)."""
        encoded = decoded(self.public_key, KeyProblem("KER-CRY-002", "public key is invalid"))
        return client_crypto.parse_public_key(encoded, self._kind())

    def _kind(self) -> ClientType | None:
        if self.client_type:
            try:
                return ClientType(self.client_type.strip().upper())
            except ValueError:
                raise KeyProblem("KER-KMS-005", "Invalid request") from None
        return ClientType.TPM if self.is_tpm else None


class ToSign(WireModel):
    """Body of cssign."""

    data: Mandatory


class Signed(_MachinePart):
    """Body of csverifysign."""

    data: Mandatory
    signature: Mandatory = Field(max_length=2048)


class Value(_MachinePart):
    """Body of tpmencrypt and tpmdecrypt."""

    value: Mandatory


class Profile(WireModel):
    """Body of the requests for our own public keys."""

    server_profile: Any = Field(default=None, alias="serverProfile")


def _failed() -> KeyProblem:
    return KeyProblem("KER-CC-004", "Failed crypto operation")


def add_client_crypto(router: KeyRouter, keys: KeyAdministration, access: ApplicationAccess, uses: UseLog) -> None:
    """Declare the routes of client crypto."""
    use_own = allow(Permission.KEYS_CLIENT_CRYPTO_USE)
    use_public = allow(Permission.KEYS_CLIENT_CRYPTO_CHECK)

    @router.enveloped("POST", "/cssign", use_own)
    async def sign(body: RequestEnvelope[ToSign], caller: CallerParameter) -> Answer:
        """Sign bytes as a machine does, with the module key of RESIDENT."""
        with uses.using(caller, "cssign", SIGNING):
            access.check_sign(caller, CLIENT_CRYPTO)
            data = decoded(body.request.data, _failed())
            certificate = await keys.certificate(SIGNING)
            signature = await keys.sign_data(
                SIGNING,
                data,
                form=SignedForm.RAW,
                algorithm=SignatureAlgorithm.RS256,
                thumbprint=thumbprint(certificate.x509),
            )
            return {"data": b64u(signature)}

    @router.enveloped("POST", "/csverifysign", use_public)
    async def verify(body: RequestEnvelope[Signed]) -> Answer:
        """Check a machine's signature."""
        asked = body.request
        data = decoded(asked.data, _failed())
        try:
            client_crypto.verify(asked.machine(), data, asked.signature.strip())
        except SignatureInvalid:
            return {"verified": False}
        return {"verified": True}

    @router.enveloped("POST", "/tpmencrypt", use_public)
    async def encrypt(body: RequestEnvelope[Value]) -> Answer:
        """Encrypt bytes to a machine."""
        clear = decoded(body.request.value, _failed())
        return {"value": b64u(client_crypto.encrypt(body.request.machine(), clear))}

    @router.enveloped("POST", "/tpmdecrypt", use_own)
    async def decrypt(body: RequestEnvelope[Value], caller: CallerParameter) -> Answer:
        """Decrypt bytes that were encrypted to this service's key."""
        with uses.using(caller, "tpmdecrypt", CLIENT_CRYPTO):
            access.check_decrypt(caller, CLIENT_CRYPTO)
            sealed = decoded(body.request.value, _failed())
            for certificate in (await keys.certificates(CLIENT_CRYPTO))[:MAX_GENERATIONS]:
                try:
                    return {"value": b64u(await _opened(keys, certificate, sealed))}
                except DecryptionFailed:
                    continue
            raise _failed()

    @router.enveloped("POST", "/tpmsigning/publickey", use_public)
    async def signing_key(_body: RequestEnvelope[Profile]) -> Answer:
        """Return the public key that cssign's signatures verify with."""
        return {"publicKey": _public_key(await keys.certificate(SIGNING))}

    @router.enveloped("POST", "/tpmencryption/publickey", use_public)
    async def encryption_key(_body: RequestEnvelope[Profile]) -> Answer:
        """Return the public key to encrypt to this service with."""
        return {"publicKey": _public_key(await keys.certificate(CLIENT_CRYPTO))}


async def _opened(keys: KeyAdministration, certificate: Certificate, sealed: bytes) -> bytes:
    parts = client_crypto.split(sealed)
    key = await keys.unwrap_session_key(CLIENT_CRYPTO, parts.wrapped_key, thumbprint=thumbprint(certificate.x509))
    return client_crypto.open_data(key, parts)


def _public_key(certificate: Certificate) -> str:
    return b64u(certificate.x509.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
