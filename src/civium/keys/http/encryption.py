"""Encryption to keys, with PINs and for web tokens, and hashes of passwords (section 7.2)."""

import asyncio
from typing import Final

from pydantic import Field

from civium.kernel.encoding import b64u
from civium.keys.api import DecryptionFailed, KeyAdministration, KeyProblem, KeyRef, thumbprint
from civium.keys.formats import envelope, jwe, passwords
from civium.keys.formats.certificates import parse_pem
from civium.keys.http.access import IDENTITY_CACHE, ApplicationAccess
from civium.keys.http.payloads import is_json_object
from civium.keys.http.pins import PinGuard
from civium.keys.http.router import (
    ApplicationId,
    Instant,
    KeyRouter,
    Mandatory,
    OptionalApplicationId,
    OptionalReferenceId,
    Pem,
    ReferenceId,
    blank,
    decoded,
    invalid_request,
)
from civium.keys.http.uses import UseLog
from civium.platform.http import CallerParameter, RequestEnvelope, WireModel, allow
from civium.platform.permissions import Permission

ARGON2_AT_ONCE: Final = 2
"""Hashes that one process computes at the same time: 64 MiB each."""
PIN_KEY: Final = KeyRef("PIN")

Answer = dict[str, object]


class Data(WireModel):
    """Body of encrypt and decrypt."""

    application_id: ApplicationId = Field(alias="applicationId")
    reference_id: OptionalReferenceId = Field(default=None, alias="referenceId")
    time_stamp: Instant = Field(alias="timeStamp")
    data: Mandatory
    salt: str | None = None
    aad: str | None = None

    @property
    def ref(self) -> KeyRef:
        """The key's address."""
        return KeyRef(self.application_id, (self.reference_id or "").strip())


class PinData(WireModel):
    """Body of encryptWithPin and decryptWithPin."""

    data: Mandatory
    user_pin: Mandatory = Field(alias="userPin", max_length=128)


class JweData(WireModel):
    """Body of jwtEncrypt."""

    application_id: OptionalApplicationId = Field(default=None, alias="applicationId")
    reference_id: OptionalReferenceId = Field(default=None, alias="referenceId")
    data: Mandatory
    compress: bool | None = Field(default=None, alias="enableDefCompression")
    include_certificate: bool | None = Field(default=None, alias="includeCertificate")
    include_certificate_hash: bool | None = Field(default=None, alias="includeCertHash")
    key_set_url: str | None = Field(default=None, alias="jwkSetUrl", max_length=2048)
    certificate: Pem | None = Field(default=None, alias="x509Certificate")


class SealedJwe(WireModel):
    """Body of jwtDecrypt."""

    application_id: ApplicationId = Field(alias="applicationId")
    reference_id: ReferenceId = Field(alias="referenceId")
    data: Mandatory = Field(alias="encData")


class Password(WireModel):
    """Body of generateArgon2Hash."""

    input_data: Mandatory = Field(alias="inputData", max_length=4096)
    salt: str | None = Field(default=None, max_length=1024)


def _not_base64() -> KeyProblem:
    return KeyProblem("KER-CRY-003", " input data is not base64 encoded")


def _no_envelope() -> KeyProblem:
    return KeyProblem("KER-CRY-003", "data sent to decrypt is without key splitter or invalid")


def _corrupted() -> KeyProblem:
    """Return the one refusal of data that does not open, whatever the reason."""
    return KeyProblem("KER-FSE-003", "data not valid (currupted,length is not valid etc.)")


def _no_key() -> KeyProblem:
    return KeyProblem("KER-KMS-025", "Key Not found for the thumbprint prepended in encrypted data.")


async def require_key(keys: KeyAdministration, ref: KeyRef, mark: bytes | None) -> None:
    """Tell apart, after a failure, what anyone may know: whether the certificate that data names is one of ``ref``.

    Raises KeyProblem: KER-KMS-025 when it is not.
    """
    if mark is not None and all(thumbprint(each.x509) != mark for each in await keys.certificates(ref)):
        raise _no_key()


def add_encryption(
    router: KeyRouter, keys: KeyAdministration, access: ApplicationAccess, pins: PinGuard, uses: UseLog
) -> None:
    """Declare the routes of encryption."""
    _add_envelopes(router, keys, access, uses)
    _add_pins(router, pins, uses)
    _add_tokens(router, keys, access, uses)
    _add_hashes(router, uses)


def _add_envelopes(router: KeyRouter, keys: KeyAdministration, access: ApplicationAccess, uses: UseLog) -> None:
    @router.enveloped("POST", "/encrypt", allow(Permission.KEYS_ENCRYPT))
    async def encrypt(body: RequestEnvelope[Data], caller: CallerParameter) -> Answer:
        """Encrypt to the current key of an application and reference."""
        asked = body.request
        with uses.using(caller, "encrypt", asked.ref):
            if not asked.ref.reference_id or asked.ref == IDENTITY_CACHE:
                raise KeyProblem(
                    "KER-CRY-011",
                    "Not Allowed to preform encryption with Master Key. Use Base/Encrypt key to encrypt data.",
                )
            clear = decoded(asked.data, _not_base64())
            salt, aad = decoded(asked.salt, _not_base64()), decoded(asked.aad, _not_base64())
            try:
                sealed = await keys.encrypt(asked.ref, clear, salt=salt or None, aad=aad or None)
            except ValueError:
                raise KeyProblem("KER-FSE-009", "invalid param spec") from None
            return {"data": b64u(sealed)}

    @router.enveloped("POST", "/decrypt", allow(Permission.KEYS_DECRYPT))
    async def decrypt(body: RequestEnvelope[Data], caller: CallerParameter) -> Answer:
        """Decrypt with the key that the data names, which must be one of the application and reference."""
        asked = body.request
        with uses.using(caller, "decrypt", asked.ref):
            access.check_decrypt(caller, asked.ref)
            sealed = decoded(asked.data, _not_base64())
            salt, aad = decoded(asked.salt, _not_base64()), decoded(asked.aad, _not_base64())
            try:
                parts = envelope.split(sealed)
            except DecryptionFailed:
                raise _no_envelope() from None
            try:
                clear = await keys.decrypt(asked.ref, sealed, salt=salt or None, aad=aad or None)
            except DecryptionFailed:
                await require_key(keys, asked.ref, parts.thumbprint)
                raise _corrupted() from None
            return {"data": b64u(clear)}


def _add_pins(router: KeyRouter, pins: PinGuard, uses: UseLog) -> None:
    use = allow(Permission.KEYS_PIN_USE)

    @router.enveloped("POST", "/encryptWithPin", use)
    async def encrypt_with_pin(body: RequestEnvelope[PinData], caller: CallerParameter) -> Answer:
        """Encrypt a text with a PIN."""
        asked = body.request
        with uses.using(caller, "encryptWithPin", PIN_KEY):
            pins.check_length(asked.user_pin)
            return {"data": await asyncio.to_thread(envelope.encrypt_with_pin, asked.user_pin, asked.data)}

    @router.enveloped("POST", "/decryptWithPin", use)
    async def decrypt_with_pin(body: RequestEnvelope[PinData], caller: CallerParameter) -> Answer:
        """Decrypt a text with its PIN. Too many wrong ones are refused like wrong ones."""
        asked = body.request
        with uses.using(caller, "decryptWithPin", PIN_KEY):
            sealed = decoded(asked.data, _not_base64())
            if not await pins.admits(caller, sealed):
                raise _corrupted()
            try:
                clear = await asyncio.to_thread(envelope.decrypt_with_pin, asked.user_pin, asked.data.strip())
            except DecryptionFailed:
                raise _corrupted() from None
            await pins.succeeded(caller, sealed)
            return {"data": clear}


def _add_tokens(router: KeyRouter, keys: KeyAdministration, access: ApplicationAccess, uses: UseLog) -> None:
    @router.enveloped("POST", "/jwtEncrypt", allow(Permission.KEYS_ENCRYPT))
    async def jwt_encrypt(body: RequestEnvelope[JweData], caller: CallerParameter) -> Answer:
        """Encrypt a JSON object, or a signed web token, as a compact JWE."""
        asked = body.request
        ref = KeyRef((asked.application_id or "").strip(), (asked.reference_id or "").strip())
        with uses.using(caller, "jwtEncrypt", ref):
            clear = _token_content(asked.data)
            if asked.certificate is not None:
                certificate = parse_pem(asked.certificate)
            elif ref.application_id and ref.reference_id:
                certificate = (await keys.certificate(ref)).x509
            else:
                raise invalid_request()
            sealed = await asyncio.to_thread(
                jwe.encrypt,
                certificate,
                clear,
                compress=asked.compress is not False,
                include_certificate=bool(asked.include_certificate),
                include_certificate_hash=bool(asked.include_certificate_hash),
                key_set_url=None if blank(asked.key_set_url) else asked.key_set_url,
            )
            return {"data": sealed, "timestamp": router.timestamp()}

    @router.enveloped("POST", "/jwtDecrypt", allow(Permission.KEYS_DECRYPT))
    async def jwt_decrypt(body: RequestEnvelope[SealedJwe], caller: CallerParameter) -> Answer:
        """Decrypt a compact JWE."""
        asked = body.request
        ref = KeyRef(asked.application_id, asked.reference_id.strip())
        with uses.using(caller, "jwtDecrypt", ref):
            access.check_decrypt(caller, ref)
            failed = KeyProblem("KER-CRY-015", "Internal Error while decrypting data using JWE.")
            try:
                parsed = jwe.parse(asked.data.strip())
            except DecryptionFailed:
                raise failed from None
            try:
                key = await keys.unwrap_session_key(ref, parsed.wrapped_key, thumbprint=parsed.thumbprint)
                clear = await asyncio.to_thread(jwe.open_content, key, parsed)
            except DecryptionFailed:
                await require_key(keys, ref, parsed.thumbprint)
                raise failed from None
            return {"data": b64u(clear), "timestamp": router.timestamp()}


def _add_hashes(router: KeyRouter, uses: UseLog) -> None:
    hashing = asyncio.Semaphore(ARGON2_AT_ONCE)

    @router.enveloped("POST", "/generateArgon2Hash", allow(Permission.KEYS_HASH))
    async def argon2_hash(body: RequestEnvelope[Password], caller: CallerParameter) -> Answer:
        """Hash a password with Argon2id."""
        asked = body.request
        with uses.using(caller, "generateArgon2Hash", KeyRef("ARGON2")):
            salt = decoded(asked.salt, invalid_request()) or passwords.new_salt()
            if len(salt) < passwords.MIN_SALT_SIZE:
                raise invalid_request()
            async with hashing:
                hashed = await asyncio.to_thread(passwords.argon2_hash, asked.input_data, salt)
            return {"hashValue": b64u(hashed), "salt": b64u(salt)}


def _token_content(data: str) -> bytes:
    """Return the clear content: base64 of a JSON object, or a JWS as it is. Raises KeyProblem (KER-CRY-013)."""
    text = data.strip()
    if text.count(".") == 2:
        return text.encode()
    problem = KeyProblem("KER-CRY-013", "Input data to encrypt is not valid JSON.")
    content = decoded(text, problem)
    if not is_json_object(content):
        raise problem
    return content
